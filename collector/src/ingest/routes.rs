//! What agents may ask for: enrolment, renewal, and taking their reports.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, Request, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use firstmile_wire::frame::MAX_ENCODED_BYTES;
use firstmile_wire::ids::ReportKey;
use firstmile_wire::v1::Ack;
use firstmile_wire::{CONTENT_ENCODING, CONTENT_TYPE, ENROLL_PATH, RENEW_PATH, REPORTS_PATH};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prost::Message;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{debug, warn};

use super::commit::{Verdict, Waiting};
use super::decode::decode;
use super::gate::{Gate, Room};
use super::listen::PeerCertificates;
use super::locate::Locator;
use super::plan::Plan;
use super::refusal::{Code, Refusal, with_sources};
use super::{Counters, enrolment};
use crate::auth::authority::Authority;
use crate::auth::identity::Identity;
use crate::clock;
use crate::registry::Agent;
use crate::store::obstacle::Obstacle;
use crate::store::{InboxReport, Store, StoreError};

/// Time for a body to arrive: 4 MiB over a line of 1.2 Mbit/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an enrolment or a renewal: a signing request is about 1 KiB.
pub(super) const MAX_REQUEST_BYTES: usize = 32 << 10;
/// Bytes of a refused report that are read and thrown away.
const MAX_DISCARDED_BYTES: usize = 256 << 10;
/// Time for them.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);
/// Reports decoded at once: one may inflate to 8 MiB, and to some 100 MiB in memory if its sender means harm.
const DECODES_AT_ONCE: usize = 2;

/// What the routes share.
pub struct Ingest {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The CA.
    pub authority: Arc<Authority>,
    /// Counters, shared with the API.
    pub counters: Arc<Counters>,
    /// To the disk.
    pub queue: mpsc::Sender<Waiting>,
    /// The country of sites that declare none.
    pub locator: Locator,
    /// Which version is expected of whom.
    pub plan: Plan,
    gate: Gate,
    decodes: Semaphore,
}

impl Ingest {
    /// Routes into this store and queue.
    pub fn new(
        store: Arc<dyn Store>,
        authority: Arc<Authority>,
        counters: Arc<Counters>,
        queue: mpsc::Sender<Waiting>,
        locator: Locator,
        plan: Plan,
    ) -> Self {
        let (gate, decodes) = (Gate::default(), Semaphore::new(DECODES_AT_ONCE));
        Self {
            store,
            authority,
            counters,
            queue,
            locator,
            plan,
            gate,
            decodes,
        }
    }

