//! What a round knows of one of its flows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::met::{FlowPath, Hop, Place, Silence};
use crate::plan::Known;

#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) number: u16,
    pub(super) started: bool,
    /// Highest TTL that was put into the queue.
    pub(super) goal: u8,
    pub(super) hops: BTreeMap<u8, Hop>,
    pub(super) also: BTreeMap<u8, Vec<IpAddr>>,
    pub(super) attempts: BTreeMap<u8, u8>,
    /// Where the flow ends, and when we learnt it.
    pub(super) end: Option<(u8, Instant)>,
    pub(super) destination_ttl: Option<u8>,
    pub(super) first_sent: Option<Instant>,
    pub(super) settled_at: Option<Instant>,
}

/// What one flow has cost so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSum {
    /// Number of the flow, from 0.
    pub flow: u16,
    /// Packets sent, those past its end too.
    pub sent: u32,
    /// TTLs that were answered.
    pub answered: usize,
    /// Whether the destination answered.
    pub reached: bool,
    /// First packet sent to last answer, or to the end of the last wait.
    pub took: Duration,
}

impl Flow {
    pub(super) fn sum(&self) -> FlowSum {
        let took = self
            .settled_at
            .zip(self.first_sent)
            .map(|(settled, sent)| settled.saturating_duration_since(sent));
        FlowSum {
            flow: self.number,
            sent: self.attempts.values().map(|count| u32::from(*count)).sum(),
            answered: self.hops.len(),
            reached: self.destination_ttl.is_some(),
            took: took.unwrap_or_default(),
        }
    }

    pub(super) fn last_answer(&self) -> Option<u8> {
        self.hops.keys().next_back().copied()
    }

    /// The last TTL that counts: the end, else the last answer.
    pub(super) fn last(&self) -> u8 {
        self.end
            .map(|(end, _)| end)
            .or(self.last_answer())
            .unwrap_or(0)
    }

    pub(super) fn into_path(
        self,
        first_ttl: u8,
        answered: &BTreeSet<u8>,
        known: &Known,
    ) -> FlowPath {
        let last = self.last();
        let last_answer = self.last_answer().unwrap_or(0);
        let silence = |ttl: u8| {
            if self.hops.contains_key(&ttl) || ttl > last_answer {
                Silence::None
            } else if answered.contains(&ttl) || known.answered.contains(&(self.number, ttl)) {
                Silence::RateLimited
            } else {
                Silence::Silent
            }
        };
        let place = |ttl: u8| Place {
            ttl,
            hop: self.hops.get(&ttl).copied(),
            silence: silence(ttl),
            also: self.also.get(&ttl).cloned().unwrap_or_default(),
        };
        let mut path = FlowPath {
            flow: self.number,
            first_ttl,
            last_ttl: self.attempts.keys().next_back().copied().unwrap_or(0),
            hops: self
                .attempts
                .range(..=last)
                .map(|(ttl, _)| place(*ttl))
                .collect(),
            destination_ttl: self.destination_ttl.filter(|ttl| *ttl == last),
            loops: false,
        };
        path.loops = path.has_loop();
        path
    }
}
