//! The detector: who has which route to which prefix, what is wrong with it, and when that starts and ends.

mod again;
mod backup;
mod expiry;
mod held;
mod supersede;
mod tell;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use crate::class::Class;
use crate::examine::{Finding, Registry};
use crate::instance::{Agreement, Instance, Key};
use crate::path::Route;
use crate::routes::Routes;
use crate::verdict::{Phase, Verdict};
use crate::vrp::Vrps;
use backup::Backups;
use expiry::Expiring;
use held::Held;

/// One session that shows us routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// One of several paths for a prefix on one session (RFC 7911 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

impl PathId {
    /// A session without path identifiers.
    pub const NONE: Self = Self(0);
}

/// When verdicts start and end, and how much is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Peers that must agree before a verdict starts, by class; 1 without an entry.
    pub min_peers: BTreeMap<Class, usize>,
    /// Within how many seconds they must agree; without it, ever.
    pub window_s: Option<f64>,
    /// Share of the peers that saw it, in percent, that must have withdrawn or replaced it before a verdict ends.
    pub end_pct: f64,
    /// An RPKI payload is told of so many seconds before it expires.
    pub expiry_warn_s: f64,
    /// Prefixes that are kept; what comes beyond is counted.
    pub max_prefixes: usize,
    /// Things that may be wrong at once; what comes beyond is counted.
    pub max_instances: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            min_peers: BTreeMap::new(),
            window_s: None,
            end_pct: 100.0,
            // Manifests hold for hours and are renewed long before their end: what is left is time to act, not the usual.
            expiry_warn_s: 7_200.0,
            // Ten thousand registrations and their parts, or a whole table of a few peers.
            max_prefixes: 4_000_000,
            max_instances: 500_000,
        }
    }
}

/// What was done and what was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Announcements seen.
    pub announcements: u64,
    /// Withdrawals seen.
    pub withdrawals: u64,
    /// Announcements of a registered prefix, or that concern an own AS.
    pub concerning: u64,
    /// Refused because too many prefixes are kept.
    pub prefixes_refused: u64,
    /// Refused because too much is wrong.
    pub instances_refused: u64,
    /// Verdicts that started.
    pub started: u64,
    /// Verdicts that ended.
    pub ended: u64,
}

/// Judges routes as they come and go.
#[derive(Debug)]
pub struct Detector {
    registry: Registry,
    options: Options,
    vrps: Option<Vrps>,
    table: JointPrefixMap<IpNet, Held>,
    routes: Routes,
    instances: BTreeMap<Key, Instance>,
    verdicts: Vec<Verdict>,
    counters: Counters,
    /// While what a feed said is forgotten, because the feed is gone.
    is_blind: bool,
    /// What time it is, Unix seconds, and when an allowance begins or ends next.
    clock: f64,
    next_window: f64,
    /// Somebody tells the time: records do not.
    is_ticked: bool,
    expiring: Expiring,
    backups: Backups,
}

impl Detector {
    /// A detector that knows no route yet. Without `vrps` nothing is said of RPKI.
    pub fn new(registry: Registry, options: Options, vrps: Option<Vrps>) -> Self {
        let backups = Backups::of(&registry);
        Self {
            registry,
            options,
            vrps,
            table: JointPrefixMap::new(),
            routes: Routes::default(),
            instances: BTreeMap::new(),
            verdicts: Vec::new(),
            counters: Counters::default(),
            is_blind: false,
            clock: f64::NEG_INFINITY,
            next_window: f64::NEG_INFINITY,
            is_ticked: false,
            expiring: Expiring::default(),
            backups,
        }
    }

    /// What it judges by.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What was done and refused.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Prefixes and distinct routes that are kept.
    pub fn kept(&self) -> (usize, usize) {
        (self.table.len(), self.routes.len())
    }

    /// How many peers have a route to exactly this prefix.
    pub fn peers_with_route_to(&self, prefix: &IpNet) -> usize {
        self.table.get(prefix).map_or(0, Held::route_peers)
    }

    /// The verdicts since the last call, in order.
    pub fn take_verdicts(&mut self) -> Vec<Verdict> {
        std::mem::take(&mut self.verdicts)
    }

    /// A peer announces `prefix`; what it said before of it is replaced.
    pub fn announce(&mut self, at: f64, peer: PeerId, prefix: IpNet, route: &Route) {
        self.announce_path(at, peer, PathId::NONE, prefix, route);
    }

