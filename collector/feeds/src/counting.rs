//! Counts how routes to registered prefixes come and go, for the statistics of months.

use std::collections::{BTreeMap, BTreeSet};

use firstmile_routing::counts::RouteCounts;
use firstmile_routing::examine::Registry;
use ipnet::IpNet;

use crate::event::Routes;

/// How often it is looked who has a route, seconds.
const LOOK_EVERY_S: f64 = 60.0;

/// What was counted since it was taken last.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    wanted: BTreeSet<IpNet>,
    counts: BTreeMap<IpNet, RouteCounts>,
    next_look: f64,
}

impl Counting {
    /// Counts what is registered from now on.
    pub(crate) fn replace(&mut self, registry: &Registry) {
        let rules = registry.rules.iter().filter(|rule| !rule.ignore);
        self.wanted = rules.map(|rule| rule.prefix).collect();
    }

    /// A peer that is heard said something.
    pub(crate) fn hear(&mut self, routes: &Routes) {
        for prefix in &routes.withdrawn {
            if self.wanted.contains(prefix) && !routes.announced.contains(prefix) {
                self.counts.entry(*prefix).or_default().withdraw();
            }
        }
        for prefix in &routes.announced {
            if self.wanted.contains(prefix) {
                let counts = self.counts.entry(*prefix).or_default();
                counts.announce(&routes.route.path);
            }
        }
    }

    /// Looks who has a route to what is registered, if it is time to.
    pub(crate) fn look(&mut self, at: f64, known: usize, seen: impl Fn(&IpNet) -> usize) {
        if at < self.next_look {
            return;
        }
        self.next_look = at + LOOK_EVERY_S;
        for prefix in &self.wanted {
            self.counts
                .entry(*prefix)
                .or_default()
                .look(seen(prefix), known);
        }
    }

    /// What was counted since the last call.
    pub(crate) fn take(&mut self) -> Vec<(IpNet, RouteCounts)> {
        std::mem::take(&mut self.counts).into_iter().collect()
    }
}
