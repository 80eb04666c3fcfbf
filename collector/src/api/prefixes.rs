//! Registered prefixes: how each is by the rules, on which session and by which route, and what routing says of it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use firstmile_peering::desk::{World, verdict_of};
use firstmile_peering::model::Resource;
use firstmile_peering::routes::Sessions;
use firstmile_peering::verdict::{Finding, Weight};
use ipnet::IpNet;

use super::ApiState;
use super::failure::Failure;
use super::principal::Access;
use super::types::{ApiError, PrefixFinding, PrefixRoute, RegisteredPrefix, RoutingVerdict};
use crate::store::routing::VerdictQuery;

/// Open verdicts that are looked at.
const VERDICTS_MAX: u32 = 10_000;

/// Registered prefixes with their state by the rules of the service, judged by what connected feeds show now.
#[utoipa::path(get, path = "/api/v1/prefixes", tag = "routing", operation_id = "prefixes",
    responses((status = 200, body = [RegisteredPrefix]), (status = 401, body = ApiError)))]
pub(super) async fn prefixes(
    State(state): State<ApiState>,
    access: Access,
) -> Result<Json<Vec<RegisteredPrefix>>, Failure> {
    let organisation = &access.organisation;
    let resources = state.store.resources(organisation).await?;
    let open = VerdictQuery {
        open: Some(true),
        from_unix_ms: 0,
        limit: VERDICTS_MAX,
    };
    let open = state.store.verdicts(organisation, open).await?;
    let (events, tests) = (BTreeMap::new(), BTreeMap::new());
    let sessions = state.registry.sessions(&resources, (state.now_unix_ms)());
    let world = World {
        resources: &resources,
        directory: &state.registry.directory,
        sessions: &sessions,
        events: &events,
        tests: &tests,
    };
    let all = resources.all().filter_map(|one| shown(&world, one, &open));
    Ok(Json(all.collect()))
}

fn shown(
    world: &World<'_>,
    resource: &Resource,
    open: &[RoutingVerdict],
) -> Option<RegisteredPrefix> {
    let registered = resource.properties.prefix()?;
    let verdict = verdict_of(world, &resource.id, registered)?;
    let prefix = registered.prefix;
    let concerned = |one: &&RoutingVerdict| {
        let of = one.matched.as_ref().unwrap_or(&one.prefix);
        of.parse::<IpNet>()
            .is_ok_and(|of| of == prefix || of.contains(&prefix))
    };
    let concerned: Vec<&RoutingVerdict> = open.iter().filter(concerned).collect();
    Some(RegisteredPrefix {
        id: resource.id.to_string(),
        name: resource.id.name().to_owned(),
        connection: resource.id.outer().name().to_owned(),
        prefix: prefix.to_string(),
        state: verdict.state.as_str().to_owned(),
        learned: verdict.learned.to_owned(),
        findings: verdict
            .findings
            .iter()
            .map(|finding| finding_of(finding, world.sessions, &prefix))
            .collect(),
        routes: routes_of(world.sessions, &prefix),
        verdicts_open: u32::try_from(concerned.len()).unwrap_or(u32::MAX),
        incident_id: concerned.iter().find_map(|one| one.incident_id.clone()),
    })
}

fn finding_of(finding: &Finding, sessions: &Sessions, prefix: &IpNet) -> PrefixFinding {
    let session = finding.session.and_then(|address| sessions.get(&address));
    let route = session.and_then(|session| session.routes.get(prefix));
    PrefixFinding {
        rule: finding.rule.code().to_owned(),
        weight: match finding.weight {
            Weight::Note => "note",
            Weight::NotObservable => "not_observable",
            Weight::Broken => "broken",
            Weight::Hopeless => "hopeless",
        }
        .to_owned(),
        session: finding.session.map(|address| address.to_string()),
        as_path: route.map(|route| path_of(&route.path)),
        detail: finding.detail.clone(),
    }
}

fn routes_of(sessions: &Sessions, prefix: &IpNet) -> Vec<PrefixRoute> {
    let with = sessions
        .iter()
        .filter_map(|(address, session)| Some((address, session, session.routes.get(prefix)?)));
    with.map(|(address, session, route)| PrefixRoute {
        session: address.to_string(),
        asn: session.asn,
        as_path: path_of(&route.path),
        communities: route.communities.as_ref().map(|all| {
            all.iter()
                .map(|(high, low)| format!("{high}:{low}"))
                .collect()
        }),
        received_unix_ms: route.received_unix_ms,
    })
    .collect()
}

fn path_of(path: &[u32]) -> String {
    let words: Vec<String> = path.iter().map(ToString::to_string).collect();
    words.join(" ")
}
