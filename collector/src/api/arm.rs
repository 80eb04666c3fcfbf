//! The REST interface of `Microsoft.Peering`, for scripts that were written for it: the shell around
//! [`firstmile_peering::desk`]. Its errors have its own envelope.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use firstmile_peering::answer::Answer;
use firstmile_peering::desk::{self, PrefixEvent, TestOutcome, World};
use firstmile_peering::model::MonitorTest;
use firstmile_wire::ids::{AgentId, OrganisationId};
use firstmile_wire::v1::{Phase, Protocol};
use ipnet::IpNet;
use uuid::Uuid;

use super::failure::Failure;
use super::prefix_events::events_of;
use super::principal::{self, Access};
use super::{ApiState, BODY_MAX_BYTES};
use crate::ingest::batch::Round;
use crate::registry::Agent;
use crate::store::routing::VerdictQuery;
use crate::store::{CellQuery, Group, Scope};

/// A test is successful if a probe was answered within this time.
const TEST_FRESH_MS: i64 = 5 * 60_000;

/// Events of prefixes reach so far back.
const EVENTS_FOR_MS: i64 = 30 * 24 * 3_600_000;
/// And are at most so many, of all prefixes together.
const EVENTS_MAX: u32 = 1_000;

/// Answers a request below `/subscriptions` or `/providers`.
pub(super) async fn answer(
    State(state): State<ApiState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let asked = async {
        principal::same_origin_of(&parts.method, &parts.headers, &parts.uri)?;
        let access = principal::access(&state, peer.ip(), &parts.headers, &parts.uri).await?;
        access.may(&parts.method)?;
        let body = axum::body::to_bytes(body, BODY_MAX_BYTES).await;
        let body = body.map_err(|_| Failure::body_too_large(BODY_MAX_BYTES))?;
        let asked = Asked {
            access: &access,
            method: &parts.method,
            uri: &parts.uri,
            body: &body,
        };
        settle(&state, &asked).await
    };
    match asked.await {
        Ok(answer) => response(answer),
        Err(failure) => refused(&failure),
    }
}

fn response(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match answer.body {
        Some(body) => (status, Json(body)).into_response(),
        None => status.into_response(),
    }
}

/// A failure of ours in the envelope that the interface's clients read.
fn refused(failure: &Failure) -> Response {
    let (status, code, message) = failure.parts();
    let code = match status {
        StatusCode::UNAUTHORIZED => "AuthenticationFailed",
        StatusCode::FORBIDDEN => "AuthorizationFailed",
        _ => code,
    };
    response(Answer::error(status.as_u16(), code, message))
}

/// One request, by somebody who may make it.
struct Asked<'a> {
    access: &'a Access,
    method: &'a Method,
    uri: &'a Uri,
    body: &'a Bytes,
}

async fn settle(state: &ApiState, asked: &Asked<'_>) -> Result<Answer, Failure> {
    let Some(method) = method_of(asked.method) else {
        let message = "This interface takes GET, PUT, PATCH, DELETE and POST.";
        return Ok(Answer::error(405, "MethodNotAllowed", message));
    };
    let Query(query) = Query::<Vec<(String, String)>>::try_from_uri(asked.uri)
        .map_err(|error| Failure::bad_parameters(error.to_string()))?;
    let _one_at_a_time = match method {
        desk::Method::Get => None,
        desk::Method::Put | desk::Method::Patch | desk::Method::Delete | desk::Method::Post => {
            Some(state.registry.change().await)
        }
    };
    let organisation = &asked.access.organisation;
    let resources = state.store.resources(organisation).await?;
    let tests = if speaks_of_tests(asked.uri.path()) {
        tests(state, organisation, resources.all()).await?
    } else {
        BTreeMap::new()
    };
    let events = if asked
        .uri
        .query()
        .is_some_and(|query| query.contains("expand"))
    {
        let query = VerdictQuery {
            open: None,
            from_unix_ms: (state.now_unix_ms)() - EVENTS_FOR_MS,
            limit: EVENTS_MAX,
        };
        let verdicts = state.store.verdicts(organisation, query).await?;
        together(state.registry.events(organisation), events_of(&verdicts))
    } else {
        BTreeMap::new()
    };
    let sessions = state.registry.sessions(&resources, (state.now_unix_ms)());
    let world = World {
        resources: &resources,
        directory: &state.registry.directory,
        sessions: &sessions,
        events: &events,
        tests: &tests,
    };
    let mut answer = desk::answer(
        &world,
        &desk::Request {
            method,
            path: asked.uri.path(),
            query: &query,
            body: asked.body,
            fresh_key: Uuid::new_v4(),
        },
    );
    if let Some(line) = answer.audit.take() {
        let changes = std::mem::take(&mut answer.changes);
        let now_unix_ms = (state.now_unix_ms)();
        let write = state.store.change_resources(
            organisation,
            changes,
            now_unix_ms,
            &asked.access.name,
            &line,
        );
        write.await?;
    }
    Ok(answer)
}