    /// The router of the ingest listener.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route(REPORTS_PATH, post(take_report))
            .route(ENROLL_PATH, post(enroll))
            .route(RENEW_PATH, post(renew))
            .fallback(nothing_here)
            .with_state(self)
    }

    /// Counts a refusal, logs it with a rate that an attacker cannot raise, and makes it a response.
    fn refuse(&self, peer: SocketAddr, refusal: Refusal) -> Response {
        let code = refusal.code.word();
        let count = self.counters.count_refused(code);
        if count <= 10 || count.is_power_of_two() || count.is_multiple_of(1000) {
            warn!(%peer, code, reason = refusal.message, count, "request of an agent refused");
        }
        refusal.into_response()
    }

    /// The agent that the certificate names, if it may come in.
    async fn agent_of(
        &self,
        chain: Option<&PeerCertificates>,
    ) -> Result<(Identity, Agent), Refusal> {
        let leaf = chain.and_then(|chain| chain.0.first()).ok_or_else(|| {
            Refusal::new(
                Code::NoCertificate,
                "a client certificate is needed; enrol the agent with a join string",
            )
        })?;
        let identity = Identity::of_certificate(leaf)
            .map_err(|error| Refusal::new(Code::WrongAgent, error.to_string()))?;
        match self
            .store
            .agent(&identity.organisation, identity.agent)
            .await
        {
            Ok(agent) if agent.revoked => Err(Refusal::new(
                Code::AgentRevoked,
                "this agent was taken out of service",
            )),
            Ok(agent) => Ok((identity, agent)),
            Err(StoreError::NotFound { .. }) => Err(Refusal::new(
                Code::AgentUnknown,
                "the collector does not know this agent; if its store was lost, enrol the agent again",
            )),
            Err(failure) => Err(self.unavailable(&failure)),
        }
    }

    pub(super) fn unavailable(&self, failure: &StoreError) -> Refusal {
        let count = self.counters.count_store_failure();
        if count <= 10 || count.is_power_of_two() {
            warn!(
                error = with_sources(failure),
                count, "store failed a request"
            );
        }
        Refusal::store_failed(Obstacle::of(failure))
    }

    /// Everything that can be said of a report before its body is read.
    async fn admit(
        &self,
        chain: Option<&PeerCertificates>,
        headers: &HeaderMap,
    ) -> Result<Admitted, Refusal> {
        let (identity, agent) = self.agent_of(chain).await?;
        check_headers(headers)?;
        let length = length_of(headers);
        if length.is_some_and(|length| length > MAX_ENCODED_BYTES) {
            return Err(too_large(MAX_ENCODED_BYTES));
        }
        let room = self
            .gate
            .enter(identity.agent, length)
            .ok_or_else(Refusal::busy)?;
        Ok(Admitted {
            identity,
            agent,
            _room: room,
        })
    }

    async fn store_report(
        &self,
        admitted: Admitted,
        peer: SocketAddr,
        body: Body,
    ) -> Result<Ack, Refusal> {
        let frame = read_body(body, MAX_ENCODED_BYTES).await?;
        let received_unix_ms = clock::unix_ms();
        let key = self
            .check(frame.clone(), admitted.identity.clone(), received_unix_ms)
            .await?;
        let epoch = key.epoch;
        let report = InboxReport {
            key,
            received_unix_ms,
            frame: frame.into(),
        };
        let (done, outcome) = oneshot::channel();
        self.queue
            .try_send(Waiting { report, done })
            .map_err(|_| Refusal::busy())?;
        let stored = match outcome.await.unwrap_or(Verdict::Failed(None)) {
            Verdict::Durable(stored) => stored,
            Verdict::Conflict => return Err(Refusal::epoch_conflict()),
            Verdict::Failed(obstacle) => return Err(Refusal::store_failed(obstacle)),
        };
        self.locator
            .locate(self.store.as_ref(), &admitted.agent, peer.ip())
            .await;
        Ok(Ack {
            epoch: epoch.to_bytes(),
            stored,
            replicated: stored,
            plan_version: 0,
            seen_address: match peer.ip().to_canonical() {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            },
            expected_agent_version: self
                .plan
                .expected(self.store.as_ref(), &admitted.agent)
                .await
                .map_or_else(String::new, |version| version.to_string()),
        })
    }

    /// Decodes the report as the apply worker will, so that nothing is acknowledged that cannot be read.
    async fn check(
        &self,
        frame: Bytes,
        identity: Identity,
        received_unix_ms: i64,
    ) -> Result<ReportKey, Refusal> {
        let _permit = self
            .decodes
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let decoded = tokio::task::spawn_blocking(move || {
            decode(&frame, &identity, received_unix_ms).map(|batch| batch.key)
        });
        let decoded = decoded
            .await
            .map_err(|_| Refusal::new(Code::Malformed, "the report cannot be decoded"))?;
        decoded.map_err(Refusal::from)
    }
}

/// A report whose sender and size are known; its room is held until it is durable.
struct Admitted {
    identity: Identity,
    agent: Agent,
    _room: Room,
}

