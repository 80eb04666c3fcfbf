//! One HTTPS request on a fresh connection, each phase timed from its own start.
//!
//! The request is reqwest's, name resolution pinned to the probed address, no redirect followed. Its phases are seen
//! from inside that same connection, so that one connection is enough: reqwest's connector runs from the first SYN to
//! the end of the TLS handshake and is wrapped by [`Watched`]; where TCP ends and TLS begins is told by rustls, which
//! asks its session store for a key-share hint at the moment it writes the `ClientHello` ([`FreshSessions`], which also
//! makes sure that no session is resumed). The first byte of the response is when reqwest hands out the headers.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

use super::{tcp, tls};
use crate::clock;
use crate::config::{Host, Target};
use crate::probe::Outcome;
use crate::probe::edge::{Kept, MAX_KEPT};

/// What an HTTPS exchange found: the outcome of each phase that was begun, and what the response said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exchange {
    pub(crate) connect: Outcome,
    pub(crate) tls: Option<Outcome>,
    pub(crate) ttfb: Option<Outcome>,
    pub(crate) status: u16,
    pub(crate) headers: Vec<Kept>,
    /// Why it failed, for a person; empty when it did not.
    pub(crate) problem: String,
}

/// Why there is no response: what the operating system or the clock said, if it was one of them, and words.
struct Failure {
    cause: Option<Outcome>,
    problem: String,
}

/// When each phase began.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    connect_began: Option<Instant>,
    tls_began: Option<Instant>,
    tls_ended: Option<Instant>,
}

type SharedMarks = Arc<Mutex<Marks>>;

fn mark(marks: &SharedMarks, set: impl FnOnce(&mut Marks)) {
    set(&mut marks.lock().unwrap_or_else(PoisonError::into_inner));
}

/// A request takes a round trip to connect, one or two for TLS and one for the answer, on which the server may think: it
/// gets three times what a single probe gets, as a whole.
const ROUND_TRIPS: u32 = 3;

/// Makes HTTPS exchanges; holds the one TLS configuration that they share.
#[derive(Clone, Debug)]
pub(crate) struct HttpsProber {
    config: rustls::ClientConfig,
}

impl HttpsProber {
    /// Reads the roots to trust.
    ///
    /// # Errors
    /// [`tls::TlsError`] when a file of `extra_roots` cannot be used.
    pub(crate) fn new(extra_roots: &[std::path::PathBuf]) -> Result<Self, tls::TlsError> {
        Ok(Self {
            config: tls::probe_config(tls::probe_roots(extra_roots)?)?,
        })
    }

