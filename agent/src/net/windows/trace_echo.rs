//! Path packets as ICMP echo requests by the system's own call, with a TTL: no rights and no firewall rule needed.
//!
//! Windows chooses identifier and sequence, so that flows are not pinned: a load balancer may send each packet another way,
//! and the path is evidence beside that of TCP, no more: one flow, and no reason for a burst.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use firstmile_sys::windows::icmp::{Completion, Echo, Request, Status};
use firstmile_wire::v1::{TraceKind, TraceMethod};

use super::exit::Exit;
use super::trace::Means;
use super::trace_board::{Hub, Switchboard};
use crate::clock;
use crate::probe::trace::{Probe, Reply, ReplyKind};
use crate::report::counters::Counters;

/// How long Windows waits for an answer; the round gives up by its own clock, what comes later is counted late.
const PATIENCE: Duration = Duration::from_secs(4);

/// Bytes after the ICMP header.
const PAYLOAD: [u8; 32] = *b"firstmile path, see its sender  ";

/// The door of one family.
pub(super) struct EchoMeans {
    door: Echo,
    ipv6: bool,
    board: Arc<Switchboard>,
    counters: Arc<Counters>,
}

impl EchoMeans {
    /// Opens the door.
    ///
    /// # Errors
    /// What Windows says: the network is not up yet, or there is no such family.
    pub(super) fn open(ipv6: bool, _flows: u16, hub: &Hub) -> io::Result<Self> {
        if hub.exit != Exit::default() {
            // The system's call chooses its way itself.
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self {
            door: Echo::open(ipv6)?,
            ipv6,
            board: Arc::clone(&hub.board),
            counters: Arc::clone(&hub.counters),
        })
    }
}

impl Means for EchoMeans {
    fn kind(&self) -> TraceKind {
        TraceKind::Icmp
    }

    fn method(&self) -> TraceMethod {
        TraceMethod::ErrorQueue
    }

    fn send(
        &self,
        probe: Probe,
        token: u16,
        _source: IpAddr,
        destination: SocketAddr,
    ) -> io::Result<()> {
        let about = destination.ip();
        let request = Request {
            destination: about,
            ttl: probe.ttl,
            payload: &PAYLOAD,
            timeout: PATIENCE,
        };
        let (board, counters) = (Arc::clone(&self.board), Arc::clone(&self.counters));
        let ipv6 = self.ipv6;
        self.door.send(&request, move |completion| {
            let at = clock::now();
            if let Some(reply) = reply(&completion, about, ipv6)
                && !board.deliver(token, about, reply, at)
            {
                counters.unmatched_replies.add(1);
            }
        })
    }

    fn pins_flows(&self) -> bool {
        false
    }

    /// Windows does not tell.
    fn flow_id(&self, _flow: u16, _source: IpAddr, _destination: IpAddr) -> u32 {
        0
    }

    /// The system listens.
    fn flow_label(&self, _flow: u16, _destination: SocketAddr) -> u32 {
        0
    }

    fn is_listening(&self) -> bool {
        true
    }
}

/// The reply that a completion stands for; `None`: silence.
fn reply(completion: &Completion, destination: IpAddr, ipv6: bool) -> Option<Reply> {
    let from = completion.from?;
    let (kind, icmp) = match completion.status {
        Status::Answered => (ReplyKind::Destination, if ipv6 { 129 << 8 } else { 0 }),
        Status::TimeExceeded => (ReplyKind::TimeExceeded, if ipv6 { 3 << 8 } else { 11 << 8 }),
        Status::Unreachable(icmp) if from == destination => (ReplyKind::Destination, icmp),
        Status::Unreachable(icmp) => (ReplyKind::Barred, icmp),
        Status::Prohibited => (ReplyKind::Barred, if ipv6 { 0x0101 } else { 0x030d }),
        Status::TimedOut | Status::NoRoute | Status::Other(_) => return None,
    };
    Some(Reply::plain(from, kind, icmp, completion.reply_ttl))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_completion_is_the_reply_that_it_stands_for() {
        let destination = IpAddr::from([192, 0, 2, 1]);
        let router = IpAddr::from([198, 51, 100, 1]);
        for (from, status, want) in [
            (
                destination,
                Status::Answered,
                Some((ReplyKind::Destination, 0)),
            ),
            (
                router,
                Status::TimeExceeded,
                Some((ReplyKind::TimeExceeded, 11 << 8)),
            ),
            (
                router,
                Status::Unreachable(0x0301),
                Some((ReplyKind::Barred, 0x0301)),
            ),
            (
                destination,
                Status::Unreachable(0x0303),
                Some((ReplyKind::Destination, 0x0303)),
            ),
            (router, Status::TimedOut, None),
        ] {
            let completion = Completion {
                from: Some(from),
                status,
                elapsed: Duration::from_millis(5),
                reply_ttl: 60,
                payload_intact: true,
            };
            let found = reply(&completion, destination, false);
            assert_eq!(
                found.map(|reply| (reply.kind, reply.icmp)),
                want,
                "{status:?}"
            );
        }
    }
}
