//! Spreads the path packets of all targets, flows and bursts of a process so that no router is asked more often than it
//! answers, whatever plan, triggers and faults ask for.
//!
//! A router commonly answers one packet a second to one asker (Linux: six at once, then one a second), and twenty targets
//! share the near routers. So every packet asks here before it leaves. The budget predicts which router a packet will meet
//! from what the same flow met before; a TTL of which nothing is known counts as every router that is known there.
//!
//! Rules, in this order:
//! 1. Two packets that meet one router are at least one interval apart.
//! 2. A router that all destinations of a family meet at this TTL, and at every TTL before it, alone, is asked for all of
//!    them: whoever comes while another destination has just asked goes without, and does not wait.
//! 3. Elsewhere a packet waits its turn, up to [`PATIENCE`]; what would wait longer is not sent and is counted. Who was
//!    served longest ago comes first: the [`SURE`] longest unserved wait up to [`LONG_PATIENCE`], and with more than [`RIVALS`]
//!    of better claim a packet is refused at once.
//!
//! What is forgotten when tables are full makes packets wait more, never less.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::gate::{Admission, Gate};
use crate::plan::MAX_TTL;

/// From one packet to a router to the next: what Linux and most vendors answer.
pub const HOP_INTERVAL: Duration = Duration::from_secs(1);

/// Longest wait of a packet for its turn.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Longest wait of one of the [`SURE`]: those who wait less and all the sure ones fit in before it.
const LONG_PATIENCE: Duration = Duration::from_secs(30);

/// The longest unserved, who wait longer than others before they are refused.
const SURE: usize = 8;

/// Packets that may have a better claim before one is refused: at one ask in half a minute they fill the interval.
const RIVALS: usize = 32;

/// Who was refused and has not asked again for so long has no claim any more: the slowest stream asks within it.
const CLAIM: Duration = Duration::from_secs(150);

/// Routers that are told apart: 20 targets of both families, 8 flows of 12 routers of their own each.
const MAX_HOPS: usize = 4096;

/// Ways that an agent can have to its destinations: 20 targets, both families, 8 ways out of the machine.
pub const MOST_WAYS: usize = 20 * 2 * 8;

/// Ways that are remembered: all of them, and some whose destination was left.
const MAX_DESTINATIONS: usize = MOST_WAYS + 64;

/// Flows of a destination that are remembered; those of multipath discovery come once.
const MAX_FLOWS: u16 = 32;

/// A destination, by one way out of the machine: two uplinks lead to it over routers of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// Where to.
    pub destination: IpAddr,
    /// By which of the configured ways out; 0 is the machine's own choice.
    pub vantage: u16,
}

impl Way {
    const fn is_ipv6(self) -> bool {
        self.destination.is_ipv6()
    }
}

impl From<IpAddr> for Way {
    fn from(destination: IpAddr) -> Self {
        Self {
            destination,
            vantage: 0,
        }
    }
}

/// A way, by the number that it has as long as it is remembered: small, for it stands in every key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Number {
    number: u16,
    is_ipv6: bool,
}

/// One TTL of one flow of one way, in one word: its way, its flow, its TTL, from the highest bits on, which is how they are
/// sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CellKey(u64);

impl CellKey {
    const fn new(way: Number, flow: u16, ttl: u8) -> Self {
        let way = (way.number as u64) << 1 | way.is_ipv6 as u64;
        Self(way << 24 | (flow as u64) << 8 | ttl as u64)
    }

    /// The place that the budget knows routers by.
    const fn place(self) -> (bool, u8) {
        (self.0 >> 24 & 1 == 1, self.0.to_le_bytes()[0])
    }

    const fn number(self) -> u64 {
        self.0 >> 25
    }

    const fn is_remembered(self) -> bool {
        (self.0 >> 8 & 0xffff) < MAX_FLOWS as u64
    }
}

/// A way that is remembered.
#[derive(Clone, Copy, Debug)]
struct Known {
    number: u16,
    asked: Instant,
}

#[derive(Debug)]
struct Hop {
    free_at: Instant,
    /// Who asked last: [`CellKey::number`].
    asked_for: u64,
    /// When somebody was last refused here.
    refused_at: Option<Instant>,
    members: BTreeSet<CellKey>,
}

/// One TTL of one flow of one destination.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    hop: Option<IpAddr>,
    served_at: Option<Instant>,
    refused_at: Option<Instant>,
}