async fn take_report(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    chain: Option<Extension<PeerCertificates>>,
    request: Request<Body>,
) -> Response {
    let chain = chain.map(|Extension(chain)| chain);
    let (head, body) = request.into_parts();
    let outcome = match ingest.admit(chain.as_ref(), &head.headers).await {
        Ok(admitted) => ingest.store_report(admitted, peer, body).await,
        Err(refusal) => {
            discard(body).await;
            Err(refusal)
        }
    };
    match outcome {
        Ok(ack) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], ack.encode_to_vec()).into_response(),
        Err(refusal) => ingest.refuse(peer, refusal),
    }
}

async fn enroll(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response {
    let outcome = match read_body(request.into_body(), MAX_REQUEST_BYTES).await {
        Ok(body) => enrolment::enroll(&ingest, &body, peer.ip(), clock::unix_ms()).await,
        Err(refusal) => Err(refusal),
    };
    match outcome {
        Ok(granted) => axum::Json(granted).into_response(),
        Err(refusal) => ingest.refuse(peer, refusal),
    }
}

async fn renew(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    chain: Option<Extension<PeerCertificates>>,
    request: Request<Body>,
) -> Response {
    let chain = chain.map(|Extension(chain)| chain);
    let outcome = async {
        let body = read_body(request.into_body(), MAX_REQUEST_BYTES).await?;
        let (_, agent) = ingest.agent_of(chain.as_ref()).await?;
        enrolment::renew(&ingest, &agent, &body, clock::unix_ms()).await
    };
    match outcome.await {
        Ok(granted) => axum::Json(granted).into_response(),
        Err(refusal) => ingest.refuse(peer, refusal),
    }
}

async fn nothing_here(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
) -> Response {
    ingest.refuse(
        peer,
        Refusal::new(
            Code::NotFound,
            "agents are served here; the dashboard listens elsewhere",
        ),
    )
}

/// Reads the body of a request that is refused already: some clients see only a reset stream, and not the refusal, if an
/// answer overtakes their body. What is too much or too slow is left unread all the same.
async fn discard(body: Body) {
    let discarded = tokio::time::timeout(
        DISCARD_TIMEOUT,
        Limited::new(body, MAX_DISCARDED_BYTES).collect(),
    );
    if !matches!(discarded.await, Ok(Ok(_))) {
        debug!("body of a refused request left unread");
    }
}

fn check_headers(headers: &HeaderMap) -> Result<(), Refusal> {
    for (name, want) in [
        (header::CONTENT_TYPE, CONTENT_TYPE),
        (header::CONTENT_ENCODING, CONTENT_ENCODING),
    ] {
        if headers
            .get(&name)
            .is_none_or(|value| value.as_bytes() != want.as_bytes())
        {
            let message = format!("a report needs {name}: {want}");
            return Err(Refusal::new(Code::WrongContentType, message));
        }
    }
    Ok(())
}

fn length_of(headers: &HeaderMap) -> Option<usize> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

async fn read_body(body: Body, max: usize) -> Result<Bytes, Refusal> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, max).collect());
    match collected.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(max)),
        Ok(Err(error)) => Err(Refusal::new(
            Code::BodyCutOff,
            format!("the body broke off: {error}"),
        )),
        Err(_) => Err(Refusal::new(Code::TooSlow, "the body took too long")),
    }
}

fn too_large(max: usize) -> Refusal {
    Refusal::new(
        Code::TooLarge,
        format!("the body is over the bound of {max} bytes"),
    )
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn a_body_that_breaks_off_may_be_sent_again() {
        let parts = [Ok(Bytes::from_static(b"half")), Err("connection reset")];
        let broken = read_body(Body::from_stream(stream::iter(parts)), 9).await;
        let code = broken.expect_err("the body is not whole").code;
        assert_eq!((code.word(), code.is_transient()), ("body_cut_off", true));
        let long = read_body(Body::from("0123456789"), 9).await;
        let code = long.expect_err("the body is too long").code;
        assert_eq!((code.word(), code.is_transient()), ("too_large", false));
        assert_eq!(
            read_body(Body::from("012345678"), 9).await.ok(),
            Some(Bytes::from("012345678"))
        );
    }
}