    /// Asks `target` at `address` for its path. All phases together may take [`ROUND_TRIPS`] times `timeout`; whichever is
    /// under way then is lost.
    pub(crate) async fn exchange(
        &self,
        target: &Target,
        address: IpAddr,
        timeout: Duration,
    ) -> Exchange {
        let marks = SharedMarks::default();
        let began = clock::now();
        let answer = match self.client(target, address, &marks) {
            Ok(client) => tokio::time::timeout(timeout * ROUND_TRIPS, send(client, target)).await,
            Err(source) => Ok(Err(source)),
        };
        let ended = clock::now();
        let marks = *marks.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match answer {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Failure {
                cause: io_cause(&error).map(|cause| tcp::outcome_of(cause, address, ended - began)),
                problem: innermost(&error),
            }),
            Err(_) => Err(Failure {
                cause: Some(Outcome::Timeout),
                problem: "no answer within the timeout".to_owned(),
            }),
        };
        Self::judge(marks, began, ended, answer)
    }

    fn client(
        &self,
        target: &Target,
        address: IpAddr,
        marks: &SharedMarks,
    ) -> reqwest::Result<reqwest::Client> {
        let mut config = self.config.clone();
        config.resumption = Resumption::store(Arc::new(FreshSessions {
            marks: Arc::clone(marks),
        }));
        let watch = Arc::clone(marks);
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .user_agent(concat!("firstmile-agent/", env!("CARGO_PKG_VERSION")))
            .connector_layer(tower::layer::layer_fn(move |inner| Watched {
                inner,
                marks: Arc::clone(&watch),
            }));
        if let Host::Name(name) = &target.host {
            builder = builder.resolve(name, SocketAddr::new(address, target.port));
        }
        builder.build()
    }

    fn judge(
        marks: Marks,
        began: Instant,
        ended: Instant,
        answer: Result<reqwest::Response, Failure>,
    ) -> Exchange {
        let began = marks.connect_began.unwrap_or(began);
        let (failure, problem, response) = match answer {
            Ok(response) => (None, String::new(), Some(response)),
            Err(failure) => (failure.cause, failure.problem, None),
        };
        let failed = |otherwise: Outcome| match failure {
            Some(Outcome::Timeout) => Outcome::Timeout,
            _ => otherwise,
        };
        let Some(tls_began) = marks.tls_began else {
            let connect = failure.unwrap_or(Outcome::LocalError);
            return Exchange {
                connect,
                tls: None,
                ttfb: None,
                status: 0,
                headers: Vec::new(),
                problem,
            };
        };
        let connect = Outcome::Answered(tls_began.saturating_duration_since(began));
        let Some(tls_ended) = marks.tls_ended else {
            let tls = Some(failed(Outcome::TlsFailed));
            return Exchange {
                connect,
                tls,
                ttfb: None,
                status: 0,
                headers: Vec::new(),
                problem,
            };
        };
        let tls = Some(Outcome::Answered(
            tls_ended.saturating_duration_since(tls_began),
        ));
        let ttfb = match &response {
            Some(_) => Outcome::Answered(ended.saturating_duration_since(tls_ended)),
            None => failed(Outcome::HttpFailed),
        };
        let status = response
            .as_ref()
            .map_or(0, |response| response.status().as_u16());
        let headers = response
            .map(|response| kept(response.headers()))
            .unwrap_or_default();
        Exchange {
            connect,
            tls,
            ttfb: Some(ttfb),
            status,
            headers,
            problem,
        }
    }
}

/// Sends the request. The body is never read: dropping the response closes the connection.
async fn send(client: reqwest::Client, target: &Target) -> reqwest::Result<reqwest::Response> {
    let host = match &target.host {
        Host::Address(IpAddr::V6(v6)) => format!("[{v6}]"),
        Host::Name(_) | Host::Address(IpAddr::V4(_)) => target.host.to_string(),
    };
    client
        .get(format!(
            "https://{host}:{}{}",
            target.port,
            target.path.as_str()
        ))
        .send()
        .await
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

/// A connector that notes when it began and when it handed over a connection that is ready for HTTP.
#[derive(Clone)]
struct Watched<S> {
    inner: S,
    marks: SharedMarks,
}

impl<S, R> tower::Service<R> for Watched<S>
where
    S: tower::Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let marks = Arc::clone(&self.marks);
        let connecting = self.inner.call(request);
        Box::pin(async move {
            mark(&marks, |marks| marks.connect_began = Some(clock::now()));
            let connected = connecting.await;
            if connected.is_ok() {
                mark(&marks, |marks| marks.tls_ended = Some(clock::now()));
            }
            connected
        })
    }
}

/// A session store that keeps nothing and notes when the `ClientHello` is written.
#[derive(Debug)]
struct FreshSessions {
    marks: SharedMarks,
}

impl ClientSessionStore for FreshSessions {
    fn set_kx_hint(&self, _server: ServerName<'static>, _group: NamedGroup) {}

    fn kx_hint(&self, _server: &ServerName<'_>) -> Option<NamedGroup> {
        mark(&self.marks, |marks| {
            marks.tls_began = marks.tls_began.or_else(|| Some(clock::now()));
        });
        None
    }

    fn set_tls12_session(&self, _server: ServerName<'static>, _value: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _server: ServerName<'static>, _value: Tls13ClientSessionValue) {}

    fn take_tls13_ticket(&self, _server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

#[cfg(test)]
#[path = "https_tests.rs"]
mod tests;
