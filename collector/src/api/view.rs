//! Agents with their sites and targets, as several answers show them.

use std::collections::BTreeMap;

use firstmile_wire::ids::{AgentId, OrganisationId};
use firstmile_wire::v1::{Outcome, Phase, Protocol};

use super::ApiState;
use super::failure::Failure;
use super::sites::site_of;
use super::types::{Agent, AgentTarget, Pop, ProtocolState, Site};
use crate::detect::{PathMemory, PathState};
use crate::geo::Geography;
use crate::ingest::batch::{Resolution, Round, Sighting};
use crate::registry::{self, SiteId, Target};
use crate::rollup::{Cell, MINUTE_MS, Weighting, figures, window_start};
use crate::store::{CellQuery, Group, ProtocolHistory, Scope};

/// An agent that was not heard for so long is silent: six report intervals.
pub(super) const SILENT_AFTER_MS: i64 = 3 * MINUTE_MS;
/// A path without a round for so long is not known any more: ten rounds of the default plan.
const PATH_BLIND_AFTER_MS: i64 = 10 * MINUTE_MS;
/// What a target's figures cover.
const FIGURES_MS: i64 = 15 * MINUTE_MS;
/// What a target's state covers: some 36 pulses of the default plan.
const STATE_MS: i64 = 3 * MINUTE_MS;

/// The protocols, each with the phase that every probe of it begins with.
pub(super) const PROTOCOLS: [(Protocol, Phase, &str); 4] = [
    (Protocol::Tcp, Phase::Rtt, "tcp"),
    (Protocol::Icmp, Phase::Rtt, "icmp"),
    (Protocol::Https, Phase::Connect, "https"),
    (Protocol::Dns, Phase::Dns, "dns"),
];

/// Cells by (agent, target).
type Cells = BTreeMap<(AgentId, String), Cell>;

/// What all agents of a scope share, read once.
pub(super) struct View<'a> {
    state: &'a ApiState,
    organisation: &'a OrganisationId,
    now_unix_ms: i64,
    sites: BTreeMap<SiteId, registry::Site>,
    /// The last 15 minutes, by protocol in the order of [`PROTOCOLS`].
    figures: Vec<Cells>,
    /// The last 3 minutes of TCP and ICMP, in the order of [`PROTOCOLS`].
    newest: Vec<Cells>,
}

/// What is known of one agent beside its cells.
struct Known {
    targets: Vec<Target>,
    memories: BTreeMap<String, PathMemory>,
    rounds: Vec<Round>,
    resolutions: Vec<Resolution>,
    sightings: Vec<Sighting>,
    histories: Vec<(String, ProtocolHistory)>,
}

impl<'a> View<'a> {
    /// For the agents of a scope.
    pub(super) async fn load(
        state: &'a ApiState,
        organisation: &'a OrganisationId,
        scope: Scope,
    ) -> Result<Self, Failure> {
        let now_unix_ms = (state.now_unix_ms)();
        let sites = state.store.sites(organisation).await?;
        let mut view = Self {
            state,
            organisation,
            now_unix_ms,
            sites: sites.into_iter().map(|site| (site.id, site)).collect(),
            figures: Vec::new(),
            newest: Vec::new(),
        };
        for (protocol, phase, _) in PROTOCOLS {
            let cells = view
                .cells(scope.clone(), protocol, phase, FIGURES_MS)
                .await?;
            view.figures.push(cells);
        }
        for (protocol, phase, _) in PROTOCOLS.into_iter().take(2) {
            let cells = view.cells(scope.clone(), protocol, phase, STATE_MS).await?;
            view.newest.push(cells);
        }
        Ok(view)
    }

