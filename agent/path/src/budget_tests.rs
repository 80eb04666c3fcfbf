//! The budget against networks of routers that count who asks them.

use proptest::prelude::*;

use super::*;
use crate::gate::Gate;
use crate::plan::Stream;
use crate::testing;
use crate::way::MAX_FLOWS;

const SECOND: Duration = Duration::from_secs(1);

fn destination(number: u8) -> IpAddr {
    IpAddr::from([203, 0, 113, number])
}

/// The router at a TTL of a flow. Up to `shared` all meet one; past it, `spread` routers share the flows of all.
fn router(to: u8, flow: u16, ttl: u8, shared: u8, spread: u16) -> IpAddr {
    let branch = if ttl <= shared {
        0
    } else {
        1 + (u16::from(to) * 7 + flow * 3 + u16::from(ttl)) % spread
    };
    let [high, low] = branch.to_be_bytes();
    IpAddr::from([198, 18 + high, ttl, low])
}

/// One round of a destination: each flow in turn asks its TTLs; replies come back before the next flow asks.
#[derive(Clone, Debug)]
struct Ask {
    after_ms: u64,
    to: u8,
    flow: u16,
    from_ttl: u8,
    count: u8,
    /// It needs its turns no more.
    gives_back: bool,
}

fn ask() -> impl Strategy<Value = Ask> {
    (
        0u64..900,
        1u8..12,
        0u16..8,
        1u8..10,
        1u8..8,
        prop::bool::weighted(0.2),
    )
        .prop_map(|(after_ms, to, flow, from_ttl, count, gives_back)| Ask {
            after_ms,
            to,
            flow,
            from_ttl,
            count,
            gives_back,
        })
}

proptest! {
    #[test]
    fn no_router_is_asked_twice_within_the_interval(
        asks in prop::collection::vec(ask(), 1..300), shared in 0u8..6, spread in 1u16..6,
    ) {
        let start = testing::start();
        let mut budget = HopBudget::default();
        let mut now = start;
        let mut sent: BTreeMap<IpAddr, Vec<Instant>> = BTreeMap::new();
        for ask in asks {
            now += Duration::from_millis(ask.after_ms);
            let to = destination(ask.to);
            let ttls: Vec<u8> = (ask.from_ttl..ask.from_ttl + ask.count).collect();
            let answers = budget.gate(to).admit(ask.flow, &ttls, now);
            for (ttl, admission) in ttls.iter().zip(answers) {
                let Admission::At(at) = admission else { continue };
                prop_assert!(at >= now && at <= now + LONG_PATIENCE);
                if ask.gives_back {
                    budget.gate(to).give_back(ask.flow, *ttl, at);
                    continue;
                }
                let met = router(ask.to, ask.flow, *ttl, shared, spread);
                sent.entry(met).or_default().push(at);
                budget.learn(to, ask.flow, *ttl, met, at);
            }
            prop_assert!(budget.cells.len() <= 12 * 8 * usize::from(MAX_TTL));
        }
        for (router, mut times) in sent {
            times.sort_unstable();
            for pair in times.windows(2) {
                prop_assert!(pair[1] - pair[0] >= SECOND, "{router}: {:?}", pair[1] - pair[0]);
            }
        }
    }
}

/// Answers that each destination and flow gets in `minutes`, when `targets` ask a tail of four TTLs every 30 s with eight
/// flows, all through the same routers.
fn tails(targets: u8, minutes: u64) -> BTreeMap<(u8, u16), u32> {
    let start = testing::start();
    let mut budget = HopBudget::default();
    let mut served = BTreeMap::new();
    for half_minute in 0..minutes * 2 {
        for flow in 0..8 {
            for to in 1..=targets {
                let at = half_minute * 30_000 + u64::from(flow) * 1_000 + u64::from(to) * 10;
                let now = start + Duration::from_millis(at);
                let ttls = [5, 6, 7, 8];
                let answers = budget.gate(destination(to)).admit(flow, &ttls, now);
                let count: &mut u32 = served.entry((to, flow)).or_default();
                for (ttl, admission) in ttls.iter().zip(answers) {
                    if let Admission::At(at) = admission {
                        let met = IpAddr::from([198, 18, *ttl, 1 + (to % 2)]);
                        budget.learn(destination(to), flow, *ttl, met, at);
                        *count += u32::from(*ttl == 7);
                    }
                }
            }
        }
    }
    served
}

#[test]
fn twenty_targets_behind_two_routers_starve_no_flow() {
    let served = tails(20, 30);
    let (least, most) = (served.values().min(), served.values().max());
    // 160 flows share two packets a second of which shared TTLs take none: 22 each in half an hour at the very best.
    assert!(least >= Some(&8), "{served:?}");
    assert!(
        most <= least.map(|least| least * 3).as_ref(),
        "{least:?} {most:?}"
    );
}

