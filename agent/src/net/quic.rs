//! A QUIC handshake (RFC 9000) over one endpoint for each family, which is kept: quinn, with stamps of our own.
//!
//! Nothing but the handshake is sent, so it may be finished with whoever answers; the connection is closed at once.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn::{ConnectError, Connection, ConnectionError, ConnectionId, Endpoint, EndpointConfig};
use quinn::{TokioRuntime, TransportConfig, VarInt};
use rustls::pki_types::{CertificateDer, ServerName};

use super::exit::Exit;
use super::https::innermost;
use super::quic_socket::QuicSocket;
use super::tcp;
use super::tls::{Distrust, ProbeTls, TlsError};
use crate::clock;
use crate::config::Host;
use crate::delay::Delays;
use crate::probe::Outcome;
use crate::probe::quic::{Board, Flight};
use crate::probe::sighting::Sighting;

/// A handshake takes one round trip, two where the server wants the address validated.
const ROUND_TRIPS: u32 = 2;

/// Longest wait for the farewell to be sent: three probe timeouts of a path of some 100 ms (RFC 9000 §10.2).
const FAREWELL: Duration = Duration::from_millis(500);

/// No connection lives longer, whatever becomes of its probe.
const IDLE_MS: u32 = 10_000;

/// TLS version of QUIC (RFC 9001 §4.2).
const TLS13: u16 = 0x0304;

/// What a QUIC probe found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QuicFound {
    /// First Initial to first answer; a timeout too where only a later Initial was answered.
    pub(crate) rtt: Outcome,
    /// First Initial to the end of the handshake; `None`: there was no answer.
    pub(crate) handshake: Option<Outcome>,
    pub(crate) sighting: Option<Sighting>,
    pub(crate) distrust: Option<Distrust>,
    /// How late the packets that came were read; `None` when nobody can tell.
    pub(crate) delay: Option<Duration>,
    /// Why it failed, for a person; empty when it did not.
    pub(crate) problem: String,
}

impl QuicFound {
    /// Before there was a handshake.
    const fn failed(rtt: Outcome, problem: String) -> Self {
        Self {
            rtt,
            handshake: None,
            sighting: None,
            distrust: None,
            delay: None,
            problem,
        }
    }

    /// The handshake ended with `error`.
    fn fail(&mut self, error: &ConnectionError, flight: &Flight) {
        self.problem = explain(error, flight);
        let Some(failure) = failure(error) else {
            return;
        };
        // An answer that quinn could not even read as one of its own is an answer still.
        if self.rtt == Outcome::Timeout && flight.answered_at.is_none() {
            self.rtt = failure;
        } else {
            self.handshake = Some(failure);
        }
    }
}

/// Makes QUIC handshakes.
#[derive(Debug)]
pub(crate) struct QuicProber {
    tls: ProbeTls,
    config: quinn::ClientConfig,
    lateness: Option<Delays>,
    /// Of IPv4 and of IPv6; made when first wanted.
    doors: [Mutex<Option<Door>>; 2],
    exit: Exit,
}

/// One endpoint and the socket under it.
#[derive(Clone, Debug)]
struct Door {
    endpoint: Endpoint,
    socket: Arc<QuicSocket>,
}

/// How one connection attempt ended.
enum Attempt {
    Connected(Connection),
    Failed(ConnectionError),
    Refused,
    TimedOut,
}

impl QuicProber {
    /// With the roots of `tls`; `lateness` says how late this program runs.
    ///
    /// # Errors
    /// [`TlsError::Settings`] when rustls refuses.
    pub(crate) fn new(tls: ProbeTls, lateness: Option<Delays>) -> Result<Self, TlsError> {
        let crypto = tls.looking(&[b"h3"])?;
        let crypto = QuicClientConfig::try_from(crypto).map_err(|error| TlsError::Settings {
            source: rustls::Error::General(error.to_string()),
        })?;
        let mut transport = TransportConfig::default();
        transport
            .max_idle_timeout(Some(VarInt::from_u32(IDLE_MS).into()))
            .mtu_discovery_config(None)
            .enable_segmentation_offload(false)
            .max_concurrent_bidi_streams(VarInt::from_u32(0))
            // An HTTP/3 server must be let open three at least (RFC 9114 §6.2); nothing of them is read.
            .max_concurrent_uni_streams(VarInt::from_u32(3))
            .datagram_receive_buffer_size(None);
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        Ok(Self {
            tls,
            config,
            lateness,
            doors: Default::default(),
            exit: Exit::default(),
        })
    }

