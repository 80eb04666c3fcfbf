//! When multipath discovery has seen enough: the stopping points of its rule, computed.

/// Next hops of one router that are told apart: wider ones stay incomplete.
pub const MOST_BRANCHES: usize = 64;

/// Points that are computed at once; wider routers are rare.
const COMMON_BRANCHES: usize = 16;

/// The stopping points for one chance of a miss.
#[derive(Clone, Debug)]
pub struct Stopping {
    alpha: f64,
    common: Vec<usize>,
}

impl Stopping {
    /// The points at which one further next hop of equal weight stays unseen with a chance of at most `alpha`, which is
    /// kept between one in a million and one half.
    pub fn new(alpha: f64) -> Self {
        let alpha = if alpha.is_finite() { alpha } else { 0.05 };
        let alpha = alpha.clamp(1e-6, 0.5);
        Self {
            alpha,
            common: (1..=COMMON_BRANCHES)
                .map(|seen| point(seen, alpha))
                .collect(),
        }
    }

    /// Flows that have to be followed when `seen` next hops have shown themselves.
    pub fn point(&self, seen: usize) -> usize {
        let seen = seen.clamp(1, MOST_BRANCHES);
        let common = self.common.get(seen - 1).copied();
        common.unwrap_or_else(|| point(seen, self.alpha))
    }
}

/// The least number of flows after which the chance that at least one of `seen` + 1 equally likely next hops was met by
/// none of them is at most `alpha`.
fn point(seen: usize, alpha: f64) -> usize {
    let branches = seen + 1;
    // Chance that exactly `index` branches have been met: adding flow by flow keeps every term positive, where the
    // closed form adds and subtracts binomials that cancel.
    let mut met = vec![0.0_f64; branches + 1];
    if let Some(none) = met.first_mut() {
        *none = 1.0;
    }
    let mut flows = 0;
    while 1.0 - met.last().copied().unwrap_or(1.0) > alpha {
        met = after_one_more(&met);
        flows += 1;
    }
    flows
}

fn after_one_more(met: &[f64]) -> Vec<f64> {
    let branches = met.len().saturating_sub(1).max(1);
    let share = |count: usize| number(count) / number(branches);
    let chance = |index: usize| met.get(index).copied().unwrap_or(0.0);
    (0..met.len())
        .map(|index| {
            let stays = chance(index) * share(index);
            let grows = index
                .checked_sub(1)
                .map_or(0.0, |before| chance(before) * (1.0 - share(before)));
            stays + grows
        })
        .collect()
}

/// As a float; exact for any count of branches.
fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_points_are_those_of_the_literature() {
        for (alpha, want) in [
            (0.05, [6, 11, 16, 21, 27, 33, 38, 44, 70, 96]),
            (0.01, [8, 15, 21, 28, 36, 43, 51, 58, 90, 123]),
        ] {
            let stopping = Stopping::new(alpha);
            let seen = [1, 2, 3, 4, 5, 6, 7, 8, 12, 16];
            assert_eq!(seen.map(|seen| stopping.point(seen)), want, "alpha {alpha}");
        }
    }

    proptest! {
        #[test]
        fn a_smaller_chance_and_more_branches_want_more_flows(alpha in 0.001f64..0.4, seen in 1usize..30) {
            let (strict, lax) = (Stopping::new(alpha), Stopping::new(alpha * 1.2));
            prop_assert!(strict.point(seen) >= lax.point(seen));
            prop_assert!(strict.point(seen + 1) > strict.point(seen));
        }
    }
}
