//! Reads the evidence out of the store.

use std::collections::{BTreeMap, BTreeSet};

use firstmile_wire::ids::{AgentId, OrganisationId};
use firstmile_wire::v1::{Phase, Protocol};

use super::{AGENTS_MAX, Evidence, Figures, Peer, ROUNDS_MAX, RawFlow, RawRound, Span};
use crate::api::types::{Event, Incident, PathIdentity};
use crate::auth::identity::Identity;
use crate::ingest::batch::{Flow, Round};
use crate::ingest::decode::decode;
use crate::registry::{Agent, Site};
use crate::rollup::MINUTE_MS;
use crate::store::{CellQuery, Group, Scope, Store, StoreResult};

/// Rounds so long before and after the onset are embedded.
const AROUND_MS: i64 = 5 * MINUTE_MS;
/// Reports come so long after what they tell, when the network is well.
const LATE_MS: i64 = 15 * MINUTE_MS;
/// Figures before the onset.
const BEFORE_MS: i64 = 60 * MINUTE_MS;
/// Figures since the onset.
const SINCE_MS: i64 = 6 * 60 * MINUTE_MS;
/// Events that are read.
const EVENTS_MAX: u32 = 200;
/// Reports of one agent that are decoded.
const REPORTS_MAX: u32 = 120;

/// Gathers the evidence of an incident.
///
/// # Errors
/// Those of the store; [`crate::store::StoreError::NotFound`] if there is no such incident.
pub async fn gather(
    store: &dyn Store,
    organisation: &OrganisationId,
    incident_id: &str,
    now_unix_ms: i64,
) -> StoreResult<Evidence> {
    let incident = store.incident(organisation, incident_id).await?;
    let events = store
        .incident_events(organisation, incident_id, EVENTS_MAX)
        .await?;
    let reading = Reading {
        store,
        organisation,
        incident: &incident,
        now_unix_ms,
    };
    let affected = reading.affected(&events).await?;
    let agents = store.agents(organisation).await?;
    let sites = store.sites(organisation).await?;
    let unaffected = reading.unaffected(&events, &agents, &sites).await?;
    let rounds = reading.rounds(&events).await?;
    let not_seen = not_seen(&incident, &events, &unaffected, &rounds);
    Ok(Evidence {
        version: 1,
        exported_unix_ms: now_unix_ms,
        collector_version: env!("CARGO_PKG_VERSION").to_owned(),
        incident,
        events,
        affected,
        unaffected,
        not_seen,
        rounds,
    })
}

struct Reading<'a> {
    store: &'a dyn Store,
    organisation: &'a OrganisationId,
    incident: &'a Incident,
    now_unix_ms: i64,
}

