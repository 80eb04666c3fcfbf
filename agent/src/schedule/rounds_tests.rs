//! The rounds of one target on a virtual clock: what runs when, whatever the network shows.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// What a round takes: eight flows, one a second, and the wait for the last answers.
const FULL_TAKES: Duration = Duration::from_millis(8_400);
const BURST_TAKES: Duration = Duration::from_millis(4_400);
const REFRESH_TAKES: Duration = Duration::from_secs(90);

fn plan() -> RoundPlan {
    RoundPlan {
        full: 120 * SECOND,
        tail: 30 * SECOND,
        refresh: 6 * 3600 * SECOND,
        learning_rounds: 20,
        burst_interval: 5 * SECOND,
        burst_rounds: 6,
    }
}

const fn takes(round: Round) -> Duration {
    match round {
        Round::Full | Round::Tail => FULL_TAKES,
        Round::Burst { .. } => BURST_TAKES,
        Round::Refresh => REFRESH_TAKES,
    }
}

/// A quiet network answers everything and shows nothing new.
const QUIET: Showed = Showed {
    differs: false,
    suspicious: false,
    says: Says::Enough,
};

/// Runs rounds on a virtual clock and lists what started when. `showed` says what a round shows that started so long after
/// the beginning.
fn drive(
    plan: RoundPlan,
    span: Duration,
    mut random: impl FnMut() -> f64,
    showed: impl Fn(Round, Duration) -> Showed,
) -> Vec<(Duration, Round)> {
    let start = crate::clock::now();
    let mut rounds = Rounds::new(plan, start, &mut random);
    let mut under_way: Vec<(Instant, Round, Duration)> = Vec::new();
    let (mut now, mut started) = (start, Vec::new());
    while now < start + span {
        if let Some(round) = rounds.poll(now, &mut random, |_| true) {
            started.push((now - start, round));
            under_way.push((now + takes(round), round, now - start));
            continue;
        }
        let wake = rounds.wake(now);
        under_way.sort_unstable_by_key(|(end, _, _)| *end);
        match under_way.first().copied() {
            Some((end, round, began)) if end <= wake => {
                under_way.remove(0);
                now = end;
                rounds.on_end(round, showed(round, began), now);
            }
            _ => {
                assert!(wake > now, "a wait that does not wait would spin");
                now = wake;
            }
        }
    }
    started
}

fn quiet(span: Duration) -> Vec<(Duration, Round)> {
    drive(plan(), span, || 0.5, |_, _| QUIET)
}

fn of(started: &[(Duration, Round)], wanted: impl Fn(Round) -> bool) -> Vec<Duration> {
    started
        .iter()
        .filter(|(_, round)| wanted(*round))
        .map(|(at, _)| *at)
        .collect()
}

const fn is_burst(round: Round) -> bool {
    matches!(round, Round::Burst { .. })
}

#[test]
fn learning_takes_about_160_seconds_and_a_refresh_comes_with_it() {
    let started = quiet(400 * SECOND);
    let full = of(&started, |round| round == Round::Full);
    assert!(full[19] < 170 * SECOND, "{:?}", full[19]);
    assert!(full[20] > full[19] + 20 * SECOND, "then the plan holds");
    let refresh = of(&started, |round| round == Round::Refresh);
    assert_eq!(refresh.len(), 1);
    assert!(refresh[0] < 11 * SECOND, "{refresh:?}");
    assert!(
        of(&started, |round| round == Round::Tail)
            .iter()
            .all(|at| *at > full[19])
    );
}

#[test]
fn without_packets_that_can_discover_no_refresh_is_due_not_even_after_an_event() {
    let start = crate::clock::now();
    let mut rounds = Rounds::new(plan(), start, &mut || 0.5);
    let now = start + 5 * SECOND;
    assert_eq!(rounds.poll(now, &mut || 0.5, |_| true), Some(Round::Full));
    rounds.on_means(false);
    rounds.on_end(Round::Full, QUIET, now + SECOND);
    rounds.on_new_network(now + SECOND);
    let later = now + 8 * 3600 * SECOND;
    let next = rounds.poll(later, &mut || 0.5, |_| true);
    assert_eq!(
        next,
        Some(Round::Full),
        "no discovery by sockets that cannot"
    );
    rounds.on_means(true);
    let next = rounds.poll(later, &mut || 0.5, |_| true);
    assert_eq!(next, Some(Round::Refresh), "the rights came");
}

