//! The current path of an agent to a target, hop by hop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use axum::Json;
use axum::extract::{Path, State};
use firstmile_wire::ids::AgentId;
use firstmile_wire::nat64::Nat64Prefix;
use firstmile_wire::v1::TraceKind;

use super::ApiState;
use super::failure::Failure;
use super::principal::Access;
use super::query::{self, Asked, PathQuery};
use super::status::count;
use super::types::{ApiError, PathHop, PathNode, PathReport, PathSpan};
use super::view::path_state;
use crate::detect::PathBrief;
use crate::detect::identity::{Projection, identity_of};
use crate::geo::Meaning;
use crate::ingest::batch::{Hop, Round, Sighting};
use crate::store::{ByAgent, Scope, Span};

/// Identities before the current one.
const HISTORY_MAX: u32 = 20;

/// The newest round of an agent to a target, and the paths before it.
#[utoipa::path(get, path = "/api/v1/agents/{id}/path", tag = "agents", operation_id = "path",
    params(("id" = String, Path, description = "Identity of the agent"), PathQuery),
    responses((status = 200, body = PathReport), (status = 400, body = ApiError), (status = 401, body = ApiError),
        (status = 404, body = ApiError)))]
pub(super) async fn path(
    State(state): State<ApiState>,
    access: Access,
    Path(id): Path<String>,
    Asked(PathQuery { target }): Asked<PathQuery>,
) -> Result<Json<PathReport>, Failure> {
    let (store, organisation) = (&state.store, &access.organisation);
    let id = query::agent_id("id", &id)?;
    let agent = store.agent(organisation, id).await?;
    let scope = Scope::Agent(id);
    let targets = of_one(id, store.targets(organisation, &scope).await?);
    let known = || {
        targets
            .iter()
            .map(|target| target.name.clone())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let wanted = target
        .ok_or_else(|| Failure::bad_parameters(format!("target is missing: one of {}", known())))?;
    let rounds = store.latest_rounds(organisation, id).await?;
    let Some(round) = rounds.iter().find(|round| *round.target == *wanted) else {
        return Err(no_path(
            &wanted,
            targets.iter().any(|target| target.name == wanted),
            &known(),
        ));
    };
    let names = store.hop_names(organisation, &addresses(round)).await?;
    let names: BTreeMap<IpAddr, String> = names
        .into_iter()
        .filter_map(|(address, name)| Some((address.parse().ok()?, name)))
        .collect();
    let sightings = of_one(id, store.sightings(organisation, &scope).await?);
    let edge = sightings
        .iter()
        .find(|sighting| *sighting.target == *wanted)
        .and_then(|sighting| edge(&state, sighting));
    let projection = identity_of(round, &names, edge.as_ref(), &state.meaning.now());
    let spans = store
        .spans(organisation, id, &wanted, HISTORY_MAX + 1)
        .await?;
    let current = spans.iter().find(|span| span.holds(round.at_unix_ms));
    let shown = current.map(|span| span.identity.clone());
    let memories = store.path_memories(organisation, id).await?;
    let site = store.site(organisation, agent.site).await?;
    let now = (state.now_unix_ms)();
    let brief = memories.get(&wanted).map(PathBrief::from);
    let path_state = path_state(brief.as_ref(), &agent, now);
    Ok(Json(PathReport {
        agent_id: id.to_string(),
        site_name: site.name,
        destination: round.destination.to_string(),
        at_unix_ms: round.at_unix_ms,
        kind: kind(round.kind).to_owned(),
        flows: count(round.flows.len()),
        flows_reached: count(
            round
                .flows
                .iter()
                .filter(|flow| flow.destination_ttl.is_some())
                .count(),
        ),
        state: path_state.as_str().to_owned(),
        hops: hops(round, &names, &projection, &state.meaning.now()),
        history: history(spans, round.at_unix_ms),
        identity: shown.unwrap_or(projection.identity),
        target: wanted,
    }))
}

fn of_one<T>(agent: AgentId, mut found: ByAgent<T>) -> Vec<T> {
    found.remove(&agent).unwrap_or_default()
}

fn no_path(target: &str, configured: bool, known: &str) -> Failure {
    if configured {
        let message =
            format!("there is no path to {target} yet: the agent has sent no round of it");
        return Failure::not_found("no_path_yet", message);
    }
    let message = format!(
        "the agent has no target {target:?}; it has {}",
        if known.is_empty() { "none yet" } else { known }
    );
    Failure::not_found("no_path_yet", message)
}

fn edge(state: &ApiState, sighting: &Sighting) -> Option<super::types::Pop> {
    state.meaning.now().edge_of_headers(&sighting.headers)
}

pub(super) fn addresses(round: &Round) -> Vec<String> {
    let hops = round.flows.iter().flat_map(|flow| &flow.hops);
    let distinct: BTreeSet<IpAddr> = hops.filter_map(|hop| hop.address).collect();
    distinct.iter().map(ToString::to_string).collect()
}

const fn kind(kind: TraceKind) -> &'static str {
    match kind {
        TraceKind::Tcp => "tcp",
        TraceKind::Udp => "udp",
        TraceKind::Icmp => "icmp",
        TraceKind::Unspecified => "unknown",
    }
}

