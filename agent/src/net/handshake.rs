//! A TLS handshake alone: nothing is sent over the connection, so it may be finished with whoever answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::exit::Exit;
use super::https::innermost;
use super::tcp;
use super::tls::{Distrust, ProbeTls, TlsError};
use crate::clock;
use crate::config::Host;
use crate::delay::Watch;
use crate::probe::sighting::Sighting;
use crate::probe::{Measured, Outcome};

/// What is offered, as a browser offers it.
pub(crate) const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];

/// TCP and TLS take two or three round trips: a handshake gets twice what a single probe gets, after the connection.
const ROUND_TRIPS: u32 = 2;

/// Longest waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) connect: Duration,
    /// Of the handshake alone.
    pub(super) tls: Duration,
    /// Of both together.
    pub(super) whole: Duration,
}

/// What a handshake found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Handshake {
    pub(crate) connect: Measured,
    /// `None`: there was no connection.
    pub(crate) tls: Option<Outcome>,
    /// How late this program ran in the handshake; `None` where nobody can tell.
    pub(crate) tls_delay: Option<Duration>,
    pub(crate) sighting: Option<Sighting>,
    pub(crate) distrust: Option<Distrust>,
    /// Why it failed, for a person; empty when it did not.
    pub(crate) problem: String,
}

/// Shakes hands; holds the settings that all handshakes share.
#[derive(Clone, Debug)]
pub(crate) struct TlsProber {
    tls: ProbeTls,
    connector: Arc<rustls::ClientConfig>,
    exit: Exit,
}

impl TlsProber {
    /// With the roots of `tls`.
    ///
    /// # Errors
    /// [`TlsError::Settings`] when rustls refuses.
    pub(crate) fn new(tls: ProbeTls) -> Result<Self, TlsError> {
        let connector = Arc::new(tls.looking(ALPN)?);
        let exit = Exit::default();
        Ok(Self {
            tls,
            connector,
            exit,
        })
    }

    /// The same, by a way out that the configuration names.
    pub(crate) fn by(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// Connects to `to` and shakes hands with `host` there. `lateness` is the watch that is over this future.
    pub(crate) async fn shake(
        &self,
        host: &Host,
        to: SocketAddr,
        timeout: Duration,
        lateness: Option<&Watch>,
    ) -> Handshake {
        let tls = timeout * ROUND_TRIPS;
        let bounds = Bounds {
            connect: timeout,
            tls,
            whole: timeout + tls,
        };
        self.open(host, to, bounds, lateness).await.0
    }

    /// As [`Self::shake`]; the connection is there when the handshake was finished, be the other side trusted or not.
    pub(super) async fn open(
        &self,
        host: &Host,
        to: SocketAddr,
        bounds: Bounds,
        lateness: Option<&Watch>,
    ) -> (Handshake, Option<TlsStream<TcpStream>>) {
        let mut found = Handshake {
            connect: Outcome::LocalError.into(),
            tls: None,
            tls_delay: None,
            sighting: None,
            distrust: None,
            problem: String::new(),
        };
        let name = match ServerName::try_from(host.to_string()) {
            Ok(name) => name,
            Err(error) => {
                found.problem = error.to_string();
                return (found, None);
            }
        };
        let late = || lateness.map(Watch::take);
        let deadline = clock::now() + bounds.whole;
        late();
        let (connect, stream) = tcp::dial(to, bounds.connect, self.exit).await;
        found.connect = connect.delayed_by(late());
        let Some(stream) = stream else {
            "no TCP connection".clone_into(&mut found.problem);
            return (found, None);
        };
        // The last flight of a handshake is small, and so is what follows: Nagle would hold that back for a round trip.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "small packets are held back");
        }
        let began = clock::now();
        let shaking = TlsConnector::from(Arc::clone(&self.connector)).connect(name.clone(), stream);
        let deadline = deadline.min(began + bounds.tls);
        let shaken = tokio::time::timeout_at(deadline.into(), shaking).await;
        let took = clock::now().saturating_duration_since(began);
        found.tls_delay = late();
        match shaken {
            Ok(Ok(stream)) => {
                found.tls = Some(Outcome::Answered(took));
                self.look(&stream, &name, &mut found);
                return (found, Some(stream));
            }
            Ok(Err(error)) => {
                found.tls = Some(outcome_of(&error));
                found.problem = innermost(&error);
            }
            Err(_) => {
                found.tls = Some(Outcome::Timeout);
                "no answer to the ClientHello".clone_into(&mut found.problem);
            }
        }
        (found, None)
    }

    fn look(&self, stream: &TlsStream<TcpStream>, name: &ServerName<'_>, found: &mut Handshake) {
        let (_, session) = stream.get_ref();
        let chain: &[CertificateDer<'_>] = session.peer_certificates().unwrap_or_default();
        found.distrust = self.tls.distrust(chain, name);
        let why = found.distrust.as_ref().map_or("", |distrust| &distrust.why);
        found.sighting = Some(Sighting {
            version: session.protocol_version().map_or(0, u16::from),
            alpn: session
                .alpn_protocol()
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .unwrap_or_default(),
            cipher_suite: session
                .negotiated_cipher_suite()
                .map_or(0, |suite| suite.suite().into()),
            ..Sighting::of_chain(chain).with_problem(why)
        });
    }
}

/// The outcome of a handshake that broke with `error`.
fn outcome_of(error: &io::Error) -> Outcome {
    let outcome = Outcome::of_io_error(error);
    let is_of_network = matches!(
        outcome,
        Outcome::Reset | Outcome::Unreachable | Outcome::Timeout
    );
    if is_of_network {
        outcome
    } else {
        Outcome::TlsFailed
    }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
