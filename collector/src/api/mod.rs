//! What people and scripts are told: JSON under `/api/v1`, live messages, and the built dashboard.
//!
//! Every handler gets an authenticated `principal::Access` and hands its organisation to the store; there is no other way
//! to the data. Errors are [`types::ApiError`], with a constant word for programs and a sentence for people.

mod agents;
mod arm;
pub mod ask;
mod body;
mod connections;
mod dashboard;
mod desk;
pub mod embedded;
mod events;
mod evidence;
mod failure;
mod geographies;
mod incidents;
mod invitations;
mod latency;
mod live;
mod machine;
mod metrics;
mod notices;
pub mod openapi;
pub mod patch;
mod path;
mod pops;
mod prefix_events;
mod prefixes;
mod principal;
mod published;
mod query;
mod routing;
mod session;
mod sites;
mod status;
#[cfg(test)]
mod tests;
pub mod types;
mod view;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, patch, post, put};
use axum::{Router, http};
use firstmile_wire::ids::OrganisationId;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::auth::login::Logins;
use crate::feed::Feeds;
use crate::geo::Tables;
use crate::ingest::Counters;
use crate::registry::invite::Inviter;
use crate::registry::peering::PeeringRegistry;
use crate::registry::rollout::Rollout;
use crate::store::Store;
use failure::Failure;
use types::Live;

/// Largest body of a request: a join string's wishes are some hundred bytes.
const BODY_MAX_BYTES: usize = 64 * 1024;
/// Longest time that one answer may take; a page gives up after 15 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(14);

/// A message for the open pages of one organisation.
#[derive(Clone, Debug)]
pub struct LiveMessage {
    /// Whose pages may see it.
    pub organisation: OrganisationId,
    /// The message.
    pub live: Live,
}

/// What the handlers share.
#[derive(Clone)]
pub struct ApiState {
    /// What is kept.
    pub store: Arc<dyn Store>,
    /// Catalogue and tables.
    pub meaning: Arc<Tables>,
    /// Messages for open pages; the worker sends, each page subscribes.
    pub live: broadcast::Sender<LiveMessage>,
    /// Reports accepted and refused.
    pub counters: Arc<Counters>,
    /// Logins of people.
    pub logins: Arc<Logins>,
    /// Makes join strings.
    pub inviter: Arc<Inviter>,
    /// Connections, prefixes and peerings.
    pub registry: Arc<PeeringRegistry>,
    /// Feeds of routes.
    pub feeds: Arc<Feeds>,
    /// True where the page listens beyond loopback: the loopback principal does not exist there.
    pub login_required: bool,
    /// Whether the page is served over TLS, so that cookies are marked for it.
    pub tls: bool,
    /// Whether to offer the simulated internet where no real one is reached.
    pub hint_lab: bool,
    /// Which version of the agent's program is expected of whom.
    pub rollout: watch::Receiver<Rollout>,
    /// The wall clock.
    pub now_unix_ms: fn() -> i64,
    /// The monotonic clock.
    pub now: fn() -> Instant,
    /// Ends live streams when the collector stops.
    pub stop: CancellationToken,
}

/// All routes of the dashboard's listener. Needs `ConnectInfo<SocketAddr>` in each request's extensions.
pub fn router(state: ApiState) -> Router {
    let known = Router::new()
        .route("/status", get(status::status))
        .route("/geographies", get(geographies::geographies))
        .route("/latency", get(latency::latency))
        .route("/query", get(ask::answer))
        .route("/sites", get(sites::sites))
        .route("/sites/{id}", patch(sites::change_site))
        .route("/agents", get(agents::agents))
        .route("/agents/{id}", get(agents::agent))
        .route("/agents/{id}/machine", get(machine::machine))
        .route("/agents/{id}/path", get(path::path))
        .route("/events", get(events::events))
        .route("/events/{id}", get(events::event))
        .route("/event-types", get(desk::event_types))
        .route("/incidents/{id}/marks", get(desk::marks))
        .route(
            "/incidents/{id}/acknowledgement",
            put(desk::acknowledge).delete(desk::unacknowledge),
        )
        .route("/incidents/{id}/notes", post(desk::note))
        .route("/incidents/{id}/evidence", get(evidence::evidence))
        .route(
            "/change-windows",
            get(desk::windows).post(desk::make_window),
        )
        .route("/change-windows/{id}", delete(desk::delete_window))
        .route("/sites/{id}/time-zone", put(desk::set_zone))
        .route("/notifications", get(desk::notifications))
        .route("/prefixes", get(prefixes::prefixes))
        .route("/routing/verdicts", get(routing::verdicts))
        .route("/routing/feeds", get(routing::feeds))
        .route("/routing/statistics", get(routing::statistics))
        .route("/events/{id}/paths", get(incidents::event_paths))
        .route("/incidents", get(incidents::incidents))
        .route("/incidents/{id}", get(incidents::incident))
        .route("/join-strings", post(invitations::invite))
        .route("/connections", get(connections::connections))
        .route("/pops", get(pops::pops))
        .route("/live", get(live::live))
        .route("/logout", post(session::logout))
        .route_layer(from_fn_with_state(state.clone(), principal::authenticate));
    let api = known
        .route("/login", post(session::login))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES));
    let metrics = Router::new()
        .route("/metrics", get(metrics::metrics))
        .route_layer(from_fn_with_state(state.clone(), principal::authenticate));
    Router::new()
        .nest("/api/v1", api)
        .merge(metrics)
        .route("/subscriptions/{*rest}", any(arm::answer))
        .route("/providers/{*rest}", any(arm::answer))
        .route("/api/openapi.json", get(openapi::document))
        .fallback(dashboard::page)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(in_time))
        .layer(from_fn_with_state(
            state.clone(),
            principal::only_known_hosts,
        ))
        .layer(from_fn(dashboard::with_security_headers))
        .with_state(state)
}

/// The stream of live messages answers at once and then goes on, so it is not cut off here.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Failure::too_slow(ANSWER_WITHIN).into_response(),
    }
}

async fn method_not_allowed(
    State(_): State<ApiState>,
    method: http::Method,
    uri: http::Uri,
) -> Failure {
    Failure::method_not_allowed(&method, uri.path())
}
