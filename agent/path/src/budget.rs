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
//!    them: whoever comes while another destination has just asked goes without, and does not wait. Whoever went without the
//!    last time waits for the next turn if that is near, for of two whose rounds keep step the second would never ask.
//! 3. Elsewhere a packet waits its turn, up to [`PATIENCE`]; what would wait longer is not sent and is counted. Who was
//!    served longest ago comes first: the [`SURE`] longest unserved wait up to [`LONG_PATIENCE`], and with more than [`RIVALS`]
//!    of better claim a packet is refused at once.
//! 4. A router that a burst has just asked is the burst's: rounds that only have to notice go without it, and give up the turns
//!    that they have there.
//!
//! What is forgotten when tables are full makes packets wait more, never less.

mod lane;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::gate::Admission;
use crate::plan::MAX_TTL;
pub use crate::way::Way;
use crate::way::{CellKey, Number};
use lane::Haste;
pub use lane::{Lane, beside};

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

/// Intervals that a packet waits, at most, for a router that it went without last time.
const SHORT_WAIT: u32 = 2;

/// A burst that has asked a router will ask it again within this: the next of its flows or rounds.
const BURST_HOLD: Duration = Duration::from_secs(6);

/// Routers that are told apart: 20 targets of both families, 8 flows of 12 routers of their own each.
const MAX_HOPS: usize = 4096;

/// Ways that an agent can have to its destinations: 20 targets, both families, 8 ways out of the machine.
pub const MOST_WAYS: usize = 20 * 2 * 8;

/// Ways that are remembered: all of them, and some whose destination was left.
const MAX_DESTINATIONS: usize = MOST_WAYS + 64;

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
    /// Until when it is a burst's.
    burst_until: Option<Instant>,
    /// When a burst may ask again: those who yield to it do not count before they have asked.
    burst_free_at: Instant,
    members: BTreeSet<CellKey>,
}

/// One TTL of one flow of one destination.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    hop: Option<IpAddr>,
    served_at: Option<Instant>,
    refused_at: Option<Instant>,
    /// It went without last time, because another destination had just asked.
    went_without: bool,
}

