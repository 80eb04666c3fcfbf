//! How long what is kept.

use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

/// How long what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Reports as received. At least as long as an agent may spool (72 h by default), so that a resent one is recognised.
    pub raw: Duration,
    /// One-minute cells of each agent.
    pub rollup_1m: Duration,
    /// Five-minute geography rollups, and one-hour figures of each agent.
    pub rollup_5m: Duration,
    /// One-hour geography rollups.
    pub rollup_1h: Duration,
    /// Closed events, past paths, the audit log.
    pub events: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            raw: 7 * DAY,
            rollup_1m: 2 * DAY,
            rollup_5m: 90 * DAY,
            rollup_1h: 400 * DAY,
            events: 400 * DAY,
        }
    }
}
