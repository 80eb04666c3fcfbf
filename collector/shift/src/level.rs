//! From the verdicts of the flows to the level of a move: the first that holds names it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::number::median;
use crate::verdict::{Mark, Verdict};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The site came out in another network.
    Uplink,
    /// Microsoft's network is not reached.
    Unreachable,
    /// Another AS hands over, or is on the way.
    Provider,
    /// Another ingress metro.
    Geo,
    /// Another ingress metro for a part of the flows.
    PartialGeo,
    /// Another ingress router in the same metro.
    Local,
    /// A router that carried a share of the flows carries none.
    RedundancyLost,
    /// Moves too often to be told one by one.
    Flapping,
    /// Another front-door zone over the same ingress.
    FrontDoorMoved,
}

impl Class {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uplink => "uplink",
            Self::Unreachable => "unreachable",
            Self::Provider => "provider",
            Self::Geo => "geo",
            Self::PartialGeo => "partial_geo",
            Self::Local => "local",
            Self::RedundancyLost => "redundancy_lost",
            Self::Flapping => "flapping",
            Self::FrontDoorMoved => "front_door_moved",
        }
    }
}

/// The RTT moves by this at least when the metro does: 2 ms, above the light-time of 150 km and back (1.5 ms).
pub(crate) const OTHER_METRO_MS: f64 = 2.0;

/// A level that holds, and on what ground.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not the states of a machine"
)]
pub struct Finding {
    /// The level.
    pub class: Class,
    /// Flows that show it.
    pub novel: usize,
    /// Flows that say anything of the layer.
    pub responding: usize,
    /// The AS it went to.
    pub asn: Option<u32>,
    /// A router of the place it went to.
    pub address: Option<IpAddr>,
    /// Whether a table's error could be the whole reason.
    pub weak: bool,
    /// Whether an ingress is surely another router.
    pub resolved: bool,
    /// Whether the metro was told by RTT alone.
    pub by_rtt: bool,
    /// Whether it is seen in full rounds only.
    pub upstream: bool,
}

/// What stands beside the flows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aside {
    /// Flows that must say something: two, or as many as the plan has.
    pub least: usize,
    /// How far the RTT moved, milliseconds; `None`: not known.
    pub rtt_ms: Option<f64>,
    /// Whether the site's public address came into a network that the baseline does not have; `None`: not known.
    pub public_moved: Option<bool>,
    /// The AS of that address.
    pub public_asn: Option<u32>,
}

struct Count {
    novel: usize,
    responding: usize,
}

impl Count {
    fn of<'a>(
        verdicts: impl Iterator<Item = &'a Verdict>,
        mark: impl Fn(&Verdict) -> Mark,
    ) -> Self {
        let mut count = Self {
            novel: 0,
            responding: 0,
        };
        for verdict in verdicts {
            let mark = mark(verdict);
            count.responding += usize::from(mark != Mark::Silent);
            count.novel += usize::from(mark == Mark::Novel);
        }
        count
    }

    const fn holds(&self, least: usize) -> bool {
        self.responding >= least && self.novel >= least && self.novel * 2 >= self.responding
    }

    const fn finding(&self, class: Class) -> Finding {
        Finding {
            class,
            novel: self.novel,
            responding: self.responding,
            asn: None,
            address: None,
            weak: false,
            resolved: true,
            by_rtt: false,
            upstream: false,
        }
    }
}

/// The level that the flows show together; `None`: the path is the baseline's.
pub fn evaluate(window: &[Verdict], aside: &Aside) -> Option<Finding> {
    by_network(window, aside)
        .or_else(|| by_metro(window, aside))
        .or_else(|| by_router(window, aside))
}