#[test]
fn a_turn_that_is_given_back_is_the_next_ones_and_one_in_the_middle_is_not() {
    let now = testing::start();
    let at = |admissions: Vec<Admission>| match admissions.as_slice() {
        [Admission::At(at)] => *at,
        other => panic!("one turn: {other:?}"),
    };
    let mut budget = HopBudget::default();
    let ask = |budget: &mut HopBudget, flow| at(budget.gate(destination(1)).admit(flow, &[5], now));
    for flow in 0..3 {
        let asked = ask(&mut budget, flow);
        budget.learn(destination(1), flow, 5, router(1, 0, 5, 9, 1), asked);
    }
    let turns: Vec<Instant> = (0..3).map(|flow| ask(&mut budget, flow)).collect();
    assert_eq!([turns[1] - turns[0], turns[2] - turns[1]], [SECOND; 2]);
    budget.gate(destination(1)).give_back(1, 5, turns[1]);
    assert_eq!(
        ask(&mut budget, 1),
        turns[2] + SECOND,
        "another's turn comes after it"
    );
    budget
        .gate(destination(1))
        .give_back(1, 5, turns[2] + SECOND);
    budget.gate(destination(1)).give_back(2, 5, turns[2]);
    assert_eq!(ask(&mut budget, 1), turns[2], "both were the last ones");
}

#[test]
fn one_target_alone_is_never_refused() {
    let served = tails(1, 10);
    assert!(served.values().all(|count| *count == 20), "{served:?}");
}

#[test]
fn the_common_start_is_asked_for_one_of_all_and_nobody_waits_there() {
    let start = testing::start();
    let mut budget = HopBudget::default();
    for to in 1..=3 {
        let at = start + SECOND * u32::from(to) * 10;
        for (ttl, admission) in
            (1..=4).zip(budget.gate(destination(to)).admit(0, &[1, 2, 3, 4], at))
        {
            assert_eq!(admission, Admission::At(at));
            budget.learn(destination(to), 0, ttl, router(to, 0, ttl, 2, 40), at);
        }
    }
    let now = start + SECOND * 60;
    let ask =
        |budget: &mut HopBudget, to| budget.gate(destination(to)).admit(0, &[1, 2, 3, 4], now);
    assert_eq!(ask(&mut budget, 1), [Admission::At(now); 4]);
    let others = ask(&mut budget, 2);
    assert_eq!(others[..2], [Admission::Skip; 2], "asked just now");
    assert_eq!(others[2..], [Admission::At(now); 2], "routers of its own");
}

#[test]
fn of_two_whose_rounds_keep_step_each_asks_the_common_start_by_turns() {
    let start = testing::start();
    let mut budget = HopBudget::default();
    let common = router(1, 0, 1, 2, 40);
    for to in 1..=2 {
        budget.learn(destination(to), 0, 1, common, start);
    }
    let mut asked = [0, 0];
    for round in 1..=10 {
        // The second one is always a little later.
        for to in 1..=2_u8 {
            let now = start + SECOND * 10 * round + SECOND / 10 * u32::from(to);
            if let Admission::At(at) = budget.gate(destination(to)).admit(0, &[1], now)[0] {
                assert!(at <= now + SECOND, "the wait is short");
                budget.learn(destination(to), 0, 1, common, at);
                asked[usize::from(to) - 1] += 1;
            }
        }
    }
    assert_eq!(asked, [10, 5], "each second time at least");
}

#[test]
fn a_burst_asks_before_all_who_wait_and_they_go_without() {
    let start = testing::start();
    let mut budget = HopBudget::default();
    let (near, now) = (router(1, 0, 3, 0, 5), start + SECOND * 10);
    for to in 1..=2 {
        for flow in 0..8 {
            budget.learn(destination(to), flow, 3, near, start);
        }
    }
    let tail = Stream::Tail(crate::plan::Span {
        from_ttl: 3,
        to_ttl: 3,
    });
    let mut waiting = Vec::new();
    for flow in 0..5 {
        waiting.extend(budget.gate(destination(1)).of(tail).admit(flow, &[3], now));
    }
    assert_eq!(waiting[4], Admission::At(now + SECOND * 4));
    assert!(budget.gate(destination(1)).of(tail).confirm(0, 3, now));
    let soon = now + SECOND / 2;
    let burst = Stream::Burst(None);
    let first = budget.gate(destination(2)).of(burst).admit(0, &[3], soon);
    assert_eq!(first, [Admission::At(now + SECOND)], "after who has asked");
    let turn = now + SECOND;
    assert!(!budget.gate(destination(1)).of(tail).confirm(1, 3, turn));
    assert!(budget.gate(destination(2)).of(burst).confirm(0, 3, turn));
    let second = budget.gate(destination(2)).of(burst).admit(1, &[3], turn);
    assert_eq!(
        second,
        [Admission::At(turn + SECOND)],
        "no faster than others"
    );
    let after = turn + SECOND * 10;
    let again = budget.gate(destination(1)).of(tail).admit(6, &[3], after);
    assert_eq!(again, [Admission::At(after)], "the burst is over");
}

