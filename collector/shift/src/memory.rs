//! What is remembered of one (agent, target): the baseline, what is suspected and claimed. Serialisable, at most 4 kB.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::book::{Book, Role};
use crate::flows::Extra;
use crate::message::Protocol;
use crate::track::Track;
use crate::verdict::Verdict;

/// Pinned flows remembered.
pub(crate) const FLOWS_MAX: usize = 16;
/// Words of each of the two filters that remember rounds by their time, so that a replay is known (Bloom 1970).
const SEEN_WORDS: usize = 16;
/// Rounds that a filter takes: an hour of tail rounds; one in thirty others is taken for one of them.
const SEEN_ROUNDS: u8 = 120;
/// Addresses of the target that are remembered.
const DESTINATIONS_MAX: usize = 8;
/// Flows beyond the pinned ones that are remembered.
const EXTRAS_MAX: usize = 8;

/// State of a path comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The baseline is not known yet.
    Learning,
    /// The path is the baseline's.
    Stable,
    /// Rounds differ; more have to agree.
    Suspect,
    /// An event is open.
    Shifted,
    /// Moves too often to be told one by one.
    Flapping,
    /// Rounds show too little to claim anything.
    Blind,
}

/// What is remembered of one pinned flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FlowMemory {
    /// Number of the flow.
    pub flow: u16,
    /// Its usual ingress router, handoff router and the router before it; 0: not known.
    pub usual: [u32; 3],
    /// How steadily it is on them, 0 to 1.
    pub hold: [f32; 3],
    /// Where it was last.
    pub now: [u32; 3],
    /// Since when it has been elsewhere than usual; 0: it is where it uses to be.
    pub moved_at: [f64; 2],
    /// When it was last where it uses to be.
    pub usual_at: [f64; 2],
    /// Floor of the RTT to its ingress, microseconds; 0: not known.
    pub floor_us: f32,
}

/// A value with its decayed count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counted<T> {
    pub value: T,
    pub count: f32,
}

/// Last moments that showed the usual path, by what they showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Good {
    /// All hops.
    pub full: f64,
    /// The handoff.
    pub handoff: f64,
    /// The ingress.
    pub ingress: f64,
    /// The edge.
    pub edge: f64,
    /// That Microsoft's network is reached.
    pub reach: f64,
}

/// Pulses as far as reachability and RTT need them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pulses {
    pub last: f64,
    pub lost: u16,
    pub first_lost: f64,
    pub second_lost: f64,
    pub answered: u16,
    pub first_answered: f64,
    /// Floor of the target's RTT, microseconds; 0: not known.
    pub floor_us: f32,
    /// Lowest since a suspicion began; 0: none yet.
    pub lowest_us: u32,
    /// How often rounds reach Microsoft's network, 0 to 1.
    pub arriving: f32,
    pub short: u8,
    pub first_short: f64,
}

impl Pulses {
    /// How far the lowest RTT since a suspicion began is from the floor before, milliseconds.
    pub(crate) fn moved_ms(&self) -> Option<f64> {
        let both = self.lowest_us > 0 && self.floor_us > 0.0;
        both.then(|| (f64::from(self.lowest_us) - f64::from(self.floor_us)) / 1_000.0)
    }
}

/// Flapping: since when, and how many flanks it holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flap {
    pub since: f64,
    pub flanks: u16,
}

/// How often a level could have been decided: decayed counts of rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seeing {
    pub able: f32,
    pub rounds: f32,
}

/// What flows beyond the pinned ones say of a router that is suspected lost, by where the refresh before saw them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Drawn {
    /// They were there.
    pub gone: u8,
    /// They were elsewhere, and are there still.
    pub stayed: u8,
    /// They were elsewhere, and are elsewhere again.
    pub shuffled: u8,
    /// It is not known where they were.
    pub fresh: u8,
}

impl Drawn {
    pub(crate) fn all(self) -> usize {
        let kinds = [self.gone, self.stayed, self.shuffled, self.fresh];
        kinds.into_iter().map(usize::from).sum()
    }
}

