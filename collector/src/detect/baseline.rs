//! The usual path as sets of values with their support, and the judgement of a round against it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Observation;
use super::identity::{AsPath, FlowProjection, Ingress};
use crate::api::types::PathIdentity;

/// Counts are halved beyond this many, so that what is not seen any more fades: with 8 flows a minute, in half a day.
const SUPPORT_MAX: u32 = 4096;
/// A value with at least one part in this many belongs to the usual path as people see it (5 %).
const MAJOR_PART: u32 = 20;
/// A value with less than one part in this many is novel (1 %).
const KNOWN_PART: u32 = 100;
/// While so few values were counted, one sighting makes a value known.
const FEW: u32 = 40;
/// Destinations, routers and paths that are remembered: far above what one target has, and a bound for a hostile agent.
const REMEMBERED_MAX: usize = 128;

/// Values of each layer, with how often flows showed them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Baseline {
    /// Rounds taken in.
    pub rounds: u32,
    as_paths: Vec<(AsPath, u32)>,
    routers: Vec<KnownRouter>,
    edges: BTreeMap<String, u32>,
    inside: BTreeSet<String>,
    destinations: BTreeSet<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KnownRouter {
    addresses: BTreeSet<IpAddr>,
    router: Option<String>,
    metro: Option<String>,
    count: u32,
    /// How often a silent router may have hidden in front of it.
    uncertain: u32,
}

/// A layer of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The AS path.
    AsPath,
    /// The metro of the ingress.
    Metro,
    /// The metro that headers name.
    Edge,
    /// The ingress router.
    Router,
}

/// All layers, the one that names an event first.
pub const LAYERS: [Layer; 4] = [Layer::AsPath, Layer::Metro, Layer::Edge, Layer::Router];

/// What a round says of one layer, against a baseline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Too few flows say anything.
    Unknown,
    /// Most flows that say anything show known values.
    Same,
    /// At least half of the flows that say anything show values outside.
    Novel {
        /// The values outside.
        values: BTreeSet<String>,
        /// Flows that show them.
        flows: usize,
        /// Flows that say anything.
        responding: usize,
    },
}

/// What one flow says of one layer.
enum Word {
    Nothing,
    Known,
    /// By all the names that the value goes by.
    Outside(Vec<String>),
}

impl Baseline {
    /// Takes in every value of a round.
    pub fn admit(&mut self, observation: &Observation) {
        self.admit_where(observation, |_, _| true);
    }

    /// Takes in what a round shows of known values, and leaves out what is outside.
    pub fn admit_known(&mut self, observation: &Observation) {
        let known = self.clone();
        self.admit_where(observation, |_, flow| !known.is_outside(flow));
    }

    /// Whether any flow shows an AS path or a router outside.
    pub fn has_outside(&self, observation: &Observation) -> bool {
        let mut flows = observation.projection.flows.iter();
        flows.any(|flow| self.is_outside(flow))
    }

    fn is_outside(&self, flow: &FlowProjection) -> bool {
        matches!(self.as_word(flow), Word::Outside(_))
            || matches!(self.router_word(flow), Word::Outside(_))
    }

    /// Takes in the values of a round that are outside of `usual`.
    pub fn admit_outside(&mut self, observation: &Observation, usual: &Self) {
        self.admit_where(observation, |layer, flow| match layer {
            Layer::AsPath => matches!(usual.as_word(flow), Word::Outside(_)),
            Layer::Metro | Layer::Router => matches!(usual.router_word(flow), Word::Outside(_)),
            Layer::Edge => false,
        });
        for edge in observation
            .projection
            .identity
            .edge_metros
            .iter()
            .filter(|edge| !usual.edges.contains_key(*edge))
        {
            bump(&mut self.edges, edge);
        }
    }

    fn admit_where(
        &mut self,
        observation: &Observation,
        admits: impl Fn(Layer, &FlowProjection) -> bool,
    ) {
        self.rounds = self.rounds.saturating_add(1);
        if self.destinations.len() < REMEMBERED_MAX {
            self.destinations.insert(observation.destination);
        }
        for flow in &observation.projection.flows {
            if !flow.as_path.is_empty() && admits(Layer::AsPath, flow) {
                self.admit_as_path(&flow.as_path);
            }
            if let Some(ingress) = &flow.ingress
                && admits(Layer::Router, flow)
            {
                self.admit_router(ingress);
            }
            let room = REMEMBERED_MAX.saturating_sub(self.inside.len());
            self.inside.extend(flow.inside.iter().take(room).cloned());
        }
        for edge in &observation.projection.identity.edge_metros {
            if admits(Layer::Edge, &FlowProjection::default()) {
                bump(&mut self.edges, edge);
            }
        }
        self.fade();
    }

    /// A whole path explains those with gaps that agree with it, so they need no place of their own.
    fn admit_as_path(&mut self, path: &AsPath) {
        let exact = self.as_paths.iter_mut().find(|(known, _)| known == path);
        if let Some((_, count)) = exact {
            *count = count.saturating_add(1);
            return;
        }
        if path.is_whole() {
            self.as_paths
                .retain(|(known, _)| known.is_whole() || !known.agrees_with(path));
        } else if let Some((_, count)) = self
            .as_paths
            .iter_mut()
            .find(|(known, _)| known.agrees_with(path))
        {
            *count = count.saturating_add(1);
            return;
        }
        if self.as_paths.len() < REMEMBERED_MAX {
            self.as_paths.push((path.clone(), 1));
        }
    }

