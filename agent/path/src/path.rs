//! What an agent remembers of the path to one destination: enough to trace cheaply and to notice that it has changed.
//!
//! Pure. The collector decides what a change means; the agent only decides to look more closely and to report at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use crate::met::{FlowPath, Place};
use crate::plan::{Known, MAX_TTL};

/// Addresses remembered for one destination: 8 flows of 30 hops twice over; beyond it the oldest is forgotten.
const MAX_SEEN: usize = 512;

/// Names of Microsoft's routers end so; the first of them on a path is where its network begins.
const MICROSOFT_ROUTERS: &str = ".ntwk.msn.net";

/// Whether a reverse name is that of one of Microsoft's routers.
pub fn is_microsoft_router(name: &str) -> bool {
    name.trim_end_matches('.')
        .to_ascii_lowercase()
        .ends_with(MICROSOFT_ROUTERS)
}

/// Flows remembered for one destination.
const MAX_FLOWS: usize = 32;

/// A place that went back so often to an address that it had left balances packets: going back once more is no news. A path
/// that fails over and comes back does so once.
const RETURNS: u8 = 2;

/// A place that has stayed as it was for so many rounds is no longer taken to balance: half an hour of tails.
const STEADY: u32 = 64;

/// A place that changed within so many rounds may be one that balances: what it shows is no surprise yet, and the round that meets
/// it goes on to its end.
const UNSETTLED: u32 = 4;

/// Addresses remembered for a place that changes.
const MAX_BRANCHES: usize = 8;

/// Places that are known to change: all TTLs of all flows.
const MAX_RESTLESS: usize = MAX_FLOWS * MAX_TTL as usize;

/// A flow and TTL that was met by one address and then by another.
#[derive(Debug, Default)]
struct Restless {
    met: VecDeque<IpAddr>,
    returns: u8,
    /// The round that changed last.
    round: u32,
}

impl Restless {
    fn note(&mut self, before: IpAddr, now: IpAddr, round: u32) {
        if round.saturating_sub(self.round) > STEADY {
            *self = Self::default();
        }
        self.round = round;
        self.returns = self
            .returns
            .saturating_add(u8::from(self.met.contains(&now)));
        for address in [before, now] {
            if !self.met.contains(&address) {
                self.met.push_back(address);
            }
        }
        while self.met.len() > MAX_BRANCHES {
            self.met.pop_front();
        }
    }

    fn expects(&self, address: IpAddr, round: u32) -> bool {
        self.is_balanced(round) && self.met.contains(&address)
    }

    const fn is_unsettled(&self, round: u32) -> bool {
        round.saturating_sub(self.round) <= UNSETTLED
    }

    const fn is_balanced(&self, round: u32) -> bool {
        self.returns >= RETURNS && round.saturating_sub(self.round) <= STEADY
    }
}

/// What a round says in the light of those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// An address answered that never did before, or a flow's last hops are others: a reason to look again at once.
    pub suspicious: bool,
    /// Anything differs from the round before: a reason to report at once.
    pub differs: bool,
}

/// The memory. Silent hops are wild cards: they equal anything.
#[derive(Debug, Default)]
pub struct PathMemory {
    rounds: u32,
    last: BTreeMap<u16, FlowPath>,
    seen: VecDeque<IpAddr>,
    restless: BTreeMap<(u16, u8), Restless>,
}

impl PathMemory {
    /// Takes in a round and says what changed. The first round changes nothing but differs from nothing.
    pub fn absorb(&mut self, flows: &[FlowPath]) -> Change {
        let first = self.rounds == 0;
        let novel = self.remember(flows);
        let pairs = || {
            flows
                .iter()
                .filter_map(|new| Some((self.last.get(&new.flow)?, new)))
        };
        let differs =
            first || pairs().count() != flows.len() || pairs().any(|(a, b)| self.is_other(a, b));
        let tail_moved = pairs().any(|(a, b)| self.tails_differ(a, b));
        self.note_changes(flows);
        self.rounds = self.rounds.saturating_add(1);
        self.merge(flows);
        Change {
            suspicious: !first && (novel || tail_moved),
            differs,
        }
    }

    /// The flows of a round that differ from what was met on them before. To be asked before the round is absorbed.
    pub fn moved(&self, flows: &[FlowPath]) -> Vec<u16> {
        let differs = |new: &&FlowPath| {
            let old = self.last.get(&new.flow);
            old.is_some_and(|old| self.is_other(old, new))
        };
        flows.iter().filter(differs).map(|new| new.flow).collect()
    }

