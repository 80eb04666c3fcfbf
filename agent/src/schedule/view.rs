//! What the rounds to one destination have taught, and what the next one is therefore to ask.
//!
//! Pure. Tails and bursts look at the stretch around the ingress into Microsoft's network, from two TTLs before it to one after
//! it; a burst asks the flows first that showed something new.

use std::net::IpAddr;

use super::rounds::{BURST_FLOWS, Round, SHARED_BURST_FLOWS, Says, Showed};
use crate::probe::path::PathMemory;
use crate::probe::trace::{FlowPath, Known, MAX_TTL, Span, Stream};

/// TTLs of a tail at most; where the ingress stands at very different TTLs, the first ones.
const MAX_TAIL: u8 = 8;

/// What is known of the path to one destination.
#[derive(Debug, Default)]
pub(crate) struct PathView {
    memory: PathMemory,
    /// The stretch around the ingress.
    tail: Option<Span>,
    /// The last router before it.
    handoff: Option<IpAddr>,
    /// Flows that showed something new when something last did.
    moved: Vec<u16>,
}

impl PathView {
    /// Takes a round in and says what it showed. `is_inside` knows the routers of Microsoft's network.
    pub(crate) fn learn(
        &mut self,
        round: Round,
        flows: &[FlowPath],
        is_inside: impl Fn(IpAddr) -> bool,
    ) -> Showed {
        let moved = self.memory.moved(flows);
        let answered = flows.iter().filter(|f| f.answers().next().is_some());
        let answered = answered.count();
        let says = match answered {
            0 | 1 => Says::Little,
            _ if 2 * moved.len() >= answered => Says::Moved,
            _ => Says::Enough,
        };
        let change = self.memory.absorb(flows);
        if change.suspicious {
            self.moved = moved;
        }
        if matches!(round, Round::Full | Round::Burst { head: true }) {
            self.tail = tail_of(flows, is_inside);
            self.handoff = self.tail.and_then(|tail| {
                // A router that was not asked, or held back, this time is still the handoff.
                let next = |ttl: u8| ttl == tail.from_ttl + 1;
                let known = last_before(flows, next).or(self.handoff);
                known.or_else(|| last_before(flows, |ttl| ttl <= tail.from_ttl + 1))
            });
        }
        Showed {
            differs: change.differs,
            suspicious: change.suspicious,
            says,
        }
    }

    /// What the next round may take for granted; in the `aftermath` of a change nothing that it meets is a surprise.
    pub(crate) fn known(&self, aftermath: bool) -> Known {
        let mut known = self.memory.known();
        if aftermath {
            known.expected.clear();
        }
        known
    }

    /// The last router before the ingress.
    pub(crate) const fn handoff(&self) -> Option<IpAddr> {
        self.handoff
    }

    /// What a round asks; where the stretch around the ingress is not known yet, the whole path.
    pub(crate) const fn stream(&self, round: Round) -> Stream {
        match (round, self.tail) {
            (Round::Full, _) | (Round::Tail, None) => Stream::Full,
            (Round::Tail, Some(span)) => Stream::Tail(span),
            (Round::Burst { head: true }, _) => Stream::Burst(None),
            (Round::Burst { head: false }, tail) => Stream::Burst(tail),
            (Round::Refresh, _) => Stream::Refresh,
        }
    }

    /// The flows of a round, out of `all`: in a burst those that moved, then the others in their order; fewer where the burst
    /// `shares` its routers with another.
    pub(crate) fn flows(&self, round: Round, shares: bool, all: u16) -> Vec<u16> {
        if !matches!(round, Round::Burst { .. }) {
            return (0..all).collect();
        }
        let moved = self.moved.iter().copied().filter(|flow| *flow < all);
        let mut flows: Vec<u16> = moved.collect();
        for flow in 0..all {
            if !flows.contains(&flow) {
                flows.push(flow);
            }
        }
        flows.truncate(usize::from(if shares {
            SHARED_BURST_FLOWS
        } else {
            BURST_FLOWS
        }));
        flows
    }
}

