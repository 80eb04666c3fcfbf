//! How many reports came in and how many were refused, since the collector started.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters of the ingest, shared with the API.
#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    duplicates: AtomicU64,
    applied: AtomicU64,
    set_aside: AtomicU64,
    store_failures: AtomicU64,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counters {
    /// Counts a report that is on disk now; `fresh` is false for one that was there already.
    pub fn count_accepted(&self, fresh: bool) {
        let counter = if fresh {
            &self.accepted
        } else {
            &self.duplicates
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a report whose samples are in the figures now.
    pub fn count_applied(&self) {
        self.applied.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a report that could not be applied and was set aside.
    pub fn count_set_aside(&self) {
        self.set_aside.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refusal and returns how many of its code there are now.
    pub fn count_refused(&self, code: &'static str) -> u64 {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let count = refused.entry(code).or_default();
        *count += 1;
        *count
    }

    /// Counts a request that the store failed and returns how many there are now.
    pub fn count_store_failure(&self) -> u64 {
        self.store_failures.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Reports accepted for the first time.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Reports accepted again: the agent had not heard the acknowledgement.
    pub fn duplicates(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    /// Reports whose samples are in the figures.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// Reports set aside.
    pub fn set_aside(&self) -> u64 {
        self.set_aside.load(Ordering::Relaxed)
    }

    /// Refusals by code, sorted by code.
    pub fn refused(&self) -> Vec<(&'static str, u64)> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused
            .iter()
            .map(|(code, count)| (*code, *count))
            .collect()
    }
}
