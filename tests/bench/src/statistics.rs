//! Quantiles of errors.

/// How far the figures of a tool are from the truth, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Errors {
    pub(crate) count: usize,
    /// Median of the error with its sign.
    pub(crate) bias_us: f64,
    /// Quantiles of the error without its sign.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

impl Errors {
    /// Of figures minus truth, in microseconds; `None` when there are none.
    pub(crate) fn of(signed_us: &[f64]) -> Option<Self> {
        let mut signed = signed_us.to_vec();
        signed.sort_unstable_by(f64::total_cmp);
        let mut absolute: Vec<f64> = signed.iter().map(|error| error.abs()).collect();
        absolute.sort_unstable_by(f64::total_cmp);
        Some(Self {
            count: signed.len(),
            bias_us: quantile(&signed, 50)?,
            p50_us: quantile(&absolute, 50)?,
            p99_us: quantile(&absolute, 99)?,
            max_us: *absolute.last()?,
        })
    }
}

/// The value that so many of 100 stay at or below (nearest rank).
fn quantile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The most misses among so many runs that a promise of `probability` a run makes likely: the upper end of the 95 % interval of
/// the binomial distribution.
pub(crate) fn most_misses(runs: u32, probability: f64) -> u32 {
    if probability <= 0.0 {
        return 0;
    }
    // By logarithms: the chance of no miss at all among many runs is smaller than any float.
    let odds = (probability / (1.0 - probability)).ln();
    let mut exactly = f64::from(runs) * (1.0 - probability).ln();
    let mut at_most = exactly.exp();
    for misses in 0..runs {
        if at_most >= 0.975 {
            return misses;
        }
        exactly += odds + (f64::from(runs - misses) / f64::from(misses + 1)).ln();
        at_most += exactly.exp();
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_misses_is_that_of_the_tables() {
        // Upper 2.5 % points of the binomial distribution, as R's qbinom(0.975, n, p) gives them.
        for (runs, probability, want) in [
            (20, 0.05, 3),
            (100, 0.05, 10),
            (1_000, 0.05, 64),
            (16_000, 0.05, 854),
            (10, 0.0, 0),
        ] {
            assert_eq!(most_misses(runs, probability), want, "{runs} {probability}");
        }
    }

    #[test]
    fn quantiles_are_nearest_ranks() {
        let signed: Vec<f64> = (-50..50).map(f64::from).collect();
        let errors = Errors::of(&signed).unwrap();
        let figures = [errors.bias_us, errors.p50_us, errors.p99_us, errors.max_us];
        assert_eq!(
            (errors.count, figures.map(|figure| format!("{figure}"))),
            (100, ["-1", "25", "49", "50"].map(str::to_owned))
        );
        assert!(Errors::of(&[]).is_none());
    }
}
