//! Reads the evidence out of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use firstmile_wire::ids::{AgentId, OrganisationId};
use firstmile_wire::v1::{Phase, Protocol};

use super::{AGENTS_MAX, Evidence, Figures, Peer, ROUNDS_MAX, RawFlow, RawRound, Span};
use crate::api::types::{Event, Incident, PathIdentity};
use crate::auth::identity::Identity;
use crate::detect::PathBrief;
use crate::geo::is_private_use;
use crate::ingest::batch::{Flow, Round};
use crate::ingest::decode::decode;
use crate::registry::{Agent, Site};
use crate::rollup::MINUTE_MS;
use crate::store::{CellQuery, Group, InboxReport, Scope, Store, StoreResult};

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
/// Agents whose rounds are looked for.
const ROUNDS_OF_AGENTS_MAX: usize = 8;
/// Targets at which others are compared.
const TARGETS_MAX: usize = 8;
/// What stands in the place of an address inside a site.
const PRIVATE: &str = "private";

/// Gathers the evidence of an incident. What is not `full` is fit for a stranger: it names no address inside a site, and of agents
/// that were not affected only those of the incident's provider.
///
/// # Errors
/// Those of the store; [`crate::store::StoreError::NotFound`] if there is no such incident.
pub async fn gather(
    store: &dyn Store,
    organisation: &OrganisationId,
    incident_id: &str,
    full: bool,
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
        full,
        now_unix_ms,
    };
    let affected = reading.affected(&events).await?;
    let agents = store.agents(organisation).await?;
    let sites = store.sites(organisation).await?;
    let unaffected = reading.unaffected(&events, &agents, &sites).await?;
    let rounds = reading.rounds(&events).await?;
    let mut not_seen = not_seen(&incident, &events, &unaffected, &rounds);
    if !full {
        not_seen.push(
            "left out here: addresses inside the sites, and agents of other providers".to_owned(),
        );
    }
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
    full: bool,
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

    /// Agents that share the provider, or else the country, of the affected ones: whom to ask about is known from one look at all,
    /// so that a large fleet costs no more than a small one.
    async fn unaffected(
        &self,
        events: &[Event],
        agents: &[Agent],
        sites: &[Site],
    ) -> StoreResult<Vec<Peer>> {
        let hit: BTreeSet<&str> = events.iter().map(|event| event.agent_id.as_str()).collect();
        let targets: BTreeSet<&str> = events.iter().map(|event| event.target.as_str()).collect();
        let targets: BTreeSet<&str> = targets.into_iter().take(TARGETS_MAX).collect();
        let countries: BTreeSet<&str> = events
            .iter()
            .filter_map(|event| event.country.as_deref())
            .collect();
        let sites: BTreeMap<_, _> = sites.iter().map(|site| (site.id, site)).collect();
        let briefs = self
            .store
            .path_briefs(self.organisation, &Scope::World)
            .await?;
        let mut candidates = Vec::new();
        for agent in agents.iter().filter(|agent| !agent.revoked) {
            let (Some(site), Some(paths)) = (sites.get(&agent.site), briefs.get(&agent.id)) else {
                continue;
            };
            if hit.contains(agent.id.to_string().as_str()) {
                continue;
            }
            let country = site.geography.country.as_deref();
            let same_country = country.is_some_and(|country| countries.contains(country));
            for (target, brief) in paths
                .iter()
                .filter(|(one, _)| targets.contains(one.as_str()))
            {
                let same = match (self.is_of_provider(brief), same_country && self.full) {
                    (true, _) => "provider",
                    (false, true) => "country",
                    (false, false) => continue,
                };
                candidates.push((same, agent, *site, target.as_str()));
            }
        }
        // Those of the provider say most.
        candidates.sort_by_key(|(same, ..)| *same != "provider");
        let mut peers = Vec::new();
        for (same, agent, site, target) in candidates.into_iter().take(AGENTS_MAX) {
            peers.extend(self.peer(same, agent, site, target).await?);
        }
        Ok(peers)
    }

    fn is_of_provider(&self, brief: &PathBrief) -> bool {
        let Some(asn) = self.incident.provider_asn else {
            return false;
        };
        let on_the_way = |path: &PathIdentity| path.as_path.contains(&asn);
        brief.provider_asn == Some(asn) || brief.latest.as_ref().is_some_and(on_the_way)
    }

    async fn peer(
        &self,
        same: &str,
        agent: &Agent,
        site: &Site,
        target: &str,
    ) -> StoreResult<Option<Peer>> {
        let spans = self
            .store
            .spans(self.organisation, agent.id, target, 1)
            .await?;
        let Some(span) = spans.into_iter().next() else {
            return Ok(None);
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
        let targets: BTreeSet<String> = events.iter().map(|event| event.target.clone()).collect();
        let agents: BTreeSet<AgentId> = events.iter().filter_map(agent_of).collect();
        let mut rounds = Vec::new();
        for agent in agents.into_iter().take(ROUNDS_OF_AGENTS_MAX) {
            let reports = self
                .store
                .reports_of(self.organisation, agent, (from, to + LATE_MS), REPORTS_MAX)
                .await?;
            let wanted = Wanted {
                sender: Identity {
                    organisation: self.organisation.clone(),
                    agent,
                },
                targets: targets.clone(),
                span: (from, to),
                full: self.full,
            };
            // Unpacking hundreds of reports is work for a thread of its own.
            let read = tokio::task::spawn_blocking(move || wanted.out_of(&reports));
            // A report that breaks its reader is no evidence.
            rounds.extend(read.await.unwrap_or_default());
            if rounds.len() >= ROUNDS_MAX {
                break;
            }
        }
        rounds.truncate(ROUNDS_MAX);
        rounds.sort_by_key(|round: &RawRound| round.at_unix_ms);
        Ok(rounds)
    }
}

