//! Agents with their sites and targets, as several answers show them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use firstmile_wire::ids::{AgentId, OrganisationId};
use firstmile_wire::v1::{Outcome, Phase, Protocol};
use futures::future::try_join_all;
use futures::try_join;

use super::ApiState;
use super::failure::Failure;
use super::sites::site_of;
use super::types::{Agent, AgentTarget, Pop, ProtocolState, Site};
use crate::detect::{PathBrief, PathState};
use crate::geo::Geography;
use crate::ingest::batch::{Resolution, Sighting};
use crate::registry::rollout::standing;
use crate::registry::{self, SiteId, Target};
use crate::rollup::{Cell, MINUTE_MS, Weighting, figures, window_start};
use crate::store::{ByAgent, CellQuery, Group, ProtocolHistory, Scope};

/// A path without a round for so long is not known any more: ten rounds of the default plan. Longer if reports come seldom.
const PATH_BLIND_AFTER_MS: i64 = 10 * MINUTE_MS;
/// What a target's figures cover.
const FIGURES_MS: i64 = 15 * MINUTE_MS;
/// What a target's state covers: some 36 pulses of the default plan.
const STATE_MS: i64 = 3 * MINUTE_MS;

/// The protocols, each with the phase that every probe of it begins with.
pub(super) const PROTOCOLS: [(Protocol, Phase, &str); 6] = [
    (Protocol::Tcp, Phase::Rtt, "tcp"),
    (Protocol::Icmp, Phase::Rtt, "icmp"),
    (Protocol::Https, Phase::Connect, "https"),
    (Protocol::Tls, Phase::Connect, "tls"),
    (Protocol::Quic, Phase::Handshake, "quic"),
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
    known: Known,
    /// The last 15 minutes, by protocol in the order of [`PROTOCOLS`].
    figures: Vec<Cells>,
    /// The last 3 minutes of TCP and ICMP, in the order of [`PROTOCOLS`].
    newest: Vec<Cells>,
}

/// What is known of the agents of a scope beside their cells.
#[derive(Default)]
struct Known {
    targets: ByAgent<Target>,
    paths: ByAgent<(String, PathBrief)>,
    destinations: ByAgent<(String, IpAddr)>,
    resolutions: ByAgent<Resolution>,
    sightings: ByAgent<Sighting>,
    histories: ByAgent<(String, ProtocolHistory)>,
}

impl Known {
    async fn load(
        state: &ApiState,
        organisation: &OrganisationId,
        scope: &Scope,
        depth: Depth,
    ) -> Result<Self, Failure> {
        let store = &state.store;
        let mut known = Self {
            targets: store.targets(organisation, scope).await?,
            resolutions: store.resolutions(organisation, scope).await?,
            ..Self::default()
        };
        if depth == Depth::Whole {
            known.paths = store.path_briefs(organisation, scope).await?;
            known.destinations = store.destinations(organisation, scope).await?;
            known.sightings = store.sightings(organisation, scope).await?;
            known.histories = store.protocol_histories(organisation, scope).await?;
        }
        Ok(known)
    }
}

/// All of one agent.
fn of<T>(agent: AgentId, known: &ByAgent<T>) -> &[T] {
    known.get(&agent).map_or(&[], Vec::as_slice)
}

/// That of one target.
fn of_target<'a, T>(target: &str, known: &'a [(String, T)]) -> Option<&'a T> {
    let found = known.iter().find(|(name, _)| name == target);
    found.map(|(_, one)| one)
}

/// How much of each agent is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// All that the API shows.
    Whole,
    /// Enough for the states of agents and targets; all else stays empty.
    States,
}

impl<'a> View<'a> {
    /// For the agents of a scope. The number of questions to the store does not depend on how many there are.
    pub(super) async fn load(
        state: &'a ApiState,
        organisation: &'a OrganisationId,
        scope: &Scope,
        depth: Depth,
    ) -> Result<Self, Failure> {
        let now_unix_ms = (state.now_unix_ms)();
        let asked = |span_ms| {
            move |(protocol, phase, _): (Protocol, Phase, &str)| {
                let rests_on_it = protocol == Protocol::Https || span_ms == STATE_MS;
                let wanted = depth == Depth::Whole || rests_on_it;
                async move {
                    if !wanted {
                        return Ok(Cells::new());
                    }
                    let (from_unix_ms, to_unix_ms) = last(span_ms, now_unix_ms);
                    let query = CellQuery {
                        from_unix_ms,
                        to_unix_ms,
                        step_ms: None,
                        protocol,
                        phase,
                        target: None,
                        scope: scope.clone(),
                        group: Group::AgentTarget,
                    };
                    cells(state, organisation, &query).await
                }
            }
        };
        let figures = PROTOCOLS.map(asked(FIGURES_MS));
        let newest = PROTOCOLS.into_iter().take(2).map(asked(STATE_MS));
        let (sites, known, figures, newest) = try_join!(
            async { Ok(state.store.sites(organisation).await?) },
            Known::load(state, organisation, scope, depth),
            try_join_all(figures),
            try_join_all(newest),
        )?;
        Ok(Self {
            state,
            organisation,
            now_unix_ms,
            sites: sites.into_iter().map(|site| (site.id, site)).collect(),
            known,
            figures,
            newest,
        })
    }

