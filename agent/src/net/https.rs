//! Two HTTPS requests on one fresh connection, each phase timed from its own start: the first is cold, the second warm.
//!
//! The requests are reqwest's, name resolution pinned to the probed address, no redirect followed. Their phases are seen
//! from inside that same connection: reqwest's connector runs from the first SYN to the end of the TLS handshake and is
//! wrapped by [`Watched`]; where TCP ends and TLS begins is told by rustls, which asks its session store for a key-share
//! hint at the moment it writes the `ClientHello` ([`FreshSessions`], which also makes sure that no session is resumed).
//! The first byte of the response is when reqwest hands out the headers.
//!
//! A handshake is finished whoever has signed the chain, so that it can be told who did; [`Watched`] then hands no
//! connection to the request unless the chain is trusted, and never makes a second one for the warm request.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use super::connector::{FreshSessions, Gate, Marks, Shared, SharedMarks, Watched, mark};
use super::exit::Exit;
use super::handshake::ALPN;
use super::tcp;
use super::tls::{ProbeTls, Seen};
use crate::clock;
use crate::config::{Host, Target};
use crate::delay::Watch;
use crate::probe::Outcome;
use crate::probe::edge::{Kept, MAX_KEPT};
use crate::probe::sighting::Sighting;

/// A request takes a round trip to connect, one or two for TLS and one for the answer, on which the server may think: it
/// gets three times what a single probe gets, as a whole.
const ROUND_TRIPS: u32 = 3;

/// Longest response that is read to its end, so that its connection can be used again: error pages and redirects are shorter.
const MAX_BODY: usize = 64 << 10;

/// hyper takes a connection back in a task of its own: that many turns it gets for it.
const TURNS: usize = 16;

/// What an HTTPS exchange found: the outcome of each phase that was begun, and what the response said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exchange {
    pub(crate) connect: Outcome,
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

/// How late this program ran in each phase; `None` where nobody can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PhaseDelays {
    pub(crate) connect: Option<Duration>,
    pub(crate) tls: Option<Duration>,
    pub(crate) ttfb: Option<Duration>,
    pub(crate) warm: Option<Duration>,
}

/// Why there is no response: what the operating system or the clock said, if it was one of them, and words.
struct Failure {
    cause: Option<Outcome>,
    problem: String,
}

impl Failure {
    fn timeout() -> Self {
        Self {
            cause: Some(Outcome::Timeout),
            problem: "no answer within the timeout".to_owned(),
        }
    }

    fn of(error: &reqwest::Error, address: IpAddr, took: Duration) -> Self {
        Self {
            cause: io_cause(error).map(|cause| tcp::outcome_of(cause, address, took)),
            problem: innermost(error),
        }
    }
}

/// Makes HTTPS exchanges; holds what all probes that speak TLS share.
#[derive(Clone, Debug)]
pub(crate) struct HttpsProber {
    tls: ProbeTls,
    exit: Exit,
}

/// What one exchange knows of itself.
struct Asked<'a> {
    target: &'a Target,
    address: IpAddr,
    marks: SharedMarks,
    seen: Seen,
}

impl HttpsProber {
    pub(crate) fn new(tls: ProbeTls) -> Self {
        let exit = Exit::default();
        Self { tls, exit }
    }

    /// The same, by a way out that the configuration names. Its code point is not set: reqwest opens the socket.
    pub(crate) fn by(self, exit: Exit) -> Self {
        Self { exit, ..self }
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
        let asked = Asked {
            target,
            address,
            marks: Arc::new(Shared {
                marks: Mutex::default(),
                lateness,
            }),
            seen: Seen::default(),
        };
        let began = clock::now();
        let client = match self.client(&asked) {
            Ok(client) => client,
            Err(problem) => return local_fault(problem),
        };
        let answer = tokio::time::timeout(timeout * ROUND_TRIPS, get(&client, target)).await;
        let ended = clock::now();
        let ttfb_delay = asked.marks.lateness();
        let answer = match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Failure::of(&error, address, ended - began)),
            Err(_) => Err(Failure::timeout()),
        };
        let alpn = answer.as_ref().map_or("", |response| alpn(response));
        let (mut exchange, response) =
            judge(mark(&asked.marks, |marks| *marks), began, ended, answer);
        if let Some(response) = response {
            exchange.delays.ttfb = ttfb_delay;
            (exchange.warm, exchange.delays.warm) = asked.again(&client, response, timeout).await;
        }
        exchange.sighting = self.sighting(&asked, alpn);
        exchange
    }

    fn client(&self, asked: &Asked<'_>) -> Result<reqwest::Client, String> {
        let (mut config, server) = match (
            self.tls.noting(&asked.seen, ALPN),
            ServerName::try_from(asked.target.host.to_string()),
        ) {
            (Ok(config), Ok(server)) => (config, server),
            (Err(error), _) => return Err(innermost(&error)),
            (_, Err(error)) => return Err(innermost(&error)),
        };
        config.resumption = Resumption::store(Arc::new(FreshSessions {
            marks: Arc::clone(&asked.marks),
        }));
        let gate = Gate {
            tls: self.tls.clone(),
            seen: Arc::clone(&asked.seen),
            server,
            marks: Arc::clone(&asked.marks),
        };
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .pool_max_idle_per_host(1)
            .user_agent(concat!("firstmile-agent/", env!("CARGO_PKG_VERSION")))
            .connector_layer(tower::layer::layer_fn(move |inner| Watched {
                inner,
                gate: gate.clone(),
            }));
        if let Some(source) = self.exit.source {
            builder = builder.local_address(source);
        }
        #[cfg(target_os = "linux")]
        if let Some(interface) = &self.exit.interface {
            builder = builder.interface(interface.as_str());
        }
        if let Host::Name(name) = &asked.target.host {
            builder = builder.resolve(name, SocketAddr::new(asked.address, asked.target.port));
        }
        builder.build().map_err(|error| innermost(&error))
    }

    /// What was shown; `None` when the handshake did not come that far.
    fn sighting(&self, asked: &Asked<'_>, alpn: &str) -> Option<Sighting> {
        let shown = asked.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let server = ServerName::try_from(asked.target.host.to_string()).ok()?;
        if shown.chain.is_empty() {
            return None;
        }
        let distrust = self.tls.distrust(&shown.chain, &server);
        let why = distrust.as_ref().map_or("", |distrust| &distrust.why);
        Some(Sighting {
            version: shown.version,
            alpn: alpn.to_owned(),
            cipher_suite: mark(&asked.marks, |marks| marks.cipher_suite),
            ..Sighting::of_chain(&shown.chain).with_problem(why)
        })
    }
}

