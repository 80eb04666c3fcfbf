//! How routes to registered prefixes fare, counted by the detector's thread, into the store month by month.

use std::collections::BTreeMap;
use std::sync::Arc;

use firstmile_routing::counts::RouteCounts;
use firstmile_wire::ids::OrganisationId;
use ipnet::IpNet;
use tokio::sync::mpsc;
use tracing::error;

use crate::ingest::refusal::with_sources;
use crate::store::Store;
use crate::store::route_counts::Month;

/// How often counts are handed on, seconds.
const TELL_EVERY_S: f64 = 300.0;

/// What was counted in a month since it was handed on last.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) month: Month,
    pub(super) counts: Vec<(IpNet, RouteCounts)>,
}

/// When counts are handed on: every five minutes, and when a month ends.
#[derive(Debug)]
pub(super) struct Schedule {
    month: Month,
    next: f64,
}

impl Schedule {
    /// Counting begins.
    pub(super) fn new(now: f64) -> Self {
        Self {
            month: month_of(now),
            next: now + TELL_EVERY_S,
        }
    }

    /// The month that was counted, if it is time to hand it on.
    pub(super) fn due(&mut self, now: f64) -> Option<Month> {
        let (counted, month) = (self.month, month_of(now));
        if now < self.next && month == counted {
            return None;
        }
        self.month = month;
        self.next = now + TELL_EVERY_S;
        Some(counted)
    }

    /// The month that is being counted.
    pub(super) const fn month(&self) -> Month {
        self.month
    }
}

fn month_of(now: f64) -> Month {
    Month::of(crate::clock::from_seconds(now))
}

/// Adds what comes to the store. What it does not take now waits, as one sum for each prefix and month.
pub(super) async fn keep(store: Arc<dyn Store>, mut told: mpsc::Receiver<Counted>) {
    let organisation = OrganisationId::default_organisation();
    let mut waiting: BTreeMap<Month, BTreeMap<IpNet, RouteCounts>> = BTreeMap::new();
    while let Some(counted) = told.recv().await {
        let sums = waiting.entry(counted.month).or_default();
        for (prefix, counts) in counted.counts {
            sums.entry(prefix).or_default().add(&counts);
        }
        let months: Vec<Month> = waiting.keys().copied().collect();
        for month in months {
            let Some(sums) = waiting.get(&month) else {
                continue;
            };
            let counts = sums.iter().map(|(prefix, sum)| (*prefix, sum.clone()));
            let added = store.add_route_counts(&organisation, month, counts.collect());
            match added.await {
                Ok(()) => drop(waiting.remove(&month)),
                Err(failure) => error!(
                    error = with_sources(&failure),
                    "counts of routes cannot be stored; they are tried again"
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_to_the_month_they_were_counted_in() {
        let last_of_november = 1_796_083_100.0; // 2026-11-30T23:58:20Z
        let november: Month = "2026-11".parse().unwrap();
        let mut schedule = Schedule::new(last_of_november);
        assert_eq!(schedule.due(last_of_november + 60.0), None);
        assert_eq!(
            schedule.due(last_of_november + 101.0),
            Some(november),
            "the month ends"
        );
        assert_eq!(schedule.month().to_string(), "2026-12");
        assert_eq!(schedule.due(last_of_november + 400.0), None);
        let december = schedule.due(last_of_november + 402.0);
        assert_eq!(
            december.map(|month| month.to_string()),
            Some("2026-12".to_owned())
        );
    }
}
