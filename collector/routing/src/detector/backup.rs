//! ASes that have to carry a registered prefix, each: which peers see it behind them, and when the last of them sees it no longer.
//!
//! Only those who saw it there can lose it: a carrier that no feed ever showed is nothing to tell of.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{Detector, PeerId};
use crate::asn::Asn;
use crate::class::Class;
use crate::examine::Registry;
use crate::instance::Key;
use crate::path::Hop;
use crate::rule::Rule;
use crate::verdict::Phase;

/// All carriers of all registered prefixes.
#[derive(Debug, Default)]
pub(super) struct Backups(BTreeMap<IpNet, BTreeMap<Asn, Carried>>);

#[derive(Debug, Default)]
struct Carried {
    by: BTreeSet<PeerId>,
    /// Who saw it there before, and sees it there no longer.
    lost: BTreeSet<PeerId>,
    is_told: bool,
}

impl Backups {
    /// What these rules ask for; nothing is seen yet.
    pub(super) fn of(registry: &Registry) -> Self {
        let mut all: BTreeMap<IpNet, BTreeMap<Asn, Carried>> = BTreeMap::new();
        let asks = |rule: &&Rule| !rule.ignore && rule.speaks_of(Class::BackupLost);
        for rule in registry.rules.iter().filter(asks) {
            for asn in &rule.carriers {
                let of_prefix = all.entry(rule.prefix).or_default();
                of_prefix.entry(*asn).or_default();
            }
        }
        Self(all)
    }
}

impl Detector {
    /// Looks where one peer sees `prefix` now.
    pub(super) fn look_at_backups(&mut self, at: f64, peer: PeerId, prefix: IpNet) {
        if !self.backups.0.contains_key(&prefix) {
            return;
        }
        let behind = self.seen_behind(peer, &prefix);
        let (least, blind) = (self.agreement(Class::BackupLost).peers, self.is_blind);
        let mut told = Vec::new();
        for (asn, carried) in self.backups.0.get_mut(&prefix).into_iter().flatten() {
            if let Some((phase, peers)) = carried.look(peer, behind.contains(asn), blind, least) {
                told.push((*asn, phase, peers));
            }
        }
        for (asn, phase, peers) in told {
            self.tell_backup(at, phase, prefix, asn, peers);
        }
    }

    /// Other rules from now on: what is kept shows where each prefix is seen.
    pub(super) fn follow_backups(&mut self, at: f64) {
        let before = std::mem::replace(&mut self.backups, Backups::of(&self.registry));
        for (prefix, carriers) in before.0 {
            for (asn, carried) in carriers {
                let asked = self.backups.0.get_mut(&prefix);
                match asked.and_then(|carriers| carriers.get_mut(&asn)) {
                    Some(known) => *known = carried,
                    None if carried.is_told => {
                        self.tell_backup(at, Phase::End, prefix, asn, carried.lost.len());
                    }
                    None => {}
                }
            }
        }
        let prefixes: Vec<IpNet> = self.backups.0.keys().copied().collect();
        for prefix in prefixes {
            let held = self.table.get(&prefix);
            for peer in held.map(super::Held::peers).unwrap_or_default() {
                self.look_at_backups(at, peer, prefix);
            }
        }
    }

    /// The ASes behind which a peer sees `prefix`; a route of a wrong origin is not the prefix.
    fn seen_behind(&self, peer: PeerId, prefix: &IpNet) -> BTreeSet<Asn> {
        let held = self.table.get(prefix);
        let routes = held.map(|held| held.routes_of(peer)).unwrap_or_default();
        let rules = self.registry.rules.naming(prefix);
        let mut behind = BTreeSet::new();
        for route in routes.into_iter().filter_map(|id| self.routes.get(id)) {
            let origin = route.path.origin().and_then(Hop::single);
            let is_right = |rule: &Rule| origin.is_some_and(|asn| rule.origins.permits(asn));
            if rules.iter().any(is_right) {
                behind.extend(route.path.hops().iter().filter_map(Hop::single));
            }
        }
        behind
    }

    fn tell_backup(&mut self, at: f64, phase: Phase, prefix: IpNet, asn: Asn, peers: usize) {
        let reason = match phase {
            Phase::Start => {
                format!("{prefix} is no longer seen behind {asn}, which has to carry it too")
            }
            Phase::End if self.is_blind => {
                format!("out of sight: whether {asn} carries {prefix} is not seen any more")
            }
            Phase::End => format!("no longer: {asn} carries {prefix}, or does not have to"),
        };
        let key = Key {
            prefix,
            class: Class::BackupLost,
            offender: Some(asn),
        };
        self.tell_plainly(at, phase, key, Some(prefix), reason, peers);
    }
}

impl Carried {
    /// Takes in what a peer sees, and says what follows and at how many peers. What is out of sight is neither seen nor lost.
    fn look(
        &mut self,
        peer: PeerId,
        sees: bool,
        blind: bool,
        least: usize,
    ) -> Option<(Phase, usize)> {
        let saw = self.by.remove(&peer);
        if sees {
            self.by.insert(peer);
        } else if blind {
            self.lost.remove(&peer);
        } else if saw {
            self.lost.insert(peer);
        }
        let peers = self.lost.len();
        if sees {
            self.lost.clear();
        }
        let ends = !self.by.is_empty() || self.lost.is_empty();
        if self.is_told && ends {
            self.is_told = false;
            return Some((Phase::End, peers));
        }
        let starts =
            !self.is_told && saw && !sees && !blind && self.by.is_empty() && peers >= least;
        self.is_told |= starts;
        starts.then_some((Phase::Start, peers))
    }
}
