//! Live messages for open pages (server-sent events).

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use firstmile_wire::ids::OrganisationId;
use futures::{Stream, StreamExt, stream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::principal::{Access, session_token};
use super::types::{ApiError, Live};
use super::{ApiState, LiveMessage};

/// A comment each 15 s keeps proxies from closing a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How soon a stream notices that its session has ended.
const SESSION_LOOK: Duration = Duration::from_secs(5);

/// Messages as they come, until the page goes or the collector stops. The event's name is `event`, `incident` or `reports`.
// Or until its session ends.
#[utoipa::path(get, path = "/api/v1/live", tag = "live", operation_id = "live",
    responses((status = 200, body = Live, content_type = "text/event-stream"), (status = 401, body = ApiError)))]
pub(super) async fn live(
    State(state): State<ApiState>,
    access: Access,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let messages = messages(
        state.live.subscribe(),
        access.organisation,
        state.now_unix_ms,
    );
    let events = messages
        .map(|live| Ok(sse(&live)))
        .take_until(state.stop.clone().cancelled_owned())
        .take_until(Box::pin(end_of_session(state, headers)));
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// Returns when the session that opened the stream has ended: its time is over, or somebody logged out.
async fn end_of_session(state: ApiState, headers: HeaderMap) {
    let token = session_token(&headers);
    let is_open = |token: &&str| {
        state
            .logins
            .login_of_session(token, (state.now)())
            .is_some()
    };
    // HTTP Basic and the loopback admin have no session that could end.
    let Some(token) = token.filter(is_open) else {
        return std::future::pending().await;
    };
    while is_open(&token) {
        tokio::time::sleep(SESSION_LOOK).await;
    }
}

fn messages(
    receiver: Receiver<LiveMessage>,
    organisation: OrganisationId,
    now_unix_ms: fn() -> i64,
) -> impl Stream<Item = Live> {
    stream::unfold(
        (receiver, organisation),
        move |(mut receiver, organisation)| async move {
            loop {
                match receiver.recv().await {
                    Ok(message) if message.organisation == organisation => {
                        return Some((message.live, (receiver, organisation)));
                    }
                    Ok(_) => {}
                    // A page that was too slow has missed some: it is told that figures changed and asks for them anew.
                    Err(RecvError::Lagged(_)) => {
                        return Some((
                            Live::Reports {
                                to_unix_ms: now_unix_ms(),
                            },
                            (receiver, organisation),
                        ));
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
        },
    )
}

fn sse(live: &Live) -> Event {
    let name = match live {
        Live::Event { .. } => "event",
        Live::Incident { .. } => "incident",
        Live::Reports { .. } => "reports",
    };
    let event = Event::default().event(name);
    event
        .json_data(live)
        .unwrap_or_else(|_| Event::default().comment("a message that cannot be written as JSON"))
}
