//! ICMP echo behind a seam: an engine takes one destination and one sequence number and says what became of them.
//!
//! On Linux the kernel stamps what is sent and what comes ([`kernel`]). [`SurgeEngine`] is the portable one, on surge-ping,
//! and the fallback. Its times are stamped in user space, and by the library after the send returns, so they are a little
//! short and follow the load of the machine: samples say `CLOCK_USER`.

#[cfg(target_os = "linux")]
mod kernel;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use socket2::Type;
use surge_ping::{Client, Config, ICMP, IcmpPacket, PingIdentifier, PingSequence, SurgeError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::exit::Exit;
use super::route;
use crate::probe::{Measured, Outcome};
use crate::report::counters::Counters;

/// Something that can ping.
pub(crate) trait EchoEngine: Send + Sync {
    /// Sends one echo request and waits for its reply, at most for the engine's timeout.
    fn echo(&self, destination: IpAddr) -> BoxFuture<'_, Measured>;

    /// The network is another one: what is sent from now on leaves by sockets that are opened from now on. What is under way
    /// says nothing any more.
    fn renew(&self);
}

/// The best engine that this system has. Its tasks run on `tasks` until `cancel`.
pub(crate) fn engine(
    timeout: Duration,
    counters: &Arc<Counters>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) -> Arc<dyn EchoEngine> {
    engine_by(Exit::default(), timeout, counters, tasks, cancel)
}

/// As [`engine`], by a way out that the configuration names.
#[cfg(target_os = "linux")]
pub(crate) fn engine_by(
    exit: Exit,
    timeout: Duration,
    counters: &Arc<Counters>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) -> Arc<dyn EchoEngine> {
    Arc::new(kernel::KernelEngine::start(
        timeout, exit, counters, tasks, cancel,
    ))
}

/// As [`engine`], by a way out that the configuration names: Windows matches replies to requests itself where it chooses the
/// way.
#[cfg(windows)]
pub(crate) fn engine_by(
    exit: Exit,
    timeout: Duration,
    _counters: &Arc<Counters>,
    _tasks: &TaskTracker,
    _cancel: &CancellationToken,
) -> Arc<dyn EchoEngine> {
    if exit == Exit::default() {
        Arc::new(super::windows::echo::WindowsEngine::new(timeout))
    } else {
        Arc::new(SurgeEngine::new(rand::random(), timeout).by(exit))
    }
}

/// As [`engine`], by a way out that the configuration names.
#[cfg(not(any(target_os = "linux", windows)))]
pub(crate) fn engine_by(
    exit: Exit,
    timeout: Duration,
    _counters: &Arc<Counters>,
    _tasks: &TaskTracker,
    _cancel: &CancellationToken,
) -> Arc<dyn EchoEngine> {
    Arc::new(SurgeEngine::new(rand::random(), timeout).by(exit))
}

/// Bytes after the ICMP header, as ping sends by default.
const PAYLOAD: [u8; 56] = [0; 56];

/// An engine on surge-ping: one socket for each family, opened when first needed and again after it could not be.
pub(crate) struct SurgeEngine {
    v4: Mutex<Option<Client>>,
    v6: Mutex<Option<Client>>,
    next: AtomicU16,
    identifier: PingIdentifier,
    timeout: Duration,
    exit: Exit,
}

impl SurgeEngine {
    /// Makes an engine; no socket is opened yet.
    pub(crate) fn new(identifier: u16, timeout: Duration) -> Self {
        Self {
            v4: Mutex::new(None),
            v6: Mutex::new(None),
            next: AtomicU16::new(0),
            identifier: PingIdentifier(identifier),
            timeout,
            exit: Exit::default(),
        }
    }

    /// The same, by a way out that the configuration names. Its code point is not set: the library opens the socket.
    pub(crate) fn by(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    fn client(&self, destination: IpAddr) -> io::Result<Client> {
        let (slot, kind) = match destination {
            IpAddr::V4(_) => (&self.v4, ICMP::V4),
            IpAddr::V6(_) => (&self.v6, ICMP::V6),
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = slot.as_ref() {
            return Ok(client.clone());
        }
        // Datagram first: it hears its own replies only. surge-ping falls back to a raw socket by itself.
        // Windows reads from a bound socket only.
        let local = self.exit.local(destination.is_ipv6());
        let mut config = Config::builder()
            .kind(kind)
            .sock_type_hint(Type::DGRAM)
            .bind(SocketAddr::new(local, 0));
        if let Some(interface) = &self.exit.interface {
            config = config.interface(interface.as_str());
        }
        let client = Client::new(&config.build())?;
        *slot = Some(client.clone());
        Ok(client)
    }
}

impl EchoEngine for SurgeEngine {
    fn echo(&self, destination: IpAddr) -> BoxFuture<'_, Measured> {
        Box::pin(async move { self.ping(destination).await.into() })
    }

    fn renew(&self) {
        for client in [&self.v4, &self.v6] {
            *client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

impl SurgeEngine {
    async fn ping(&self, destination: IpAddr) -> Outcome {
        let client = match self.client(destination) {
            Ok(client) => client,
            Err(error) => return Outcome::of_io_error(&error),
        };
        let sequence = PingSequence(self.next.fetch_add(1, Ordering::Relaxed));
        let mut pinger = client.pinger(destination, self.identifier).await;
        pinger.timeout(self.timeout);
        match pinger.ping(sequence, &PAYLOAD).await {
            Ok((packet, rtt)) if is_reply(&packet) => Outcome::Answered(rtt),
            Ok(_) => Outcome::Unreachable,
            Err(SurgeError::Timeout { .. }) => Outcome::Timeout,
            Err(SurgeError::IOError(error)) => route::outcome_of(&error, destination),
            Err(
                SurgeError::IncorrectBufferSize
                | SurgeError::MalformedPacket(_)
                | SurgeError::EchoRequestPacket
                | SurgeError::NetworkError
                | SurgeError::IdenticalRequests { .. }
                | SurgeError::ClientDestroyed,
            ) => Outcome::LocalError,
        }
    }
}

/// Whether the packet is an echo reply and no error about the request.
fn is_reply(packet: &IcmpPacket) -> bool {
    // Echo reply: type 0 (RFC 792), type 129 (RFC 4443 §4.2).
    match packet {
        IcmpPacket::V4(packet) => packet.get_icmp_type().0 == 0,
        IcmpPacket::V6(packet) => packet.get_icmpv6_type().0 == 129,
    }
}