/// The spans before the one that the newest round belongs to.
fn history(spans: Vec<Span>, newest_unix_ms: i64) -> Vec<PathSpan> {
    let before = spans
        .into_iter()
        .filter(|span| !span.holds(newest_unix_ms))
        .take(HISTORY_MAX as usize);
    let shown = |span: Span| PathSpan {
        from_unix_ms: span.from_unix_ms,
        to_unix_ms: span.to_unix_ms,
        rounds: span.rounds,
        identity: span.identity,
    };
    before.map(shown).collect()
}

/// Hops up to the destination; without an answer of it, up to the last hop that answered.
pub(super) fn hops(
    round: &Round,
    names: &BTreeMap<IpAddr, String>,
    projection: &Projection,
    meaning: &Meaning,
) -> Vec<PathHop> {
    let ingresses: BTreeSet<IpAddr> = projection
        .flows
        .iter()
        .filter_map(|flow| flow.ingress.as_ref())
        .map(|ingress| ingress.address)
        .collect();
    let mut met: BTreeMap<u32, BTreeMap<Option<IpAddr>, Vec<&Hop>>> = BTreeMap::new();
    for flow in &round.flows {
        let last = flow.destination_ttl.unwrap_or(u32::MAX);
        for hop in flow.hops.iter().filter(|hop| hop.ttl <= last) {
            met.entry(hop.ttl)
                .or_default()
                .entry(hop.address)
                .or_default()
                .push(hop);
        }
    }
    let heard = met
        .iter()
        .rev()
        .find(|(_, nodes)| nodes.keys().any(Option::is_some))
        .map_or(0, |(ttl, _)| *ttl);
    let teller = Teller {
        destination: round.destination,
        names,
        ingresses: &ingresses,
        nat64: round.nat64,
        meaning,
    };
    let shown = met.into_iter().take_while(|(ttl, _)| *ttl <= heard);
    shown
        .map(|(ttl, nodes)| PathHop {
            ttl,
            nodes: teller.nodes(nodes),
        })
        .collect()
}

/// Says what is known of a node.
struct Teller<'a> {
    destination: IpAddr,
    names: &'a BTreeMap<IpAddr, String>,
    ingresses: &'a BTreeSet<IpAddr>,
    nat64: Option<Nat64Prefix>,
    meaning: &'a Meaning,
}

impl Teller<'_> {
    /// Most flows first, silence last.
    fn nodes(&self, nodes: BTreeMap<Option<IpAddr>, Vec<&Hop>>) -> Vec<PathNode> {
        let mut nodes: Vec<PathNode> = nodes
            .into_iter()
            .map(|(address, hops)| self.node(address, &hops))
            .collect();
        nodes.sort_by(|left, right| {
            let silent = left.address.is_none().cmp(&right.address.is_none());
            silent
                .then(right.flows.cmp(&left.flows))
                .then_with(|| left.address.cmp(&right.address))
        });
        nodes
    }

    fn node(&self, address: Option<IpAddr>, hops: &[&Hop]) -> PathNode {
        let name = address.and_then(|address| self.names.get(&address));
        let router = name.and_then(|name| self.meaning.router(name));
        let (asn, as_name) = address
            .and_then(|address| self.meaning.asn_behind(address, self.nat64))
            .unzip();
        let mut rtts: Vec<u32> = hops
            .iter()
            .filter(|hop| hop.address.is_some())
            .map(|hop| hop.rtt_us)
            .collect();
        rtts.sort_unstable();
        let is_of_now = hops.iter().any(|hop| hop.seen_unix_ms.is_none());
        let last_seen = hops.iter().filter_map(|hop| hop.seen_unix_ms).max();
        let role = router.as_ref().and_then(|router| router.role.clone());
        let role = if address == Some(self.destination) {
            Some("destination".to_owned())
        } else {
            role
        };
        PathNode {
            address: address.map(|address| address.to_string()),
            name: name.cloned(),
            asn,
            as_name: as_name.filter(|name| !name.is_empty()),
            role,
            pop: router.and_then(|router| router.pop),
            ingress: address.is_some_and(|address| self.ingresses.contains(&address)),
            flows: count(hops.len()),
            min_rtt_us: rtts.first().copied(),
            median_rtt_us: rtts.get(rtts.len().saturating_sub(1) / 2).copied(),
            last_seen_unix_ms: last_seen.filter(|_| !is_of_now),
        }
    }
}