/// Memory of one (agent, target).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PathMemory {
    /// Of the tables that the book was read with; not stored: a restart reads them again.
    #[serde(skip)]
    pub(crate) generation: Option<u32>,
    pub(crate) book: Book,
    pub(crate) flows: Vec<FlowMemory>,
    pub(crate) edges: Vec<Counted<String>>,
    pub(crate) uplinks: Vec<Counted<u32>>,
    /// The site's public address, and when it last became another one.
    pub(crate) public: Option<IpAddr>,
    pub(crate) public_moved_at: f64,
    /// How steadily it is the same, 0 to 1.
    pub(crate) public_hold: f32,
    pub(crate) destinations: Vec<IpAddr>,
    pub(crate) destination: Option<IpAddr>,
    /// The protocol that flows are pinned by, and when a round of it last came.
    pub(crate) protocol: Option<(Protocol, f64)>,
    pub(crate) seen: [[u64; SEEN_WORDS]; 2],
    pub(crate) seen_count: u8,
    pub(crate) newest: f64,
    pub(crate) began: f64,
    pub(crate) learned: bool,
    pub(crate) relearning: bool,
    pub(crate) rounds: u16,
    pub(crate) full_rounds: u16,
    pub(crate) refreshes: u16,
    pub(crate) first_ttl: u8,
    pub(crate) newcomers: u8,
    pub(crate) admit_now: bool,
    pub(crate) good: Good,
    pub(crate) window: Vec<Verdict>,
    pub(crate) path: Track,
    pub(crate) edge: Track,
    pub(crate) edge_floor: f64,
    pub(crate) reach: Track,
    pub(crate) spare: Track,
    pub(crate) spare_key: u32,
    pub(crate) spare_layer: u8,
    pub(crate) drawn: Drawn,
    /// Where the flows of the last refresh went beyond the pinned ones, and when that was.
    pub(crate) extras: Vec<Extra>,
    pub(crate) extras_at: f64,
    pub(crate) pulses: Pulses,
    pub(crate) penalty: f32,
    pub(crate) penalty_at: f64,
    pub(crate) flap: Option<Flap>,
    pub(crate) seeing: [Seeing; 3],
    pub(crate) looks: Vec<f64>,
    /// The newest round before the last jump forward.
    pub(crate) before_jump: f64,
    pub(crate) stale: u8,
    pub(crate) stale_newest: f64,
    pub(crate) blind_since: Option<f64>,
    pub(crate) tally: Tally,
}

/// What was seen and is no event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Suspicions that went away by themselves.
    pub transients: u32,
    /// Flows that changed places among the usual routers.
    pub remaps: u32,
    /// Rounds too old, replayed, or of a time that cannot be.
    pub refused: u32,
    /// Flows that ran in a circle.
    pub loops: u32,
}

impl PathMemory {
    /// What the comparison can say now.
    pub fn state(&self) -> State {
        let tracks = [&self.path, &self.reach, &self.edge, &self.spare];
        let any = |which: fn(&Track) -> bool| tracks.iter().any(|track| which(track));
        match () {
            () if self.flap.is_some() => State::Flapping,
            () if any(|track| track.open.is_some()) => State::Shifted,
            () if self.is_blind() => State::Blind,
            () if !self.learned => State::Learning,
            () if any(|track| track.suspicion.is_some()) => State::Suspect,
            () => State::Stable,
        }
    }

    fn is_blind(&self) -> bool {
        self.blind_since
            .is_some_and(|since| self.newest - since >= 300.0)
    }

    /// The AS that usually hands over to Microsoft, where nobody said who the provider is.
    pub fn usual_provider(&self) -> Option<u32> {
        self.book.usual_handoff()
    }

    /// What was seen and is no event.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// How often each level could have been decided in the last day, as grades: provider, geo, local.
    pub fn grades(&self) -> [char; 3] {
        self.seeing.map(|seeing| {
            let share = seeing.able / seeing.rounds.max(1.0);
            match () {
                () if share >= 0.95 => 'A',
                () if share >= 0.7 => 'B',
                () if share >= 0.3 => 'C',
                () => 'D',
            }
        })
    }

