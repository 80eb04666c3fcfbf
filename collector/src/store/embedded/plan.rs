//! Which windows of a query are read from one-minute cells and which from rollups. Pure.
//!
//! Rollups are exact merges of cells, so the answer is the same from either; rollups are fewer. A window whose rollup is out
//! of date ("dirty") is read from cells, so what an agent just sent shows at once.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::rollup::{FIVE_MINUTES_MS, HOUR_MS, window_start};

/// Where a span is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Cells,
    Rollup {
        step_ms: i64,
    },
    /// Late reports of a time whose cells are deleted: what came late is only in cells yet, the rest only in the rollup.
    Both,
}

/// What the store has.
#[derive(Clone, Debug, Default)]
pub(super) struct Holdings {
    /// Before this time cells are deleted, but for late ones.
    pub(super) cells_from: i64,
    /// Before this time five-minute rollups are deleted.
    pub(super) five_minutes_from: i64,
    /// Windows whose five-minute rollup is missing or out of date.
    pub(super) dirty_five_minutes: BTreeSet<i64>,
    /// Windows whose hour rollup is missing or out of date.
    pub(super) dirty_hours: BTreeSet<i64>,
}

/// Splits `query` into spans with their sources, in order of time, without gap or overlap within what is asked for.
///
/// `step_ms` is the width of the answer's windows: a rollup serves only where its windows do not straddle those, unless
/// nothing finer is left.
pub(super) fn plan(
    query: &Range<i64>,
    step_ms: Option<i64>,
    holdings: &Holdings,
) -> Vec<(Source, Range<i64>)> {
    let mut spans: Vec<(Source, Range<i64>)> = Vec::new();
    let mut at = query.start;
    while at < query.end {
        let (source, end) = next(at, query, step_ms, holdings);
        match spans.last_mut() {
            Some((before, span)) if *before == source && span.end == at => span.end = end,
            Some(_) | None => spans.push((source, at..end)),
        }
        at = end;
    }
    spans
}

/// The source at `at` and where its window ends. Beyond what is stored one jump leads to the end.
fn next(at: i64, query: &Range<i64>, step_ms: Option<i64>, holdings: &Holdings) -> (Source, i64) {
    let hour = window_start(at, HOUR_MS);
    let whole = |start: i64, width: i64| at == start && start.saturating_add(width) <= query.end;
    let fits = |width: i64| step_ms.is_none_or(|step| step % width == 0);
    let next_hour = hour.saturating_add(HOUR_MS);
    if at < holdings.five_minutes_from {
        return (
            Source::Rollup { step_ms: HOUR_MS },
            next_hour.min(query.end),
        );
    }
    if whole(hour, HOUR_MS) && fits(HOUR_MS) && holdings.hour_is_clean(hour) {
        return (Source::Rollup { step_ms: HOUR_MS }, next_hour);
    }
    let window = window_start(at, FIVE_MINUTES_MS);
    let end = window.saturating_add(FIVE_MINUTES_MS).min(query.end);
    let dirty = holdings.dirty_five_minutes.contains(&window);
    let source = if at < holdings.cells_from {
        if dirty {
            Source::Both
        } else {
            Source::Rollup {
                step_ms: FIVE_MINUTES_MS,
            }
        }
    } else if !dirty && whole(window, FIVE_MINUTES_MS) && fits(FIVE_MINUTES_MS) {
        Source::Rollup {
            step_ms: FIVE_MINUTES_MS,
        }
    } else {
        Source::Cells
    };
    (source, end)
}

impl Holdings {
    fn hour_is_clean(&self, hour: i64) -> bool {
        !self.dirty_hours.contains(&hour)
            && self
                .dirty_five_minutes
                .range(hour..hour.saturating_add(HOUR_MS))
                .next()
                .is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    const FIVE: Source = Source::Rollup {
        step_ms: FIVE_MINUTES_MS,
    };
    const HOUR: Source = Source::Rollup { step_ms: HOUR_MS };

    #[test]
    fn edges_come_from_cells_and_the_rest_from_the_widest_rollup_that_fits() {
        let holdings = Holdings::default();
        let query = HOUR_MS - 60_000..3 * HOUR_MS + FIVE_MINUTES_MS + 1;
        let last = 3 * HOUR_MS + FIVE_MINUTES_MS;
        assert_eq!(
            plan(&query, None, &holdings),
            [
                (Source::Cells, HOUR_MS - 60_000..HOUR_MS),
                (HOUR, HOUR_MS..3 * HOUR_MS),
                (FIVE, 3 * HOUR_MS..last),
                (Source::Cells, last..last + 1),
            ]
        );
        assert_eq!(
            plan(&(0..HOUR_MS), Some(FIVE_MINUTES_MS), &holdings),
            [(FIVE, 0..HOUR_MS)]
        );
        assert_eq!(
            plan(&(0..HOUR_MS), Some(60_000), &holdings),
            [(Source::Cells, 0..HOUR_MS)]
        );
    }

    #[test]
    fn a_dirty_window_comes_from_cells_and_spoils_its_hour() {
        let holdings = Holdings {
            dirty_five_minutes: [FIVE_MINUTES_MS].into(),
            ..Holdings::default()
        };
        assert_eq!(
            plan(&(0..HOUR_MS), None, &holdings),
            [
                (FIVE, 0..FIVE_MINUTES_MS),
                (Source::Cells, FIVE_MINUTES_MS..2 * FIVE_MINUTES_MS),
                (FIVE, 2 * FIVE_MINUTES_MS..HOUR_MS),
            ]
        );
        let holdings = Holdings {
            dirty_hours: [0].into(),
            ..Holdings::default()
        };
        assert_eq!(plan(&(0..HOUR_MS), None, &holdings), [(FIVE, 0..HOUR_MS)]);
    }

    #[test]
    fn where_cells_are_gone_rollups_serve_any_step_and_late_cells_are_added() {
        let holdings = Holdings {
            cells_from: 2 * HOUR_MS,
            five_minutes_from: HOUR_MS,
            dirty_five_minutes: [HOUR_MS].into(),
            ..Holdings::default()
        };
        assert_eq!(
            plan(&(0..2 * HOUR_MS), Some(60_000), &holdings),
            [
                (HOUR, 0..HOUR_MS),
                (Source::Both, HOUR_MS..HOUR_MS + FIVE_MINUTES_MS),
                (FIVE, HOUR_MS + FIVE_MINUTES_MS..2 * HOUR_MS),
            ]
        );
    }

    proptest! {
        #[test]
        fn every_moment_is_read_once(
            start in -HOUR_MS..5 * HOUR_MS,
            width in 0..5 * HOUR_MS,
            step in proptest::option::of((1i64..200).prop_map(|minutes| minutes * 60_000)),
            cells_from in 0..60i64,
            dirty in btree_set(0..120i64, 0..20),
        ) {
            let holdings = Holdings {
                cells_from: cells_from * FIVE_MINUTES_MS,
                five_minutes_from: HOUR_MS,
                dirty_five_minutes: dirty.iter().map(|window| window * FIVE_MINUTES_MS).collect(),
                dirty_hours: BTreeSet::new(),
            };
            let mut at = start;
            for (_, span) in plan(&(start..start + width), step, &holdings) {
                prop_assert_eq!(span.start, at);
                prop_assert!(span.end > span.start);
                at = span.end;
            }
            prop_assert_eq!(at, start + width);
        }
    }
}
