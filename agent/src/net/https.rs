//! Two HTTPS requests on one fresh connection, each phase timed from its own start: the first is cold, the second warm.
//!
//! Connection and handshake are those of the other probes ([`super::tcp`], [`super::handshake`]), so that source, interface and
//! code point are theirs and all that was agreed on is known; hyper speaks HTTP on them. No redirect is followed. The first byte
//! of the response is when hyper hands out the headers.
//!
//! A handshake is finished whoever has signed the chain, so that it can be told who did; nothing is asked unless the chain is
//! trusted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Response;
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::handshake::{Bounds, Handshake, TlsProber};
use super::http::{Speaker, beside, read_out};
use super::tcp;
use crate::clock;
use crate::config::Target;
use crate::delay::Watch;
use crate::probe::edge::{Kept, MAX_KEPT};
use crate::probe::sighting::Sighting;
use crate::probe::{Measured, Outcome};

/// A request takes a round trip to connect, one or two for TLS and one for the answer, on which the server may think: it
/// gets three times what a single probe gets, as a whole.
const ROUND_TRIPS: u32 = 3;

/// What an HTTPS exchange found: the outcome of each phase that was begun, and what the response said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exchange {
    /// From SYN to SYN-ACK, by the kernel's clock where it tells.
    pub(crate) connect: Measured,
    /// A chain that is not trusted is a failure here, as it is to users, even though the handshake was finished.
    pub(crate) tls: Option<Outcome>,
    pub(crate) ttfb: Option<Outcome>,
    /// Of the second request on the same connection; `None` where the connection could not be used again.
    pub(crate) warm: Option<Outcome>,
    pub(crate) status: u16,
    pub(crate) headers: Vec<Kept>,
    pub(crate) delays: PhaseDelays,
    /// What the other side showed, trusted or not.
    pub(crate) sighting: Option<Sighting>,
    /// Why it failed, for a person; empty when it did not.
    pub(crate) problem: String,
}

/// How late this program ran in each phase after the connection; `None` where nobody can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PhaseDelays {
    pub(crate) tls: Option<Duration>,
    pub(crate) ttfb: Option<Duration>,
    pub(crate) warm: Option<Duration>,
}

/// Makes HTTPS exchanges.
#[derive(Clone, Debug)]
pub(crate) struct HttpsProber {
    tls: TlsProber,
}

/// One exchange under way.
struct Asking<'a> {
    target: &'a Target,
    address: IpAddr,
    timeout: Duration,
    /// Until when the cold request may take.
    deadline: Instant,
    lateness: Option<&'a Watch>,
    found: Exchange,
}

impl HttpsProber {
    /// On connections that `tls` makes, by its way out.
    pub(crate) const fn new(tls: TlsProber) -> Self {
        Self { tls }
    }

    /// Asks `target` at `address` for its path. All phases of the cold request together may take [`ROUND_TRIPS`] times
    /// `timeout`; whichever is under way then is lost. The warm one gets one `timeout` more. `lateness` is the watch that is
    /// over this future.
    pub(crate) async fn exchange(
        &self,
        target: &Target,
        address: IpAddr,
        timeout: Duration,
        lateness: Option<Arc<Watch>>,
    ) -> Exchange {
        let whole = timeout * ROUND_TRIPS;
        let deadline = clock::now() + whole;
        let bounds = Bounds {
            connect: whole,
            tls: whole,
            whole,
        };
        let to = SocketAddr::new(address, target.port);
        let lateness = lateness.as_deref();
        let (handshake, stream) = self.tls.open(&target.host, to, bounds, lateness).await;
        let is_trusted = handshake.distrust.is_none();
        let mut asking = Asking {
            target,
            address,
            timeout,
            deadline,
            lateness,
            found: Exchange::after(handshake),
        };
        if let Some(stream) = stream.filter(|_| is_trusted) {
            // A connection and all that hyper keeps for it take 20 kB, which who only waits for a handshake need not have.
            Box::pin(asking.speak(stream)).await;
        }
        asking.found
    }
}