fn by_network(window: &[Verdict], aside: &Aside) -> Option<Finding> {
    let uplink = Count::of(window.iter(), |verdict| verdict.uplink);
    let provider = Count::of(window.iter(), |verdict| verdict.provider);
    let of_provider = provider.holds(aside.least);
    let strong = window
        .iter()
        .any(|verdict| verdict.provider == Mark::Novel && !verdict.weak);
    let left = uplink.holds(aside.least);
    // A site that keeps its public address and leaves by another network was moved by routing: that is its provider's shift.
    // One foreign hop at the start and nothing else is a wrong table's.
    let moved_house = match aside.public_moved {
        Some(true) => left || of_provider,
        Some(false) => false,
        None => left,
    };
    if moved_house {
        let asn =
            most(window.iter().filter_map(|verdict| {
                verdict.uplink_asn.filter(|_| verdict.uplink == Mark::Novel)
            }));
        let count = if left { uplink } else { provider };
        return Some(Finding {
            asn: asn.or(aside
                .public_asn
                .filter(|_| aside.public_moved == Some(true))),
            ..count.finding(Class::Uplink)
        });
    }
    if !of_provider {
        return None;
    }
    let novel = || {
        window
            .iter()
            .filter(|verdict| verdict.provider == Mark::Novel)
    };
    let router_moved = Count::of(window.iter(), |verdict| verdict.router).holds(aside.least);
    let metro_moved = Count::of(window.iter(), |verdict| verdict.metro).holds(aside.least);
    if !strong && (router_moved || metro_moved) {
        return None; // a new border in a wrongly mapped prefix, more likely than another AS of a single hop
    }
    Some(Finding {
        asn: most(novel().filter_map(|verdict| verdict.provider_asn)),
        weak: !strong,
        upstream: !novel().any(|verdict| verdict.at_handoff),
        ..provider.finding(Class::Provider)
    })
}

fn by_metro(window: &[Verdict], aside: &Aside) -> Option<Finding> {
    let mut metro = Count::of(window.iter(), |verdict| verdict.metro);
    // A flow at a usual router without a name has not moved either.
    let unnamed =
        |verdict: &&Verdict| verdict.metro == Mark::Silent && verdict.router == Mark::Usual;
    metro.responding += window.iter().filter(unnamed).count();
    let address = window
        .iter()
        .filter(|verdict| verdict.metro == Mark::Novel)
        .find_map(|verdict| verdict.seen_at);
    if metro.holds(aside.least) {
        return Some(Finding {
            address,
            ..metro.finding(Class::Geo)
        });
    }
    if metro.novel >= 2 {
        return Some(Finding {
            address,
            ..metro.finding(Class::PartialGeo)
        });
    }
    None
}

fn by_router(window: &[Verdict], aside: &Aside) -> Option<Finding> {
    let router = Count::of(window.iter(), |verdict| verdict.router);
    if !router.holds(aside.least) {
        return None;
    }
    let novel = || {
        window
            .iter()
            .filter(|verdict| verdict.router == Mark::Novel)
    };
    let placed = novel()
        .filter(|verdict| verdict.metro != Mark::Silent)
        .count();
    let far = aside
        .rtt_ms
        .is_some_and(|moved| moved.abs() >= OTHER_METRO_MS);
    let by_rtt = far && placed * 2 < router.novel;
    let half = |count: usize| count * 2 >= router.novel;
    let resolved = half(novel().filter(|verdict| verdict.resolved).count());
    Some(Finding {
        address: novel().find_map(|verdict| verdict.seen_at),
        resolved: resolved || by_rtt,
        by_rtt,
        ..router.finding(if by_rtt { Class::Geo } else { Class::Local })
    })
}

/// The value named most often.
fn most(values: impl Iterator<Item = u32>) -> Option<u32> {
    let mut values: Vec<u32> = values.collect();
    values.sort_unstable();
    let runs = values.chunk_by(|one, other| one == other);
    runs.max_by_key(|run| run.len())
        .and_then(|run| run.first().copied())
}

/// How far the RTT of most flows moved, milliseconds, from what each flow's lowest is now and was. `None`: fewer than `least`.
///
/// Queues only add: a rise counts when three quarters of the flows rose, a fall when half of them fell.
pub fn rtt_moved(mut moved_ms: Vec<f64>, least: usize) -> Option<f64> {
    if moved_ms.len() < least {
        return None;
    }
    let middle = median(&mut moved_ms)?;
    if middle < 0.0 {
        return Some(middle);
    }
    moved_ms.get(moved_ms.len() / 4).copied()
}
