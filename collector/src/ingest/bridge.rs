//! What a path shows where its newest round was silent.
//!
//! Pure. Silence is never a change: a router that held back by rate, or that was not asked because another target had just asked
//! it, still stands where it stood. So between two hops that are where they were, a flow shows whom it met there last, with the
//! time of that meeting. The comparison of paths sees the round as it came, and this is only shown.

use std::collections::BTreeMap;
use std::net::IpAddr;

use firstmile_wire::v1::TraceStream;

use super::batch::{Flow, Hop, Round};

/// Who was last met so long ago is shown no more: five rounds of the whole path on the default plan.
const SHOWN_FOR_MS: i64 = 10 * 60 * 1000;

/// Puts `round` into what is `shown` of its target, given the rounds that earlier reports left there.
pub(super) fn show(round: &Round, shown: &mut BTreeMap<String, Round>, earlier: &[Round]) {
    let target = round.target.to_string();
    let earlier = earlier.iter().find(|one| one.target == round.target);
    let bridged = bridged(round, shown.get(&target).or(earlier));
    shown.insert(target, bridged);
}

/// `round` as it is shown, given the round that was shown `before`.
fn bridged(round: &Round, before: Option<&Round>) -> Round {
    let before = before.filter(|before| {
        before.destination == round.destination
            && before.kind == round.kind
            && before.at_unix_ms < round.at_unix_ms
    });
    let Some(before) = before else {
        return round.clone();
    };
    let flow = |flow: &Flow| {
        let mut same = before.flows.iter();
        let same = same.find(|before| before.flow_id == flow.flow_id);
        same.map_or_else(|| flow.clone(), |same| bridge(flow, round, same, before))
    };
    Round {
        flows: round.flows.iter().map(flow).collect(),
        ..round.clone()
    }
}

/// A flow with the hops that stood between two of its hops.
fn bridge(flow: &Flow, round: &Round, old_flow: &Flow, before: &Round) -> Flow {
    let old: BTreeMap<u32, &Hop> = old_flow.hops.iter().map(|hop| (hop.ttl, hop)).collect();
    let old_at = |ttl: u32| old.get(&ttl).and_then(|hop| hop.address);
    let mut hops: BTreeMap<u32, Hop> = flow.hops.iter().map(|h| (h.ttl, h.clone())).collect();
    let answered: Vec<(u32, IpAddr)> = (hops.values())
        .filter_map(|hop| Some((hop.ttl, hop.address?)))
        .collect();
    // The sender itself stands before the first hop, and is where it was.
    let mut stood = Some(0);
    for (ttl, address) in answered {
        let stands = old_at(ttl) == Some(address);
        if let (Some(from), true) = (stood, stands) {
            for gap in from + 1..ttl {
                if let Some(hop) = old.get(&gap).and_then(|hop| lent(hop, round, before)) {
                    hops.insert(gap, hop);
                }
            }
        }
        stood = stands.then_some(ttl);
    }
    // A tail does not ask on to the end, nor does a burst but in its first round.
    if let (Some(from), true, None) = (stood, is_of_a_stretch(round), flow.destination_ttl) {
        for (ttl, hop) in old.range(from + 1..) {
            if let Some(hop) = lent(hop, round, before) {
                hops.entry(*ttl).or_insert(hop);
            }
        }
    }
    Flow {
        hops: hops.into_values().collect(),
        ..flow.clone()
    }
}

const fn is_of_a_stretch(round: &Round) -> bool {
    matches!(round.stream, TraceStream::Tail | TraceStream::Burst)
}

