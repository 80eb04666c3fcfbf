//! How often routes to a prefix came and went, how long their paths were, and how many peers had one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::path::AsPath;

/// Counts of one prefix over some time. Those of two spans add up to those of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteCounts {
    /// Announcements, by the number of ASes in their paths, prepends apart.
    pub announced_by_hops: BTreeMap<u16, u64>,
    /// Withdrawals.
    pub withdrawn: u64,
    /// How often it was looked who has a route.
    pub looks: u64,
    /// Looks at which no peer had one.
    pub unseen_looks: u64,
    /// Peers that had one, summed over the looks.
    pub seen_peers: u64,
    /// Peers that were known, summed over the looks.
    pub known_peers: u64,
}

impl RouteCounts {
    /// A peer announced the prefix.
    pub fn announce(&mut self, path: &AsPath) {
        let hops = u16::try_from(path.without_prepends().len()).unwrap_or(u16::MAX);
        *self.announced_by_hops.entry(hops).or_default() += 1;
    }

    /// A peer withdrew it.
    pub const fn withdraw(&mut self) {
        self.withdrawn += 1;
    }

    /// So many of the peers that are known have a route now.
    pub fn look(&mut self, seen: usize, known: usize) {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.looks += 1;
        self.unseen_looks += u64::from(seen == 0);
        self.seen_peers += number(seen);
        self.known_peers += number(known.max(seen));
    }

    /// Adds the counts of another span.
    pub fn add(&mut self, other: &Self) {
        for (hops, count) in &other.announced_by_hops {
            let sum = self.announced_by_hops.entry(*hops).or_default();
            *sum = sum.saturating_add(*count);
        }
        for (sum, count) in [
            (&mut self.withdrawn, other.withdrawn),
            (&mut self.looks, other.looks),
            (&mut self.unseen_looks, other.unseen_looks),
            (&mut self.seen_peers, other.seen_peers),
            (&mut self.known_peers, other.known_peers),
        ] {
            *sum = sum.saturating_add(count);
        }
    }

    /// Announcements, whatever their paths.
    pub fn announced(&self) -> u64 {
        self.announced_by_hops.values().sum()
    }

    /// The median number of ASes in announced paths, the lower one of two; `None` if nothing was announced.
    pub fn median_hops(&self) -> Option<u16> {
        let half = self.announced().div_ceil(2);
        let mut sum = 0;
        self.announced_by_hops.iter().find_map(|(hops, count)| {
            sum += count;
            (*count > 0 && sum >= half).then_some(*hops)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prepends_make_no_path_longer() {
        let mut counts = RouteCounts::default();
        for path in [
            &[64_500, 64_496][..],
            &[64_500, 64_496, 64_496, 64_496],
            &[64_501, 64_500, 64_496],
        ] {
            counts.announce(&AsPath::of(path));
        }
        assert_eq!(counts.announced_by_hops, BTreeMap::from([(2, 2), (3, 1)]));
        assert_eq!((counts.announced(), counts.median_hops()), (3, Some(2)));
        assert_eq!(RouteCounts::default().median_hops(), None);
    }

    #[test]
    fn a_look_says_how_many_of_the_peers_have_a_route() {
        let mut counts = RouteCounts::default();
        counts.look(3, 4);
        counts.look(0, 4);
        assert_eq!((counts.looks, counts.unseen_looks), (2, 1));
        assert_eq!((counts.seen_peers, counts.known_peers), (3, 8));
    }

    proptest! {
        #[test]
        fn spans_add_up(events in proptest::collection::vec((0_u8..3, 1_usize..6), 0..40), cut in 0_usize..40) {
            let counted = |events: &[(u8, usize)]| {
                let mut counts = RouteCounts::default();
                for (kind, number) in events {
                    match kind {
                        0 => counts.announce(&AsPath::of(&[64_496, 64_497, 64_498, 64_499, 64_500, 64_501][..*number])),
                        1 => counts.withdraw(),
                        _ => counts.look(*number - 1, 5),
                    }
                }
                counts
            };
            let (before, after) = events.split_at(cut.min(events.len()));
            let mut sum = counted(before);
            sum.add(&counted(after));
            prop_assert_eq!(sum, counted(&events));
        }
    }
}
