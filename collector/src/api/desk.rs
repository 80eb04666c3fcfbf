//! What people do with incidents: look after one, note, mute; and what was told to whom.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use uuid::Uuid;

use super::ApiState;
use super::body::Body;
use super::failure::Failure;
use super::principal::Access;
use super::types::{
    ApiError, ChangeWindow, ChannelState, Doing, IncidentMarks, IncidentNote, Letter, NoteRequest,
    Notifications, SiteZone,
};
use crate::notify::core::model::{EVENT_TYPES, EventType};
use crate::notify::core::mute::{Window, WindowError, WindowWish};
use crate::notify::watch::zone;
use crate::registry::SiteId;
use crate::store::{desk, notifying};

/// Longest note, in characters.
const NOTE_MAX: usize = 2_000;
/// Messages in one answer.
const LETTERS_MAX: u32 = 100;

/// The types of events with their levels: Microsoft's published prefix events word for word, then ours.
#[utoipa::path(get, path = "/api/v1/event-types", tag = "events", operation_id = "eventTypes",
    responses((status = 200, body = [EventType]), (status = 401, body = ApiError)))]
pub(super) async fn event_types(_: Access) -> Json<&'static [EventType]> {
    Json(EVENT_TYPES)
}

/// What people said of an incident, and what was told of it.
#[utoipa::path(get, path = "/api/v1/incidents/{id}/marks", tag = "incidents", operation_id = "incidentMarks",
    params(("id" = String, Path, description = "Identity of the incident")),
    responses((status = 200, body = IncidentMarks), (status = 401, body = ApiError), (status = 404, body = ApiError)))]
pub(super) async fn marks(
    State(state): State<ApiState>,
    access: Access,
    Path(id): Path<String>,
) -> Result<Json<IncidentMarks>, Failure> {
    let (store, organisation) = (&state.store, &access.organisation);
    store.incident(organisation, &id).await?;
    marks_of(&state, &access, id).await.map(Json)
}

async fn marks_of(state: &ApiState, access: &Access, id: String) -> Result<IncidentMarks, Failure> {
    let (store, organisation) = (&state.store, &access.organisation);
    let marks = store.marks(organisation, &id).await?;
    let names_it = |window: &desk::KeptWindow| window.wish.covers.incident_id.as_ref() == Some(&id);
    let mutes = store.windows(organisation).await?;
    let mutes = mutes.into_iter().filter(names_it);
    let now_unix_ms = (state.now_unix_ms)();
    let mutes = mutes.map(|kept| window_of(kept, now_unix_ms)).collect();
    let letters = store
        .letters(organisation, None, Some(id.clone()), LETTERS_MAX)
        .await?;
    let note = |note: desk::Note| IncidentNote {
        at_unix_ms: note.by.at_unix_ms,
        who: note.by.who,
        text: note.text,
    };
    Ok(IncidentMarks {
        acknowledged: marks.acknowledged.map(|doing| Doing {
            at_unix_ms: doing.at_unix_ms,
            who: doing.who,
        }),
        notes: marks.notes.into_iter().map(note).collect(),
        mutes,
        messages: letters.into_iter().map(letter_of).collect(),
    })
}

/// Looks after an incident from now on. Who did so first stays.
#[utoipa::path(put, path = "/api/v1/incidents/{id}/acknowledgement", tag = "incidents", operation_id = "acknowledgeIncident",
    params(("id" = String, Path, description = "Identity of the incident")),
    responses((status = 200, body = IncidentMarks), (status = 401, body = ApiError), (status = 403, body = ApiError),
        (status = 404, body = ApiError)))]
pub(super) async fn acknowledge(
    state: State<ApiState>,
    access: Access,
    id: Path<String>,
) -> Result<Json<IncidentMarks>, Failure> {
    set_acknowledged(state, access, id, true).await
}