#[test]
fn what_a_reply_shows_counts_even_where_another_router_was_expected() {
    let start = testing::start();
    let mut budget = HopBudget::default();
    let (a, b) = (router(1, 0, 3, 0, 5), router(2, 0, 3, 0, 5));
    budget.learn(destination(1), 0, 3, a, start);
    budget.learn(destination(2), 0, 3, b, start);
    let later = start + SECOND * 5;
    assert_eq!(
        budget.gate(destination(1)).admit(0, &[3], later),
        [Admission::At(later)]
    );
    budget.learn(destination(1), 0, 3, b, later);
    assert_eq!(
        budget.gate(destination(2)).admit(0, &[3], later),
        [Admission::At(later + SECOND)]
    );
}

#[test]
fn tables_are_bounded() {
    let start = testing::start();
    let mut budget = HopBudget::default();
    for number in 0..420_u16 {
        let [high, low] = number.to_be_bytes();
        let to = IpAddr::from([203, 0, 112 + high, low]);
        let now = start + SECOND * u32::from(number);
        for flow in (0..34).step_by(11) {
            let ttls = [1, 15, MAX_TTL];
            budget.gate(to).admit(flow, &ttls, now);
            for ttl in ttls {
                budget.learn(to, flow, ttl, IpAddr::from([198, 18 + high, ttl, low]), now);
            }
        }
    }
    assert!(budget.hops.len() <= MAX_HOPS);
    assert_eq!(budget.destinations.len(), MAX_DESTINATIONS);
    assert!(budget.cells.len() <= MAX_DESTINATIONS * usize::from(MAX_FLOWS) * usize::from(MAX_TTL));
    assert!(budget.unknown.len() <= 2 * usize::from(MAX_TTL));
}

#[test]
fn a_router_that_two_uplinks_share_is_asked_once_a_second_for_both() {
    let start = testing::start();
    let mut budget = HopBudget::default();
    let way = |vantage| Way {
        destination: destination(1),
        vantage,
    };
    let gateway = IpAddr::from([192, 0, 2, 1]);
    for vantage in [0, 1] {
        budget.learn(way(vantage), 0, 1, gateway, start);
        budget.learn(
            way(vantage),
            0,
            2,
            IpAddr::from([192, 0, 2, 10 + vantage.to_le_bytes()[0]]),
            start,
        );
    }
    let now = start + 5 * HOP_INTERVAL;
    let asked =
        |budget: &mut HopBudget, vantage, ttl| budget.gate(way(vantage)).admit(0, &[ttl], now);
    assert_eq!(asked(&mut budget, 0, 1), [Admission::At(now)]);
    assert_ne!(
        asked(&mut budget, 1, 1),
        [Admission::At(now)],
        "the gateway was just asked"
    );
    assert_eq!(asked(&mut budget, 0, 2), [Admission::At(now)]);
    assert_eq!(
        asked(&mut budget, 1, 2),
        [Admission::At(now)],
        "its own router"
    );
}

#[test]
fn an_agent_of_all_targets_families_and_vantages_still_knows_whom_each_packet_will_meet() {
    let ways: Vec<Way> = (0..20u8)
        .flat_map(|target| (0..8).map(move |vantage| (target, vantage)))
        .flat_map(|(target, vantage)| {
            let v6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(target)]);
            [destination(target), v6].map(|destination| Way {
                destination,
                vantage,
            })
        })
        .collect();
    assert_eq!(ways.len(), MOST_WAYS);
    let mut budget = HopBudget::default();
    let mut now = testing::start();
    for (way, number) in ways.iter().zip(0u16..) {
        now += 2 * SECOND;
        budget.gate(*way).admit(0, &[5], now);
        let [high, low] = number.to_be_bytes();
        let router = IpAddr::from([198, 18, high, low]);
        budget.learn(*way, 0, 5, router, now);
    }
    now += 60 * SECOND;
    for way in ways {
        let answer = budget.gate(way).admit(0, &[5], now);
        assert_eq!(answer, [Admission::At(now)], "{way:?} meets nobody else");
    }
}