/// A hop of the round before, with the time when it was met.
fn lent(hop: &Hop, round: &Round, before: &Round) -> Option<Hop> {
    let seen_unix_ms = hop.seen_unix_ms.unwrap_or(before.at_unix_ms);
    let is_recent = round.at_unix_ms - seen_unix_ms <= SHOWN_FOR_MS;
    (hop.address.is_some() && is_recent).then(|| Hop {
        seen_unix_ms: Some(seen_unix_ms),
        ..hop.clone()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use firstmile_wire::v1::TraceKind;
    use proptest::prelude::*;

    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn router(last: u8) -> IpAddr {
        IpAddr::from([198, 51, 100, last])
    }

    /// A round of one flow: the last numbers of the routers from the first TTL on, 0 for a silent one, `None` for one not asked.
    fn round(at_unix_ms: i64, hops: &[Option<u8>]) -> Round {
        let hop = |(ttl, last): (u32, &Option<u8>)| {
            let last = (*last)?;
            Some(Hop {
                ttl,
                address: (last != 0).then(|| router(last)),
                rtt_us: 1_000,
                reply_ttl: 64,
                icmp: 11 << 8,
                seen_unix_ms: None,
            })
        };
        Round {
            at_unix_ms,
            target: Arc::from("exchange"),
            destination: router(99),
            kind: TraceKind::Tcp,
            burst: false,
            stream: TraceStream::Full,
            nat64: None,
            flows: vec![Flow {
                flow_id: 7,
                hops: (1..).zip(hops).filter_map(hop).collect(),
                destination_ttl: None,
            }],
        }
    }

    fn shown(round: &Round) -> Vec<(u32, Option<IpAddr>, bool)> {
        let hops = round.flows.iter().flat_map(|flow| &flow.hops);
        hops.map(|hop| (hop.ttl, hop.address, hop.seen_unix_ms.is_some()))
            .collect()
    }

    #[test]
    fn silence_shows_who_stood_there_only_between_hops_that_stand_where_they_stood() {
        let old = [1, 2, 3, 4, 99].map(Some);
        let own = |ttl, last| (ttl, Some(router(last)), false);
        let lent = |ttl, last| (ttl, Some(router(last)), true);
        for (name, new, want) in [
            (
                "not asked in the middle",
                vec![Some(1), None, None, None, Some(99)],
                vec![own(1, 1), lent(2, 2), lent(3, 3), lent(4, 4), own(5, 99)],
            ),
            (
                "only the end was asked",
                vec![None, None, None, None, Some(99)],
                vec![lent(1, 1), lent(2, 2), lent(3, 3), lent(4, 4), own(5, 99)],
            ),
            (
                "silent before another router",
                vec![Some(1), Some(0), Some(7), Some(4), Some(99)],
                vec![
                    own(1, 1),
                    (2, None, false),
                    own(3, 7),
                    own(4, 4),
                    own(5, 99),
                ],
            ),
            (
                "silent behind another router",
                vec![Some(1), Some(7), Some(0), Some(4), Some(99)],
                vec![
                    own(1, 1),
                    own(2, 7),
                    (3, None, false),
                    own(4, 4),
                    own(5, 99),
                ],
            ),
            (
                "silent to the end: it may not go so far any more",
                vec![Some(1), Some(2), Some(0), Some(0)],
                vec![own(1, 1), own(2, 2), (3, None, false), (4, None, false)],
            ),
            (
                "one hop less",
                vec![Some(1), Some(2), None, Some(99)],
                vec![own(1, 1), own(2, 2), own(4, 99)],
            ),
        ] {
            let before = round(0, &old);
            let bridged = bridged(&round(MINUTE_MS, &new), Some(&before));
            assert_eq!(shown(&bridged), want, "{name}");
        }
    }

    #[test]
    fn a_tail_that_begins_at_the_first_hop_is_shown_on_to_the_end_as_long_as_it_stands() {
        let before = round(0, &[1, 2, 3, 4, 99].map(Some));
        for (name, stream, new, want) in [
            (
                "a tail",
                TraceStream::Tail,
                vec![1, 2, 3],
                vec![1, 2, 3, 4, 99],
            ),
            (
                "a burst",
                TraceStream::Burst,
                vec![1, 2, 3],
                vec![1, 2, 3, 4, 99],
            ),
            (
                "a tail that moved",
                TraceStream::Tail,
                vec![1, 2, 7],
                vec![1, 2, 7],
            ),
            (
                "a whole round",
                TraceStream::Full,
                vec![1, 2, 3],
                vec![1, 2, 3],
            ),
        ] {
            let new: Vec<Option<u8>> = new.into_iter().map(Some).collect();
            let new = Round {
                stream,
                ..round(MINUTE_MS, &new)
            };
            let bridged = bridged(&new, Some(&before));
            let hops: Vec<Option<IpAddr>> = shown(&bridged).into_iter().map(|hop| hop.1).collect();
            let want: Vec<Option<IpAddr>> =
                want.into_iter().map(|last| Some(router(last))).collect();
            assert_eq!(hops, want, "{name}");
        }
    }

    #[test]
    fn a_hop_is_shown_for_ten_minutes_after_it_was_met_and_says_when() {
        let gap = |minutes: i64| round(minutes * MINUTE_MS, &[Some(1), None, Some(3)]);
        let mut before = round(0, &[1, 2, 3].map(Some));
        for minutes in [2, 4, 6, 8, 10, 12, 14] {
            before = bridged(&gap(minutes), Some(&before));
            let hop = before.flows[0].hops.iter().find(|hop| hop.ttl == 2);
            let seen = hop.map(|hop| hop.seen_unix_ms);
            assert_eq!(seen, (minutes <= 10).then_some(Some(0)), "{minutes}");
        }
    }

    #[test]
    fn another_destination_other_packets_and_a_later_round_lend_nothing() {
        let new = round(MINUTE_MS, &[Some(1), None, Some(3)]);
        let old = round(0, &[1, 2, 3].map(Some));
        for (name, before) in [
            (
                "another destination",
                Round {
                    destination: router(98),
                    ..old.clone()
                },
            ),
            (
                "other packets",
                Round {
                    kind: TraceKind::Icmp,
                    ..old.clone()
                },
            ),
            (
                "later",
                Round {
                    at_unix_ms: 2 * MINUTE_MS,
                    ..old
                },
            ),
        ] {
            assert_eq!(bridged(&new, Some(&before)), new, "{name}");
        }
    }

    proptest! {
        /// Whatever answered stays as it came, and nothing is shown that was not met at the same TTL before.
        #[test]
        fn what_answered_stays_and_nothing_is_made_up(
            old in prop::collection::vec(prop::option::of(0u8..4), 0..12),
            new in prop::collection::vec(prop::option::of(0u8..4), 0..12),
        ) {
            let (old, new) = (round(0, &old), round(MINUTE_MS, &new));
            let shown = bridged(&new, Some(&old));
            for hop in &new.flows[0].hops {
                let kept = hop.address.is_none() || shown.flows[0].hops.contains(hop);
                prop_assert!(kept, "{hop:?}");
            }
            for hop in shown.flows[0].hops.iter().filter(|hop| hop.seen_unix_ms.is_some()) {
                let met = old.flows[0].hops.iter().any(|old| (old.ttl, old.address) == (hop.ttl, hop.address));
                prop_assert!(met && hop.address.is_some(), "{hop:?}");
            }
        }
    }
}
