//! What stands in reqwest's connector: it notes when the phases of a connection begin and end, hands none over to whom is
//! not trusted, and makes no second one.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use super::https::PhaseDelays;
use super::tls::{ProbeTls, Seen};
use crate::clock;
use crate::delay::Watch;

/// When each phase began, and what was learnt on the way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    pub(super) connect_began: Option<Instant>,
    pub(super) tls_began: Option<Instant>,
    pub(super) tls_ended: Option<Instant>,
    /// As told by a session ticket, 0 without one.
    pub(super) cipher_suite: u16,
    pub(super) delays: PhaseDelays,
}

/// The marks of one exchange, and who says how late this program runs.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) marks: Mutex<Marks>,
    pub(super) lateness: Option<Arc<Watch>>,
}

pub(super) type SharedMarks = Arc<Shared>;

impl Shared {
    /// How late this program ran since the last call.
    pub(super) fn lateness(&self) -> Option<Duration> {
        self.lateness.as_ref().map(|watch| watch.take())
    }
}

pub(super) fn mark<T>(shared: &SharedMarks, set: impl FnOnce(&mut Marks) -> T) -> T {
    set(&mut shared.marks.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Why the connector hands no connection over.
#[derive(Debug, thiserror::Error)]
enum Barred {
    #[error("{0}")]
    Distrusted(String),
    #[error("the connection was not kept")]
    SecondConnection,
}

/// What decides whether a connection is begun and handed over.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) tls: ProbeTls,
    pub(super) seen: Seen,
    pub(super) server: ServerName<'static>,
    pub(super) marks: SharedMarks,
}

impl Gate {
    /// Notes the beginning of the only connection.
    fn begin(&self) -> Result<(), Barred> {
        mark(&self.marks, |marks| {
            if marks.connect_began.is_some() {
                return Err(Barred::SecondConnection);
            }
            marks.connect_began = Some(clock::now());
            Ok(())
        })?;
        self.marks.lateness();
        Ok(())
    }

    /// Notes the end of the handshake, if the other side is trusted.
    fn end(&self) -> Result<(), Barred> {
        let ended = clock::now();
        let delay = self.marks.lateness();
        let shown = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(distrust) = self.tls.distrust(&shown.chain, &self.server) {
            return Err(Barred::Distrusted(distrust.why));
        }
        mark(&self.marks, |marks| {
            marks.tls_ended = Some(ended);
            marks.delays.tls = delay;
        });
        Ok(())
    }
}

/// A connector that notes when it began and when it handed over a connection that is ready for HTTP.
#[derive(Clone)]
pub(super) struct Watched<S> {
    pub(super) inner: S,
    pub(super) gate: Gate,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<S, R> tower::Service<R> for Watched<S>
where
    S: tower::Service<R, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let gate = self.gate.clone();
        // Nothing is sent before the connecting future is polled.
        let connecting = self.inner.call(request);
        Box::pin(async move {
            gate.begin()?;
            let connected = connecting.await?;
            gate.end()?;
            Ok(connected)
        })
    }
}

/// A session store that keeps nothing and notes when the `ClientHello` is written.
#[derive(Debug)]
pub(super) struct FreshSessions {
    pub(super) marks: SharedMarks,
}

impl ClientSessionStore for FreshSessions {
    fn set_kx_hint(&self, _server: ServerName<'static>, _group: NamedGroup) {}

    fn kx_hint(&self, _server: &ServerName<'_>) -> Option<NamedGroup> {
        let (began, delay) = (clock::now(), self.marks.lateness());
        mark(&self.marks, |marks| {
            if marks.tls_began.is_none() {
                marks.tls_began = Some(began);
                marks.delays.connect = delay;
            }
        });
        None
    }

    fn set_tls12_session(&self, _server: ServerName<'static>, _value: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _server: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _server: ServerName<'static>, value: Tls13ClientSessionValue) {
        let suite = value.suite().common.suite.into();
        mark(&self.marks, |marks| marks.cipher_suite = suite);
    }

    fn take_tls13_ticket(&self, _server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}