    /// What the next round may take for granted.
    pub fn known(&self) -> Known {
        let flows = self.last.values();
        let last_ttl = flows
            .clone()
            .filter_map(|flow| flow.answers().next_back().map(|(ttl, _)| ttl))
            .max();
        let silent = |ttl: &u8| {
            let mut asked = self.last.values().filter_map(|flow| flow.place(*ttl));
            let first = asked.next();
            first.is_some_and(|place| place.hop.is_none()) && asked.all(|place| place.hop.is_none())
        };
        Known {
            destination_ttl: flows.clone().filter_map(|flow| flow.destination_ttl).max(),
            last_ttl,
            silent_ttls: if self.rounds >= 2 {
                (1..=MAX_TTL).filter(silent).collect()
            } else {
                Vec::new()
            },
            answered: flows
                .flat_map(|flow| flow.answers().map(|(ttl, _)| (flow.flow, ttl)))
                .collect(),
            expected: self.expected(),
        }
    }

    /// Who stands where, but for places that change by themselves.
    fn expected(&self) -> BTreeMap<(u16, u8), IpAddr> {
        let hops = self.last.values().flat_map(|flow| {
            flow.answers()
                .map(|(ttl, hop)| ((flow.flow, ttl), hop.address))
        });
        hops.filter(|(place, _)| !self.is_restless(*place))
            .collect()
    }

    fn is_restless(&self, place: (u16, u8)) -> bool {
        self.restless
            .get(&place)
            .is_some_and(|place| place.is_balanced(self.rounds) || place.is_unsettled(self.rounds))
    }

    /// Whether the last three places before the end of both are others, or the end moved or vanished. Where packets are
    /// balanced one by one, the address that was met there before is no other.
    fn tails_differ(&self, old: &FlowPath, new: &FlowPath) -> bool {
        let end = |flow: &FlowPath| flow.hops.last().map_or(0, |place| place.ttl);
        let from_ttl = end(old).min(end(new)).saturating_sub(3);
        let is_late = |change: &(u8, IpAddr, IpAddr)| change.0 >= from_ttl;
        !same_reach(old, new) || self.news(old, new).any(|change| is_late(&change))
    }

    /// Whether a round of a flow says anything else than the one before, but for places that balance packets one by one.
    fn is_other(&self, old: &FlowPath, new: &FlowPath) -> bool {
        !same_reach(old, new) || self.news(old, new).next().is_some()
    }

    /// The changes that places do not make by themselves.
    fn news(&self, old: &FlowPath, new: &FlowPath) -> impl Iterator<Item = (u8, IpAddr, IpAddr)> {
        let flow = new.flow;
        changes(old, new).filter(move |(ttl, _, now)| {
            let place = self.restless.get(&(flow, *ttl));
            !place.is_some_and(|place| place.expects(*now, self.rounds))
        })
    }

    fn note_changes(&mut self, flows: &[FlowPath]) {
        for new in flows {
            let Some(old) = self.last.get(&new.flow) else {
                continue;
            };
            for (ttl, before, now) in changes(old, new) {
                let place = (new.flow, ttl);
                if self.restless.len() < MAX_RESTLESS || self.restless.contains_key(&place) {
                    let place = self.restless.entry(place).or_default();
                    place.note(before, now, self.rounds);
                }
            }
        }
    }

    /// Remembers the addresses of a round; whether one of them is new at a TTL at which somebody has answered before. Where nobody
    /// had, because nobody was asked or all were silent, the path is being learnt, and has not changed.
    fn remember(&mut self, flows: &[FlowPath]) -> bool {
        let known: BTreeSet<u8> = self
            .last
            .values()
            .flat_map(|flow| flow.answers().map(|(ttl, _)| ttl))
            .collect();
        let mut novel = false;
        for (ttl, hop) in flows.iter().flat_map(FlowPath::answers) {
            if !self.seen.contains(&hop.address) {
                novel |= known.contains(&ttl);
                self.seen.push_back(hop.address);
                if self.seen.len() > MAX_SEEN {
                    self.seen.pop_front();
                }
            }
        }
        novel
    }

    /// Keeps what was asked; a hop that was silent this time keeps what stood there in an otherwise alike flow. What was not
    /// asked stays as it was in any case.
    fn merge(&mut self, flows: &[FlowPath]) {
        for new in flows {
            let merged = match self.last.get(&new.flow) {
                Some(old) if alike(old, new) => join(old, new),
                Some(old) => replace(old, new),
                None => new.clone(),
            };
            self.last.insert(new.flow, merged);
            if self.last.len() > MAX_FLOWS {
                self.last.pop_last();
            }
        }
    }
}