    /// A peer announces one of several paths to `prefix`; what it said before of this path is replaced.
    pub fn announce_path(
        &mut self,
        at: f64,
        peer: PeerId,
        path: PathId,
        prefix: IpNet,
        route: &Route,
    ) {
        self.advance(at);
        self.counters.announcements += 1;
        if !self.registry.concerns(&prefix, route) {
            // An own AS may have left the path, and then the old word of this peer no longer holds.
            if !self.registry.asns.is_empty() && self.table.contains_key(&prefix) {
                self.forget(at, peer, path, prefix);
            }
            return;
        }
        self.counters.concerning += 1;
        if !self.table.contains_key(&prefix) && !self.make_room(prefix) {
            return;
        }
        let id = self.routes.hold(route);
        let Some(held) = self.table.get_mut(&prefix) else {
            return;
        };
        let old = held.put(peer, path, id);
        let has_paths = held.has_paths(peer);
        if let Some(old) = old {
            self.routes.release(old);
        }
        let findings = if has_paths {
            self.findings_at(peer, &prefix)
        } else {
            self.registry
                .examine(&prefix, route, self.vrps.as_ref(), self.clock)
        };
        let hijacked = findings.iter().any(|finding| finding.class.is_hijack());
        self.apply(at, peer, prefix, &findings);
        if !hijacked && !self.instances.is_empty() {
            self.supersede(at, peer, prefix, route);
        }
        self.look_at_backups(at, peer, prefix);
    }

    /// A peer has no route to `prefix` any more.
    pub fn withdraw(&mut self, at: f64, peer: PeerId, prefix: IpNet) {
        self.withdraw_path(at, peer, PathId::NONE, prefix);
    }

    /// One of several paths of a peer to `prefix` is gone.
    pub fn withdraw_path(&mut self, at: f64, peer: PeerId, path: PathId, prefix: IpNet) {
        self.advance(at);
        self.counters.withdrawals += 1;
        self.lose(at, peer, path, prefix);
        self.look_at_backups(at, peer, prefix);
    }

    /// A session ended. `lost` says that its prefixes are gone from there, as on a router of our own; otherwise only our view of them.
    pub fn peer_down(&mut self, at: f64, peer: PeerId, lost: bool) {
        self.peers_down(at, &BTreeSet::from([peer]), lost);
    }

    /// Sessions ended together; the table is gone through once.
    pub fn peers_down(&mut self, at: f64, down: &BTreeSet<PeerId>, lost: bool) {
        self.advance(at);
        if down.is_empty() {
            return;
        }
        let concerned = |(prefix, held): (IpNet, &Held)| {
            let peers = held.peers().into_iter();
            peers
                .filter(|peer| down.contains(peer))
                .map(move |peer| (peer, prefix))
                .collect::<Vec<_>>()
        };
        let mut concerned: Vec<(PeerId, IpNet)> = self.table.iter().flat_map(concerned).collect();
        concerned.sort_by_key(|(peer, _)| *peer);
        self.is_blind = !lost;
        for (peer, prefix) in concerned {
            let held = self.table.get_mut(&prefix);
            let taken = held.map(|held| held.take_all(peer)).unwrap_or_default();
            for route in taken {
                self.routes.release(route);
            }
            if lost {
                self.lose(at, peer, PathId::NONE, prefix);
            } else {
                self.forget(at, peer, PathId::NONE, prefix);
            }
            self.look_at_backups(at, peer, prefix);
        }
        self.is_blind = false;
    }

    /// RPKI says something else from now on: what it concerns is judged again.
    pub fn replace_vrps(&mut self, at: f64, vrps: Vrps) {
        self.advance(at);
        let before = self.vrps.take();
        let changes = before.as_ref().map(|before| before.difference(&vrps));
        self.vrps = Some(vrps);
        let affected: BTreeSet<IpNet> = match &changes {
            None => self.table.keys().collect(),
            Some(changes) => changes
                .iter()
                .flat_map(|(vrp, _)| self.table.children(&vrp.prefix))
                .map(|(prefix, _)| prefix)
                .collect(),
        };
        self.tell_roa_changes(at, &changes.unwrap_or_default());
        self.look_at_expiry(at);
        for prefix in affected {
            self.judge_again(at, prefix);
        }
    }

    fn make_room(&mut self, prefix: IpNet) -> bool {
        if self.table.len() >= self.options.max_prefixes {
            self.counters.prefixes_refused += 1;
            return false;
        }
        self.table.insert(prefix, Held::default());
        true
    }

    /// Whether somebody wants to know that `prefix` is gone.
    fn must_be_seen(&self, prefix: &IpNet) -> bool {
        let rules = self.registry.rules.naming(prefix);
        rules
            .iter()
            .all(|rule| !rule.ignore && !rule.origins.is_nobody())
            && rules.iter().any(|rule| {
                rule.speaks_of(Class::VisibilityLost) && rule.lengths.0 == prefix.prefix_len()
            })
    }