    /// Bytes in memory, with what is on the heap.
    pub fn bytes(&self) -> usize {
        let edges: usize = self.edges.iter().map(|edge| edge.value.capacity()).sum();
        size_of::<Self>()
            + self.book.heap_bytes()
            + self.flows.capacity() * size_of::<FlowMemory>()
            + self.edges.capacity() * size_of::<Counted<String>>()
            + edges
            + self.uplinks.capacity() * size_of::<Counted<u32>>()
            + self.destinations.capacity() * size_of::<IpAddr>()
            + self.tracks_bytes()
            + self.window.capacity() * size_of::<Verdict>()
            + self.looks.capacity() * size_of::<f64>()
            + self.extras.capacity() * size_of::<Extra>()
    }

    fn tracks_bytes(&self) -> usize {
        let of = |track: &Track| {
            let suspicion = if track.suspicion.is_some() {
                size_of::<crate::track::Suspicion>()
            } else {
                0
            };
            suspicion
                + if track.open.is_some() {
                    size_of::<crate::track::Open>()
                } else {
                    0
                }
        };
        [&self.path, &self.edge, &self.reach, &self.spare]
            .into_iter()
            .map(of)
            .sum()
    }

    /// The move that is suspected or claimed on the path, for the peers of this agent.
    pub fn claim(&self) -> Option<(f64, &crate::fleet::Claim)> {
        let suspicion = self.path.suspicion.as_ref()?;
        let claim = suspicion.claim.as_ref()?;
        Some((suspicion.first_novel, claim))
    }