impl Exchange {
    /// What a handshake leaves: with whom is not trusted it failed, as it does to users.
    fn after(handshake: Handshake) -> Self {
        let Handshake {
            connect,
            tls,
            tls_delay,
            sighting,
            distrust,
            problem,
        } = handshake;
        let mut exchange = Self {
            connect,
            tls,
            sighting,
            problem,
            ttfb: None,
            warm: None,
            status: 0,
            headers: Vec::new(),
            delays: PhaseDelays::default(),
        };
        exchange.delays.tls = tls_delay;
        if let Some(distrust) = distrust {
            (exchange.tls, exchange.problem) = (Some(Outcome::TlsFailed), distrust.why);
        }
        exchange
    }
}

impl Asking<'_> {
    async fn speak(&mut self, stream: TlsStream<TcpStream>) {
        let shaken = clock::now();
        match Speaker::over(stream).await {
            Ok((speaker, moving)) => beside(moving, self.ask(speaker, shaken)).await,
            Err(error) => self.fail(&error, Duration::ZERO),
        }
    }

    /// The cold request, and the warm one on the same connection.
    async fn ask(&mut self, mut speaker: Speaker, shaken: Instant) {
        let asked = tokio::time::timeout_at(self.deadline.into(), speaker.get(self.target));
        let answer = asked.await;
        let took = clock::now().saturating_duration_since(shaken);
        let delay = self.late();
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return self.fail(&error, took),
            Err(_) => {
                "no answer within the timeout".clone_into(&mut self.found.problem);
                self.found.ttfb = Some(Outcome::Timeout);
                return;
            }
        };
        self.found.ttfb = Some(Outcome::Answered(took));
        self.found.delays.ttfb = delay;
        self.found.status = response.status().as_u16();
        self.found.headers = kept(response.headers());
        self.ask_again(speaker, response).await;
    }

    /// The same request once more, once the first response is read. Nothing, where the connection is not kept.
    async fn ask_again(&mut self, mut speaker: Speaker, response: Response<Incoming>) {
        let at_rest = async { read_out(response.into_body()).await && speaker.is_ready().await };
        if !matches!(tokio::time::timeout(self.timeout, at_rest).await, Ok(true)) {
            return;
        }
        self.late();
        let began = clock::now();
        let answer = tokio::time::timeout(self.timeout, speaker.get(self.target)).await;
        let took = clock::now().saturating_duration_since(began);
        self.found.delays.warm = self.late();
        self.found.warm = Some(match answer {
            Ok(Ok(_)) => Outcome::Answered(took),
            Ok(Err(error)) => lost_or(self.cause(&error, took), Outcome::HttpFailed),
            Err(_) => Outcome::Timeout,
        });
    }

    fn fail(&mut self, error: &(dyn std::error::Error + 'static), took: Duration) {
        self.found.ttfb = Some(lost_or(self.cause(error, took), Outcome::HttpFailed));
        self.found.problem = innermost(error);
    }

    /// What the operating system said, if it said anything.
    fn cause(&self, error: &(dyn std::error::Error + 'static), took: Duration) -> Option<Outcome> {
        io_cause(error).map(|cause| tcp::outcome_of(cause, self.address, took))
    }

    /// How late this program ran since the last call.
    fn late(&self) -> Option<Duration> {
        self.lateness.map(Watch::take)
    }
}

/// What a failure within a standing connection is: what the network did to it, else a failure of the phase.
fn lost_or(cause: Option<Outcome>, otherwise: Outcome) -> Outcome {
    match cause {
        Some(lost @ (Outcome::Timeout | Outcome::Reset | Outcome::Unreachable)) => lost,
        _ => otherwise,
    }
}

fn kept(headers: &http::HeaderMap) -> Vec<Kept> {
    headers
        .iter()
        .filter_map(|(name, value)| Kept::of(name.as_str(), value.as_bytes()))
        .take(MAX_KEPT)
        .collect()
}

/// The operating system's error at the bottom of a chain.
fn io_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a std::io::Error> {
    let mut found = None;
    let mut next = Some(error);
    while let Some(error) = next {
        found = error
            .downcast_ref::<std::io::Error>()
            .filter(|io| io.raw_os_error().is_some())
            .or(found);
        next = error.source();
    }
    found
}

/// What the last error of a chain says: the cause, without the layers above it.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
#[path = "https_tests.rs"]
mod tests;
