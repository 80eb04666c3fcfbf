//! Path packets as the SYNs of ordinary connections, for a process without `CAP_NET_RAW`: the road that users' connections
//! take, one TTL of a flow at a time.
//!
//! A flow is a source port, the same after a restart unless taken; the kernel allows one socket on it to a destination, so
//! the round sends the next TTL when the one before is answered or given up. Each attempt is a socket of its own with the TTL
//! and an error queue (ip(7), `IP_RECVERR`), which tells of the router that the TTL ran out at. An attempt that reaches the
//! destination is reset at once, so that nothing is left behind there.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use firstmile_wire::v1::{TraceKind, TraceMethod};
use socket2::{Protocol, Type};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::exit::Exit;
use super::raw::{Attempt, PacketSocket};
use super::trace::{FIRST_PORT, Means};
use super::trace_board::{Hub, Switchboard};
use crate::clock;
use crate::probe::quote;
use crate::probe::trace::{Probe, Reply, ReplyKind};

/// Longest life of an attempt: the round has given it up by then.
const LIFE: Duration = Duration::from_secs(1);

/// One family; sockets live as long as an attempt.
pub(super) struct ConnectMeans {
    ipv6: bool,
    board: Arc<Switchboard>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    exit: Exit,
    /// The last attempt of each flow, of which a round has few.
    last: Mutex<BTreeMap<u16, Weak<PacketSocket>>>,
    _all: DropGuard,
}

impl ConnectMeans {
    pub(super) fn open(ipv6: bool, hub: &Hub) -> Self {
        let cancel = hub.cancel.child_token();
        Self {
            ipv6,
            board: Arc::clone(&hub.board),
            tasks: hub.tasks.clone(),
            cancel: cancel.clone(),
            exit: hub.exit,
            last: Mutex::default(),
            _all: cancel.drop_guard(),
        }
    }

    /// Ends the attempt before this one of a flow, which the round has given up: the two have the same ends.
    fn take_turn(&self, flow: u16, socket: &Arc<PacketSocket>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.insert(flow, Arc::downgrade(socket));
        if let Some(before) = before.and_then(|before| before.upgrade()) {
            before.give_up();
        }
    }

    fn source_port(flow: u16) -> u16 {
        FIRST_PORT.saturating_add(flow)
    }
}

impl Means for ConnectMeans {
    fn kind(&self) -> TraceKind {
        TraceKind::Tcp
    }

    fn method(&self) -> TraceMethod {
        TraceMethod::OneAtATime
    }

    fn send(
        &self,
        probe: Probe,
        token: u16,
        source: IpAddr,
        destination: SocketAddr,
    ) -> io::Result<()> {
        let socket = PacketSocket::open(self.ipv6, Type::STREAM, Protocol::TCP, true, self.exit)?;
        let socket = Arc::new(socket);
        self.take_turn(probe.flow, &socket);
        let from = SocketAddr::new(source, Self::source_port(probe.flow));
        socket.start_connecting(from, destination, probe.ttl)?;
        let board = Arc::clone(&self.board);
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            let attempt = tokio::time::timeout(LIFE, socket.attempt());
            let Some(Ok(Ok(attempt))) = cancel.run_until_cancelled(attempt).await else {
                return;
            };
            let at = clock::now();
            if let Some(reply) = reply_of(attempt, destination.ip()) {
                board.deliver(token, destination.ip(), reply, at);
            }
        });
        Ok(())
    }

    fn flow_id(&self, flow: u16, _source: IpAddr, _destination: IpAddr) -> u32 {
        u32::from(Self::source_port(flow))
    }

    fn flow_label(&self, _flow: u16, _destination: SocketAddr) -> u32 {
        0
    }

    fn is_listening(&self) -> bool {
        !self.cancel.is_cancelled()
    }
}

/// What became of an attempt; `None` for what no packet of the network said.
fn reply_of(attempt: Attempt, destination: IpAddr) -> Option<Reply> {
    match attempt {
        Attempt::Answered => Some(Reply::plain(destination, ReplyKind::Destination, 0, 0)),
        Attempt::Failed(None) => None,
        Attempt::Failed(Some(error)) => {
            let kind = quote::role(error.icmp, error.offender, destination);
            Some(Reply::plain(error.offender, kind, error.icmp, 0))
        }
    }
}