    async fn cells(
        &self,
        scope: Scope,
        protocol: Protocol,
        phase: Phase,
        span_ms: i64,
    ) -> Result<Cells, Failure> {
        let to_unix_ms = window_start(self.now_unix_ms, MINUTE_MS) + MINUTE_MS;
        let query = CellQuery {
            from_unix_ms: to_unix_ms - span_ms,
            to_unix_ms,
            step_ms: None,
            protocol,
            phase,
            target: None,
            scope,
            group: Group::AgentTarget,
        };
        let rows = self.state.store.cells(self.organisation, &query).await?;
        let keyed = rows.into_iter().filter_map(|row| {
            let (agent, target) = row.group.split_once('\t')?;
            Some(((agent.parse().ok()?, target.to_owned()), row.cell))
        });
        Ok(keyed.collect())
    }

    /// An agent as the API shows it.
    pub(super) async fn agent(&self, agent: &registry::Agent) -> Result<Agent, Failure> {
        let known = self.known(agent.id).await?;
        let state = state_of(agent, self.now_unix_ms);
        let targets = known
            .targets
            .iter()
            .map(|target| self.target(agent, state, target, &known))
            .collect();
        Ok(Agent {
            agent_id: agent.id.to_string(),
            hostname: agent.hostname.clone(),
            site: self.site(agent.site),
            version: agent.version.clone(),
            os: agent.os.clone(),
            icmp_capability: agent.icmp_capability.clone(),
            enrolled_unix_ms: agent.enrolled_unix_ms,
            last_seen_unix_ms: agent.last_seen_unix_ms,
            state: state.to_owned(),
            spool_dropped_reports: agent.spool_dropped_reports,
            targets,
        })
    }

    async fn known(&self, agent: AgentId) -> Result<Known, Failure> {
        let (store, organisation) = (&self.state.store, self.organisation);
        let mut targets = store.targets(organisation, agent).await?;
        targets.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Known {
            targets,
            memories: store.path_memories(organisation, agent).await?,
            rounds: store.latest_rounds(organisation, agent).await?,
            resolutions: store.resolutions(organisation, agent).await?,
            sightings: store.sightings(organisation, agent).await?,
            histories: store.protocol_histories(organisation, agent).await?,
        })
    }

    /// A site that somebody deleted leaves its agents behind; they still have a place in the list.
    fn site(&self, id: SiteId) -> Site {
        let unnamed = || registry::Site {
            id,
            organisation: self.organisation.clone(),
            name: "(no site)".to_owned(),
            geography: Geography::default(),
        };
        site_of(&self.sites.get(&id).cloned().unwrap_or_else(unnamed))
    }

    fn target(
        &self,
        agent: &registry::Agent,
        agent_state: &'static str,
        target: &Target,
        known: &Known,
    ) -> AgentTarget {
        let key = (agent.id, target.name.clone());
        let memory = known.memories.get(&target.name);
        let resolutions: Vec<&Resolution> = known
            .resolutions
            .iter()
            .filter(|resolution| *resolution.target == *target.name)
            .collect();
        let round = known
            .rounds
            .iter()
            .find(|round| *round.target == *target.name);
        let sighting = known
            .sightings
            .iter()
            .find(|sighting| *sighting.target == *target.name);
        let tcp = self
            .figures
            .first()
            .and_then(|cells| cells.get(&key))
            .cloned()
            .unwrap_or_default();
        AgentTarget {
            name: target.name.clone(),
            host: target.host.clone(),
            port: target.port,
            service: target.service.clone(),
            address: address(target, &resolutions, round),
            state: self
                .target_state(agent, agent_state, &key, &resolutions)
                .to_owned(),
            edge_pop: sighting
                .and_then(|sighting| self.state.meaning.edge_of_headers(&sighting.headers)),
            ingress_pop: memory.and_then(|memory| ingress_pop(self.state, memory)),
            path_state: path_state(memory, agent_state, self.now_unix_ms)
                .as_str()
                .to_owned(),
            figures: figures(&tcp, u32::from(tcp.n() > 0), Weighting::Sample),
            protocols: self.protocols(&key, &known.histories),
        }
    }

    fn target_state(
        &self,
        agent: &registry::Agent,
        agent_state: &'static str,
        key: &(AgentId, String),
        resolutions: &[&Resolution],
    ) -> &'static str {
        if agent_state != "reporting" {
            return agent_state;
        }
        let https = self.figures.get(2);
        let mut all = Cell::default();
        for cell in self
            .newest
            .iter()
            .chain(https)
            .filter_map(|cells| cells.get(key))
        {
            all.merge(cell);
        }
        let named = resolutions
            .iter()
            .any(|resolution| !resolution.addresses.is_empty());
        let unnamed = !named
            && resolutions
                .iter()
                .any(|resolution| resolution.outcome != Outcome::Answered);
        match () {
            () if all.was_answered() => "ok",
            () if unnamed => "dns_failed",
            () if all.n() > 0 || all.unanswered > 0 => "unreachable",
            () if all.not_sent > 0 && self.only_icmp_is_refused(agent, key) => "not_permitted",
            () if all.not_sent > 0 => "no_route",
            () => "waiting",
        }
    }

    /// Nothing but ICMP was tried, and the machine does not let the agent send it.
    fn only_icmp_is_refused(&self, agent: &registry::Agent, key: &(AgentId, String)) -> bool {
        let tcp_tried = self
            .newest
            .first()
            .is_some_and(|cells| cells.contains_key(key));
        !tcp_tried && agent.icmp_capability.as_deref() == Some("none")
    }

    fn protocols(
        &self,
        key: &(AgentId, String),
        histories: &[(String, ProtocolHistory)],
    ) -> Vec<ProtocolState> {
        let with_history =
            PROTOCOLS
                .iter()
                .zip(&self.figures)
                .filter_map(|((protocol, _, word), cells)| {
                    let of_target = |(target, history): &&(String, ProtocolHistory)| {
                        *target == key.1 && history.protocol == *protocol
                    };
                    let (_, history) = histories.iter().find(of_target)?;
                    let n = cells.get(key).map_or(0, Cell::probes);
                    Some(ProtocolState {
                        protocol: (*word).to_owned(),
                        answered_here: history.answered,
                        n,
                    })
                });
        with_history.collect()
    }
}