#[test]
fn the_round_that_sees_a_change_and_two_of_a_burst_confirm_it_and_a_refresh_follows() {
    let moved = 1_000 * SECOND;
    // The next look shows the change; the rounds after it show the same new path.
    let showed = |round: Round, began: Duration| {
        let novel = !is_burst(round) && began >= moved && began < moved + 31 * SECOND;
        Showed {
            suspicious: novel,
            differs: novel,
            says: Says::Moved,
        }
    };
    let short = RoundPlan {
        learning_rounds: 1,
        ..plan()
    };
    let started = drive(short, 1_500 * SECOND, || 0.5, showed);
    let bursts: Vec<_> = started.iter().filter(|(_, r)| is_burst(*r)).collect();
    assert_eq!(bursts.len(), 2, "{bursts:?}");
    assert_eq!(bursts[0].1, Round::Burst { head: true });
    assert_eq!(bursts[1].1, Round::Burst { head: false });
    for pair in bursts.windows(2) {
        assert_eq!(pair[1].0, pair[0].0 + 5 * SECOND);
    }
    let third_ends = bursts[1].0 + BURST_TAKES;
    // Tail interval, its own length, a burst interval, the last round.
    assert!(
        third_ends <= moved + (30 + 9 + 5 + 5) * SECOND,
        "{third_ends:?}"
    );
    let refresh = of(&started, |round| round == Round::Refresh);
    assert!(
        refresh.iter().any(
            |at| *at >= third_ends + REFRESH_AFTER && *at < third_ends + REFRESH_AFTER + SECOND
        ),
        "{refresh:?}"
    );
}

#[test]
fn a_network_that_changes_for_ever_gets_bursts_with_rests() {
    let restless = Showed {
        differs: true,
        suspicious: true,
        says: Says::Moved,
    };
    let short = RoundPlan {
        learning_rounds: 1,
        ..plan()
    };
    let hour = 3_600 * SECOND;
    let started = drive(short, hour, || 0.5, |_, _| restless);
    let bursts = of(&started, is_burst);
    // Six rounds of 5 s, then a rest of 30 s at least.
    assert!(bursts.len() <= 6 * 60, "{}", bursts.len());
    assert!(
        of(&started, |round| round == Round::Tail).len() > 30,
        "tails go on"
    );
    assert!(
        of(&started, |round| round == Round::Refresh).len() <= 7,
        "refreshes keep their distance"
    );
}

#[test]
fn a_suspicion_waits_for_its_turn_and_is_forgotten_in_the_end() {
    let start = crate::clock::now();
    let mut random = || 0.5;
    let plan = RoundPlan {
        learning_rounds: 1,
        ..plan()
    };
    let mut rounds = Rounds::new(plan, start, &mut random);
    let mut now = start + 2 * SECOND;
    assert_eq!(rounds.poll(now, &mut random, |_| true), Some(Round::Full));
    rounds.on_end(Round::Full, QUIET, now);
    assert_eq!(
        rounds.poll(now, &mut random, |_| true),
        Some(Round::Refresh)
    );
    assert!(rounds.suspect(now));
    for _ in 0..10 {
        assert_eq!(
            rounds.poll(now, &mut random, |ask| ask == Ask::Look),
            None,
            "not its turn"
        );
        assert!(rounds.wake(now) > now);
        now += SECOND;
    }
    assert_eq!(
        rounds.poll(now, &mut random, |_| true),
        Some(Round::Burst { head: true })
    );
    rounds.on_end(Round::Burst { head: true }, QUIET, now);
    let later = now + 10 * SECOND;
    assert!(rounds.suspect(later), "a running burst counts anew");
    let mut rounds = Rounds::new(plan, start, &mut random);
    rounds.learning_left = 0;
    rounds.suspect(now);
    let stale = now + PATIENCE + SECOND;
    assert!(!is_burst(
        rounds
            .poll(stale, &mut random, |_| true)
            .expect("what is due")
    ));
    assert_eq!(rounds.suspected, None);
}

#[test]
fn without_bursts_nothing_is_suspected_and_what_cannot_run_does_not_spin() {
    let start = crate::clock::now();
    let mut random = || 0.0;
    let mut rounds = Rounds::new(
        RoundPlan {
            burst_rounds: 0,
            ..plan()
        },
        start,
        &mut random,
    );
    assert!(!rounds.suspect(start + 3600 * SECOND));
    let now = start + 2 * SECOND;
    let round = rounds
        .poll(now, &mut random, |_| true)
        .expect("the first one");
    rounds.on_refused(round, now);
    assert_eq!(rounds.poll(now, &mut random, |_| true), None);
    assert!(rounds.wake(now) >= now + LEAST_SPACING);
}

