//! What the agent had to give up, counted since the program started.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use firstmile_wire::v1;

/// One count.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) spool_dropped_reports: Count,
    pub(crate) spool_bytes: Count,
    /// Replies to a path packet that nobody waited for any more.
    pub(crate) late_replies: Count,
    /// Packets that reached our sockets and answered nothing of ours.
    pub(crate) unmatched_replies: Count,
    /// Replies to what was answered already.
    pub(crate) duplicate_replies: Count,
    /// Replies too short to be read.
    pub(crate) truncated_replies: Count,
    /// Replies that do not know the cookie, or come from an address that was not asked.
    pub(crate) forged_replies: Count,
    pub(crate) upload_failures: Count,
    pub(crate) rejected_reports: Count,
    /// Probes that were due and not sent, and samples that found no room.
    pub(crate) skipped_probes: Count,
    /// Path rounds put off, or left out, because the hop budget was spent.
    pub(crate) deferred_rounds: Count,
    /// Probes that were due and not sent because this program did not get to run.
    pub(crate) missed_starved: Count,
    /// Probes that would have been due while the machine slept.
    pub(crate) missed_suspended: Count,
    /// Samples dropped because the clock was set, or the machine slept, while they were under way.
    pub(crate) clock_step_samples: Count,
    /// Samples of the user clock that were taken too late to be trusted.
    pub(crate) untrusted_samples: Count,
}

impl Counters {
    /// What `status` shows beside the counts that it has a line for.
    pub(crate) fn named(&self) -> BTreeMap<String, u64> {
        let all = [
            ("clock_step_samples", &self.clock_step_samples),
            ("deferred_rounds", &self.deferred_rounds),
            ("duplicate_replies", &self.duplicate_replies),
            ("forged_replies", &self.forged_replies),
            ("late_replies", &self.late_replies),
            ("missed_starved", &self.missed_starved),
            ("missed_suspended", &self.missed_suspended),
            ("truncated_replies", &self.truncated_replies),
            ("unmatched_replies", &self.unmatched_replies),
            ("untrusted_samples", &self.untrusted_samples),
        ];
        all.map(|(name, count)| (name.to_owned(), count.value()))
            .into()
    }

    pub(crate) fn to_wire(&self) -> v1::AgentCounters {
        v1::AgentCounters {
            spool_dropped_reports: self.spool_dropped_reports.value(),
            spool_bytes: self.spool_bytes.value(),
            late_replies: self.late_replies.value(),
            unmatched_replies: self.unmatched_replies.value(),
            duplicate_replies: self.duplicate_replies.value(),
            truncated_replies: self.truncated_replies.value(),
            forged_replies: self.forged_replies.value(),
            upload_failures: self.upload_failures.value(),
            rejected_reports: self.rejected_reports.value(),
            skipped_probes: self.skipped_probes.value(),
            deferred_rounds: self.deferred_rounds.value(),
            missed_starved: self.missed_starved.value(),
            missed_suspended: self.missed_suspended.value(),
            clock_step_samples: self.clock_step_samples.value(),
            untrusted_samples: self.untrusted_samples.value(),
        }
    }
}