/// `reporting`, `silent`, `waiting` or `revoked`.
pub(super) fn state_of(agent: &registry::Agent, now_unix_ms: i64) -> &'static str {
    match agent.last_seen_unix_ms {
        _ if agent.revoked => "revoked",
        None => "waiting",
        Some(seen) if now_unix_ms - seen > SILENT_AFTER_MS => "silent",
        Some(_) => "reporting",
    }
}

/// A path that nobody looked at for a while is not known, whatever was remembered.
pub(super) fn path_state(
    memory: Option<&PathMemory>,
    agent_state: &str,
    now_unix_ms: i64,
) -> PathState {
    let Some(memory) = memory else {
        return PathState::Learning;
    };
    let old = memory
        .newest_unix_ms
        .is_some_and(|newest| now_unix_ms - newest > PATH_BLIND_AFTER_MS);
    if old || matches!(agent_state, "silent" | "revoked") {
        PathState::Blind
    } else {
        memory.state()
    }
}

fn ingress_pop(state: &ApiState, memory: &PathMemory) -> Option<Pop> {
    memory
        .latest
        .as_ref()?
        .ingress_metros
        .first()
        .and_then(|metro| state.meaning.metro(metro))
}

/// Where the flows of the newest round went if the name still says so, else what the name says, else a literal address.
fn address(target: &Target, resolutions: &[&Resolution], round: Option<&Round>) -> Option<String> {
    let answers = || {
        resolutions
            .iter()
            .flat_map(|resolution| resolution.addresses.iter())
    };
    let traced = round.map(|round| round.destination);
    let current =
        traced.filter(|traced| resolutions.is_empty() || answers().any(|answer| answer == traced));
    let named = answers()
        .find(|address| address.is_ipv4())
        .or_else(|| answers().next())
        .copied();
    current
        .or(named)
        .or_else(|| target.host.parse().ok())
        .map(|address| address.to_string())
}