    /// A router that is known by address learns its name when DNS answers later than the trace.
    fn admit_router(&mut self, ingress: &Ingress) {
        let room = self.routers.len() < REMEMBERED_MAX;
        match self.routers.iter_mut().find(|known| known.is(ingress)) {
            Some(known) => known.admit(ingress),
            None if room => self.routers.push(KnownRouter::new(ingress)),
            None => {}
        }
    }

    /// Halves the counts once there are many, and forgets what is left with none.
    fn fade(&mut self) {
        if self.as_total() > SUPPORT_MAX {
            self.as_paths.iter_mut().for_each(|(_, count)| *count /= 2);
            self.as_paths.retain(|(_, count)| *count > 0);
        }
        if self.router_total() > SUPPORT_MAX {
            for known in &mut self.routers {
                known.count /= 2;
                known.uncertain /= 2;
            }
            self.routers.retain(|known| known.count > 0);
        }
        if self.edge_total() > SUPPORT_MAX {
            self.edges.values_mut().for_each(|count| *count /= 2);
            self.edges.retain(|_, count| *count > 0);
        }
    }

    /// What a round says of a layer, against this baseline.
    pub fn judge(&self, layer: Layer, observation: &Observation) -> Judgement {
        let flows = &observation.projection.flows;
        match layer {
            Layer::AsPath => self.majority(flows, |flow| self.as_word(flow)),
            Layer::Metro => self.majority(flows, |flow| self.metro_word(flow)),
            // Another address of the target may have another ingress router in the same metro: like is compared with like.
            Layer::Router if !self.destinations.contains(&observation.destination) => {
                Judgement::Unknown
            }
            Layer::Router => self.majority(flows, |flow| self.router_word(flow)),
            Layer::Edge => self.judge_edge(&observation.projection.identity.edge_metros),
        }
    }

