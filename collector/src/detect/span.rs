//! When two rounds lie on one span of the path's history.
//!
//! Silence is no change. Headers are seen every few minutes, hops are not asked more than once a second and so not by every
//! flow in every round: what one of the two rounds could not see neither parts them nor is forgotten.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::identity::{AsPath, Projection};
use crate::api::types::PathIdentity;

/// What a round says of the path, or all rounds of a span together, and how much of it they saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// The path for people.
    #[serde(flatten)]
    pub identity: PathIdentity,
    /// Its AS path with the places where silent hops may hide an AS; empty where nothing is known of it, or in what an
    /// earlier program wrote.
    #[serde(default, skip_serializing_if = "AsPath::is_empty")]
    pub as_steps: AsPath,
    /// Flows of which it is certain by which router they enter Microsoft's network.
    #[serde(default = "all_flows")]
    pub entered: u32,
    /// Whether these are all flows of the round.
    #[serde(default = "yes")]
    pub every_flow: bool,
    /// When the headers came that named the edge, Unix milliseconds; of a round alone.
    #[serde(skip)]
    pub edge_unix_ms: Option<i64>,
    /// When the path before was last seen, Unix milliseconds: headers of that time or older say nothing of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows_unix_ms: Option<i64>,
}

const fn all_flows() -> u32 {
    u32::MAX
}

const fn yes() -> bool {
    true
}

/// A path that is known in full.
impl From<PathIdentity> for Sight {
    fn from(identity: PathIdentity) -> Self {
        Self {
            identity,
            as_steps: AsPath::default(),
            entered: all_flows(),
            every_flow: yes(),
            edge_unix_ms: None,
            follows_unix_ms: None,
        }
    }
}

impl Sight {
    /// What a round says, and when the headers came that named its edge.
    pub fn of(projection: Projection, edge_unix_ms: Option<i64>) -> Self {
        let flows = projection.flows.len();
        let entered = projection
            .flows
            .iter()
            .filter(|flow| flow.ingress.as_ref().is_some_and(|ingress| ingress.certain))
            .count();
        Self {
            identity: projection.identity,
            as_steps: projection.as_path,
            entered: u32::try_from(entered).unwrap_or(u32::MAX),
            every_flow: entered == flows,
            edge_unix_ms,
            follows_unix_ms: None,
        }
    }

    /// Says nothing of the AS path: flows that begin on the way cannot.
    pub fn forget_as_path(&mut self) {
        self.identity.as_path.clear();
        self.as_steps = AsPath::default();
    }

    /// As the first of a span that follows another.
    #[must_use]
    pub fn after(mut self, before_until_unix_ms: i64) -> Self {
        self.follows_unix_ms = Some(before_until_unix_ms);
        if !self.tells_edge(&self) {
            self.identity.edge_metros.clear();
        }
        self
    }

    /// Whether the headers that a round goes by came while this path was taken.
    fn tells_edge(&self, round: &Self) -> bool {
        let (Some(before), Some(at)) = (self.follows_unix_ms, round.edge_unix_ms) else {
            return true;
        };
        at > before
    }

    fn as_path(&self) -> AsPath {
        if self.as_steps.is_empty() {
            AsPath::whole(&self.identity.as_path)
        } else {
            self.as_steps.clone()
        }
    }

    /// This span with one more round; `None` if they cannot be views of one path.
    ///
    /// # Examples
    /// ```
    /// use firstmile_collector::api::types::PathIdentity;
    /// use firstmile_collector::detect::span::Sight;
    /// let edge = |metros: &[&str]| Sight::from(PathIdentity {
    ///     edge_metros: metros.iter().map(ToString::to_string).collect(),
    ///     ..PathIdentity::default()
    /// });
    /// assert_eq!(edge(&[]).joined(&edge(&["AMS"])), Some(edge(&["AMS"])));
    /// assert_eq!(edge(&["AMS"]).joined(&edge(&["FRA"])), None);
    /// ```
    pub fn joined(&self, other: &Self) -> Option<Self> {
        let (one, two) = (&self.identity, &other.identity);
        let as_steps = as_paths(&self.as_path(), &other.as_path())?;
        let named: &[String] = if self.tells_edge(other) {
            &two.edge_metros
        } else {
            &[]
        };
        let identity = PathIdentity {
            as_path: as_steps.known(),
            ingress_metros: self.entries(&one.ingress_metros, other, &two.ingress_metros)?,
            ingress_routers: self.entries(&one.ingress_routers, other, &two.ingress_routers)?,
            edge_metros: edges(&one.edge_metros, named)?,
        };
        Some(Self {
            identity,
            as_steps,
            entered: self.entered.max(other.entered),
            every_flow: self.every_flow || other.every_flow,
            edge_unix_ms: None,
            follows_unix_ms: self.follows_unix_ms,
        })
    }

    /// One layer of where flows enter. Who saw fewer flows may have met some of the routers only.
    fn entries(&self, own: &[String], other: &Self, others: &[String]) -> Option<Vec<String>> {
        if own.is_empty() || (self.entered == 0 && other.entered > 0) {
            return Some(others.to_vec());
        }
        if others.is_empty() || (other.entered == 0 && self.entered > 0) {
            return Some(own.to_vec());
        }
        let (one, two): (BTreeSet<_>, BTreeSet<_>) =
            (own.iter().collect(), others.iter().collect());
        let saw = |sight: &Self| (sight.every_flow, sight.entered);
        let fits = match saw(self).cmp(&saw(other)) {
            _ if !self.every_flow && !other.every_flow => !one.is_disjoint(&two),
            Ordering::Equal => one == two,
            Ordering::Greater => two.is_subset(&one),
            Ordering::Less => one.is_subset(&two),
        };
        fits.then(|| one.union(&two).map(|value| (*value).clone()).collect())
    }
}

/// The one that says more, if both can be views of one path.
fn as_paths(one: &AsPath, two: &AsPath) -> Option<AsPath> {
    let more = |path: &AsPath| (path.is_whole(), path.known().len());
    let fits = one.is_empty() || two.is_empty() || one.agrees_with(two);
    let best = match (one.is_empty(), two.is_empty()) {
        (true, _) => two,
        (_, true) => one,
        _ if more(two) > more(one) => two,
        _ => one,
    };
    fits.then(|| best.clone())
}

fn edges(one: &[String], two: &[String]) -> Option<Vec<String>> {
    match (one.is_empty(), two.is_empty()) {
        (true, _) => Some(two.to_vec()),
        (false, true) => Some(one.to_vec()),
        (false, false) => (one == two).then(|| one.to_vec()),
    }
}

#[cfg(test)]
#[path = "span_tests.rs"]
mod tests;
