//! Minimum-cost matching of detections to truths (Hungarian method, shortest augmenting paths).

/// A pair may not be matched.
pub(crate) const NEVER: f64 = 1e9;

/// For each row the column it is matched to, at least total cost; pairs that cost [`NEVER`] are left apart.
pub(crate) fn matched(costs: &[Vec<f64>]) -> Vec<Option<usize>> {
    let rows = costs.len();
    let columns = costs.first().map_or(0, Vec::len);
    if rows == 0 || columns == 0 {
        return vec![None; rows];
    }
    let size = rows.max(columns);
    let cost = |row: usize, column: usize| {
        costs
            .get(row - 1)
            .and_then(|row| row.get(column - 1))
            .copied()
            .unwrap_or(NEVER)
    };
    let row_of = assign(size, &cost);
    let mut found = vec![None; rows];
    for (column, row) in row_of.iter().enumerate().skip(1) {
        let allowed = *row > 0 && column <= columns && cost(*row, column) < NEVER;
        let slot = row.checked_sub(1).and_then(|row| found.get_mut(row));
        if let Some(slot) = slot.filter(|_| allowed) {
            *slot = Some(column - 1);
        }
    }
    found
}

/// Row of each column, both from 1 (Kuhn 1955, in the form with potentials).
#[expect(
    clippy::indexing_slicing,
    reason = "every index is between 0 and the size of the square, by construction"
)]
fn assign(size: usize, cost: &dyn Fn(usize, usize) -> f64) -> Vec<usize> {
    let (mut of_row, mut of_column) = (vec![0.0; size + 1], vec![0.0; size + 1]);
    let mut row_of = vec![0_usize; size + 1];
    for row in 1..=size {
        row_of[0] = row;
        let mut column = 0;
        let mut least = vec![f64::MAX; size + 1];
        let mut way = vec![0_usize; size + 1];
        let mut used = vec![false; size + 1];
        while row_of[column] != 0 {
            used[column] = true;
            let here = row_of[column];
            let (mut step, mut next) = (f64::MAX, 0);
            for other in 1..=size {
                if used[other] {
                    continue;
                }
                let slack = cost(here, other) - of_row[here] - of_column[other];
                if slack < least[other] {
                    (least[other], way[other]) = (slack, column);
                }
                if least[other] < step {
                    (step, next) = (least[other], other);
                }
            }
            for other in 0..=size {
                if used[other] {
                    of_row[row_of[other]] += step;
                    of_column[other] -= step;
                } else {
                    least[other] -= step;
                }
            }
            column = next;
        }
        while column != 0 {
            row_of[column] = row_of[way[column]];
            column = way[column];
        }
    }
    row_of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_whole_is_found_and_forbidden_pairs_stay_apart() {
        let costs = vec![vec![1.0, 2.0], vec![1.0, 4.0], vec![NEVER, NEVER]];
        assert_eq!(matched(&costs), vec![Some(1), Some(0), None]);
        assert_eq!(matched(&[]), Vec::<Option<usize>>::new());
    }
}
