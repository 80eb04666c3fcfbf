//! How all feeds are, for the API.

use std::sync::{Arc, Mutex};

use firstmile_feeds::status::{FeedAlarm, FeedStatus, Patience};
use ipnet::IpNet;

use crate::api::types::RoutingFeed;

#[derive(Debug)]
struct Known {
    status: Arc<Mutex<FeedStatus>>,
    has_canary: bool,
    has_to_talk: bool,
    since_unix_ms: i64,
}

/// All feeds.
#[derive(Debug, Default)]
pub struct Feeds {
    known: Mutex<Vec<Known>>,
}

impl Feeds {
    /// A new feed; `talks` says that its silence is an alarm.
    pub fn add(
        &self,
        name: &str,
        canary: Option<IpNet>,
        talks: bool,
        now_unix_ms: i64,
    ) -> Arc<Mutex<FeedStatus>> {
        let status = Arc::new(Mutex::new(FeedStatus::named(name)));
        if let Ok(mut known) = self.known.lock() {
            known.push(Known {
                status: Arc::clone(&status),
                has_canary: canary.is_some(),
                has_to_talk: talks,
                since_unix_ms: now_unix_ms,
            });
        }
        status
    }

    /// Whether all are connected, and those that have to talk did: what they do not say then is not so.
    pub fn are_up(&self) -> bool {
        let is_up = |feed: &Known| {
            let status = feed.status.lock();
            let talked =
                |status: &FeedStatus| !feed.has_to_talk || status.last_message_at.is_some();
            status.is_ok_and(|status| status.connected && talked(&status))
        };
        self.known.lock().is_ok_and(|known| known.iter().all(is_up))
    }

    /// How each feed is.
    pub fn told(&self, now_unix_ms: i64) -> Vec<RoutingFeed> {
        let Ok(known) = self.known.lock() else {
            return Vec::new();
        };
        known
            .iter()
            .filter_map(|feed| told(feed, now_unix_ms))
            .collect()
    }
}

fn told(feed: &Known, now_unix_ms: i64) -> Option<RoutingFeed> {
    let status = feed.status.lock().ok()?.clone();
    let alarms = status.alarms(
        seconds(feed.since_unix_ms),
        seconds(now_unix_ms),
        Patience::default(),
        feed.has_canary,
    );
    let counts = |alarm: &FeedAlarm| feed.has_to_talk || *alarm != FeedAlarm::Silent;
    let word = |alarm: FeedAlarm| match alarm {
        FeedAlarm::Disconnected => "disconnected",
        FeedAlarm::Silent => "silent",
        FeedAlarm::CanaryGone => "canary_gone",
        FeedAlarm::WithdrawsOnly => "withdraws_only",
        FeedAlarm::Expired => "expired",
    };
    Some(RoutingFeed {
        name: status.name,
        connected: status.connected,
        alarms: alarms
            .into_iter()
            .filter(counts)
            .map(|alarm| word(alarm).to_owned())
            .collect(),
        last_message_unix_ms: status.last_message_at.map(milliseconds),
        messages: status.messages,
        announced: status.announced,
        withdrawn: status.withdrawn,
        unread: status.unread,
        dropped: status.dropped,
        gaps: status.gaps,
        sessions: status.sessions,
    })
}

pub(crate) fn seconds(unix_ms: i64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds since 1970 are exact in an f64 for 285,000 years"
    )]
    let ms = unix_ms as f64;
    ms / 1000.0
}

fn milliseconds(at: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a cast from f64 saturates")]
    let ms = (at * 1000.0).round() as i64;
    ms
}
