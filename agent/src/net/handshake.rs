//! A TLS handshake alone: nothing is sent over the connection, so it may be finished with whoever answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::exit::Exit;
use super::https::innermost;
use super::tcp;
use super::tls::{Distrust, ProbeTls, TlsError};
use crate::clock;
use crate::config::Host;
use crate::probe::sighting::Sighting;
use crate::probe::{Measured, Outcome};

/// What is offered, as a browser offers it.
pub(crate) const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];

/// TCP and TLS take two or three round trips: a handshake gets twice what a single probe gets, after the connection.
const ROUND_TRIPS: u32 = 2;

/// What a handshake found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Handshake {
    pub(crate) connect: Measured,
    /// `None`: there was no connection.
    pub(crate) tls: Option<Outcome>,
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

    /// Connects to `to` and shakes hands with `host` there.
    pub(crate) async fn shake(&self, host: &Host, to: SocketAddr, timeout: Duration) -> Handshake {
        let mut found = Handshake {
            connect: Outcome::LocalError.into(),
            tls: None,
            sighting: None,
            distrust: None,
            problem: String::new(),
        };
        let name = match ServerName::try_from(host.to_string()) {
            Ok(name) => name,
            Err(error) => {
                found.problem = error.to_string();
                return found;
            }
        };
        let (connect, stream) = tcp::dial(to, timeout, self.exit).await;
        found.connect = connect;
        let Some(stream) = stream else {
            "no TCP connection".clone_into(&mut found.problem);
            return found;
        };
        let began = clock::now();
        let shaking = TlsConnector::from(Arc::clone(&self.connector)).connect(name.clone(), stream);
        let shaken = tokio::time::timeout(timeout * ROUND_TRIPS, shaking).await;
        let took = clock::now().saturating_duration_since(began);
        match shaken {
            Ok(Ok(stream)) => {
                found.tls = Some(Outcome::Answered(took));
                self.look(&stream, &name, &mut found);
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
        found
    }

    fn look(
        &self,
        stream: &tokio_rustls::client::TlsStream<TcpStream>,
        name: &ServerName<'_>,
        found: &mut Handshake,
    ) {
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