    fn lose(&mut self, at: f64, peer: PeerId, path: PathId, prefix: IpNet) {
        let hijacked = self
            .table
            .get(&prefix)
            .is_some_and(|held| held.is_hijacked_at(peer));
        let lost = !hijacked && self.must_be_seen(&prefix);
        if lost && !self.table.contains_key(&prefix) && !self.make_room(prefix) {
            return;
        }
        let Some(held) = self.table.get_mut(&prefix) else {
            return;
        };
        let old = held.take(peer, path);
        let has_more = held.has(peer);
        if let Some(old) = old {
            self.routes.release(old);
        }
        if has_more {
            let findings = self.findings_at(peer, &prefix);
            self.apply(at, peer, prefix, &findings);
            return;
        }
        let finding = Finding {
            class: Class::VisibilityLost,
            offender: None,
            matched: Some(prefix),
            reason: format!("{prefix} was withdrawn by peers that have no other route to it"),
        };
        let findings = if lost { vec![finding] } else { Vec::new() };
        self.apply(at, peer, prefix, &findings);
        self.drop_if_empty(&prefix);
    }

    fn forget(&mut self, at: f64, peer: PeerId, path: PathId, prefix: IpNet) {
        let held = self.table.get_mut(&prefix);
        if let Some(old) = held.and_then(|held| held.take(peer, path)) {
            self.routes.release(old);
        }
        let findings = self.findings_at(peer, &prefix);
        self.apply(at, peer, prefix, &findings);
        self.drop_if_empty(&prefix);
    }

    /// What is wrong with the routes of a peer, of all its paths together.
    fn findings_at(&self, peer: PeerId, prefix: &IpNet) -> Vec<Finding> {
        let held = self.table.get(prefix);
        let mut findings: Vec<Finding> = Vec::new();
        for id in held.map(|held| held.routes_of(peer)).unwrap_or_default() {
            let Some(route) = self.routes.get(id) else {
                continue;
            };
            for finding in self
                .registry
                .examine(prefix, &route, self.vrps.as_ref(), self.clock)
            {
                let same = |known: &Finding| {
                    (known.class, known.offender) == (finding.class, finding.offender)
                };
                if !findings.iter().any(same) {
                    findings.push(finding);
                }
            }
        }
        findings
    }

    fn drop_if_empty(&mut self, prefix: &IpNet) {
        if self.table.get(prefix).is_some_and(Held::is_empty) {
            self.table.remove(prefix);
        }
    }

    /// Replaces what was wrong at `peer`: what is so no longer leaves first, then the new joins.
    fn apply(&mut self, at: f64, peer: PeerId, prefix: IpNet, findings: &[Finding]) {
        let Some(held) = self.table.get_mut(&prefix) else {
            return;
        };
        let now: Vec<_> = findings
            .iter()
            .map(|finding| (finding.class, finding.offender))
            .collect();
        let before = held.replace_wrong(peer, &now);
        for (class, offender) in before {
            if !now.contains(&(class, offender)) {
                let key = Key {
                    prefix,
                    class,
                    offender,
                };
                self.leave(at, peer, key);
            }
        }
        for finding in findings {
            self.join(at, peer, prefix, finding);
        }
    }

    fn agreement(&self, class: Class) -> Agreement {
        Agreement {
            peers: self.options.min_peers.get(&class).copied().unwrap_or(1),
            window_s: self.options.window_s,
            end_pct: self.options.end_pct,
        }
    }

    fn join(&mut self, at: f64, peer: PeerId, prefix: IpNet, finding: &Finding) {
        self.join_all(at, &[peer], prefix, finding);
    }

    fn join_all(&mut self, at: f64, peers: &[PeerId], prefix: IpNet, finding: &Finding) {
        let agreement = self.agreement(finding.class);
        let key = Key {
            prefix,
            class: finding.class,
            offender: finding.offender,
        };
        let full = self.instances.len() >= self.options.max_instances;
        if peers.is_empty() {
            return;
        }
        if full && !self.instances.contains_key(&key) {
            self.counters.instances_refused += 1;
            return;
        }
        let mut peers = peers;
        while let Some((peer, rest)) = peers.split_first() {
            peers = rest;
            let instance = self
                .instances
                .entry(key)
                .or_insert_with(|| Instance::new(finding.matched, finding.reason.clone()));
            if instance.join(*peer, at, agreement) {
                self.tell(at, Phase::Start, key);
                break;
            }
        }
        // It has started: the others only join.
        if let Some(instance) = self.instances.get_mut(&key) {
            for peer in peers {
                instance.join(*peer, at, agreement);
            }
        }
    }

    fn leave(&mut self, at: f64, peer: PeerId, key: Key) {
        let agreement = self.agreement(key.class);
        let Some(instance) = self.instances.get_mut(&key) else {
            return;
        };
        if instance.leave(peer, agreement) {
            self.tell(at, Phase::End, key);
            self.instances.remove(&key);
        } else if instance.is_void() {
            self.instances.remove(&key);
        }
    }
}
