//! Isotonic calibration: which share of the claims with such a sum of evidence came true, on tuning seeds.

use std::collections::BTreeMap;

use firstmile_shift::level::Class;

use crate::score::Claim;

/// Claims that a step of a fit needs: fewer say little of a share.
const LEAST: usize = 25;

/// Kind of table and sum of evidence, as the claim's reasons say them: each ends with what it adds.
pub(crate) fn evidence(claim: &Claim) -> Option<(&'static str, f64)> {
    let added = |reason: &String| {
        let last = reason.rsplit(' ').next()?;
        last.starts_with(['+', '-'])
            .then(|| last.parse::<f64>())?
            .ok()
    };
    let odds: Vec<f64> = claim.reasons.iter().filter_map(added).collect();
    let says = |words: &str| claim.reasons.iter().any(|reason| reason.contains(words));
    let kind = match claim.class {
        Class::RedundancyLost => "lost",
        Class::Unreachable | Class::FrontDoorMoved | Class::Flapping => return None,
        Class::Uplink | Class::Provider | Class::Geo | Class::PartialGeo | Class::Local => {
            let alias = says("may be another address") || says("the table may be wrong");
            if alias { "alias" } else { "novel" }
        }
    };
    (!odds.is_empty()).then(|| (kind, odds.iter().sum()))
}

/// One step of a fit: lowest and highest sum, claims, and the share that came true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub from: f64,
    pub to: f64,
    pub claims: usize,
    pub true_claims: usize,
}

impl Step {
    /// The share that came true, held off 0 and 1 by half a claim on either side (Krichevsky and Trofimov).
    pub(crate) fn share(&self) -> f64 {
        let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        (count(self.true_claims) + 0.5) / (count(self.claims) + 1.0)
    }
}

/// The monotone fit of least squares: neighbours that fall are pooled (pool adjacent violators).
pub(crate) fn isotonic(claims: &[(f64, bool)]) -> Vec<Step> {
    let mut sorted = claims.to_vec();
    sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut steps: Vec<Step> = Vec::new();
    for (sum, came_true) in sorted {
        steps.push(Step {
            from: sum,
            to: sum,
            claims: 1,
            true_claims: usize::from(came_true),
        });
        while let [.., one, other] = steps.as_slice() {
            let falls = one.true_claims * other.claims >= other.true_claims * one.claims;
            if !falls && one.claims >= LEAST {
                break;
            }
            let pooled = Step {
                from: one.from,
                to: other.to,
                claims: one.claims + other.claims,
                true_claims: one.true_claims + other.true_claims,
            };
            steps.truncate(steps.len() - 2);
            steps.push(pooled);
        }
    }
    steps
}

/// Prints the fit of each kind of table.
pub(crate) fn print(sums: &[(String, f64, bool)]) {
    let mut by_kind: BTreeMap<&str, Vec<(f64, bool)>> = BTreeMap::new();
    for (kind, sum, came_true) in sums {
        by_kind.entry(kind).or_default().push((*sum, *came_true));
    }
    for (kind, claims) in by_kind {
        println!("fit {kind}: {} claims", claims.len());
        for step in isotonic(&claims) {
            println!(
                "  {:6.2} to {:6.2}: {:4} of {:4} came true, {:.3}",
                step.from,
                step.to,
                step.true_claims,
                step.claims,
                step.share()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_never_falls_and_loses_no_claim() {
        let claims: Vec<(f64, bool)> = (0..400_u32)
            .map(|number| {
                let sum = f64::from(number) / 40.0 - 5.0;
                (
                    sum,
                    crate::chance::hash(&[7, u64::from(number)]) % 400 < u64::from(number),
                )
            })
            .collect();
        let steps = isotonic(&claims);
        let counted: usize = steps.iter().map(|step| step.claims).sum();
        assert_eq!(counted, claims.len());
        let rises = steps.windows(2).all(|pair| {
            pair[0].to <= pair[1].from
                && pair[0].true_claims * pair[1].claims < pair[1].true_claims * pair[0].claims
        });
        assert!(rises, "{steps:?}");
        assert!(steps.len() > 2, "{steps:?}");
    }
}
