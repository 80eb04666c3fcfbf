//! How all feeds are, for the API.

use std::sync::{Arc, Mutex};

use firstmile_feeds::status::{FeedAlarm, FeedStatus, Patience};
use ipnet::IpNet;

use crate::api::types::RoutingFeed;
use crate::clock;

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

    /// If all are connected, and those that have to talk did, so that what they do not say is not so: how often one began anew until now.
    pub fn are_up(&self) -> Option<u64> {
        let known = self.known.lock().ok()?;
        known.iter().try_fold(0, |sum, feed| {
            let status = feed.status.lock().ok()?;
            let talked = !feed.has_to_talk || status.last_message_at.is_some();
            // Each connection that ends is a gap; another may be up meanwhile.
            (status.connected && talked).then(|| sum + status.gaps + status.sessions_begun)
        })
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
        clock::seconds(feed.since_unix_ms),
        clock::seconds(now_unix_ms),
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
        last_message_unix_ms: status.last_message_at.map(clock::from_seconds),
        messages: status.messages,
        announced: status.announced,
        withdrawn: status.withdrawn,
        unread: status.unread,
        dropped: status.dropped,
        gaps: status.gaps,
        sessions: status.sessions,
    })
}
