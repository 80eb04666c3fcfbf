//! The probes under way: a table for each way in which a reply can be wrong, and the invariant under any of them.

use std::collections::BTreeMap;
use std::io;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const TIMEOUT: Duration = Duration::from_millis(100);
const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 66));
const COOKIE: Cookie = *b"a cookie";
const EPOCH: Duration = Duration::from_secs(1_700_000_000);

fn at(ms: u32) -> Moment {
    Moment {
        monotonic: MS * ms,
        wall: EPOCH + MS * ms,
        slack: Duration::ZERO,
    }
}

fn reply(seq: u16, stamp_ms: u32) -> Reply {
    Reply {
        source: TARGET,
        seq,
        cookie: Some(COOKIE),
        stamp: Some(EPOCH + MS * stamp_ms),
        hop_limit: Some(57),
    }
}

fn launch(flights: &mut Flights, ms: u32) -> u16 {
    flights
        .launch(
            Request {
                destination: TARGET,
                token: u64::from(ms),
            },
            COOKIE,
            at(ms),
        )
        .expect("there is room")
}

fn finished(flights: &mut Flights) -> Vec<Completion> {
    let mut into = Vec::new();
    flights.take_finished(&mut into);
    into
}

/// Launches one at 10 ms, transmitted at 11 ms, and gives it to `happens` with its number; then the timeout passes.
fn one(happens: impl FnOnce(&mut Flights, u16)) -> (Ending, Counters) {
    let mut flights = Flights::new(4, TIMEOUT);
    let seq = launch(&mut flights, 10);
    flights.on_transmitted(seq, EPOCH + MS * 11);
    happens(&mut flights, seq);
    flights.settle();
    flights.expire(at(10_000));
    let mut all = finished(&mut flights);
    assert_eq!(
        (all.len(), flights.under_way(), flights.next_expiry()),
        (1, 0, None)
    );
    let counters = *flights.counters();
    (all.remove(0).ending, counters)
}

#[test]
fn an_answer_has_the_kernels_rtt_and_our_own_delay() {
    let (ending, counters) = one(|flights, seq| flights.on_reply(&reply(seq, 31), EPOCH, at(48)));
    let Ending::Answered(answer) = ending else {
        panic!("{ending:?}")
    };
    let want = Answer {
        rtt: 20 * MS,
        clock: Clock::Kernel,
        hop_limit: Some(57),
        delay: 17 * MS,
    };
    assert_eq!(answer, want);
    assert_eq!(
        counters,
        Counters {
            sent: 1,
            answered: 1,
            kernel_stamped: 1,
            ..Counters::default()
        }
    );
}

#[test]
fn delay_counts_from_when_we_waited() {
    let (ending, _) =
        one(|flights, seq| flights.on_reply(&reply(seq, 31), EPOCH + 47 * MS, at(48)));
    assert!(
        matches!(ending, Ending::Answered(Answer { delay: MS, .. })),
        "{ending:?}"
    );
}

#[test]
fn missing_stamps_make_it_a_user_clock() {
    for (name, transmit, receive, rtt) in [
        ("no transmit stamp", None, Some(31), 21 * MS),
        ("no receive stamp", Some(11), None, 38 * MS),
        ("none", None, None, 38 * MS),
        (
            "a transmit stamp from before the launch",
            Some(9),
            Some(31),
            21 * MS,
        ),
    ] {
        let mut flights = Flights::new(4, TIMEOUT);
        let seq = launch(&mut flights, 10);
        if let Some(ms) = transmit {
            flights.on_transmitted(seq, EPOCH + MS * ms);
        }
        let stamp = receive.map(|ms| EPOCH + MS * ms);
        flights.on_reply(
            &Reply {
                stamp,
                ..reply(seq, 0)
            },
            EPOCH,
            at(48),
        );
        flights.settle();
        let all = finished(&mut flights);
        let [
            Completion {
                ending: Ending::Answered(answer),
                ..
            },
        ] = all.as_slice()
        else {
            panic!("{name}: {all:?}")
        };
        assert_eq!((answer.rtt, answer.clock), (rtt, Clock::User), "{name}");
    }
}