proptest! {
    /// Whatever random numbers say: after learning a stretch around the ingress is looked at within one tail interval and
    /// what a round takes, and the whole path within the full one.
    #[test]
    fn the_tail_is_never_left_alone_for_long(randoms in prop::collection::vec(0.0f64..1.0, 1..50)) {
        let mut next = 0;
        let random = move || { next += 1; randoms[next % randoms.len()] };
        let short = RoundPlan { learning_rounds: 1, ..plan() };
        let started = drive(short, 3_600 * SECOND, random, |_, _| QUIET);
        let looks = of(&started, |round| matches!(round, Round::Tail | Round::Full));
        for pair in looks.windows(2) {
            prop_assert!(pair[1] <= pair[0] + 30 * SECOND + FULL_TAKES, "{pair:?}");
        }
        let full = of(&started, |round| round == Round::Full);
        for pair in full.windows(2) {
            prop_assert!(pair[1] <= pair[0] + 120 * SECOND + FULL_TAKES, "{pair:?}");
        }
        prop_assert!(of(&started, is_burst).is_empty());
    }
}

/// A round that shows a change on most flows.
const MOVED: Showed = Showed {
    differs: true,
    suspicious: true,
    says: Says::Moved,
};

#[test]
fn a_target_that_still_learns_is_surprised_once_it_has_seen_three_rounds() {
    for (name, moved_s, bursts) in [("the second round", 9, 0), ("the fourth round", 26, 2)] {
        let moved = SECOND * moved_s..SECOND * (moved_s + 8);
        let showed = |round: Round, began: Duration| {
            if round == Round::Full && moved.contains(&began) {
                MOVED
            } else {
                QUIET
            }
        };
        let started = drive(plan(), 120 * SECOND, || 0.5, showed);
        let burst = of(&started, is_burst);
        // The round that showed it counts as the first of three.
        assert_eq!(burst.len(), bursts, "{name}: {started:?}");
        assert!(
            burst.first().is_none_or(|at| *at < moved.end + 2 * SECOND),
            "{name}"
        );
        let full = of(&started, |round| round == Round::Full);
        assert!(full.len() > 10, "{name}: it goes on learning");
    }
}

#[test]
fn a_suspicion_ends_a_round_that_only_has_to_notice_and_no_burst() {
    let (start, mut random) = (crate::clock::now(), || 0.5);
    let short = RoundPlan {
        learning_rounds: 1,
        ..plan()
    };
    let mut rounds = Rounds::new(short, start, &mut random);
    let mut now = start + 2 * SECOND;
    rounds.poll(now, &mut random, |_| true);
    now += FULL_TAKES;
    rounds.on_end(Round::Full, QUIET, now);
    assert!(!rounds.is_learning());
    now += 130 * SECOND;
    let mut looked = rounds.poll(now, &mut random, |_| true);
    if looked == Some(Round::Refresh) {
        looked = rounds.poll(now, &mut random, |_| true);
    }
    assert_eq!(looked, Some(Round::Full));
    assert!(!rounds.is_in_the_way());
    assert!(rounds.suspect(now) && rounds.is_in_the_way());
    rounds.on_end(Round::Full, QUIET, now + SECOND);
    now += 2 * SECOND;
    let burst = rounds.poll(now, &mut random, |_| true);
    assert_eq!(burst, Some(Round::Burst { head: true }));
    assert!(!rounds.is_in_the_way());
}

#[test]
fn who_has_found_a_change_takes_the_news_of_others_and_its_other_flows_for_the_same() {
    let (start, mut random) = (crate::clock::now(), || 0.5);
    let short = RoundPlan {
        learning_rounds: 1,
        ..plan()
    };
    let mut rounds = Rounds::new(short, start, &mut random);
    let mut now = start + 2 * SECOND;
    rounds.poll(now, &mut random, |_| true);
    rounds.on_end(Round::Full, QUIET, now + FULL_TAKES);
    now += 130 * SECOND;
    assert!(rounds.hear(now), "it has found nothing yet");
    let mut ended = false;
    while !ended {
        let round = rounds.poll(now, &mut random, |_| true);
        if let Some(round @ Round::Burst { head }) = round {
            let showed = if head { MOVED } else { QUIET };
            ended = rounds.on_end(round, showed, now + BURST_TAKES);
        } else if let Some(round) = round {
            rounds.on_end(round, QUIET, now);
        }
        now += 5 * SECOND;
    }
    assert!(rounds.has_found() && rounds.is_aftermath(now));
    assert!(!rounds.hear(now));
    now += 30 * SECOND;
    while let Some(round) = rounds.poll(now, &mut random, |_| true) {
        rounds.on_end(round, MOVED, now);
        now += SECOND;
    }
    assert!(
        rounds.suspected.is_none(),
        "flows that were not asked before"
    );
    now += 60 * SECOND;
    assert!(!rounds.is_aftermath(now));
    assert!(!rounds.hear(now), "the same change, found by a slower one");
    assert!(rounds.suspect(now), "its own pulses count at once");
    assert!(rounds.hear(now + KNOWN_FOR));
}