fn method_of(method: &Method) -> Option<desk::Method> {
    Some(match *method {
        Method::GET | Method::HEAD => desk::Method::Get,
        Method::PUT => desk::Method::Put,
        Method::PATCH => desk::Method::Patch,
        Method::DELETE => desk::Method::Delete,
        Method::POST => desk::Method::Post,
        _ => return None,
    })
}

/// Events of sessions and of verdicts, newest first.
fn together(
    mut of_sessions: BTreeMap<IpNet, Vec<PrefixEvent>>,
    of_verdicts: BTreeMap<IpNet, Vec<PrefixEvent>>,
) -> BTreeMap<IpNet, Vec<PrefixEvent>> {
    let moment = |event: &PrefixEvent| event.event_timestamp.parse::<jiff::Timestamp>().ok();
    for (prefix, more) in of_verdicts {
        let events = of_sessions.entry(prefix).or_default();
        events.extend(more);
        events.sort_by_key(|event| std::cmp::Reverse(moment(event)));
    }
    of_sessions
}

/// Whether an answer may show outcomes of tests, each of which costs some queries.
fn speaks_of_tests(path: &str) -> bool {
    let mut segments = path.split('/');
    segments.any(|segment| segment.eq_ignore_ascii_case("connectionMonitorTests"))
}

/// What agents found of the registered tests, by the key of the test's id. A test whose agent or destination nobody knows
/// has no outcome.
async fn tests(
    state: &ApiState,
    organisation: &OrganisationId,
    resources: impl Iterator<Item = &firstmile_peering::model::Resource>,
) -> Result<BTreeMap<String, TestOutcome>, Failure> {
    let mut outcomes = BTreeMap::new();
    let mut agents: Option<Vec<Agent>> = None;
    for resource in resources {
        let Some(test) = resource.properties.test() else {
            continue;
        };
        if agents.is_none() {
            agents = Some(state.store.agents(organisation).await?);
        }
        let known = agents.as_deref().unwrap_or_default();
        if let Some(outcome) = outcome_of(state, organisation, known, test).await? {
            outcomes.insert(resource.id.key(), outcome);
        }
    }
    Ok(outcomes)
}

/// The agent and the target of a test, if both are known.
pub(super) async fn measured_by(
    state: &ApiState,
    organisation: &OrganisationId,
    agents: &[Agent],
    test: &MonitorTest,
) -> Result<Option<(AgentId, String)>, Failure> {
    let source = test.source_agent.as_deref().unwrap_or_default();
    let agent = agents
        .iter()
        .find(|agent| agent.id.to_string() == source || agent.hostname == source);
    let Some(agent) = agent else {
        return Ok(None);
    };
    let scope = Scope::Agent(agent.id);
    let targets = state.store.targets(organisation, &scope).await?;
    let wanted = test.destination.as_deref().unwrap_or_default();
    let port = u32::from(test.destination_port.unwrap_or(443));
    let mut targets = targets.into_values().flatten();
    let found =
        targets.find(|target| target.host.eq_ignore_ascii_case(wanted) && target.port == port);
    Ok(found.map(|target| (agent.id, target.name)))
}

async fn outcome_of(
    state: &ApiState,
    organisation: &OrganisationId,
    agents: &[Agent],
    test: &MonitorTest,
) -> Result<Option<TestOutcome>, Failure> {
    let Some((agent, target)) = measured_by(state, organisation, agents, test).await? else {
        return Ok(None);
    };
    let now = (state.now_unix_ms)();
    let query = CellQuery {
        from_unix_ms: now - TEST_FRESH_MS,
        to_unix_ms: now,
        step_ms: None,
        protocol: Protocol::Tcp,
        phase: Phase::Rtt,
        target: Some(target.clone()),
        scope: Scope::Agent(agent),
        group: Group::All,
    };
    let cells = state.store.cells(organisation, &query).await?;
    let rounds = state.store.latest_rounds(organisation, agent).await?;
    let round = rounds.iter().find(|round| *round.target == *target);
    Ok(Some(TestOutcome {
        successful: cells.iter().any(|row| !row.cell.answered.is_empty()),
        path: round.map(path_of).unwrap_or_default(),
    }))
}

/// The hops of the flow that saw most of them; a silent one is `*`.
fn path_of(round: &Round) -> Vec<String> {
    let flow = round.flows.iter().max_by_key(|flow| flow.hops.len());
    let hops = flow.into_iter().flat_map(|flow| &flow.hops);
    hops.map(|hop| {
        hop.address
            .map_or_else(|| "*".to_owned(), |address| address.to_string())
    })
    .collect()
}
