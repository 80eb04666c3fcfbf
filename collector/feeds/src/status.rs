//! How a feed is: what came, what was lost, and whether it has to be called silent.

use serde::Serialize;

/// Counters of a feed, since the start of the collector.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FeedStatus {
    /// What it is called.
    pub name: String,
    /// Whether it is connected, or its file was read.
    pub connected: bool,
    /// When the last message came, Unix seconds.
    pub last_message_at: Option<f64>,
    /// When the canary prefix was last seen, Unix seconds.
    pub canary_at: Option<f64>,
    /// Messages.
    pub messages: u64,
    /// Announced prefixes.
    pub announced: u64,
    /// Withdrawn prefixes.
    pub withdrawn: u64,
    /// Messages or records that could not be read, or not wholly.
    pub unread: u64,
    /// Events that found the queue full.
    pub dropped: u64,
    /// Times that the connection was lost.
    pub gaps: u64,
    /// Sessions of routers that began.
    pub sessions_begun: u64,
    /// Sessions of routers, or payloads of RPKI.
    pub sessions: u64,
    /// When what it said is too old to hold, Unix seconds; absent where nothing grows old.
    pub expires_at: Option<f64>,
}

/// What is wrong with a feed; routes are not to be blamed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedAlarm {
    /// It is not connected.
    Disconnected,
    /// Nothing came for too long.
    Silent,
    /// The canary, a prefix that is announced and withdrawn all the time, was not seen for too long.
    CanaryGone,
    /// It only withdraws: what it says is not to be believed.
    WithdrawsOnly,
    /// What it said last is older than it said that it may become; it still holds, since nothing better is known.
    Expired,
}

/// How long a feed may be quiet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// Seconds without any message.
    pub silent_s: f64,
    /// Seconds without the canary.
    pub canary_s: f64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silent_s: 300.0,
            // RIS beacons change every two hours.
            canary_s: 3.0 * 3600.0,
        }
    }
}

impl FeedStatus {
    /// A feed of this name of which nothing is known yet.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// What is wrong at `now`; the feed is watched since `since`.
    pub fn alarms(
        &self,
        since: f64,
        now: f64,
        patience: Patience,
        has_canary: bool,
    ) -> Vec<FeedAlarm> {
        /// A table that is withdrawn after a fault at the route collector has millions; an outage of customers far fewer.
        const WITHDRAWN_AT_LEAST: u64 = 10_000;
        let quiet_for = |last: Option<f64>| now - last.unwrap_or(since);
        let mut alarms = Vec::new();
        if !self.connected {
            alarms.push(FeedAlarm::Disconnected);
        }
        if quiet_for(self.last_message_at) > patience.silent_s {
            alarms.push(FeedAlarm::Silent);
        }
        if has_canary && quiet_for(self.canary_at) > patience.canary_s {
            alarms.push(FeedAlarm::CanaryGone);
        }
        if self.withdrawn >= WITHDRAWN_AT_LEAST && self.announced == 0 {
            alarms.push(FeedAlarm::WithdrawsOnly);
        }
        if self.expires_at.is_some_and(|expires| now >= expires) {
            alarms.push(FeedAlarm::Expired);
        }
        alarms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_that_is_silent_or_only_withdraws_is_told() {
        let patience = Patience::default();
        let good = FeedStatus {
            connected: true,
            last_message_at: Some(1000.0),
            canary_at: Some(1000.0),
            announced: 5,
            withdrawn: 20_000,
            ..FeedStatus::named("rrc00")
        };
        for (name, status, now, want) in [
            ("well", good.clone(), 1100.0, vec![]),
            ("silent", good.clone(), 1301.0, vec![FeedAlarm::Silent]),
            (
                "silent since the start",
                FeedStatus {
                    last_message_at: None,
                    ..good.clone()
                },
                1100.0,
                vec![FeedAlarm::Silent],
            ),
            (
                "withdraws only",
                FeedStatus {
                    announced: 0,
                    ..good.clone()
                },
                1100.0,
                vec![FeedAlarm::WithdrawsOnly],
            ),
            (
                "canary gone",
                FeedStatus {
                    last_message_at: Some(20_000.0),
                    ..good.clone()
                },
                20_000.0,
                vec![FeedAlarm::CanaryGone],
            ),
            (
                "too old",
                FeedStatus {
                    expires_at: Some(1100.0),
                    ..good.clone()
                },
                1100.0,
                vec![FeedAlarm::Expired],
            ),
            (
                "away",
                FeedStatus {
                    connected: false,
                    ..good
                },
                1100.0,
                vec![FeedAlarm::Disconnected],
            ),
        ] {
            assert_eq!(status.alarms(700.0, now, patience, true), want, "{name}");
        }
    }
}