/// The budget of a process.
#[derive(Debug)]
pub struct HopBudget {
    interval: Duration,
    hops: BTreeMap<IpAddr, Hop>,
    cells: BTreeMap<CellKey, Cell>,
    destinations: BTreeMap<Way, Known>,
    /// By their numbers.
    ways: Vec<Way>,
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
            ways: Vec::new(),
            unknown: BTreeMap::new(),
            at_ttl: BTreeMap::new(),
            strangers: BTreeMap::new(),
            refused: 0,
        }
    }

    /// The gate of a round by this way.
    pub fn gate(&mut self, way: impl Into<Way>) -> Lane<'_> {
        Lane::new(self, way.into())
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
            burst_until: None,
            burst_free_at: free_at,
            members: BTreeSet::new(),
        });
        hop.free_at = hop.free_at.max(free_at);
        hop.burst_free_at = hop.burst_free_at.max(free_at);
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

    fn admit(&mut self, key: CellKey, haste: Haste, now: Instant) -> Admission {
        let (is_ipv6, ttl) = key.place();
        let at = self.free_at(key, haste, now);
        if haste == Haste::Yielding && self.is_held(key, now) {
            return Admission::Skip;
        }
        let is_shared = ttl <= self.shared_depth(is_ipv6);
        let goes_without = haste != Haste::Burst && at > now && is_shared;
        if goes_without && self.was_asked_for_another(key) && !self.is_its_turn(key, at, now) {
            self.note_without(key);
            return Admission::Skip;
        }
        let rivals = if haste == Haste::Burst {
            0
        } else {
            self.rivals(key, now)
        };
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
                hop.free_at = hop.free_at.max(until);
                hop.asked_for = key.number();
                if haste != Haste::Yielding {
                    hop.burst_free_at = hop.burst_free_at.max(until);
                }
                if haste == Haste::Burst {
                    hop.burst_until = Some(at + BURST_HOLD);
                }
            }
        }
        if self.predicted(key).is_none() {
            let unknown = self.unknown.entry(key.place()).or_insert(until);
            *unknown = until.max(*unknown);
        }
        if key.is_remembered() {
            let cell = self.cells.entry(key).or_default();
            cell.served_at = Some(at);
            cell.refused_at = None;
            cell.went_without = false;
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
            self.ways.push(way);
            u16::try_from(self.destinations.len()).unwrap_or(u16::MAX)
        } else {
            self.forget_oldest(now)
        };
        if let Some(slot) = self.ways.get_mut(usize::from(number)) {
            *slot = way;
        }
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

    /// Whether a packet may leave that had its turn given before.
    fn confirm(&mut self, key: CellKey, haste: Haste, now: Instant) -> bool {
        if haste == Haste::Yielding && self.is_held(key, now) {
            return false;
        }
        for address in self.met_by(key) {
            if let Some(hop) = self.hops.get_mut(&address) {
                hop.burst_free_at = hop.burst_free_at.max(now + self.interval);
            }
        }
        true
    }

    /// Frees a turn at `at` that nobody will use, if it is the last one given at a router: what came before it was over by then.
    fn give_back(&mut self, key: CellKey, at: Instant) {
        let until = at + self.interval;
        for address in self.met_by(key) {
            if let Some(hop) = self.hops.get_mut(&address) {
                for free_at in [&mut hop.free_at, &mut hop.burst_free_at] {
                    if *free_at == until {
                        *free_at = at;
                    }
                }
            }
        }
        let unknown = self.unknown.get_mut(&key.place());
        if let Some(unknown) = unknown.filter(|unknown| **unknown == until) {
            *unknown = at;
        }
    }

    /// When every router that a packet may meet may be asked.
    fn free_at(&self, key: CellKey, haste: Haste, now: Instant) -> Instant {
        let unknown = match self.predicted(key) {
            Some(_) => None,
            None => self.unknown.get(&key.place()).copied(),
        };
        let met = self.met_by(key);
        let hops = met.iter().filter_map(|address| self.hops.get(address));
        let free_at = |hop: &Hop| match haste {
            Haste::Burst => hop.burst_free_at,
            Haste::Patient | Haste::Yielding => hop.free_at,
        };
        hops.map(free_at).chain(unknown).fold(now, Instant::max)
    }

    /// Whether a packet that may go without at a router that all share waits for it this time: it went without before, and the
    /// wait is short.
    fn is_its_turn(&self, key: CellKey, at: Instant, now: Instant) -> bool {
        let cell = self.cells.get(&key);
        cell.is_some_and(|cell| cell.went_without) && at <= now + self.interval * SHORT_WAIT
    }

    fn note_without(&mut self, key: CellKey) {
        if key.is_remembered() {
            self.cells.entry(key).or_default().went_without = true;
        }
    }

    /// Whether a burst needs one of the routers that a packet may meet.
    fn is_held(&self, key: CellKey, now: Instant) -> bool {
        let met = self.met_by(key);
        let mut hops = met.iter().filter_map(|address| self.hops.get(address));
        hops.any(|hop| hop.burst_until.is_some_and(|until| now < until))
    }

    fn was_asked_for_another(&self, key: CellKey) -> bool {
        self.predicted(key)
            .and_then(|address| self.hops.get(&address))
            .is_some_and(|hop| hop.asked_for != key.number())
    }

    /// Who comes first of those that were served at the same time: by the address, not by who asked first.
    fn rank(&self, key: CellKey) -> (Option<Way>, u64) {
        let number = usize::try_from(key.number()).ok();
        let way = number.and_then(|number| self.ways.get(number)).copied();
        (way, key.flow_and_ttl())
    }

    /// Those who were refused at the same router, still want to ask, and were served longer ago; more than [`RIVALS`] are not
    /// counted, for who has so many is refused whatever their number.
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
        let mine = (mine, self.rank(key));
        let has_better = |other: &&CellKey| {
            self.cells.get(*other).is_some_and(|cell| {
                is_claim(cell.refused_at) && (cell.served_at, self.rank(**other)) < mine
            })
        };
        let strangers = self.strangers.get(&key.place());
        hops()
            .flat_map(|hop| &hop.members)
            .chain(strangers.into_iter().flatten())
            .filter(has_better)
            .take(RIVALS + 1)
            .count()
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