impl Reading<'_> {
    async fn affected(&self, events: &[Event]) -> StoreResult<Vec<Figures>> {
        let mut all = Vec::new();
        for event in events.iter().take(AGENTS_MAX) {
            if let Some(agent) = agent_of(event) {
                let of = self.figures(agent, &event.site_name, &event.target);
                all.push(of.await?);
            }
        }
        Ok(all)
    }

    async fn figures(&self, agent: AgentId, site_name: &str, target: &str) -> StoreResult<Figures> {
        let onset = (
            self.incident.onset_from_unix_ms,
            self.incident.onset_to_unix_ms,
        );
        let end = self.incident.ended_unix_ms.unwrap_or(self.now_unix_ms);
        let since = (onset.1, end.clamp(onset.1 + MINUTE_MS, onset.1 + SINCE_MS));
        Ok(Figures {
            agent_id: agent.to_string(),
            site_name: site_name.to_owned(),
            target: target.to_owned(),
            before: self
                .span(agent, target, (onset.0 - BEFORE_MS, onset.0))
                .await?,
            since: self.span(agent, target, since).await?,
        })
    }

    async fn span(
        &self,
        agent: AgentId,
        target: &str,
        (from_unix_ms, to_unix_ms): (i64, i64),
    ) -> StoreResult<Span> {
        let query = CellQuery {
            from_unix_ms,
            to_unix_ms,
            step_ms: None,
            protocol: Protocol::Tcp,
            phase: Phase::Rtt,
            target: Some(target.to_owned()),
            scope: Scope::Agent(agent),
            group: Group::All,
        };
        let rows = self.store.cells(self.organisation, &query).await?;
        let mut span = Span {
            from_unix_ms,
            to_unix_ms,
            ..Span::default()
        };
        if let Some(row) = rows.first() {
            span.n = row.cell.n();
            span.lost = row.cell.lost;
            span.p50_us = row.cell.answered.quantile(0.5);
            span.p90_us = row.cell.answered.quantile(0.9);
        }
        Ok(span)
    }

    /// Agents that share the provider, or else the country, of the affected ones.
    async fn unaffected(
        &self,
        events: &[Event],
        agents: &[Agent],
        sites: &[Site],
    ) -> StoreResult<Vec<Peer>> {
        let hit: BTreeSet<&str> = events.iter().map(|event| event.agent_id.as_str()).collect();
        let targets: BTreeSet<&str> = events.iter().map(|event| event.target.as_str()).collect();
        let countries: BTreeSet<&str> = events
            .iter()
            .filter_map(|event| event.country.as_deref())
            .collect();
        let sites: BTreeMap<_, _> = sites.iter().map(|site| (site.id, site)).collect();
        let mut peers = Vec::new();
        for agent in agents.iter().filter(|agent| !agent.revoked) {
            let Some(site) = sites.get(&agent.site) else {
                continue;
            };
            if hit.contains(agent.id.to_string().as_str()) || peers.len() >= AGENTS_MAX {
                continue;
            }
            let country = site.geography.country.as_deref();
            let same_country = country.is_some_and(|country| countries.contains(country));
            for target in &targets {
                peers.extend(self.peer(agent, site, same_country, target).await?);
            }
        }
        Ok(peers)
    }

    async fn peer(
        &self,
        agent: &Agent,
        site: &Site,
        same_country: bool,
        target: &str,
    ) -> StoreResult<Option<Peer>> {
        let spans = self
            .store
            .spans(self.organisation, agent.id, target, 1)
            .await?;
        let Some(span) = spans.into_iter().next() else {
            return Ok(None);
        };
        let provider = self.incident.provider_asn;
        let same_provider = provider.is_some_and(|asn| span.identity.as_path.contains(&asn));
        let same = match (same_provider, same_country) {
            (true, _) => "provider",
            (false, true) => "country",
            (false, false) => return Ok(None),
        };
        Ok(Some(Peer {
            agent_id: agent.id.to_string(),
            site_name: site.name.clone(),
            same: same.to_owned(),
            state: agent.state(self.now_unix_ms).to_owned(),
            target: target.to_owned(),
            path: span.identity,
            since_unix_ms: span.from_unix_ms,
            seen_unix_ms: span.to_unix_ms,
            figures: self.figures(agent.id, &site.name, target).await?,
        }))
    }

    /// Rounds of the affected agents around the onset, out of the reports as they were received.
    async fn rounds(&self, events: &[Event]) -> StoreResult<Vec<RawRound>> {
        let (from, to) = (
            self.incident.onset_from_unix_ms - AROUND_MS,
            self.incident.onset_to_unix_ms + AROUND_MS,
        );
        let targets: BTreeSet<&str> = events.iter().map(|event| event.target.as_str()).collect();
        let agents: BTreeSet<AgentId> = events.iter().filter_map(agent_of).collect();
        let mut rounds = Vec::new();
        for agent in agents {
            let sender = Identity {
                organisation: self.organisation.clone(),
                agent,
            };
            let reports = self
                .store
                .reports_of(self.organisation, agent, (from, to + LATE_MS), REPORTS_MAX)
                .await?;
            for report in reports {
                // One that cannot be read was set aside when it came, and was no evidence then either.
                let Ok(batch) = decode(&report.frame, &sender, report.received_unix_ms) else {
                    continue;
                };
                let is_wanted = |round: &&Round| {
                    (from..=to).contains(&round.at_unix_ms) && targets.contains(&*round.target)
                };
                let wanted = batch.rounds.iter().filter(is_wanted);
                rounds.extend(wanted.map(|round| raw(agent, round)));
            }
            if rounds.len() >= ROUNDS_MAX {
                break;
            }
        }
        rounds.truncate(ROUNDS_MAX);
        rounds.sort_by_key(|round: &RawRound| round.at_unix_ms);
        Ok(rounds)
    }
}

