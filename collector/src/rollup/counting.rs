//! Samples of one kind as they are counted, many at a time.

use firstmile_columns::Tally;
use firstmile_wire::v1::Outcome;

use super::Cell;
use crate::ingest::batch::Marks;

/// The number of an answered probe on the wire and in chunks.
const ANSWERED: u8 = 1;

/// What is counted so far. It comes to the same [`Cell`] as [`Cell::count`] of each.
#[derive(Clone, Debug, Default)]
pub struct Counting {
    answered: Tally,
    /// All but the histogram.
    rest: Cell,
}

impl Counting {
    /// Counts samples, given as columns of equal length; says whether one of them counts for loss ([`Cell::n`]).
    pub fn count_all(&mut self, outcomes: &[u8], rtts_us: &[u32], marks: &[u32]) -> bool {
        // Without a branch for each, so that the processor takes several in a step.
        let other = outcomes
            .iter()
            .fold(0, |all, code| all | (*code ^ ANSWERED));
        let plain = other == 0 && marks.iter().fold(0, |all, marks| all | marks) == 0;
        if plain {
            self.answered.record_all(rtts_us);
            let min = rtts_us.iter().copied().min();
            self.rest.min_us = self.rest.min_us.into_iter().chain(min).min();
            return !outcomes.is_empty();
        }
        let (before, mut timed) = (self.rest.n(), false);
        for ((code, rtt_us), marks) in outcomes.iter().zip(rtts_us).zip(marks) {
            timed |= self.count(outcome_of(*code), *rtt_us, Marks(*marks));
        }
        timed || self.rest.n() > before
    }

    /// Counts those samples that were not answered; says whether one of them counts for loss.
    pub fn count_unanswered(&mut self, outcomes: &[u8], rtts_us: &[u32], marks: &[u32]) -> bool {
        let before = self.rest.n();
        for ((code, rtt_us), marks) in outcomes.iter().zip(rtts_us).zip(marks) {
            if *code != ANSWERED {
                self.count(outcome_of(*code), *rtt_us, Marks(*marks));
            }
        }
        self.rest.n() > before
    }

    /// Adds a cell.
    pub fn add(&mut self, cell: &Cell) {
        self.answered.add(&cell.answered);
        self.rest.merge_counts(cell);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        self.answered.merge(&other.answered);
        self.rest.merge_counts(&other.rest);
    }

    /// Adds the answered ones to `weights`, so that they weigh as much as one agent in one window.
    pub fn weigh(&mut self, weights: &mut Tally) {
        self.answered.spread_into(weights);
    }

    /// Whether one of them counts for loss.
    pub fn counts(&self) -> bool {
        self.rest.n() > 0 || !self.answered.is_empty()
    }

    /// What is counted so far, without weights.
    pub fn cell(self) -> Cell {
        Cell {
            answered: self.answered.histogram(),
            ..self.rest
        }
    }

    /// Says whether it has a time.
    fn count(&mut self, outcome: Outcome, rtt_us: u32, marks: Marks) -> bool {
        let timed = !marks.leaves_figures() && !marks.is_mistimed() && outcome == Outcome::Answered;
        if timed {
            self.answered.record(rtt_us);
            let min = self.rest.min_us.map_or(rtt_us, |min| min.min(rtt_us));
            self.rest.min_us = Some(min);
        } else {
            // No answer with a time: the histogram stays empty.
            self.rest.count(outcome, rtt_us, marks);
        }
        timed
    }
}

fn outcome_of(code: u8) -> Outcome {
    Outcome::try_from(i32::from(code)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counting_many_comes_to_the_same_as_one_by_one(
            rows in vec((prop_oneof![8 => Just(1u8), 2 => 0u8..16], 0u32..100_000, prop_oneof![8 => Just(0u32), 1 => 0u32..256]), 0..300),
            cut in 0usize..300,
        ) {
            let (mut all, mut late, mut want, mut missed) = (Counting::default(), Counting::default(), Cell::default(), Cell::default());
            let mut others = Counting::default();
            let cut = cut.min(rows.len());
            for (some, counting) in [(&rows[..cut], &mut all), (&rows[cut..], &mut late)] {
                let outcomes: Vec<u8> = some.iter().map(|row| row.0).collect();
                let rtts: Vec<u32> = some.iter().map(|row| row.1).collect();
                let marks: Vec<u32> = some.iter().map(|row| row.2).collect();
                counting.count_all(&outcomes, &rtts, &marks);
                others.count_unanswered(&outcomes, &rtts, &marks);
            }
            for (code, rtt, marks) in &rows {
                want.count(outcome_of(*code), *rtt, Marks(*marks));
                if *code != ANSWERED {
                    missed.count(outcome_of(*code), *rtt, Marks(*marks));
                }
            }
            all.merge(&late);
            prop_assert_eq!(all.clone().cell(), want.clone());
            prop_assert_eq!(others.cell(), missed);
            all.add(&want);
            want.merge(&want.clone());
            prop_assert_eq!(all.cell(), want);
        }
    }
}