/// From two TTLs before the first router inside to one after it, over all flows; where none is known, the second half of the
/// path, for that is where it is entered.
fn tail_of(flows: &[FlowPath], is_inside: impl Fn(IpAddr) -> bool) -> Option<Span> {
    let entry = |flow: &FlowPath| {
        flow.answers()
            .find(|(_, hop)| is_inside(hop.address))
            .map(|(ttl, _)| ttl)
    };
    let entries: Vec<u8> = flows.iter().filter_map(entry).collect();
    if let (Some(first), Some(last)) = (entries.iter().min(), entries.iter().max()) {
        let from_ttl = first.saturating_sub(2).max(1);
        let to_ttl = (last + 1).min(from_ttl + MAX_TAIL - 1).min(MAX_TTL);
        return Some(Span { from_ttl, to_ttl });
    }
    let end = flows.iter().filter_map(|flow| flow.destination_ttl).max()?;
    Some(Span {
        from_ttl: (end / 2).max(1),
        to_ttl: end,
    })
}

/// The last router that answered at one of the TTLs.
fn last_before(flows: &[FlowPath], is_before: impl Fn(u8) -> bool) -> Option<IpAddr> {
    let before = |flow: &FlowPath| {
        let near = flow.answers().rfind(|(ttl, _)| is_before(*ttl));
        near.map(|(_, hop)| hop.address)
    };
    flows.iter().find_map(before)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::probe::met::{Hop, Place, Silence};

    fn router(number: u8) -> IpAddr {
        IpAddr::from([198, 51, 100, number])
    }

    fn flow(number: u16, hops: &[u8]) -> FlowPath {
        let place = |(ttl, last): (u8, &u8)| Place {
            ttl,
            hop: (*last != 0).then(|| Hop::plain(router(*last), Duration::from_millis(1))),
            silence: Silence::None,
            also: Vec::new(),
        };
        let last_ttl = u8::try_from(hops.len()).expect("few");
        FlowPath {
            flow: number,
            first_ttl: 1,
            last_ttl,
            hops: (1..).zip(hops).map(place).collect(),
            destination_ttl: Some(last_ttl),
            loops: false,
        }
    }

    fn span(stream: Stream) -> Option<(u8, u8)> {
        stream.span().map(|span| (span.from_ttl, span.to_ttl))
    }

    #[test]
    fn the_tail_lies_around_the_ingress() {
        let inside = |address| address >= router(50);
        for (name, hops, want) in [
            ("in the middle", vec![1, 2, 3, 4, 50, 51, 99], (3, 6)),
            ("first of all", vec![50, 51, 99], (1, 2)),
            ("behind a silent hop", vec![1, 2, 3, 0, 50, 99], (3, 6)),
            ("nobody known inside", vec![1, 2, 3, 4, 5, 6, 7, 8], (4, 8)),
        ] {
            let mut view = PathView::default();
            view.learn(Round::Full, &[flow(0, &hops)], inside);
            assert_eq!(span(view.stream(Round::Tail)), Some(want), "{name}");
            assert_eq!(
                span(view.stream(Round::Burst { head: true })),
                None,
                "{name}"
            );
        }
    }

    #[test]
    fn the_handoff_is_the_last_router_before_the_ingress() {
        let mut view = PathView::default();
        let inside = |address| address >= router(50);
        view.learn(Round::Full, &[flow(0, &[1, 2, 3, 4, 50, 51, 99])], inside);
        assert_eq!(view.handoff(), Some(router(4)));
        view.learn(Round::Full, &[flow(0, &[1, 2, 3, 0, 50, 51, 99])], inside);
        assert_eq!(view.handoff(), Some(router(4)), "silent this time");
        view.learn(Round::Full, &[flow(0, &[1, 2, 3, 5, 50, 51, 99])], inside);
        assert_eq!(view.handoff(), Some(router(5)));
    }

    #[test]
    fn a_burst_asks_those_first_that_moved() {
        let mut view = PathView::default();
        let inside = |address| address >= router(50);
        let old: Vec<FlowPath> = (0..8).map(|number| flow(number, &[1, 4, 50, 99])).collect();
        assert!(!view.learn(Round::Full, &old, inside).suspicious);
        let mut new = old.clone();
        new[6] = flow(6, &[1, 4, 60, 99]);
        new[2] = flow(2, &[1, 4, 60, 99]);
        assert!(view.learn(Round::Tail, &new, inside).suspicious);
        let burst = Round::Burst { head: true };
        assert_eq!(view.flows(burst, false, 8), [2, 6, 0, 1, 3]);
        assert_eq!(view.flows(burst, true, 8), [2, 6, 0], "half each");
        assert_eq!(view.flows(Round::Full, false, 8).len(), 8);
    }
}