/// Takes an acknowledgement back: nobody looks after the incident.
#[utoipa::path(delete, path = "/api/v1/incidents/{id}/acknowledgement", tag = "incidents", operation_id = "unacknowledgeIncident",
    params(("id" = String, Path, description = "Identity of the incident")),
    responses((status = 200, body = IncidentMarks), (status = 401, body = ApiError), (status = 403, body = ApiError),
        (status = 404, body = ApiError)))]
pub(super) async fn unacknowledge(
    state: State<ApiState>,
    access: Access,
    id: Path<String>,
) -> Result<Json<IncidentMarks>, Failure> {
    set_acknowledged(state, access, id, false).await
}

async fn set_acknowledged(
    State(state): State<ApiState>,
    access: Access,
    Path(id): Path<String>,
    on: bool,
) -> Result<Json<IncidentMarks>, Failure> {
    let (store, organisation) = (&state.store, &access.organisation);
    store.incident(organisation, &id).await?;
    store
        .acknowledge(organisation, &id, by(&state, &access), on)
        .await?;
    marks_of(&state, &access, id).await.map(Json)
}

/// Writes a note to an incident.
#[utoipa::path(post, path = "/api/v1/incidents/{id}/notes", tag = "incidents", operation_id = "addIncidentNote",
    params(("id" = String, Path, description = "Identity of the incident")), request_body = NoteRequest,
    responses((status = 200, body = IncidentMarks), (status = 400, body = ApiError), (status = 401, body = ApiError),
        (status = 403, body = ApiError), (status = 404, body = ApiError), (status = 409, body = ApiError)))]
pub(super) async fn note(
    State(state): State<ApiState>,
    access: Access,
    Path(id): Path<String>,
    Body(asked): Body<NoteRequest>,
) -> Result<Json<IncidentMarks>, Failure> {
    let (store, organisation) = (&state.store, &access.organisation);
    let text = asked.text.trim().to_owned();
    let is_plain = |letter: char| !letter.is_control() || letter == '\n' || letter == '\t';
    if text.is_empty() || text.chars().count() > NOTE_MAX || !text.chars().all(is_plain) {
        return Err(Failure::bad_body(
            "text must have 1 to 2000 characters, without control characters",
        ));
    }
    store.incident(organisation, &id).await?;
    let by = by(&state, &access);
    store
        .add_note(organisation, &id, desk::Note { by, text })
        .await?;
    marks_of(&state, &access, id).await.map(Json)
}

/// Change windows, oldest first, at most 500.
#[utoipa::path(get, path = "/api/v1/change-windows", tag = "incidents", operation_id = "changeWindows",
    responses((status = 200, body = [ChangeWindow]), (status = 401, body = ApiError)))]
pub(super) async fn windows(
    State(state): State<ApiState>,
    access: Access,
) -> Result<Json<Vec<ChangeWindow>>, Failure> {
    let kept = state.store.windows(&access.organisation).await?;
    let now_unix_ms = (state.now_unix_ms)();
    let windows = kept.into_iter().map(|kept| window_of(kept, now_unix_ms));
    Ok(Json(windows.collect()))
}

/// Makes a change window: what it covers is recorded and not told while it holds. One that names an incident mutes it.
#[utoipa::path(post, path = "/api/v1/change-windows", tag = "incidents", operation_id = "makeChangeWindow",
    request_body = WindowWish,
    responses((status = 200, body = ChangeWindow), (status = 400, body = ApiError), (status = 401, body = ApiError),
        (status = 403, body = ApiError), (status = 409, body = ApiError)))]
pub(super) async fn make_window(
    State(state): State<ApiState>,
    access: Access,
    Body(wish): Body<WindowWish>,
) -> Result<Json<ChangeWindow>, Failure> {
    Window::of(&wish, zone)?;
    let kept = desk::KeptWindow {
        id: Uuid::new_v4().to_string(),
        by: by(&state, &access),
        wish,
    };
    let store = &state.store;
    store.put_window(&access.organisation, kept.clone()).await?;
    Ok(Json(window_of(kept, (state.now_unix_ms)())))
}

