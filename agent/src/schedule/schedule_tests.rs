//! The schedule of one target on a virtual clock.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn periods() -> Periods {
    Periods {
        resolve: Some(60 * SECOND),
        echo: Some(5 * SECOND),
        connect: Some(5 * SECOND),
        https: Some(300 * SECOND),
        tls: None,
        quic: None,
        evidence: None,
        rounds: None,
    }
}

/// Runs a schedule on a virtual clock and lists what it did when.
fn drive(
    periods: &Periods,
    span: Duration,
    mut random: impl FnMut() -> f64,
) -> Vec<(Duration, Action)> {
    let start = crate::clock::now();
    let mut schedule = TargetSchedule::new(periods, start, &mut random);
    let (mut now, mut done) = (start, Vec::new());
    while now < start + span {
        match schedule.poll(now, &mut random, |_| true) {
            Step::Act(action) => {
                done.push((now - start, action));
                if let Action::Trace(round) = action {
                    schedule.on_round(round, Showed::default(), now);
                }
            }
            Step::WaitUntil(deadline) => {
                assert!(deadline > now, "a wait that does not wait would spin");
                now = deadline;
            }
        }
    }
    done
}

fn times(done: &[(Duration, Action)], action: Action) -> Vec<Duration> {
    done.iter()
        .filter(|(_, a)| *a == action)
        .map(|(at, _)| *at)
        .collect()
}

#[test]
fn a_name_is_resolved_before_anything_else() {
    let done = drive(&periods(), 30 * SECOND, || 0.5);
    assert_eq!(done[0], (Duration::ZERO, Action::Resolve));
}

#[test]
fn the_first_address_brings_pulses_at_once_and_no_pulse_twice() {
    let start = crate::clock::now();
    let mut random = || 0.99;
    let mut schedule = TargetSchedule::new(&periods(), start, &mut random);
    let mut done = Vec::new();
    while let Step::Act(action) = schedule.poll(start + SECOND, &mut random, |_| true) {
        done.push(action);
    }
    assert_eq!(done, [Action::Resolve]);
    schedule.on_first_address(start + SECOND, &mut random);
    let soon = start + SECOND + PULSES_WITHIN;
    while let Step::Act(action) = schedule.poll(soon, &mut random, |_| true) {
        done.push(action);
    }
    assert_eq!(done, [Action::Resolve, Action::Echo, Action::Connect]);
    assert_eq!(schedule.missed(), Missed::default());
}

#[test]
fn a_short_ttl_brings_the_resolution_forward() {
    let start = crate::clock::now();
    let mut random = || 0.5;
    let mut schedule = TargetSchedule::new(&periods(), start, &mut random);
    let step = schedule.poll(start, &mut random, |_| true);
    assert_eq!(step, Step::Act(Action::Resolve));
    schedule.resolve_by(start + 20 * SECOND);
    schedule.resolve_by(start + 40 * SECOND);
    let due = schedule.streams.iter().find(|(a, _)| *a == Action::Resolve);
    assert_eq!(due.map(|(_, s)| s.due()), Some(start + 20 * SECOND));
}

#[test]
fn a_machine_that_starved_skips_what_it_missed_and_counts_it() {
    let start = crate::clock::now();
    let mut random = || 0.0;
    let mut schedule = TargetSchedule::new(&periods(), start, &mut random);
    let later = start + 8 * 3600 * SECOND;
    let mut acts = 0;
    while let Step::Act(_) = schedule.poll(later, &mut random, |_| true) {
        acts += 1;
        assert!(acts < 20, "missed ticks are not made up for");
    }
    let missed = schedule.missed();
    // Two pulses each 5 s, a question each minute, a request each 5 minutes, for 8 hours.
    let want = 2 * 5_760 + 480 + 96;
    assert!(missed.starved.abs_diff(want) < 10, "{missed:?}");
    assert_eq!(missed.suspended, 0);
}

/// On Linux the monotonic clock stands still in a sleep; elsewhere it may run on. Either way the probes of that time are
/// counted once, as slept through, and the first ones after it come soon and not all at once.
#[test]
fn a_night_asleep_is_counted_as_such_and_all_is_tried_anew() {
    let night = 8 * 3600 * SECOND;
    for (name, clock_ran) in [("stands still", Duration::ZERO), ("runs on", night)] {
        let start = crate::clock::now();
        let mut random = || 0.5;
        let mut schedule = TargetSchedule::new(&periods(), start, &mut random);
        while let Step::Act(_) = schedule.poll(start + 5 * SECOND, &mut random, |_| true) {}
        let before = schedule.missed();
        let now = start + 10 * SECOND + clock_ran;
        schedule.on_wake_up(night, now, &mut random);
        let mut acts = Vec::new();
        while let Step::Act(action) = schedule.poll(now, &mut random, |_| true) {
            acts.push(action);
        }
        assert_eq!(acts, [Action::Resolve], "{name}");
        while let Step::Act(action) = schedule.poll(now + 2 * SECOND, &mut random, |_| true) {
            acts.push(action);
        }
        let rest = [Action::Echo, Action::Connect, Action::Https];
        assert!(rest.iter().all(|action| acts.contains(action)), "{name}");
        let missed = schedule.missed();
        assert_eq!(missed.starved, before.starved, "{name}");
        assert_eq!(missed.suspended, 2 * 5_760 + 480 + 96, "{name}");
    }
}

proptest! {
    #[test]
    fn pulses_keep_their_rate_and_their_bounds(randoms in prop::collection::vec(0.0f64..1.0, 200..400), period_s in 1u32..60) {
        let period = SECOND * period_s;
        let (mut next, count) = (0, randoms.len());
        let random = move || { next += 1; randoms[next % count] };
        let periods = Periods { echo: None, https: None, resolve: None, connect: Some(period), ..periods() };
        let connects = times(&drive(&periods, period * 200, random), Action::Connect);
        // Four standard deviations of the mean of 200 gaps, and what the sample of random numbers brings.
        prop_assert!((130..=290).contains(&connects.len()), "{}", connects.len());
        for pair in connects.windows(2) {
            let gap = pair[1].checked_sub(pair[0]).unwrap();
            prop_assert!(gap >= period.mul_f64(0.199) && gap <= period.mul_f64(3.01), "{gap:?}");
        }
    }
}