#[test]
fn a_transmit_stamp_read_after_the_reply_still_counts() {
    let mut flights = Flights::new(4, TIMEOUT);
    let seq = launch(&mut flights, 10);
    flights.on_reply(&reply(seq, 31), EPOCH, at(48));
    flights.on_transmitted(seq, EPOCH + MS * 11);
    flights.settle();
    let all = finished(&mut flights);
    assert!(matches!(
        all.as_slice(),
        [Completion {
            ending: Ending::Answered(Answer {
                clock: Clock::Kernel,
                ..
            }),
            ..
        }]
    ));
}

#[test]
fn what_is_no_answer_is_counted_as_what_it_is() {
    type Case = (&'static str, fn(&mut Flights, u16), fn(&Counters) -> u64);
    let cases: [Case; 6] = [
        (
            "truncated",
            |f, seq| {
                f.on_reply(
                    &Reply {
                        cookie: None,
                        ..reply(seq, 31)
                    },
                    EPOCH,
                    at(31),
                );
            },
            |c| c.truncated,
        ),
        (
            "forged",
            |f, seq| {
                f.on_reply(
                    &Reply {
                        cookie: Some([9; 8]),
                        ..reply(seq, 31)
                    },
                    EPOCH,
                    at(31),
                );
            },
            |c| c.forged,
        ),
        (
            "elsewhere",
            |f, seq| {
                f.on_reply(
                    &Reply {
                        source: STRANGER,
                        ..reply(seq, 31)
                    },
                    EPOCH,
                    at(31),
                );
            },
            |c| c.elsewhere,
        ),
        (
            "another slot",
            |f, seq| f.on_reply(&reply(seq + 1, 31), EPOCH, at(31)),
            |c| c.unknown,
        ),
        (
            "same slot, another turn",
            |f, seq| f.on_reply(&reply(seq + 4, 31), EPOCH, at(31)),
            |c| c.unknown,
        ),
        (
            "read in time, stamped late",
            |f, seq| f.on_reply(&reply(seq, 111), EPOCH, at(112)),
            |c| c.late,
        ),
    ];
    for (name, happens, count) in cases {
        let (ending, counters) = one(happens);
        assert!(matches!(ending, Ending::Timeout), "{name}: {ending:?}");
        assert_eq!(
            (count(&counters), counters.timeouts, counters.answered),
            (1, 1, 0),
            "{name}"
        );
    }
}

#[test]
fn a_reply_counts_until_the_timeout_and_not_at_it_however_late_it_is_read() {
    let (ending, _) = one(|flights, seq| flights.on_reply(&reply(seq, 110), EPOCH, at(5_000)));
    assert!(
        matches!(ending, Ending::Answered(Answer { rtt, .. }) if rtt == 99 * MS),
        "{ending:?}"
    );
    let (ending, _) = one(|flights, seq| flights.on_reply(&reply(seq, 111), EPOCH, at(5_000)));
    assert!(matches!(ending, Ending::Timeout), "{ending:?}");
}

#[test]
fn second_and_late_replies_change_nothing() {
    let mut flights = Flights::new(4, TIMEOUT);
    let seq = launch(&mut flights, 10);
    flights.on_reply(&reply(seq, 20), EPOCH, at(21));
    flights.on_reply(&reply(seq, 21), EPOCH, at(21));
    flights.settle();
    flights.on_reply(&reply(seq, 22), EPOCH, at(22));
    let lost = launch(&mut flights, 30);
    flights.expire(at(130));
    flights.on_reply(&reply(lost, 131), EPOCH, at(131));
    flights.settle();
    assert_eq!(
        (
            finished(&mut flights).len(),
            flights.counters().duplicate,
            flights.counters().late
        ),
        (2, 2, 1)
    );
}

#[test]
fn stamps_that_cannot_be_are_dropped() {
    let stepped = |ms: u32, wall_ms: u32| Moment {
        wall: EPOCH + MS * wall_ms,
        ..at(ms)
    };
    for (name, stamp, taken, want) in [
        (
            "clock set forward",
            31,
            stepped(31, 3_600_031),
            Spoiled::ClockStepped,
        ),
        ("clock set back", 31, stepped(31, 1), Spoiled::ClockStepped),
        ("no time at all", 11, at(31), Spoiled::NotPositive),
        ("before it was sent", 5, at(31), Spoiled::NotPositive),
        ("longer than we waited", 60, at(31), Spoiled::Implausible),
    ] {
        let (ending, counters) =
            one(|flights, seq| flights.on_reply(&reply(seq, stamp), EPOCH, taken));
        assert!(
            matches!(ending, Ending::Spoiled(why) if why == want),
            "{name}: {ending:?}"
        );
        let spoiled = counters.clock_stepped + counters.not_positive + counters.implausible;
        assert_eq!(
            (spoiled, counters.answered, counters.timeouts),
            (1, 0, 0),
            "{name}"
        );
    }
}

#[test]
fn an_icmp_error_ends_the_probe_it_quotes() {
    let refusal = |seq| Refusal {
        destination: TARGET,
        seq,
        cookie: None,
        by: Some(STRANGER),
        kind: 3,
        code: 1,
    };
    let (ending, counters) = one(|flights, seq| flights.on_refusal(&refusal(seq)));
    assert!(matches!(
        ending,
        Ending::Unreachable {
            by: Some(STRANGER),
            kind: 3,
            code: 1
        }
    ));
    assert_eq!(counters.unreachable, 1);
    for (name, wrong) in [
        (
            "a cookie that is not ours",
            Refusal {
                cookie: Some([9; 8]),
                ..refusal(0)
            },
        ),
        (
            "about another destination",
            Refusal {
                destination: STRANGER,
                ..refusal(0)
            },
        ),
        ("about another probe", refusal(1)),
    ] {
        let (ending, _) = one(|flights, _| flights.on_refusal(&wrong));
        assert!(matches!(ending, Ending::Timeout), "{name}: {ending:?}");
    }
}

#[test]
fn what_is_not_sent_ends_or_never_was() {
    let mut flights = Flights::new(4, TIMEOUT);
    let (refused, withdrawn) = (launch(&mut flights, 0), launch(&mut flights, 0));
    flights.on_not_sent(refused, io::ErrorKind::NetworkUnreachable.into());
    flights.on_withdrawn(withdrawn);
    flights.on_withdrawn(withdrawn);
    assert!(matches!(
        finished(&mut flights).as_slice(),
        [Completion {
            ending: Ending::NotSent(_),
            ..
        }]
    ));
    assert_eq!(
        (
            flights.under_way(),
            flights.counters().sent,
            flights.counters().not_sent
        ),
        (0, 0, 1)
    );
}

#[test]
fn a_full_table_refuses_and_one_lost_probe_does_not_fill_it() {
    let mut flights = Flights::new(4, TIMEOUT);
    let lost = launch(&mut flights, 0);
    // The sequence number wraps more than once, around the one that stays.
    for round in 0..200_000u32 {
        let seq = launch(&mut flights, 1);
        assert_ne!(seq & 3, lost & 3, "round {round}");
        flights.on_reply(&reply(seq, 2), EPOCH, at(2));
        flights.settle();
    }
    assert_eq!(
        (finished(&mut flights).len(), flights.counters().answered),
        (200_000, 200_000)
    );
    for _ in 0..3 {
        launch(&mut flights, 3);
    }
    assert_eq!(
        flights.launch(
            Request {
                destination: TARGET,
                token: 0
            },
            COOKIE,
            at(3)
        ),
        Err(Full)
    );
    assert_eq!(flights.next_expiry(), Some(TIMEOUT));
    flights.expire(at(100));
    assert_eq!((flights.under_way(), flights.counters().full), (3, 1));
    assert_eq!(flights.next_expiry(), Some(TIMEOUT + 3 * MS));
}

/// Something that may happen to the table.
#[derive(Clone, Debug)]
enum Event {
    Launch,
    Wait(u32),
    Reply {
        back: u16,
        cookie: bool,
        known: bool,
        source: bool,
        stamp_back_ms: Option<u32>,
    },
    Refusal {
        back: u16,
        cookie: Option<bool>,
    },
    Transmitted {
        back: u16,
    },
    Withdrawn {
        back: u16,
    },
    NotSent {
        back: u16,
    },
    Settle,
    Step(i32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Launch),
        2 => (0u32..60).prop_map(Event::Wait),
        4 => (0u16..12, any::<bool>(), prop::bool::weighted(0.8), prop::bool::weighted(0.8), prop::option::of(0u32..150))
            .prop_map(|(back, cookie, known, source, stamp_back_ms)| Event::Reply { back, cookie, known, source, stamp_back_ms }),
        1 => (0u16..12, prop::option::of(any::<bool>())).prop_map(|(back, cookie)| Event::Refusal { back, cookie }),
        3 => (0u16..12).prop_map(|back| Event::Transmitted { back }),
        1 => (0u16..12).prop_map(|back| Event::Withdrawn { back }),
        1 => (0u16..12).prop_map(|back| Event::NotSent { back }),
        2 => Just(Event::Settle),
        1 => (-100_000i32..100_000).prop_map(Event::Step),
    ]
}

