//! When each frame may leave a link. Pure: `now` and dice are parameters.
//!
//! Invariant: frames of one direction leave in the order in which they came, jitter or not.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// How a link behaves now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Behaviour {
    pub(crate) delay: Duration,
    /// Each frame is up to this much earlier or later, all values equally likely.
    pub(crate) jitter: Duration,
    /// Share of frames that vanish, 0 to 1.
    pub(crate) loss_ratio: f64,
    /// All frames vanish.
    pub(crate) blackhole: bool,
}

/// Two dice in `0.0..1.0`: one for loss, one for jitter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice {
    pub(crate) loss: f64,
    pub(crate) jitter: f64,
}

/// A frame on its way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Duration,
    order: u64,
    direction: usize,
    frame: Vec<u8>,
}

/// A frame that may leave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Leaving {
    pub(crate) direction: usize,
    pub(crate) due: Duration,
    pub(crate) frame: Vec<u8>,
}

/// All frames on all links; a direction is one way of one link.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: BinaryHeap<Reverse<Waiting>>,
    last_due: Vec<Duration>,
    order: u64,
}

impl Queue {
    /// Frames on their way at most: 65,536 of 1,514 bytes are 100 MB; beyond it frames vanish, as in a real buffer.
    const MOST: usize = 65_536;

    /// An empty queue for that many directions.
    pub(crate) fn new(directions: usize) -> Self {
        Self {
            waiting: BinaryHeap::new(),
            last_due: vec![Duration::ZERO; directions],
            order: 0,
        }
    }

    /// Takes a frame that came at `arrived`. Says whether it will leave at all.
    pub(crate) fn push(
        &mut self,
        direction: usize,
        arrived: Duration,
        behaviour: Behaviour,
        dice: Dice,
        frame: Vec<u8>,
    ) -> bool {
        let lost = behaviour.blackhole || dice.loss < behaviour.loss_ratio;
        let Some(last_due) = self.last_due.get_mut(direction) else {
            return false;
        };
        if lost || self.waiting.len() >= Self::MOST {
            return false;
        }
        let base = arrived + behaviour.delay + behaviour.jitter.mul_f64(2.0 * dice.jitter);
        let due = base.saturating_sub(behaviour.jitter).max(*last_due);
        *last_due = due;
        self.order += 1;
        self.waiting.push(Reverse(Waiting {
            due,
            order: self.order,
            direction,
            frame,
        }));
        true
    }

    /// The next frame that is due.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<Leaving> {
        if self.waiting.peek()?.0.due > now {
            return None;
        }
        let Reverse(Waiting {
            due,
            direction,
            frame,
            ..
        }) = self.waiting.pop()?;
        Some(Leaving {
            direction,
            due,
            frame,
        })
    }

    /// When the next frame is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.waiting.peek().map(|next| next.0.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const EVEN: Dice = Dice {
        loss: 0.5,
        jitter: 0.5,
    };

    #[test]
    fn a_frame_leaves_after_the_delay_and_not_before() {
        let mut queue = Queue::new(1);
        let behaviour = Behaviour {
            delay: 5 * MS,
            jitter: MS,
            ..Behaviour::default()
        };
        assert!(queue.push(0, 10 * MS, behaviour, EVEN, vec![1]));
        assert_eq!(queue.pop(14 * MS), None);
        assert_eq!(queue.next_due(), Some(15 * MS));
        assert_eq!(
            queue.pop(15 * MS),
            Some(Leaving {
                direction: 0,
                due: 15 * MS,
                frame: vec![1]
            })
        );
    }

    #[test]
    fn jitter_never_reorders_one_direction() {
        let mut queue = Queue::new(1);
        let behaviour = Behaviour {
            delay: 5 * MS,
            jitter: 4 * MS,
            ..Behaviour::default()
        };
        for (frame, jitter) in [(1, 0.9), (2, 0.0), (3, 0.4)] {
            queue.push(
                0,
                Duration::ZERO,
                behaviour,
                Dice { loss: 1.0, jitter },
                vec![frame],
            );
        }
        let order: Vec<u8> = std::iter::from_fn(|| queue.pop(100 * MS))
            .flat_map(|leaving| leaving.frame)
            .collect();
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn loss_and_blackhole_swallow() {
        for (name, behaviour, dice, leaves) in [
            ("clean", Behaviour::default(), EVEN, true),
            (
                "blackhole",
                Behaviour {
                    blackhole: true,
                    ..Behaviour::default()
                },
                EVEN,
                false,
            ),
            (
                "lost",
                Behaviour {
                    loss_ratio: 0.6,
                    ..Behaviour::default()
                },
                EVEN,
                false,
            ),
            (
                "spared",
                Behaviour {
                    loss_ratio: 0.5,
                    ..Behaviour::default()
                },
                EVEN,
                true,
            ),
        ] {
            assert_eq!(
                Queue::new(1).push(0, Duration::ZERO, behaviour, dice, vec![]),
                leaves,
                "{name}"
            );
        }
    }
}