/// What is looked for in the reports of one agent.
struct Wanted {
    sender: Identity,
    targets: BTreeSet<String>,
    span: (i64, i64),
    full: bool,
}

impl Wanted {
    fn out_of(&self, reports: &[InboxReport]) -> Vec<RawRound> {
        let mut rounds = Vec::new();
        for report in reports {
            // One that cannot be read was set aside when it came, and was no evidence then either.
            let Ok(batch) = decode(&report.frame, &self.sender, report.received_unix_ms) else {
                continue;
            };
            let is_wanted = |round: &&Round| {
                (self.span.0..=self.span.1).contains(&round.at_unix_ms)
                    && self.targets.contains(&*round.target)
            };
            let wanted = batch.rounds.iter().filter(is_wanted);
            rounds.extend(wanted.map(|round| raw(self.sender.agent, round, self.full)));
            if rounds.len() >= ROUNDS_MAX {
                break;
            }
        }
        rounds
    }
}

fn agent_of(event: &Event) -> Option<AgentId> {
    event.agent_id.parse().map(AgentId).ok()
}

fn raw(agent: AgentId, round: &Round, full: bool) -> RawRound {
    let written = |address: IpAddr| {
        if full || !is_private_use(address) {
            address.to_string()
        } else {
            PRIVATE.to_owned()
        }
    };
    let flow = |flow: &Flow| RawFlow {
        flow_id: flow.flow_id,
        destination_ttl: flow.destination_ttl,
        hops: flow
            .hops
            .iter()
            .map(|hop| {
                let address = hop.address.map(written);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use firstmile_wire::v1::{TraceKind, TraceStream};

    use super::*;
    use crate::ingest::batch::Hop;

    #[test]
    fn a_stranger_reads_no_address_inside_a_site() {
        let hop = |ttl: u32, address: &str| Hop {
            ttl,
            address: Some(address.parse().unwrap()),
            rtt_us: 1_000,
            reply_ttl: 0,
            icmp: 0,
            seen_unix_ms: None,
        };
        let round = Round {
            at_unix_ms: 0,
            target: Arc::from("exchange"),
            destination: [203, 0, 113, 10].into(),
            kind: TraceKind::Tcp,
            burst: false,
            stream: TraceStream::Full,
            nat64: None,
            flows: vec![Flow {
                flow_id: 1,
                destination_ttl: Some(3),
                hops: vec![hop(1, "10.1.2.3"), hop(2, "198.51.100.1")],
            }],
        };
        let agent = AgentId(uuid::Uuid::nil());
        let hops = |full| {
            let raw = raw(agent, &round, full);
            let hops = &raw.flows[0].hops;
            hops.iter()
                .map(|hop| hop.1.clone().unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(hops(false), ["private", "198.51.100.1"]);
        assert_eq!(hops(true), ["10.1.2.3", "198.51.100.1"]);
    }
}