/// The clocks of the property below.
struct World {
    monotonic_ms: u32,
    wall_ms: u32,
}

impl World {
    fn now(&self) -> Moment {
        Moment {
            monotonic: MS * self.monotonic_ms,
            wall: EPOCH + MS * self.wall_ms,
            slack: Duration::ZERO,
        }
    }
}

proptest! {
    #[test]
    fn every_probe_ends_exactly_once_and_no_rtt_is_impossible(events in prop::collection::vec(event(), 0..200)) {
        let mut flights = Flights::new(8, TIMEOUT);
        let mut world = World { monotonic_ms: 1_000_000, wall_ms: 1_000_000 };
        let (mut launched, mut withdrawn, mut last) = (BTreeMap::new(), 0usize, 0u16);
        for (token, event) in (0u64..).zip(events) {
            let now = world.now();
            match event {
                Event::Launch => {
                    if let Ok(seq) = flights.launch(Request { destination: TARGET, token }, COOKIE, now) {
                        last = seq;
                        launched.insert(token, 0u32);
                    }
                }
                Event::Wait(ms) => {
                    world.monotonic_ms += ms;
                    world.wall_ms += ms;
                    flights.settle();
                    flights.expire(world.now());
                }
                Event::Reply { back, cookie, known, source, stamp_back_ms } => {
                    let cookie = cookie.then_some(if known { COOKIE } else { [9; 8] });
                    let stamp = stamp_back_ms.map(|ms| now.wall.saturating_sub(MS * ms));
                    let source = if source { TARGET } else { STRANGER };
                    let reply = Reply { source, seq: last.wrapping_sub(back), cookie, stamp, hop_limit: None };
                    flights.on_reply(&reply, EPOCH, now);
                }
                Event::Refusal { back, cookie } => flights.on_refusal(&Refusal {
                    destination: TARGET,
                    seq: last.wrapping_sub(back),
                    cookie: cookie.map(|known| if known { COOKIE } else { [9; 8] }),
                    by: None,
                    kind: 3,
                    code: 0,
                }),
                Event::Transmitted { back } => flights.on_transmitted(last.wrapping_sub(back), now.wall),
                Event::Withdrawn { back } => {
                    let before = flights.under_way();
                    flights.on_withdrawn(last.wrapping_sub(back));
                    withdrawn += before - flights.under_way();
                }
                Event::NotSent { back } => flights.on_not_sent(last.wrapping_sub(back), io::ErrorKind::Other.into()),
                Event::Settle => flights.settle(),
                Event::Step(ms) => world.wall_ms = world.wall_ms.saturating_add_signed(ms),
            }
        }
        world.monotonic_ms += 1_000;
        flights.settle();
        flights.expire(world.now());
        prop_assert_eq!(flights.under_way(), 0);
        let all = finished(&mut flights);
        prop_assert_eq!(all.len() + withdrawn, launched.len());
        for completion in &all {
            let times = launched.get_mut(&completion.token).unwrap();
            *times += 1;
            prop_assert_eq!(*times, 1);
            if let Ending::Answered(answer) = &completion.ending {
                prop_assert!(answer.rtt > Duration::ZERO && answer.rtt < TIMEOUT);
            }
        }
        let count = flights.counters();
        let ended = count.answered + count.timeouts + count.unreachable + count.clock_stepped + count.not_positive + count.implausible;
        prop_assert_eq!(count.sent, ended);
    }
}
