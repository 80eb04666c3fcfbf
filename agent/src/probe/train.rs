//! A train of probes to one destination: so many, so far apart, each with its own timeout.
//!
//! Pure: no socket, no clock, no randomness; `now` is a parameter. Invariant: each probe of the train ends with exactly
//! one [`Outcome`], whatever replies come late, twice, or for nothing that was asked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Outcome;

/// Place of a probe in its train, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Seq(pub(crate) u16);

/// How a train runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrainPlan {
    pub(crate) count: u16,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Transmit(Seq),
    WaitUntil(Instant),
    Finished,
}

/// A running train.
#[derive(Debug)]
pub(crate) struct Train {
    plan: TrainPlan,
    started: Instant,
    sent: u16,
    awaiting: BTreeMap<Seq, Instant>,
    outcomes: BTreeMap<Seq, Outcome>,
}

impl Train {
    pub(crate) const fn new(plan: TrainPlan, now: Instant) -> Self {
        Self {
            plan,
            started: now,
            sent: 0,
            awaiting: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        }
    }

    /// Says what to do next. Call it again after each transmission, reply and deadline.
    pub(crate) fn poll(&mut self, now: Instant) -> Step {
        self.expire(now);
        let due = (self.sent < self.plan.count)
            .then(|| self.started + self.plan.interval * u32::from(self.sent));
        if due.is_some_and(|due| now >= due) {
            let seq = Seq(self.sent);
            self.sent += 1;
            self.awaiting.insert(seq, now);
            return Step::Transmit(seq);
        }
        let expiry = self
            .awaiting
            .values()
            .next()
            .map(|sent_at| *sent_at + self.plan.timeout);
        due.into_iter()
            .chain(expiry)
            .min()
            .map_or(Step::Finished, Step::WaitUntil)
    }

    /// Books what the shell learnt of a probe. Late, repeated and unasked news find nothing awaiting them and are dropped.
    pub(crate) fn on_outcome(&mut self, seq: Seq, outcome: Outcome, now: Instant) {
        self.expire(now);
        if self.awaiting.remove(&seq).is_some() {
            self.outcomes.insert(seq, outcome);
        }
    }

    /// The outcomes in the order of sending.
    pub(crate) fn into_outcomes(self) -> Vec<Outcome> {
        self.outcomes.into_values().collect()
    }

    fn expire(&mut self, now: Instant) {
        while let Some(entry) = self.awaiting.first_entry() {
            if now < *entry.get() + self.plan.timeout {
                return;
            }
            self.outcomes
                .insert(entry.remove_entry().0, Outcome::Timeout);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Runs a train of `reply_ms.len()` probes 50 ms apart with a timeout of 100 ms on a virtual clock.
    fn drive(reply_ms: &[Option<u32>]) -> Vec<Outcome> {
        let start = crate::clock::now();
        let count = u16::try_from(reply_ms.len()).expect("a small train");
        let mut train = Train::new(
            TrainPlan {
                count,
                interval: 50 * MS,
                timeout: 100 * MS,
            },
            start,
        );
        let mut now = start;
        let mut replies: Vec<(Instant, Seq, Instant)> = Vec::new();
        loop {
            match train.poll(now) {
                Step::Finished => return train.into_outcomes(),
                Step::Transmit(seq) => {
                    if let Some(ms) = reply_ms[usize::from(seq.0)] {
                        replies.push((now + MS * ms, seq, now));
                        replies.sort();
                    }
                }
                Step::WaitUntil(deadline) => {
                    now = match replies.first().copied() {
                        Some((at, seq, sent)) if at <= deadline => {
                            replies.remove(0);
                            train.on_outcome(seq, Outcome::Answered(at - sent), at);
                            at
                        }
                        _ => deadline,
                    };
                }
            }
        }
    }

    #[test]
    fn a_reply_counts_until_the_timeout_and_not_at_it() {
        for (name, reply_ms, want) in [
            ("in time", Some(99), Outcome::Answered(99 * MS)),
            ("at the timeout", Some(100), Outcome::Timeout),
            ("silent", None, Outcome::Timeout),
        ] {
            assert_eq!(drive(&[reply_ms]), [want], "{name}");
        }
    }

    #[test]
    fn an_empty_train_is_finished() {
        assert!(drive(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn every_probe_ends_exactly_once_and_in_order(reply_ms in prop::collection::vec(prop::option::of(0u32..300), 1..64)) {
            let want: Vec<Outcome> = reply_ms.iter().map(|ms| match ms {
                Some(ms) if *ms < 100 => Outcome::Answered(MS * *ms),
                _ => Outcome::Timeout,
            }).collect();
            prop_assert_eq!(drive(&reply_ms), want);
        }
    }
}