    /// An agent as the API shows it.
    pub(super) fn agent(&self, agent: &registry::Agent) -> Agent {
        let state = agent.state(self.now_unix_ms);
        let targets = of(agent.id, &self.known.targets)
            .iter()
            .map(|target| self.target(agent, state, target))
            .collect();
        let site = self.site(agent.site);
        let plan = self.state.rollout.borrow();
        let expected = plan.expected(agent.id, Some(&site.name));
        drop(plan);
        Agent {
            agent_id: agent.id.to_string(),
            hostname: agent.hostname.clone(),
            site,
            version: agent.version.clone(),
            expected_version: expected.map(|version| version.to_string()),
            version_state: expected.map(|version| standing(&agent.version, version).to_owned()),
            os: agent.os.clone(),
            icmp_capability: agent.icmp_capability.clone(),
            enrolled_unix_ms: agent.enrolled_unix_ms,
            last_seen_unix_ms: agent.last_seen_unix_ms,
            state: state.to_owned(),
            spool_dropped_reports: agent.spool_dropped_reports,
            targets,
        }
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
    ) -> AgentTarget {
        let key = (agent.id, target.name.clone());
        let brief = of_target(&target.name, of(agent.id, &self.known.paths));
        let traced = of_target(&target.name, of(agent.id, &self.known.destinations));
        let resolutions: Vec<&Resolution> = of(agent.id, &self.known.resolutions)
            .iter()
            .filter(|resolution| *resolution.target == *target.name)
            .collect();
        let sighting = of(agent.id, &self.known.sightings)
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
            address: address(target, &resolutions, traced.copied()),
            state: self
                .target_state(agent, agent_state, &key, &resolutions)
                .to_owned(),
            edge_pop: sighting
                .and_then(|sighting| self.state.meaning.now().edge_of_headers(&sighting.headers)),
            ingress_pop: brief.and_then(|brief| ingress_pop(self.state, brief)),
            path_state: path_state(brief, agent, self.now_unix_ms)
                .as_str()
                .to_owned(),
            observability: brief.and_then(|brief| brief.observability.clone()),
            provider_asn: brief.and_then(|brief| brief.provider_asn),
            figures: figures(&tcp, u32::from(tcp.n() > 0), Weighting::Sample),
            protocols: self.protocols(&key, of(agent.id, &self.known.histories)),
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

/// The last minutes, up to the end of the one that runs.
fn last(span_ms: i64, now_unix_ms: i64) -> (i64, i64) {
    let end = window_start(now_unix_ms, MINUTE_MS) + MINUTE_MS;
    (end - span_ms, end)
}

async fn cells(
    state: &ApiState,
    organisation: &OrganisationId,
    query: &CellQuery,
) -> Result<Cells, Failure> {
    let rows = state.store.cells(organisation, query).await?;
    let keyed = rows.into_iter().filter_map(|row| {
        let (agent, target) = row.group.split_once('\t')?;
        Some(((agent.parse().ok()?, target.to_owned()), row.cell))
    });
    Ok(keyed.collect())
}

/// A path that nobody looked at for a while is not known, whatever was remembered.
pub(super) fn path_state(
    brief: Option<&PathBrief>,
    agent: &registry::Agent,
    now_unix_ms: i64,
) -> PathState {
    let Some(brief) = brief else {
        return PathState::Learning;
    };
    let blind_after_ms = PATH_BLIND_AFTER_MS.max(agent.silent_after_ms());
    let old = brief
        .newest_unix_ms
        .is_some_and(|newest| now_unix_ms - newest > blind_after_ms);
    if old || matches!(agent.state(now_unix_ms), "silent" | "revoked") {
        PathState::Blind
    } else {
        brief.state()
    }
}

fn ingress_pop(state: &ApiState, brief: &PathBrief) -> Option<Pop> {
    brief
        .latest
        .as_ref()?
        .ingress_metros
        .first()
        .and_then(|metro| state.meaning.now().metro(metro))
}

/// Where the flows of the newest round went if the name still says so, else what the name says, else a literal address.
fn address(target: &Target, resolutions: &[&Resolution], traced: Option<IpAddr>) -> Option<String> {
    let answers = || {
        resolutions
            .iter()
            .flat_map(|resolution| resolution.addresses.iter())
    };
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
