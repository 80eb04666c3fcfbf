//! Which probe a transmit stamp belongs to: the kernel counts what a socket sends, and stamps carry the count. Pure.

use std::collections::VecDeque;

/// Probes in the order in which a socket sent them, from the oldest whose stamp is still awaited.
#[derive(Debug)]
pub(crate) struct Keys {
    first: u32,
    seqs: VecDeque<u16>,
    most: usize,
}

impl Keys {
    /// Remembers at most `most` probes; the stamp of an older one is not waited for.
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            first: 0,
            seqs: VecDeque::new(),
            most,
        }
    }

    /// Notes that a probe went out.
    pub(crate) fn sent(&mut self, seq: u16) {
        if self.seqs.len() >= self.most {
            self.seqs.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        self.seqs.push_back(seq);
    }

    /// The probe that a stamp is for. Stamps come in order, so those skipped will not come any more.
    pub(crate) fn stamped(&mut self, key: u32) -> Option<u16> {
        let place = usize::try_from(key.wrapping_sub(self.first)).ok()?;
        let seq = *self.seqs.get(place)?;
        self.seqs.drain(..=place);
        self.first = key.wrapping_add(1);
        Some(seq)
    }

    /// Starts at 0 again, together with the kernel's count. Stamps that are still awaited are given up.
    pub(crate) fn restart(&mut self) {
        self.first = 0;
        self.seqs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_find_their_probes_in_order_and_once() {
        let mut keys = Keys::new(3);
        for seq in 10..15 {
            keys.sent(seq);
        }
        for (name, key, want) in [
            ("given up: too many since", 1, None),
            ("the oldest kept", 2, Some(12)),
            ("again", 2, None),
            ("one skipped", 4, Some(14)),
            ("the skipped one", 3, None),
            ("of a probe not sent", 5, None),
        ] {
            assert_eq!(keys.stamped(key), want, "{name}");
        }
        keys.restart();
        keys.sent(99);
        assert_eq!(keys.stamped(0), Some(99));
    }

    #[test]
    fn the_count_wraps() {
        let mut keys = Keys {
            first: u32::MAX,
            seqs: VecDeque::new(),
            most: 8,
        };
        keys.sent(1);
        keys.sent(2);
        assert_eq!(
            (keys.stamped(u32::MAX), keys.stamped(0)),
            (Some(1), Some(2))
        );
    }
}