/// Takes a change window away.
#[utoipa::path(delete, path = "/api/v1/change-windows/{id}", tag = "incidents", operation_id = "deleteChangeWindow",
    params(("id" = String, Path, description = "Identity of the window")),
    responses((status = 204), (status = 401, body = ApiError), (status = 403, body = ApiError), (status = 404, body = ApiError)))]
pub(super) async fn delete_window(
    State(state): State<ApiState>,
    access: Access,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    let by = by(&state, &access);
    if state
        .store
        .delete_window(&access.organisation, &id, by)
        .await?
    {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Failure::not_found(
            "not_found",
            format!("there is no change window {id}"),
        ))
    }
}

/// Declares the time zone of a site, for change windows that recur at its local time.
#[utoipa::path(put, path = "/api/v1/sites/{id}/time-zone", tag = "sites", operation_id = "setSiteTimeZone",
    params(("id" = String, Path, description = "Identity of the site")), request_body = SiteZone,
    responses((status = 200, body = SiteZone), (status = 400, body = ApiError), (status = 401, body = ApiError),
        (status = 403, body = ApiError), (status = 404, body = ApiError)))]
pub(super) async fn set_zone(
    State(state): State<ApiState>,
    access: Access,
    Path(id): Path<String>,
    Body(asked): Body<SiteZone>,
) -> Result<Json<SiteZone>, Failure> {
    let site = id
        .parse()
        .map(SiteId)
        .map_err(|_| Failure::bad_parameter("id", &id, "the UUID of a site, see /api/v1/sites"))?;
    if let Some(name) = asked.time_zone.as_ref().filter(|name| zone(name).is_none()) {
        return Err(WindowError::Zone { got: name.clone() }.into());
    }
    let by = by(&state, &access);
    state
        .store
        .put_site_zone(&access.organisation, site, asked.time_zone.clone(), by)
        .await?;
    Ok(Json(asked))
}

/// What was told to whom: the channels, and the newest 100 messages.
#[utoipa::path(get, path = "/api/v1/notifications", tag = "incidents", operation_id = "notifications",
    responses((status = 200, body = Notifications), (status = 401, body = ApiError)))]
pub(super) async fn notifications(
    State(state): State<ApiState>,
    access: Access,
) -> Result<Json<Notifications>, Failure> {
    let (store, organisation) = (&state.store, &access.organisation);
    let counts = store.channel_counts(organisation).await?;
    let letters = store.letters(organisation, None, None, LETTERS_MAX).await?;
    Ok(Json(Notifications {
        channels: counts.into_iter().map(channel_of).collect(),
        messages: letters.into_iter().map(letter_of).collect(),
    }))
}

impl From<WindowError> for Failure {
    fn from(error: WindowError) -> Self {
        Self::bad_body(error.to_string())
    }
}

fn by(state: &ApiState, access: &Access) -> desk::Doing {
    desk::Doing {
        at_unix_ms: (state.now_unix_ms)(),
        who: access.name.clone(),
    }
}

fn window_of(kept: desk::KeptWindow, now_unix_ms: i64) -> ChangeWindow {
    let holds = Window::of(&kept.wish, zone).is_ok_and(|window| window.holds(now_unix_ms, None));
    ChangeWindow {
        window_id: kept.id,
        created_unix_ms: kept.by.at_unix_ms,
        who: kept.by.who,
        holds,
        window: kept.wish,
    }
}

fn channel_of(counts: notifying::ChannelCounts) -> ChannelState {
    ChannelState {
        channel: counts.channel,
        waiting: counts.waiting,
        delivered: counts.delivered,
        dead: counts.dead,
        oldest_waiting_unix_ms: counts.oldest_waiting_unix_ms,
        last_error: counts.last_error,
    }
}

fn letter_of(letter: notifying::Letter) -> Letter {
    Letter {
        channel: letter.channel,
        state: letter.state.as_str().to_owned(),
        created_unix_ms: letter.created_unix_ms,
        due_unix_ms: letter.due_unix_ms,
        attempts: letter.attempts,
        last_error: letter.last_error,
        finished_unix_ms: letter.finished_unix_ms,
        notice: letter.notice,
    }
}