fn agent_of(event: &Event) -> Option<AgentId> {
    event.agent_id.parse().map(AgentId).ok()
}

fn raw(agent: AgentId, round: &Round) -> RawRound {
    let flow = |flow: &Flow| RawFlow {
        flow_id: flow.flow_id,
        destination_ttl: flow.destination_ttl,
        hops: flow
            .hops
            .iter()
            .map(|hop| {
                let address = hop.address.map(|address| address.to_string());
                (hop.ttl, address, hop.rtt_us)
            })
            .collect(),
    };
    RawRound {
        agent_id: agent.to_string(),
        at_unix_ms: round.at_unix_ms,
        target: round.target.to_string(),
        destination: round.destination.to_string(),
        kind: format!("{:?}", round.kind),
        burst: round.burst,
        flows: round.flows.iter().map(flow).collect(),
    }
}

/// What the evidence does not show: silence is no proof in either direction.
fn not_seen(
    incident: &Incident,
    events: &[Event],
    unaffected: &[Peer],
    rounds: &[RawRound],
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |is_so: bool, line: String| {
        if is_so {
            lines.push(line);
        }
    };
    let hops = rounds.iter().flat_map(|round| &round.flows);
    let (mut silent, mut all) = (0_u64, 0_u64);
    for hop in hops.flat_map(|flow| &flow.hops) {
        all += 1;
        silent += u64::from(hop.1.is_none());
    }
    add(
        silent > 0,
        format!(
            "{silent} of {all} hops in the rounds below did not answer: that is no loss, routers may stay silent"
        ),
    );
    add(
        rounds.is_empty(),
        "the rounds around the onset are not kept any more, or no report of them came".to_owned(),
    );
    let mute = unaffected.iter().filter(|peer| peer.state != "reporting");
    let mute = mute.count();
    add(
        mute > 0,
        format!(
            "{mute} of the agents listed for comparison do not report at the moment: they prove nothing"
        ),
    );
    let unknown = |path: &PathIdentity| path.ingress_routers.is_empty();
    let blind = events
        .iter()
        .filter(|event| unknown(&event.before) || unknown(&event.after));
    let blind = blind.count();
    add(
        blind > 0,
        format!(
            "in {blind} of {} events the ingress router did not answer on one side",
            events.len()
        ),
    );
    for event in events {
        if let Some(grade) = &event.observability {
            let is_poor = |grade: &str| matches!(grade, "C" | "D");
            add(
                is_poor(&grade.geo) || is_poor(&grade.local) || is_poor(&grade.provider),
                format!(
                    "{} to {}: observability provider {}, metro {}, router {} (A: 95 % of rounds could tell, D: under 30 %)",
                    event.site_name, event.target, grade.provider, grade.geo, grade.local
                ),
            );
        }
    }
    add(
        incident.rtt_cost.is_none(),
        "the cost in RTT is not known: too few RTTs on one side".to_owned(),
    );
    add(
        unaffected.is_empty(),
        "no agent of the same provider or country was there for comparison".to_owned(),
    );
    lines.push("the way back is not seen: traceroutes show the way out only".to_owned());
    lines
}