    /// Addresses of the baseline: what they mean is needed whenever a round is taken in.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.book.addresses()
    }

    /// Whose network the site's way is, once learning is over: the AS that usually hands over to Microsoft, else that of the
    /// first public hop. Sites with an AS of their own, and access networks that buy transit, share what fails with all that
    /// the same AS hands over. Read from the tables of the last round.
    pub fn provider(&self) -> Option<u32> {
        let first = || self.book.usual_asn(Role::First, |_| true);
        self.usual_provider()
            .or_else(first)
            .filter(|_| self.learned)
    }

    /// While the path flaps: how often it moved so far.
    pub fn flanks(&self) -> Option<u16> {
        self.flap.map(|flap| flap.flanks)
    }

    /// Whether nothing is suspected or claimed, so that what is seen is the usual path.
    pub fn is_quiet(&self) -> bool {
        let tracks = [&self.path, &self.reach, &self.edge, &self.spare];
        tracks.iter().all(|track| track.is_quiet())
    }

    /// Keeps where the flows of a refresh went.
    pub(crate) fn note_extras(&mut self, extra: &[Extra], at: f64) {
        if extra.is_empty() {
            return;
        }
        self.extras = extra.iter().take(EXTRAS_MAX).copied().collect();
        self.extras_at = at;
    }

    pub(crate) fn flow(&mut self, flow: u16) -> Option<&mut FlowMemory> {
        if let Some(index) = self.flows.iter().position(|known| known.flow == flow) {
            return self.flows.get_mut(index);
        }
        if self.flows.len() >= FLOWS_MAX {
            return None;
        }
        self.flows.push(FlowMemory {
            flow,
            ..FlowMemory::default()
        });
        self.flows.last_mut()
    }

    /// Whether a round's time may be believed: newer than all before, or the agent's clock was set back for good.
    pub(crate) fn is_in_time(&mut self, at: f64) -> bool {
        if !at.is_finite() {
            self.tally.refused += 1;
            return false;
        }
        let key = crate::hop::key_of(&at.to_bits().to_le_bytes());
        if at > self.newest {
            if at - self.newest > CLOCK_STEP_S {
                self.before_jump = self.newest;
            }
            self.remember(key);
            self.stale = 0;
            return true;
        }
        self.tally.refused += 1;
        let replayed = self.was_seen(key);
        if replayed || at <= self.stale_newest || self.newest - at < CLOCK_STEP_S {
            self.stale_newest = if replayed {
                at
            } else {
                self.stale_newest.max(at)
            };
            return false;
        }
        self.stale_newest = at;
        self.stale = self.stale.saturating_add(1);
        // Rounds of a time that was jumped over are no replay: the one that jumped had a time that cannot be.
        let jumped = self.before_jump > 0.0 && at > self.before_jump;
        if self.stale < if jumped { JUMPED_RUN } else { STALE_RUN } {
            return false;
        }
        self.clock_was_set_back(at);
        true
    }

    fn remember(&mut self, key: u32) {
        if self.seen_count >= SEEN_ROUNDS {
            self.seen = [[0; SEEN_WORDS], self.seen[0]];
            self.seen_count = 0;
        }
        self.seen_count += 1;
        for (word, bit) in places(key) {
            if let Some(word) = self.seen[0].get_mut(word) {
                *word |= bit;
            }
        }
    }

    fn was_seen(&self, key: u32) -> bool {
        let holds = |filter: &[u64; SEEN_WORDS]| {
            places(key).all(|(word, bit)| filter.get(word).is_some_and(|word| word & bit != 0))
        };
        self.seen.iter().any(holds)
    }

    fn clock_was_set_back(&mut self, at: f64) {
        let shift = at - self.newest;
        self.newest = at;
        self.before_jump = 0.0;
        self.stale = 0;
        self.stale_newest = 0.0;
        let good = &mut self.good;
        for moment in [
            &mut good.full,
            &mut good.handoff,
            &mut good.ingress,
            &mut good.edge,
            &mut good.reach,
            &mut self.began,
            &mut self.penalty_at,
        ] {
            *moment += shift;
        }
        for track in [
            &mut self.path,
            &mut self.edge,
            &mut self.reach,
            &mut self.spare,
        ] {
            track.suspicion = None;
            if let Some(open) = &mut track.open {
                open.back = 0;
            }
        }
        self.window.clear();
        self.pulses = Pulses {
            floor_us: self.pulses.floor_us,
            arriving: self.pulses.arriving,
            ..Pulses::default()
        };
    }

    /// Whether a round is of another protocol than flows are pinned by.
    pub(crate) fn is_beside(&mut self, protocol: Protocol, at: f64, tail_s: f64) -> bool {
        let patience = (tail_s * 20.0).max(PROTOCOL_LOST_S);
        let replaced = |(pinned, newest): (Protocol, f64)| {
            protocol < pinned || (protocol > pinned && at - newest > patience)
        };
        if self.protocol.is_some_and(replaced) {
            self.flows.clear(); // the same number is another flow
            self.extras.clear();
            self.spare.suspicion = None;
        } else if self.protocol.is_some_and(|(pinned, _)| protocol != pinned) {
            return true;
        }
        self.protocol = Some((protocol, at));
        false
    }

    /// Whether the address probed is one that the baseline was made with. Rotation among them triggers nothing.
    pub(crate) fn note_destination(&mut self, destination: Option<IpAddr>) -> bool {
        if let Some(address) = destination {
            self.destination = Some(address);
        }
        let Some(address) = self.destination else {
            return true;
        };
        let known = self.destinations.contains(&address);
        if !known && self.path.is_quiet() && self.destinations.len() < DESTINATIONS_MAX {
            self.destinations.push(address);
        }
        known || !self.learned
    }
}

/// Three places of a key in a filter of 1,024 bits.
fn places(key: u32) -> impl Iterator<Item = (usize, u64)> {
    [0, 10, 20].into_iter().map(move |shift| {
        let place = (key >> shift) & 1_023;
        (
            usize::try_from(place / 64).unwrap_or(0),
            1_u64 << (place % 64),
        )
    })
}

/// Without a round of the pinned protocol for this long (or twenty tail rounds), another takes its place, seconds.
const PROTOCOL_LOST_S: f64 = 600.0;
/// A clock set back by less is disorder, seconds.
const CLOCK_STEP_S: f64 = 120.0;
/// So many rounds in a row, each newer than the one before and none a replay, say that the clock was set back.
const STALE_RUN: u8 = 20;
/// And so many, if they are of a time that was jumped over.
const JUMPED_RUN: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_memory_stay_small() {
        let sizes = [
            size_of::<PathMemory>(),
            size_of::<FlowMemory>() * 8,
            size_of::<Verdict>() * 8,
            size_of::<crate::track::Open>() + size_of::<crate::track::Suspicion>(),
            Book::most_bytes(),
            size_of::<Extra>() * EXTRAS_MAX,
        ];
        assert!(sizes.iter().sum::<usize>() <= 3_900, "{sizes:?}");
    }
}