/// The old path with what the new one knows better.
fn join(old: &FlowPath, new: &FlowPath) -> FlowPath {
    let mut places: BTreeMap<u8, &Place> =
        old.hops.iter().map(|place| (place.ttl, place)).collect();
    for place in &new.hops {
        if place.hop.is_some() || !places.contains_key(&place.ttl) {
            places.insert(place.ttl, place);
        }
    }
    // Where both met the destination, it stands at the nearer place: at the other one that was not asked.
    let ends = [old.destination_ttl, new.destination_ttl];
    let destination_ttl = ends.into_iter().flatten().min();
    places.retain(|ttl, _| destination_ttl.is_none_or(|end| *ttl <= end));
    FlowPath {
        flow: new.flow,
        first_ttl: old.first_ttl.min(new.first_ttl),
        last_ttl: old.last_ttl.max(new.last_ttl),
        hops: places.into_values().cloned().collect(),
        destination_ttl,
        loops: new.loops,
    }
}

/// The old path with the stretch that the new one asked as the new one has it.
fn replace(old: &FlowPath, new: &FlowPath) -> FlowPath {
    let unasked = old.hops.iter().filter(|place| {
        place.ttl < new.first_ttl || place.ttl > new.last_ttl && new.destination_ttl.is_none()
    });
    let mut hops: Vec<Place> = unasked.chain(&new.hops).cloned().collect();
    hops.sort_by_key(|place| place.ttl);
    let end = old.destination_ttl.filter(|end| *end > new.last_ttl);
    FlowPath {
        flow: new.flow,
        first_ttl: old.first_ttl.min(new.first_ttl),
        last_ttl: old.last_ttl.max(new.last_ttl),
        hops,
        destination_ttl: new.destination_ttl.or(end),
        loops: new.loops,
    }
}

/// Whether two rounds of one flow are the same as far as both can tell.
fn alike(old: &FlowPath, new: &FlowPath) -> bool {
    same_reach(old, new) && changes(old, new).next().is_none()
}

/// A round that did not ask as far as the destination stands, and one of which the hop budget kept that packet back, says nothing
/// of it.
fn same_reach(old: &FlowPath, new: &FlowPath) -> bool {
    match (old.destination_ttl, new.destination_ttl) {
        (Some(a), Some(b)) if a < b => new.place(a).is_none(),
        (Some(a), Some(b)) if a > b => old.place(b).is_none(),
        (Some(_), Some(_)) | (None, None) => true,
        (Some(end), None) => new.last_ttl < end,
        (None, Some(end)) => old.last_ttl < end,
    }
}

