//! What an agent remembers of the path to one destination: enough to trace cheaply and to notice that it has changed.
//!
//! Pure. The collector decides what a change means; the agent only decides to look more closely and to report at once.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::trace::{FlowPath, Known, MAX_TTL};

/// Addresses remembered for one destination: 8 flows of 30 hops twice over; beyond it the oldest is forgotten.
const MAX_SEEN: usize = 512;

/// What a round says in the light of those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// An address answered that never did before, or a flow's last hops are others: a reason to look again at once.
    pub(crate) suspicious: bool,
    /// Anything differs from the round before: a reason to report at once.
    pub(crate) differs: bool,
}

/// The memory. Silent hops are wild cards: they equal anything.
#[derive(Debug, Default)]
pub(crate) struct PathMemory {
    rounds: u32,
    last: Vec<FlowPath>,
    seen: VecDeque<IpAddr>,
}

impl PathMemory {
    /// Takes in a round and says what changed. The first round changes nothing but differs from nothing.
    pub(crate) fn absorb(&mut self, flows: &[FlowPath]) -> Change {
        let first = self.rounds == 0;
        let novel = self.remember(flows);
        let differs = first
            || self.last.len() != flows.len()
            || pairs(&self.last, flows).any(|(a, b)| !alike(a, b));
        let tail_moved = pairs(&self.last, flows).any(|(a, b)| tails_differ(a, b));
        self.rounds = self.rounds.saturating_add(1);
        self.merge(flows);
        Change {
            suspicious: !first && (novel || tail_moved),
            differs,
        }
    }

    /// What the next round may take for granted.
    pub(crate) fn known(&self) -> Known {
        let last_ttl = self.last.iter().filter_map(last_answer).max();
        let silent = |ttl: &u8| {
            let index = usize::from(*ttl) - 1;
            self.last
                .iter()
                .all(|flow| flow.hops.get(index).is_none_or(Option::is_none))
                && self.last.iter().any(|flow| flow.hops.len() > index)
        };
        Known {
            destination_ttl: self
                .last
                .iter()
                .filter_map(|flow| flow.destination_ttl)
                .max(),
            last_ttl,
            silent_ttls: if self.rounds >= 2 {
                (1..=MAX_TTL).filter(silent).collect()
            } else {
                Vec::new()
            },
        }
    }

    /// Remembers the addresses of a round; whether one of them is new.
    fn remember(&mut self, flows: &[FlowPath]) -> bool {
        let mut novel = false;
        for hop in flows.iter().flat_map(|flow| flow.hops.iter().flatten()) {
            if !self.seen.contains(&hop.address) {
                novel = true;
                self.seen.push_back(hop.address);
                if self.seen.len() > MAX_SEEN {
                    self.seen.pop_front();
                }
            }
        }
        novel
    }

    /// Keeps the new round; a hop that was silent this time keeps what stood there in an otherwise alike flow.
    fn merge(&mut self, flows: &[FlowPath]) {
        let mut merged = flows.to_vec();
        for (old, new) in self.last.iter().zip(merged.iter_mut()) {
            if alike(old, new) && old.hops.len() == new.hops.len() {
                for (before, after) in old.hops.iter().zip(new.hops.iter_mut()) {
                    *after = after.or(*before);
                }
            }
        }
        self.last = merged;
    }
}

fn pairs<'a>(
    old: &'a [FlowPath],
    new: &'a [FlowPath],
) -> impl Iterator<Item = (&'a FlowPath, &'a FlowPath)> {
    old.iter().zip(new)
}

/// Whether two rounds of one flow are the same as far as both can tell.
fn alike(old: &FlowPath, new: &FlowPath) -> bool {
    let reach = (old.destination_ttl, new.destination_ttl);
    let same_reach = match reach {
        (Some(a), Some(b)) => a == b,
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    same_reach && !hops_differ(old, new)
}

fn hops_differ(old: &FlowPath, new: &FlowPath) -> bool {
    old.hops.iter().zip(&new.hops).any(|(a, b)| match (a, b) {
        (Some(a), Some(b)) => a.address != b.address,
        _ => false,
    })
}

/// Whether the last three places before the end of both are others, or the end moved or vanished.
fn tails_differ(old: &FlowPath, new: &FlowPath) -> bool {
    if old.destination_ttl != new.destination_ttl {
        return true;
    }
    let from = old.hops.len().min(new.hops.len()).saturating_sub(4);
    old.hops
        .iter()
        .zip(&new.hops)
        .skip(from)
        .any(|(a, b)| match (a, b) {
            (Some(a), Some(b)) => a.address != b.address,
            _ => false,
        })
}

fn last_answer(flow: &FlowPath) -> Option<u8> {
    flow.hops
        .iter()
        .rposition(Option::is_some)
        .and_then(|index| u8::try_from(index + 1).ok())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::probe::trace::Hop;

    fn flow(hops: &[u8], reached: bool) -> FlowPath {
        let hop = |last: &u8| {
            (*last != 0).then(|| Hop {
                address: IpAddr::from([198, 51, 100, *last]),
                rtt: Duration::from_millis(1),
                icmp: 0,
                reply_ttl: 0,
            })
        };
        FlowPath {
            hops: hops.iter().map(hop).collect(),
            destination_ttl: reached.then(|| u8::try_from(hops.len()).expect("few")),
        }
    }

    fn after(old: &FlowPath, new: &FlowPath) -> Change {
        let mut memory = PathMemory::default();
        memory.absorb(std::slice::from_ref(old));
        memory.absorb(std::slice::from_ref(new))
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
    fn what_is_known_shortens_the_next_round() {
        let mut memory = PathMemory::default();
        assert_eq!(memory.known(), Known::default());
        memory.absorb(&[flow(&[1, 0, 3, 9], true), flow(&[1, 0, 9], true)]);
        memory.absorb(&[flow(&[1, 0, 3, 9], true), flow(&[1, 0, 9], true)]);
        assert_eq!(
            memory.known(),
            Known {
                destination_ttl: Some(4),
                last_ttl: Some(4),
                silent_ttls: vec![2]
            }
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = PathMemory::default();
        for third in 0..20 {
            let hops = (1..=30).map(|last| {
                Some(Hop {
                    address: IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, third, last]),
                    rtt: Duration::ZERO,
                    icmp: 0,
                    reply_ttl: 0,
                })
            });
            memory.absorb(&[FlowPath {
                hops: hops.collect(),
                destination_ttl: None,
            }]);
        }
        assert_eq!(memory.seen.len(), MAX_SEEN);
    }
}