/// The budget of a process.
#[derive(Debug)]
pub struct HopBudget {
    interval: Duration,
    hops: BTreeMap<IpAddr, Hop>,
    cells: BTreeMap<CellKey, Cell>,
    destinations: BTreeMap<Way, Known>,
    /// For each family and TTL: when a packet that may meet anybody there may leave.
    unknown: BTreeMap<(bool, u8), Instant>,
    /// For each family and TTL: the routers that are known there, and how many flows meet each.
    at_ttl: BTreeMap<(bool, u8), BTreeMap<IpAddr, u32>>,
    /// For each family and TTL: who was refused there before it ever met anybody.
    strangers: BTreeMap<(bool, u8), BTreeSet<CellKey>>,
    refused: u64,
}

impl Default for HopBudget {
    fn default() -> Self {
        Self::new(HOP_INTERVAL)
    }
}

impl HopBudget {
    /// A budget of one packet to each router in each `interval`.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            hops: BTreeMap::new(),
            cells: BTreeMap::new(),
            destinations: BTreeMap::new(),
            unknown: BTreeMap::new(),
            at_ttl: BTreeMap::new(),
            strangers: BTreeMap::new(),
            refused: 0,
        }
    }

    /// The gate of a round by this way.
    pub fn gate(&mut self, way: impl Into<Way>) -> Lane<'_> {
        Lane {
            budget: self,
            destination: way.into(),
        }
    }

    /// Packets that were refused because the routers they would meet are asked too much already.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// A reply says which router a packet met that was sent at `sent_at`.
    pub fn learn(
        &mut self,
        way: impl Into<Way>,
        flow: u16,
        ttl: u8,
        from: IpAddr,
        sent_at: Instant,
    ) {
        let key = CellKey::new(self.remember(way.into(), sent_at), flow, ttl);
        let free_at = sent_at + self.interval;
        if !self.hops.contains_key(&from) && self.hops.len() >= MAX_HOPS {
            return;
        }
        let hop = self.hops.entry(from).or_insert_with(|| Hop {
            free_at,
            asked_for: key.number(),
            refused_at: None,
            members: BTreeSet::new(),
        });
        hop.free_at = hop.free_at.max(free_at);
        if !key.is_remembered() {
            return;
        }
        let before = self.cells.entry(key).or_default().hop.replace(from);
        if before == Some(from) {
            return;
        }
        hop.members.insert(key);
        let here = self.at_ttl.entry(key.place()).or_default();
        *here.entry(from).or_insert(0) += 1;
        self.no_stranger(key);
        if let Some(before) = before {
            self.leave(before, key);
        }
    }

    fn admit(&mut self, key: CellKey, now: Instant) -> Admission {
        let (is_ipv6, ttl) = key.place();
        let at = self.free_at(key, now);
        let is_shared = ttl <= self.shared_depth(is_ipv6);
        if at > now && is_shared && self.was_asked_for_another(key) {
            return Admission::Skip;
        }
        let rivals = self.rivals(key, now);
        let patience = if rivals < SURE {
            LONG_PATIENCE
        } else {
            PATIENCE
        };
        if rivals > RIVALS || at > now + patience {
            self.refuse(key, now);
            return Admission::Skip;
        }
        let until = at + self.interval;
        for address in self.met_by(key) {
            if let Some(hop) = self.hops.get_mut(&address) {
                hop.free_at = until;
                hop.asked_for = key.number();
            }
        }
        if self.predicted(key).is_none() {
            self.unknown.insert(key.place(), until);
        }
        if key.is_remembered() {
            let cell = self.cells.entry(key).or_default();
            cell.served_at = Some(at);
            cell.refused_at = None;
        }
        Admission::At(at)
    }

    /// The TTLs from 1 on at which all destinations of the family meet one router. A TTL at which nobody has met anybody
    /// does not end them.
    fn shared_depth(&self, ipv6: bool) -> u8 {
        let routers = |ttl: u8| self.at_ttl.get(&(ipv6, ttl)).map_or(0, BTreeMap::len);
        (1..=MAX_TTL)
            .take_while(|ttl| routers(*ttl) <= 1)
            .filter(|ttl| routers(*ttl) == 1)
            .last()
            .unwrap_or(0)
    }

    /// The number of a way that asks. Keeps the table of ways small: the one that asked longest ago is forgotten.
    fn remember(&mut self, way: Way, now: Instant) -> Number {
        let is_ipv6 = way.is_ipv6();
        if let Some(known) = self.destinations.get_mut(&way) {
            known.asked = known.asked.max(now);
            let number = known.number;
            return Number { number, is_ipv6 };
        }
        let number = if self.destinations.len() < MAX_DESTINATIONS {
            // None was forgotten so far: numbers are given in turn.
            u16::try_from(self.destinations.len()).unwrap_or(u16::MAX)
        } else {
            self.forget_oldest(now)
        };
        let asked = now;
        self.destinations.insert(way, Known { number, asked });
        Number { number, is_ipv6 }
    }

    /// Forgets the way that asked longest ago, and gives back its number.
    fn forget_oldest(&mut self, now: Instant) -> u16 {
        let oldest = self.destinations.iter().min_by_key(|(_, way)| way.asked);
        let Some((way, Known { number, .. })) = oldest.map(|(way, known)| (*way, *known)) else {
            return 0;
        };
        self.destinations.remove(&way);
        let is_ipv6 = way.is_ipv6();
        let key = |flow, ttl| CellKey::new(Number { number, is_ipv6 }, flow, ttl);
        let keys = self.cells.range(key(0, 0)..=key(u16::MAX, u8::MAX));
        let keys: Vec<CellKey> = keys.map(|(key, _)| *key).collect();
        for key in keys {
            self.no_stranger(key);
            if let Some(hop) = self.cells.remove(&key).and_then(|cell| cell.hop) {
                self.leave(hop, key);
            }
        }
        self.hops
            .retain(|_, hop| !hop.members.is_empty() || hop.free_at > now);
        number
    }

    fn no_stranger(&mut self, key: CellKey) {
        if let Some(strangers) = self.strangers.get_mut(&key.place()) {
            strangers.remove(&key);
        }
    }

    /// A flow no longer meets this router.
    fn leave(&mut self, address: IpAddr, key: CellKey) {
        if let Some(hop) = self.hops.get_mut(&address) {
            hop.members.remove(&key);
        }
        if let Some(here) = self.at_ttl.get_mut(&key.place()) {
            if let Some(flows) = here.get_mut(&address) {
                *flows = flows.saturating_sub(1);
            }
            here.retain(|_, flows| *flows > 0);
        }
    }

    fn refuse(&mut self, key: CellKey, now: Instant) {
        self.refused += 1;
        for address in self.met_by(key) {
            if let Some(hop) = self.hops.get_mut(&address) {
                hop.refused_at = Some(now);
            }
        }
        if key.is_remembered() {
            let cell = self.cells.entry(key).or_default();
            cell.refused_at = Some(now);
            if cell.hop.is_none() {
                let strangers = self.strangers.entry(key.place()).or_default();
                strangers.insert(key);
            }
        }
    }

    fn predicted(&self, key: CellKey) -> Option<IpAddr> {
        self.cells.get(&key).and_then(|cell| cell.hop)
    }

    /// The routers that a packet may meet: the one it met before, else all that are known at its TTL.
    fn met_by(&self, key: CellKey) -> Vec<IpAddr> {
        match self.predicted(key) {
            Some(address) => vec![address],
            None => self
                .at_ttl
                .get(&key.place())
                .map(|here| here.keys().copied().collect())
                .unwrap_or_default(),
        }
    }

    /// When every router that a packet may meet may be asked.
    fn free_at(&self, key: CellKey, now: Instant) -> Instant {
        let unknown = match self.predicted(key) {
            Some(_) => None,
            None => self.unknown.get(&key.place()).copied(),
        };
        let met = self.met_by(key);
        let hops = met.iter().filter_map(|address| self.hops.get(address));
        hops.map(|hop| hop.free_at)
            .chain(unknown)
            .fold(now, Instant::max)
    }

    fn was_asked_for_another(&self, key: CellKey) -> bool {
        self.predicted(key)
            .and_then(|address| self.hops.get(&address))
            .is_some_and(|hop| hop.asked_for != key.number())
    }

    /// Those who were refused at the same router, still want to ask, and were served longer ago.
    fn rivals(&self, key: CellKey, now: Instant) -> usize {
        let is_claim = |refused: Option<Instant>| {
            refused.is_some_and(|at| now.saturating_duration_since(at) < CLAIM)
        };
        let met = self.met_by(key);
        let hops = || met.iter().filter_map(|address| self.hops.get(address));
        if !hops().any(|hop| is_claim(hop.refused_at)) {
            return 0;
        }
        let mine = self.cells.get(&key).and_then(|cell| cell.served_at);
        let has_better = |other: &&CellKey| {
            self.cells.get(*other).is_some_and(|cell| {
                is_claim(cell.refused_at) && (cell.served_at, **other) < (mine, key)
            })
        };
        let strangers = self.strangers.get(&key.place());
        hops()
            .flat_map(|hop| &hop.members)
            .chain(strangers.into_iter().flatten())
            .filter(has_better)
            .count()
    }
}

/// The gate of the rounds to one destination.
#[derive(Debug)]
pub struct Lane<'a> {
    budget: &'a mut HopBudget,
    destination: Way,
}

impl Gate for Lane<'_> {
    fn admit(&mut self, flow: u16, ttls: &[u8], now: Instant) -> Vec<Admission> {
        let way = self.budget.remember(self.destination, now);
        ttls.iter()
            .map(|ttl| self.budget.admit(CellKey::new(way, flow, *ttl), now))
            .collect()
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