    #[expect(
        clippy::unused_self,
        reason = "reads as a judgement of the baseline, beside its siblings"
    )]
    fn majority(
        &self,
        flows: &[FlowProjection],
        word: impl Fn(&FlowProjection) -> Word,
    ) -> Judgement {
        let mut values = BTreeSet::new();
        let (mut outside, mut responding) = (0, 0);
        for flow in flows {
            match word(flow) {
                Word::Nothing => {}
                Word::Known => responding += 1,
                Word::Outside(names) => {
                    responding += 1;
                    outside += 1;
                    values.extend(names);
                }
            }
        }
        if responding == 0 || responding < flows.len().min(2) {
            Judgement::Unknown
        } else if outside * 2 >= responding {
            Judgement::Novel {
                values,
                flows: outside,
                responding,
            }
        } else {
            Judgement::Same
        }
    }

    fn judge_edge(&self, edges: &[String]) -> Judgement {
        if self.edges.is_empty() || edges.is_empty() {
            return Judgement::Unknown;
        }
        let outside: BTreeSet<String> = edges
            .iter()
            .filter(|edge| !self.edges.contains_key(*edge))
            .cloned()
            .collect();
        if outside.is_empty() {
            return Judgement::Same;
        }
        Judgement::Novel {
            flows: outside.len(),
            responding: edges.len(),
            values: outside,
        }
    }

    fn as_word(&self, flow: &FlowProjection) -> Word {
        if flow.as_path.is_empty() || self.as_paths.is_empty() {
            return Word::Nothing;
        }
        let total = self.as_total();
        let known = || {
            let known = self
                .as_paths
                .iter()
                .filter(|(_, count)| is_known(*count, total));
            known.map(|(path, _)| path)
        };
        if known().any(|path| flow.as_path == *path) {
            Word::Known
        } else if !known().any(|path| flow.as_path.agrees_with(path)) {
            Word::Outside(vec![as_path_text(&flow.as_path.known())])
        } else if flow.as_path.is_whole() {
            Word::Known
        } else {
            Word::Nothing // it may be the usual path, and it may be another
        }
    }

    fn router_word(&self, flow: &FlowProjection) -> Word {
        let Some(ingress) = flow.ingress.as_ref().filter(|_| !self.routers.is_empty()) else {
            return Word::Nothing;
        };
        if self.knows(ingress) {
            return Word::Known;
        }
        if !ingress.certain && (self.is_usually_certain() || self.is_inside(ingress)) {
            return Word::Nothing; // the ingress is silent, and this is a router behind it
        }
        // A name that is known from the next round on must not look like another router.
        Word::Outside(
            ingress
                .router
                .iter()
                .cloned()
                .chain([ingress.address.to_string()])
                .collect(),
        )
    }

    fn metro_word(&self, flow: &FlowProjection) -> Word {
        let Some(metro) = flow
            .ingress
            .as_ref()
            .and_then(|ingress| ingress.metro.as_deref())
        else {
            return Word::Nothing;
        };
        let metros = self.metros(is_known);
        match self.router_word(flow) {
            Word::Nothing => Word::Nothing,
            Word::Known => Word::Known,
            Word::Outside(_) if metros.is_empty() => Word::Nothing,
            Word::Outside(_) if metros.contains(metro) => Word::Known,
            Word::Outside(_) => Word::Outside(vec![metro.to_owned()]),
        }
    }

    fn knows(&self, ingress: &Ingress) -> bool {
        let total = self.router_total();
        self.routers
            .iter()
            .any(|known| is_known(known.count, total) && known.is(ingress))
    }

    fn is_usually_certain(&self) -> bool {
        let uncertain: u32 = self.routers.iter().map(|known| known.uncertain).sum();
        uncertain.saturating_mul(2) < self.router_total()
    }

    fn is_inside(&self, ingress: &Ingress) -> bool {
        let named = ingress
            .router
            .as_ref()
            .is_some_and(|router| self.inside.contains(router));
        named || self.inside.contains(&ingress.address.to_string())
    }

    /// Metros of the routers that `counts` lets through.
    fn metros(&self, counts: fn(u32, u32) -> bool) -> BTreeSet<&str> {
        let total = self.router_total();
        let routers = self
            .routers
            .iter()
            .filter(|known| counts(known.count, total));
        routers.filter_map(|known| known.metro.as_deref()).collect()
    }

    /// Whether a layer holds any value.
    pub fn holds(&self, layer: Layer) -> bool {
        match layer {
            Layer::AsPath => !self.as_paths.is_empty(),
            Layer::Metro => self.routers.iter().any(|known| known.metro.is_some()),
            Layer::Edge => !self.edges.is_empty(),
            Layer::Router => !self.routers.is_empty(),
        }
    }

    /// Whether any flow shows an AS path or a metro outside.
    pub fn has_far_outside(&self, observation: &Observation) -> bool {
        let mut flows = observation.projection.flows.iter();
        flows.any(|flow| {
            matches!(self.as_word(flow), Word::Outside(_))
                || matches!(self.metro_word(flow), Word::Outside(_))
        })
    }

    /// Whether the target was at this address before.
    pub fn knows_destination(&self, destination: IpAddr) -> bool {
        self.destinations.contains(&destination)
    }

    /// The path as people see it: of each layer the values that at least one flow in twenty showed.
    pub fn identity(&self) -> PathIdentity {
        let total = self.router_total();
        let majors = self
            .routers
            .iter()
            .filter(|known| is_major(known.count, total));
        let routers: BTreeSet<String> = majors.map(KnownRouter::label).collect();
        let as_path = self
            .as_paths
            .iter()
            .max_by_key(|(path, count)| (path.is_whole(), *count));
        PathIdentity {
            as_path: as_path.map(|(path, _)| path.known()).unwrap_or_default(),
            ingress_metros: self
                .metros(is_major)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            ingress_routers: routers.into_iter().collect(),
            edge_metros: self.edges.keys().cloned().collect(),
        }
    }

    fn as_total(&self) -> u32 {
        self.as_paths.iter().map(|(_, count)| *count).sum()
    }

    fn router_total(&self) -> u32 {
        self.routers.iter().map(|known| known.count).sum()
    }

    fn edge_total(&self) -> u32 {
        self.edges.values().sum()
    }
}

impl KnownRouter {
    fn new(ingress: &Ingress) -> Self {
        Self {
            addresses: BTreeSet::from([ingress.address]),
            router: ingress.router.clone(),
            metro: ingress.metro.clone(),
            count: 1,
            uncertain: u32::from(!ingress.certain),
        }
    }

    fn is(&self, ingress: &Ingress) -> bool {
        let same_name = self.router.is_some() && self.router == ingress.router;
        same_name || self.addresses.contains(&ingress.address)
    }

    fn admit(&mut self, ingress: &Ingress) {
        if self.addresses.len() < REMEMBERED_MAX {
            self.addresses.insert(ingress.address);
        }
        if ingress.router.is_some() {
            self.router.clone_from(&ingress.router);
            self.metro.clone_from(&ingress.metro);
        }
        self.count = self.count.saturating_add(1);
        self.uncertain = self.uncertain.saturating_add(u32::from(!ingress.certain));
    }

    fn label(&self) -> String {
        let address = || {
            self.addresses
                .first()
                .map(ToString::to_string)
                .unwrap_or_default()
        };
        self.router.clone().unwrap_or_else(address)
    }
}

/// An AS path for people.
pub fn as_path_text(as_path: &[u32]) -> String {
    as_path
        .iter()
        .map(|asn| format!("AS{asn}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn is_major(count: u32, total: u32) -> bool {
    count.saturating_mul(MAJOR_PART) >= total
}

fn is_known(count: u32, total: u32) -> bool {
    (count >= 2 || total < FEW) && count.saturating_mul(KNOWN_PART) >= total
}

fn bump(counts: &mut BTreeMap<String, u32>, key: &str) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_add(1);
    } else if counts.len() < REMEMBERED_MAX {
        counts.insert(key.to_owned(), 1);
    }
}
