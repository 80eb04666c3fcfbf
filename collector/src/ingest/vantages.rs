//! One target seen from two uplinks, two targets: an SD-WAN site's ways out never share a baseline, a figure or a verdict.
//!
//! Agents say for each series and each path round which configured vantage point it left from. Here, what left from
//! `uplink-b` gets the name `exchange via uplink-b`, from where on it is a target of its own. What left by the machine's own
//! choice keeps the configured name. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firstmile_wire::v1::Report;

use super::decode::{DecodeError, limit, short, wrong};
use crate::registry::Target;

/// Vantage points of an agent: far more than a site has ways out.
const MAX_VANTAGES: usize = 16;

/// What a target is called, seen from each vantage point that a report speaks of.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_vantage: BTreeMap<u32, BTreeMap<u32, Arc<str>>>,
    targets: Vec<Target>,
}

impl Names {
    /// Reads which targets were probed from where.
    ///
    /// # Errors
    /// [`DecodeError`] when an index is out of bounds, or a vantage point has no printable name.
    pub(super) fn new(report: &Report, targets: &[Target]) -> Result<Self, DecodeError> {
        limit("vantage points", report.vantages.len(), MAX_VANTAGES)?;
        let series = report.series.iter().map(|one| (one.target, one.vantage));
        let rounds = report.traces.iter().map(|one| (one.target, one.vantage));
        let used: BTreeSet<(u32, u32)> = series.chain(rounds).collect();
        let mut names = Self::default();
        for (index, target) in (0_u32..).zip(targets) {
            let from = used.range((index, 0)..=(index, u32::MAX));
            let mut vantages: Vec<u32> = from.map(|(_, vantage)| *vantage).collect();
            if vantages.is_empty() {
                vantages.push(0); // nothing was sent: it is still measured
            }
            for vantage in vantages {
                names.add(index, target, vantage, report)?;
            }
        }
        Ok(names)
    }

    fn add(
        &mut self,
        index: u32,
        target: &Target,
        vantage: u32,
        report: &Report,
    ) -> Result<(), DecodeError> {
        let from = match usize::try_from(vantage)
            .ok()
            .and_then(|at| report.vantages.get(at))
        {
            Some(vantage) => short("a vantage point's name", &vantage.name)?,
            None if vantage == 0 => String::new(),
            None => return Err(wrong("a vantage point's index", "is out of bounds")),
        };
        let name = if from.is_empty() {
            target.name.clone()
        } else {
            format!("{} via {from}", target.name)
        };
        let by_vantage = self.by_vantage.entry(index).or_default();
        by_vantage.insert(vantage, Arc::from(name.as_str()));
        if self.targets.iter().all(|known| known.name != name) {
            self.targets.push(Target {
                name,
                ..target.clone()
            });
        }
        Ok(())
    }

    /// The target at `index` as seen from `vantage`.
    pub(super) fn from(&self, index: u32, vantage: u32) -> Result<Arc<str>, DecodeError> {
        let named = self
            .by_vantage
            .get(&index)
            .and_then(|names| names.get(&vantage));
        named
            .map(Arc::clone)
            .ok_or(wrong("a target's index", "is out of bounds"))
    }

    /// All names of the target at `index`: what is told of it without a vantage point holds for each.
    pub(super) fn all(&self, index: u32) -> Result<Vec<Arc<str>>, DecodeError> {
        let names = self
            .by_vantage
            .get(&index)
            .ok_or(wrong("a target's index", "is out of bounds"))?;
        Ok(names.values().cloned().collect())
    }

    /// Every target under every name.
    pub(super) fn into_targets(self) -> Vec<Target> {
        self.targets
    }
}

#[cfg(test)]
mod tests {
    use firstmile_wire::v1::{Series, Vantage};

    use super::*;

    fn target(name: &str) -> Target {
        Target {
            name: name.to_owned(),
            host: "outlook.example".to_owned(),
            port: 443,
            service: "m365".to_owned(),
        }
    }

    fn report(vantages: &[&str], series: &[(u32, u32)]) -> Report {
        let vantage = |name: &&str| Vantage {
            name: (*name).to_owned(),
            ..Vantage::default()
        };
        let one = |&(target, vantage): &(u32, u32)| Series {
            target,
            vantage,
            ..Series::default()
        };
        Report {
            vantages: vantages.iter().map(vantage).collect(),
            series: series.iter().map(one).collect(),
            ..Report::default()
        }
    }

    #[test]
    fn each_way_out_is_a_target_and_none_is_invented() {
        for (vantages, series, want) in [
            (vec![], vec![(0, 0), (1, 0)], vec!["exchange", "sharepoint"]),
            (
                vec!["uplink-a", "uplink-b"],
                vec![(0, 0), (0, 1)],
                vec![
                    "exchange via uplink-a",
                    "exchange via uplink-b",
                    "sharepoint via uplink-a",
                ],
            ),
            (
                vec!["", "uplink-b"],
                vec![(0, 0), (0, 1), (1, 0)],
                vec!["exchange", "exchange via uplink-b", "sharepoint"],
            ),
        ] {
            let targets = [target("exchange"), target("sharepoint")];
            let names = Names::new(&report(&vantages, &series), &targets).expect("adds up");
            let told: Vec<String> = names
                .into_targets()
                .into_iter()
                .map(|target| target.name)
                .collect();
            assert_eq!(told, want, "{vantages:?}");
        }
    }

    #[test]
    fn an_index_out_of_bounds_is_refused() {
        let targets = [target("exchange")];
        assert!(Names::new(&report(&[], &[(0, 1)]), &targets).is_err());
        let names = Names::new(&report(&[], &[(0, 0)]), &targets).expect("adds up");
        assert!(names.from(1, 0).is_err());
        assert!(names.all(1).is_err());
        assert_eq!(&*names.from(0, 0).expect("there"), "exchange");
    }
}
