//! Notices that the machine slept or that its clock was set, before a figure can suffer from it.
//!
//! Time is divided into eras: a sleep or a step of the wall clock ends one. Whoever measures asks for the era before and
//! after; a sample that spans two is dropped. Reports are cut at the same place, so that every wall anchor holds for all that
//! counts from it. Asking reads the clocks, so nothing that was measured after an upset can pass as before it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock;
use crate::schedule::upset::{self, Reading, Upset};

/// Upsets that wait to be told of: the watch asks each second.
const MAX_WAITING: usize = 16;

/// The number of a stretch of time without a sleep and without a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Era(u64);

/// Keeps the eras. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Timekeeper(Arc<Mutex<Kept>>);

#[derive(Debug)]
struct Kept {
    era: Era,
    last: Reading,
    waiting: VecDeque<(Reading, Upset)>,
}

impl Default for Timekeeper {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Kept {
            era: Era(0),
            last: clock::read_all(),
            waiting: VecDeque::new(),
        })))
    }
}

impl Timekeeper {
    /// The era that it is now.
    pub(crate) fn era(&self) -> Era {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock: readings are judged in their order.
        kept.look(clock::read_all())
    }

    /// What has happened since the last call, oldest first, with the clocks right after each.
    pub(crate) fn take_upsets(&self) -> VecDeque<(Reading, Upset)> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.look(clock::read_all());
        std::mem::take(&mut kept.waiting)
    }
}

impl Kept {
    fn look(&mut self, now: Reading) -> Era {
        if let Some(upset) = upset::judge(&self.last, &now) {
            self.era.0 += 1;
            if self.waiting.len() >= MAX_WAITING {
                self.waiting.pop_front();
            }
            self.waiting.push_back((now, upset));
        }
        self.last = now;
        self.era
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn eras_end_with_upsets_only_and_each_is_told_once() {
        let keeper = Timekeeper::default();
        let first = keeper.era();
        for _ in 0..1_000 {
            assert_eq!(keeper.era(), first, "time just passes");
        }
        let now = clock::read_all();
        let set = Reading {
            wall_unix_ms: now.wall_unix_ms + 3_600_000,
            ..now
        };
        let second = keeper.0.lock().expect("not poisoned").look(set);
        assert!(second > first);
        let asleep = Reading {
            boot: set.boot + Duration::from_hours(8),
            wall_unix_ms: set.wall_unix_ms + 8 * 3_600_000,
            ..set
        };
        assert!(keeper.0.lock().expect("not poisoned").look(asleep) > second);
        let told = std::mem::take(&mut keeper.0.lock().expect("not poisoned").waiting);
        let told: Vec<_> = told.iter().map(|(_, u)| (u.asleep, u.step_ms)).collect();
        let night = Some(Duration::from_hours(8));
        assert_eq!(told, [(None, Some(3_600_000)), (night, None)]);
    }

    #[test]
    fn what_nobody_fetches_is_bounded() {
        let mut kept = Kept {
            era: Era(0),
            last: clock::read_all(),
            waiting: VecDeque::new(),
        };
        for _ in 0..100 {
            let mut next = kept.last;
            next.wall_unix_ms += 10_000;
            kept.look(next);
        }
        assert_eq!(kept.waiting.len(), MAX_WAITING);
        assert_eq!(kept.era, Era(100));
    }
}