impl Asked<'_> {
    /// The same request on the same connection, once the first response is read. `None`: the connection was not kept.
    async fn again(
        &self,
        client: &reqwest::Client,
        response: reqwest::Response,
        timeout: Duration,
    ) -> (Option<Outcome>, Option<Duration>) {
        let read = tokio::time::timeout(timeout, read_out(response)).await;
        if !matches!(read, Ok(true)) {
            return (None, None);
        }
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        self.marks.lateness();
        let began = clock::now();
        let answer = tokio::time::timeout(timeout, get(client, self.target)).await;
        let took = clock::now().saturating_duration_since(began);
        let delay = self.marks.lateness();
        let outcome = match answer {
            Ok(Ok(_)) => Some(Outcome::Answered(took)),
            // The connector has refused a second connection: the server had closed the first one.
            Ok(Err(error)) if error.is_connect() => None,
            Ok(Err(error)) => {
                let failure = Failure::of(&error, self.address, took);
                Some(lost_or(failure.cause, Outcome::HttpFailed))
            }
            Err(_) => Some(Outcome::Timeout),
        };
        (outcome, delay)
    }
}

/// What a failure within a standing connection is: what the network did to it, else a failure of the phase.
fn lost_or(cause: Option<Outcome>, otherwise: Outcome) -> Outcome {
    match cause {
        Some(lost @ (Outcome::Timeout | Outcome::Reset | Outcome::Unreachable)) => lost,
        _ => otherwise,
    }
}

const fn local_fault(problem: String) -> Exchange {
    Exchange {
        connect: Outcome::LocalError,
        tls: None,
        ttfb: None,
        warm: None,
        status: 0,
        headers: Vec::new(),
        delays: PhaseDelays {
            connect: None,
            tls: None,
            ttfb: None,
            warm: None,
        },
        sighting: None,
        problem,
    }
}

/// Lays an answer, or the want of one, at the phase that was under way. The response comes back for its body.
fn judge(
    marks: Marks,
    began: Instant,
    ended: Instant,
    answer: Result<reqwest::Response, Failure>,
) -> (Exchange, Option<reqwest::Response>) {
    let began = marks.connect_began.unwrap_or(began);
    let (cause, problem, response) = match answer {
        Ok(response) => (None, String::new(), Some(response)),
        Err(failure) => (failure.cause, failure.problem, None),
    };
    let mut exchange = local_fault(problem);
    exchange.delays = marks.delays;
    let Some(tls_began) = marks.tls_began else {
        exchange.connect = cause.unwrap_or(Outcome::LocalError);
        return (exchange, None);
    };
    exchange.connect = Outcome::Answered(tls_began.saturating_duration_since(began));
    let Some(tls_ended) = marks.tls_ended else {
        exchange.tls = Some(lost_or(cause, Outcome::TlsFailed));
        return (exchange, None);
    };
    exchange.tls = Some(Outcome::Answered(
        tls_ended.saturating_duration_since(tls_began),
    ));
    let Some(response) = response else {
        exchange.ttfb = Some(lost_or(cause, Outcome::HttpFailed));
        return (exchange, None);
    };
    exchange.ttfb = Some(Outcome::Answered(
        ended.saturating_duration_since(tls_ended),
    ));
    exchange.status = response.status().as_u16();
    exchange.headers = kept(response.headers());
    (exchange, Some(response))
}

async fn get(client: &reqwest::Client, target: &Target) -> reqwest::Result<reqwest::Response> {
    let host = match &target.host {
        Host::Address(IpAddr::V6(v6)) => format!("[{v6}]"),
        Host::Name(_) | Host::Address(IpAddr::V4(_)) => target.host.to_string(),
    };
    let (port, path) = (target.port, target.path.as_str());
    client
        .get(format!("https://{host}:{port}{path}"))
        .send()
        .await
}

/// Reads a body to its end; false when it is too long or breaks off.
async fn read_out(mut response: reqwest::Response) -> bool {
    let mut length = 0;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                length += chunk.len();
                if length > MAX_BODY {
                    return false;
                }
            }
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// What was agreed on, as far as the version of the response tells: HTTP/1.1 is spoken with and without agreement.
fn alpn(response: &reqwest::Response) -> &'static str {
    if response.version() == reqwest::Version::HTTP_2 {
        "h2"
    } else {
        ""
    }
}

fn kept(headers: &reqwest::header::HeaderMap) -> Vec<Kept> {
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