    /// The same, by a way out that the configuration names.
    pub(crate) fn by(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// Shakes hands with `host` at `to`.
    pub(crate) async fn shake(&self, host: &Host, to: SocketAddr, timeout: Duration) -> QuicFound {
        let door = match self.door(to.is_ipv6()) {
            Ok(door) => door,
            Err(error) => {
                let outcome = tcp::outcome_of(&error, to.ip(), Duration::ZERO);
                return QuicFound::failed(outcome, innermost(&error));
            }
        };
        let id: [u8; Board::ID] = rand::random();
        if !door.socket.board().begin(id, to) {
            return QuicFound::failed(
                Outcome::LocalError,
                "too many QUIC probes at once".to_owned(),
            );
        }
        let attempt = self.attempt(&door, host, to, id, timeout).await;
        let ended = clock::now();
        let Some(flight) = door.socket.board().end(id) else {
            return QuicFound::failed(
                Outcome::LocalError,
                "the probe was lost track of".to_owned(),
            );
        };
        let attempt = match attempt {
            Ok(attempt) => attempt,
            Err(error) => {
                self.give_up_if_stopped(&error, to.is_ipv6());
                return QuicFound::failed(Outcome::LocalError, innermost(&error));
            }
        };
        let mut found = QuicFound::failed(first_answer(&flight), String::new());
        found.delay = flight.delay;
        let since_sent = flight
            .sent_at
            .map_or(Duration::ZERO, |at| ended.saturating_duration_since(at));
        match attempt {
            Attempt::Connected(connection) => {
                found.handshake = Some(Outcome::Answered(since_sent));
                self.look(&connection, host, &flight, &mut found);
                connection.close(VarInt::from_u32(0), b"");
                drop(connection);
                drop(tokio::time::timeout(FAREWELL, door.endpoint.wait_idle()).await);
            }
            Attempt::Failed(error) => found.fail(&error, &flight),
            Attempt::Refused => {
                "an ICMP message or this machine refused it".clone_into(&mut found.problem);
            }
            Attempt::TimedOut => {
                "no answer within the timeout".clone_into(&mut found.problem);
                found.handshake = flight.answered_at.map(|_| Outcome::Timeout);
            }
        }
        found
    }

    async fn attempt(
        &self,
        door: &Door,
        host: &Host,
        to: SocketAddr,
        id: [u8; Board::ID],
        timeout: Duration,
    ) -> Result<Attempt, ConnectError> {
        let mut config = self.config.clone();
        config.initial_dst_cid_provider(Arc::new(move || ConnectionId::new(&id)));
        let connecting = door.endpoint.connect_with(config, to, &host.to_string())?;
        let refused = async {
            loop {
                let told = door.socket.refused.notified();
                if door.socket.board().is_refused(id) {
                    return;
                }
                told.await;
            }
        };
        Ok(tokio::select! {
            connected = connecting => match connected {
                Ok(connection) => Attempt::Connected(connection),
                Err(error) => Attempt::Failed(error),
            },
            () = refused => Attempt::Refused,
            // It ends with an error of the socket only, which says nothing of this connection.
            never = async { drop(door.socket.listen_for_refusals().await); std::future::pending().await } => never,
            () = tokio::time::sleep(timeout * ROUND_TRIPS) => Attempt::TimedOut,
        })
    }

    /// The network is another one: handshakes from now on leave by sockets that are opened from now on.
    pub(crate) fn renew(&self) {
        for door in &self.doors {
            *door.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// The endpoint of a family; made anew after one that stopped.
    fn door(&self, ipv6: bool) -> io::Result<Door> {
        let [v4, v6] = &self.doors;
        let mut door = (if ipv6 { v6 } else { v4 })
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(door) = &*door {
            return Ok(door.clone());
        }
        let socket = QuicSocket::open(ipv6, self.exit, self.lateness.clone())?;
        let socket = Arc::new(socket);
        let endpoint = Endpoint::new_with_abstract_socket(
            EndpointConfig::default(),
            None,
            Arc::clone(&socket) as Arc<dyn quinn::AsyncUdpSocket>,
            Arc::new(TokioRuntime),
        )?;
        Ok(door.insert(Door { endpoint, socket }).clone())
    }

    fn give_up_if_stopped(&self, error: &ConnectError, ipv6: bool) {
        if let ConnectError::EndpointStopping = error {
            let [v4, v6] = &self.doors;
            let mut door = (if ipv6 { v6 } else { v4 })
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *door = None;
        }
    }

    fn look(&self, connection: &Connection, host: &Host, flight: &Flight, found: &mut QuicFound) {
        let chain = connection
            .peer_identity()
            .and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok())
            .map_or_else(Vec::new, |chain| *chain);
        let agreed = connection
            .handshake_data()
            .and_then(|data| data.downcast::<HandshakeData>().ok())
            .and_then(|data| data.protocol);
        if let Ok(name) = ServerName::try_from(host.to_string()) {
            found.distrust = self.tls.distrust(&chain, &name);
        }
        let why = found.distrust.as_ref().map_or("", |distrust| &distrust.why);
        found.sighting = Some(Sighting {
            version: TLS13,
            alpn: agreed.map_or_else(String::new, |name| {
                String::from_utf8_lossy(&name).into_owned()
            }),
            quic_version: flight.version,
            ..Sighting::of_chain(&chain).with_problem(why)
        });
    }
}

/// What became of the first Initial.
fn first_answer(flight: &Flight) -> Outcome {
    match (flight.rtt(), flight.refused) {
        (Some(rtt), _) => Outcome::Answered(rtt),
        (None, Some((_, refusal))) => refusal,
        (None, None) => Outcome::Timeout,
    }
}

/// The outcome of a handshake that ended with `error`; `None`: nothing but silence.
const fn failure(error: &ConnectionError) -> Option<Outcome> {
    match error {
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset => Some(Outcome::QuicFailed),
        ConnectionError::TimedOut => None,
        ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => {
            Some(Outcome::LocalError)
        }
    }
}

fn explain(error: &ConnectionError, flight: &Flight) -> String {
    let mut text = innermost(error);
    if !flight.offered.is_empty() {
        let offered: Vec<String> = (flight.offered.iter())
            .map(|version| format!("{version:#010x}"))
            .collect();
        text = format!("{text}; it offers {}", offered.join(", "));
    }
    text
}

#[cfg(test)]
#[path = "quic_tests.rs"]
mod tests;
