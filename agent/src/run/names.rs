//! Names of hops: asked of DNS only, after a round, remembered for as long as DNS allows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::net::dns::Dns;
use crate::report::batch::Observation;
use crate::report::pipeline::Recorder;

/// Names remembered: the hops of 20 targets many times over; beyond it the one that ends first is forgotten.
const MAX_NAMES: usize = 4_096;

/// A name is asked for again no sooner than this, whatever its TTL: names of routers do not change by the minute.
const LEAST: Duration = Duration::from_mins(10);

/// And no later than this.
const MOST: Duration = Duration::from_hours(24);

/// After a failure the name is asked for again with the first round past this.
const AFTER_FAILURE: Duration = Duration::from_mins(2);

/// Questions at once.
const AT_ONCE: usize = 4;

/// When each address may be asked for again.
#[derive(Debug, Default)]
struct NameCache {
    until: BTreeMap<IpAddr, Instant>,
}

impl NameCache {
    /// Whether the address is to be asked for now; it then counts as asked.
    fn is_due(&mut self, address: IpAddr, now: Instant) -> bool {
        let due = self.until.get(&address).is_none_or(|until| now >= *until);
        if due {
            self.hold(address, now + AFTER_FAILURE);
        }
        due
    }

    fn on_answer(&mut self, address: IpAddr, ttl: Duration, now: Instant) {
        self.hold(address, now + ttl.clamp(LEAST, MOST));
    }

    fn hold(&mut self, address: IpAddr, until: Instant) {
        self.until.insert(address, until);
        if self.until.len() > MAX_NAMES
            && let Some(first) = self
                .until
                .iter()
                .min_by_key(|(_, until)| **until)
                .map(|(address, _)| *address)
        {
            self.until.remove(&first);
        }
    }
}

/// Names of Microsoft's routers end so.
const MICROSOFT_ROUTERS: &str = ".ntwk.msn.net";

/// Addresses of routers inside that are remembered; beyond it the lowest is forgotten, and found again with its next name.
const MAX_INSIDE: usize = 1_024;

/// Routers that by their names stand in Microsoft's network: where a path enters it is what tails and bursts look at.
#[derive(Debug, Default)]
pub(super) struct Ingresses {
    inside: BTreeSet<IpAddr>,
}

impl Ingresses {
    /// Whether the router stands inside.
    pub(super) fn is_inside(&self, address: IpAddr) -> bool {
        self.inside.contains(&address)
    }

    fn learn(&mut self, address: IpAddr, name: Option<&str>) {
        if !name.is_some_and(|name| name.ends_with(MICROSOFT_ROUTERS)) {
            self.inside.remove(&address);
            return;
        }
        self.inside.insert(address);
        if self.inside.len() > MAX_INSIDE {
            self.inside.pop_first();
        }
    }
}

/// Looks names up until cancelled.
pub(super) async fn look_up(
    mut waiting: mpsc::Receiver<VecDeque<IpAddr>>,
    dns: Arc<Dns>,
    recorder: Recorder,
    ingresses: Arc<Mutex<Ingresses>>,
    cancel: CancellationToken,
) {
    let mut cache = NameCache::default();
    loop {
        let addresses = tokio::select! {
            () = cancel.cancelled() => return,
            addresses = waiting.recv() => match addresses {
                Some(addresses) => addresses,
                None => return,
            },
        };
        let now = clock::now();
        let due: Vec<IpAddr> = addresses
            .into_iter()
            .filter(|address| cache.is_due(*address, now))
            .collect();
        let asking = due.into_iter().map(|address| {
            let dns = Arc::clone(&dns);
            async move { (address, dns.reverse(address).await) }
        });
        let answers = futures::stream::iter(asking)
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>();
        let Some(answers) = cancel.run_until_cancelled(answers).await else {
            return;
        };
        for (address, answer) in answers {
            match answer {
                Ok((name, ttl)) => {
                    cache.on_answer(address, ttl, clock::now());
                    ingresses
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .learn(address, name.as_deref());
                    recorder.record(Observation::HopName { address, name });
                }
                Err(error) => tracing::debug!(%address, %error, "hop name not found"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u16) -> IpAddr {
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, number])
    }

    #[test]
    fn a_name_is_asked_for_when_due_and_a_failed_one_again_later() {
        let start = clock::now();
        let mut cache = NameCache::default();
        assert!(cache.is_due(address(1), start));
        assert!(
            !cache.is_due(address(1), start + Duration::from_secs(1)),
            "being asked"
        );
        assert!(cache.is_due(address(1), start + AFTER_FAILURE), "it failed");
        cache.on_answer(address(1), Duration::ZERO, start);
        assert!(!cache.is_due(
            address(1),
            (start + LEAST).checked_sub(Duration::from_secs(1)).unwrap()
        ));
        assert!(cache.is_due(address(1), start + LEAST));
    }

    #[test]
    fn the_cache_is_bounded() {
        let start = clock::now();
        let mut cache = NameCache::default();
        for number in 0..5_000 {
            cache.is_due(
                address(number),
                start + Duration::from_millis(u64::from(number)),
            );
        }
        assert_eq!(cache.until.len(), MAX_NAMES);
        assert!(cache.until.contains_key(&address(4_999)));
    }
}