/// The TTLs that are answered by others: who did before, who does now.
fn changes(old: &FlowPath, new: &FlowPath) -> impl Iterator<Item = (u8, IpAddr, IpAddr)> {
    new.answers().filter_map(|(ttl, hop)| {
        let before = old.hop(ttl)?.address;
        (before != hop.address).then_some((ttl, before, hop.address))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::met::{Hop, Silence};

    /// A path that was not reached was asked this far; tails less far.
    const ASKED: u8 = 8;

    fn numbered(number: u16, first_ttl: u8, hops: &[u8], reached: bool) -> FlowPath {
        let place = |(ttl, last): (u8, &u8)| Place {
            ttl,
            hop: (*last != 0).then(|| {
                Hop::plain(
                    IpAddr::from([198, 51, 100, *last]),
                    Duration::from_millis(1),
                )
            }),
            silence: Silence::None,
            also: Vec::new(),
        };
        let last_ttl = first_ttl + u8::try_from(hops.len()).expect("few") - 1;
        FlowPath {
            flow: number,
            first_ttl,
            last_ttl: if reached {
                last_ttl
            } else {
                last_ttl.max(ASKED)
            },
            hops: (first_ttl..).zip(hops).map(place).collect(),
            destination_ttl: reached.then_some(last_ttl),
            loops: false,
        }
    }

    fn flow(hops: &[u8], reached: bool) -> FlowPath {
        numbered(0, 1, hops, reached)
    }

    #[test]
    fn what_a_tail_did_not_ask_stays_as_it_was_though_the_tail_has_changed() {
        let mut memory = PathMemory::default();
        memory.absorb(&[flow(&[1, 2, 3, 4, 9], true)]);
        let mut tail = numbered(0, 3, &[30], false);
        tail.last_ttl = 3;
        assert!(memory.absorb(&[tail]).suspicious, "another router at TTL 3");
        let change = memory.absorb(&[flow(&[1, 2, 30, 4, 9], true)]);
        assert_eq!(change, Change::default(), "the whole path says the same");
    }

    fn after(old: &FlowPath, new: &FlowPath) -> Change {
        let mut memory = PathMemory::default();
        memory.absorb(std::slice::from_ref(old));
        memory.absorb(std::slice::from_ref(new))
    }

    #[test]
    fn an_end_that_was_met_too_late_because_nobody_was_asked_before_it_is_put_right_without_news() {
        let whole = flow(&[1, 2, 3, 9], true);
        // The budget kept the packets of TTL 4 and 5 back: the destination answers at 6.
        let mut late = flow(&[1, 2, 3, 0, 0, 9], true);
        late.hops.retain(|place| place.ttl <= 3 || place.ttl == 6);
        let mut memory = PathMemory::default();
        memory.absorb(std::slice::from_ref(&late));
        assert_eq!(memory.known().destination_ttl, Some(6));
        let change = memory.absorb(std::slice::from_ref(&whole));
        assert_eq!(change, Change::default());
        assert_eq!(memory.known().destination_ttl, Some(4), "the nearer one");
        assert_eq!(memory.absorb(&[late]), Change::default());
        assert_eq!(memory.known().destination_ttl, Some(4));
        let asked = flow(&[1, 2, 3, 7, 8, 9], true);
        assert!(memory.absorb(&[asked]).suspicious, "others stand before it");
    }

    #[test]
    fn a_path_that_is_still_being_learnt_has_not_changed() {
        let mut few = flow(&[1, 0, 3], false);
        few.last_ttl = 3;
        few.hops.retain(|place| place.hop.is_some());
        let more = flow(&[1, 2, 3, 4, 9], true);
        assert!(
            !after(&few, &more).suspicious,
            "nobody was asked at 2, 4 and 5"
        );
        let other = flow(&[1, 2, 7, 4, 9], true);
        assert!(after(&few, &other).suspicious, "another router at 3");
    }

    #[test]
    fn a_change_is_told_from_silence() {
        let base = flow(&[1, 2, 3, 4, 9], true);
        for (name, new, suspicious, differs) in [
            ("the same", flow(&[1, 2, 3, 4, 9], true), false, false),
            ("a silent hop", flow(&[1, 2, 0, 4, 9], true), false, false),
            ("a new router", flow(&[1, 2, 3, 7, 9], true), true, true),
            (
                "a new router at the start",
                flow(&[7, 2, 3, 4, 9], true),
                true,
                true,
            ),
            (
                "routers swapped in the tail",
                flow(&[1, 2, 4, 3, 9], true),
                true,
                true,
            ),
            ("one hop less", flow(&[1, 2, 3, 9], true), true, true),
            (
                "the destination fell silent",
                flow(&[1, 2, 3, 4], false),
                true,
                true,
            ),
        ] {
            assert_eq!(
                after(&base, &new),
                Change {
                    suspicious,
                    differs
                },
                "{name}"
            );
        }
    }

    #[test]
    fn the_first_round_is_news_and_no_suspicion() {
        assert_eq!(
            PathMemory::default().absorb(&[flow(&[1, 2], true)]),
            Change {
                suspicious: false,
                differs: true
            }
        );
    }

    #[test]
    fn a_hop_silent_once_is_still_compared_in_the_next_round() {
        let mut memory = PathMemory::default();
        memory.absorb(&[flow(&[1, 2, 3, 9], true)]);
        memory.absorb(&[flow(&[1, 0, 3, 9], true)]);
        assert!(memory.absorb(&[flow(&[1, 5, 3, 9], true)]).suspicious);
    }

    #[test]
    fn packets_that_are_balanced_one_by_one_do_not_raise_suspicion_for_ever() {
        let mut memory = PathMemory::default();
        let round = |number: u32| {
            flow(
                &[1, 2, if number.is_multiple_of(2) { 3 } else { 4 }, 9],
                true,
            )
        };
        let seen: Vec<Change> = (0..40)
            .map(|number| memory.absorb(&[round(number)]))
            .collect();
        assert!(seen[1].suspicious && seen[1].differs, "a new router");
        assert!(!seen[5..].iter().any(|change| change.suspicious));
        // Nor does each round bring the next report forward.
        assert!(!seen[5..].iter().any(|change| change.differs), "{seen:?}");
        assert!(
            memory.absorb(&[flow(&[1, 2, 7, 9], true)]).suspicious,
            "a third one"
        );
        memory.absorb(&[flow(&[1, 2, 3, 9], true)]);
        let swapped = memory.absorb(&[flow(&[1, 4, 3, 9], true)]);
        assert!(swapped.suspicious, "another place is as good as before");
    }

    #[test]
    fn a_place_is_expected_to_stay_unless_it_has_just_changed() {
        let mut memory = PathMemory::default();
        let expected = |memory: &PathMemory| memory.known().expected.get(&(0, 3)).copied();
        let at = |last: u8| Some(IpAddr::from([198, 51, 100, last]));
        memory.absorb(&[flow(&[1, 2, 3, 9], true)]);
        assert_eq!(expected(&memory), at(3));
        let moved = flow(&[1, 2, 4, 9], true);
        for _ in 0..UNSETTLED {
            memory.absorb(std::slice::from_ref(&moved));
            assert_eq!(expected(&memory), None, "it may balance packets");
        }
        memory.absorb(std::slice::from_ref(&moved));
        assert_eq!(expected(&memory), at(4), "it has moved");
        assert_eq!(memory.known().expected.get(&(0, 2)), at(2).as_ref());
    }

    #[test]
    fn a_path_that_comes_back_after_a_failover_is_looked_at() {
        let (own, other) = (flow(&[1, 2, 3, 9], true), flow(&[1, 2, 4, 9], true));
        let mut memory = PathMemory::default();
        memory.absorb(std::slice::from_ref(&own));
        for _ in 0..3 {
            for path in [&other, &own] {
                let change = memory.absorb(std::slice::from_ref(path));
                assert!(change.suspicious, "hours apart");
                for _ in 0..=STEADY {
                    memory.absorb(std::slice::from_ref(path));
                }
            }
        }
    }

    #[test]
    fn what_is_known_shortens_the_next_round() {
        let mut memory = PathMemory::default();
        assert_eq!(memory.known(), Known::default());
        memory.absorb(&[flow(&[1, 0, 3, 9], true), numbered(1, 1, &[1, 0, 9], true)]);
        memory.absorb(&[flow(&[1, 0, 3, 9], true), numbered(1, 1, &[1, 0, 9], true)]);
        assert_eq!(
            memory.known(),
            Known {
                destination_ttl: Some(4),
                last_ttl: Some(4),
                silent_ttls: vec![2],
                answered: [(0, 1), (0, 3), (0, 4), (1, 1), (1, 3)].into(),
                expected: [
                    ((0, 1), 1),
                    ((0, 3), 3),
                    ((0, 4), 9),
                    ((1, 1), 1),
                    ((1, 3), 9)
                ]
                .map(|(place, last)| (place, IpAddr::from([198, 51, 100, last])))
                .into(),
            }
        );
    }

    #[test]
    fn a_tail_is_compared_with_the_tail_and_says_nothing_of_the_head() {
        let mut memory = PathMemory::default();
        memory.absorb(&[flow(&[1, 2, 3, 4, 9], true)]);
        let tail = |hops: &[u8]| FlowPath {
            last_ttl: 4,
            ..numbered(0, 3, hops, false)
        };
        let same = memory.absorb(&[tail(&[3, 4])]);
        assert_eq!(same, Change::default(), "the destination was not asked");
        let moved = memory.absorb(&[tail(&[3, 7])]);
        assert!(moved.suspicious && moved.differs);
        let known = memory.known();
        assert!(known.answered.contains(&(0, 4)));
    }

    #[test]
    fn names_of_microsoft_are_known_in_any_case() {
        for (name, want) in [
            ("ae24-0.icr01.ams21.ntwk.msn.net", true),
            ("AE24-0.ICR01.AMS21.NTWK.MSN.NET.", true),
            ("ntwk.msn.net.example", false),
            ("xntwk.msn.net", false),
        ] {
            assert_eq!(is_microsoft_router(name), want, "{name}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = PathMemory::default();
        for third in 0..40_u16 {
            let places = (1..=30).map(|ttl| Place {
                ttl,
                hop: Some(Hop::plain(
                    IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, third, u16::from(ttl)]),
                    Duration::ZERO,
                )),
                silence: Silence::None,
                also: Vec::new(),
            });
            memory.absorb(&[FlowPath {
                flow: third,
                first_ttl: 1,
                hops: places.collect(),
                ..FlowPath::default()
            }]);
        }
        assert_eq!(memory.seen.len(), MAX_SEEN);
        assert_eq!(memory.last.len(), MAX_FLOWS);
    }
}
