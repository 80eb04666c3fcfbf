//! What a set of probes found: a histogram of the answered ones, counts of the others.

use std::collections::BTreeMap;

use firstmile_columns::varint::{self, DecodeError, Reader};
use firstmile_wire::ids::AgentId;
use firstmile_wire::v1::{Outcome, Phase, Protocol};

use super::{Histogram, MINUTE_MS, window_start};
use crate::ingest::batch::{Marks, Sample};
use crate::store::CellKey;

/// First byte of the bytes form.
const VERSION: u8 = 3;

/// The form before it: without `left_out` and `mistimed`.
const WITHOUT_LEFT_OUT: u8 = 2;

/// The form before that: without `unanswered` either.
const WITHOUT_UNANSWERED: u8 = 1;

/// The samples of one key and window, or of many merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// RTTs of answered probes, in microseconds.
    pub answered: Histogram,
    /// The same RTTs, weighted so that each agent counts the same in each five-minute window. Empty until agents are merged.
    pub weights: Histogram,
    /// Timed out or unreachable: these are loss.
    pub lost: u64,
    /// Refused (TCP RST): the network answered, the service did not. No loss, and no RTT of the service either.
    pub refused: u64,
    /// The connection stood, the TLS handshake or the HTTP exchange failed: neither loss nor an RTT.
    pub failed: u64,
    /// Without an answer where this protocol never had one: many networks drop ICMP by policy, so it is no loss.
    pub unanswered: u64,
    /// Nothing was sent, or nothing is known of it: says nothing of the network.
    pub not_sent: u64,
    /// Marked by the agent as saying nothing of the road from here to the edge ([`Marks::leaves_figures`]).
    pub left_out: u64,
    /// Answered, in a time that is the machine's own fault ([`Marks::is_mistimed`]): no loss, and no RTT.
    pub mistimed: u64,
    /// Smallest RTT of an answered probe, exact.
    pub min_us: Option<u32>,
}

impl Cell {
    /// Counts one probe.
    pub fn record(&mut self, outcome: Outcome, rtt_us: u32) {
        match outcome {
            Outcome::Answered => {
                self.answered.record(rtt_us);
                self.min_us = Some(self.min_us.map_or(rtt_us, |min| min.min(rtt_us)));
            }
            Outcome::Timeout | Outcome::Unreachable | Outcome::Reset | Outcome::Filtered => {
                self.lost = self.lost.saturating_add(1);
            }
            Outcome::Refused => self.refused = self.refused.saturating_add(1),
            Outcome::TlsFailed | Outcome::HttpFailed | Outcome::QuicFailed => {
                self.failed = self.failed.saturating_add(1);
            }
            Outcome::DnsFailed
            | Outcome::NoRoute
            | Outcome::NotPermitted
            | Outcome::LocalError
            | Outcome::Unspecified => self.not_sent = self.not_sent.saturating_add(1),
        }
    }

    /// Counts one probe with its marks.
    ///
    /// One that its agent marked as taken in another network than the site's is only counted. An answer whose time it does not
    /// trust is an answer without a time: else a busy machine's few losses would stand against no answers.
    pub fn count(&mut self, outcome: Outcome, rtt_us: u32, marks: Marks) {
        if marks.leaves_figures() {
            self.left_out = self.left_out.saturating_add(1);
        } else if marks.is_mistimed() && outcome == Outcome::Answered {
            self.mistimed = self.mistimed.saturating_add(1);
        } else {
            self.record(outcome, rtt_us);
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.answered.merge(&other.answered);
        self.weights.merge(&other.weights);
        self.merge_counts(other);
    }

    /// Adds all of `other` but its histograms.
    pub(super) fn merge_counts(&mut self, other: &Self) {
        self.lost = self.lost.saturating_add(other.lost);
        self.refused = self.refused.saturating_add(other.refused);
        self.failed = self.failed.saturating_add(other.failed);
        self.unanswered = self.unanswered.saturating_add(other.unanswered);
        self.not_sent = self.not_sent.saturating_add(other.not_sent);
        self.left_out = self.left_out.saturating_add(other.left_out);
        self.mistimed = self.mistimed.saturating_add(other.mistimed);
        self.min_us = self.min_us.into_iter().chain(other.min_us).min();
    }

    /// Probes that count for loss: answered (in whatever time), refused or lost.
    pub fn n(&self) -> u64 {
        self.answered
            .count()
            .saturating_add(self.mistimed)
            .saturating_add(self.refused)
            .saturating_add(self.lost)
    }

    /// Probes of any outcome.
    pub fn probes(&self) -> u64 {
        let others = [self.failed, self.unanswered, self.not_sent, self.left_out];
        others.into_iter().fold(self.n(), u64::saturating_add)
    }

    /// The same probes where their protocol was never answered: silence is no loss there.
    #[must_use]
    pub fn where_never_answered(mut self) -> Self {
        self.unanswered = self.unanswered.saturating_add(self.lost);
        self.lost = 0;
        self
    }

    /// Whether the other end was heard at all.
    pub fn was_answered(&self) -> bool {
        !self.answered.is_empty() || self.mistimed > 0 || self.refused > 0
    }

    /// The bytes form, as stores keep it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for count in [
            self.lost,
            self.refused,
            self.failed,
            self.not_sent,
            self.unanswered,
            self.left_out,
            self.mistimed,
        ] {
            varint::put(&mut bytes, count);
        }
        // 0 for none, else one more than the value.
        varint::put(&mut bytes, self.min_us.map_or(0, |min| u64::from(min) + 1));
        self.answered.put(&mut bytes);
        self.weights.put(&mut bytes);
        bytes
    }

    /// Reads the bytes form. Any bytes may come: from a damaged disk or a later program.
    ///
    /// # Errors
    /// [`DecodeError`] unless the bytes are exactly one cell of a known version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.byte()?;
        if !(WITHOUT_UNANSWERED..=VERSION).contains(&version) {
            return Err(DecodeError::Version { version });
        }
        let [lost, refused, failed, not_sent] = [
            reader.number()?,
            reader.number()?,
            reader.number()?,
            reader.number()?,
        ];
        let unanswered = if version == WITHOUT_UNANSWERED {
            0
        } else {
            reader.number()?
        };
        let [left_out, mistimed] = if version <= WITHOUT_LEFT_OUT {
            [0, 0]
        } else {
            [reader.number()?, reader.number()?]
        };
        let min_us = match reader.number()? {
            0 => None,
            more => Some(u32::try_from(more - 1).map_err(|_| DecodeError::OutOfRange)?),
        };
        let answered = Histogram::take(&mut reader)?;
        let weights = Histogram::take(&mut reader)?;
        reader.finish()?;
        Ok(Self {
            answered,
            weights,
            lost,
            refused,
            failed,
            unanswered,
            not_sent,
            left_out,
            mistimed,
            min_us,
        })
    }
}

/// Sorts the samples of one agent into one-minute cells.
///
/// A sample belongs to the minute it was sent in. Nothing is thrown away: probes that were never sent are counted as such,
/// since a minute in which a name did not resolve is not a minute without loss, it is one of which nothing is known.
///
/// An HTTPS probe that fails ends there, and its later phases have no sample of their own. They count it with the outcome that
/// ended it: else the time to the first byte would be without loss while no connection is to be had.
pub fn cells_of(agent: AgentId, samples: &[Sample]) -> BTreeMap<CellKey, Cell> {
    let mut cells = BTreeMap::<CellKey, Cell>::new();
    for sample in samples {
        for phase in phases_counted(sample.protocol, sample.phase, sample.outcome) {
            let key = CellKey {
                at_unix_ms: window_start(sample.at_unix_ms, MINUTE_MS),
                agent,
                target: sample.target.to_string(),
                protocol: i32::from(sample.protocol),
                phase: i32::from(phase),
            };
            let cell = cells.entry(key).or_default();
            cell.count(sample.outcome, sample.rtt_us, sample.marks);
        }
    }
    cells
}

/// The phases that count a sample: its own, and those that its probe did not come to.
pub fn phases_counted(
    protocol: Protocol,
    phase: Phase,
    outcome: Outcome,
) -> impl Iterator<Item = Phase> {
    let unreached = unreached(protocol, phase, outcome);
    std::iter::once(phase).chain(unreached.iter().copied())
}

/// Phases that an HTTPS or TLS probe did not come to, since it ended with this sample.
fn unreached(protocol: Protocol, phase: Phase, outcome: Outcome) -> &'static [Phase] {
    if outcome == Outcome::Answered {
        return &[];
    }
    if protocol == Protocol::Tls && phase == Phase::Connect {
        return &[Phase::Tls];
    }
    if protocol != Protocol::Https {
        return &[];
    }
    match phase {
        Phase::Dns => &[Phase::Connect, Phase::Tls, Phase::Ttfb],
        Phase::Connect => &[Phase::Tls, Phase::Ttfb],
        Phase::Tls => &[Phase::Ttfb],
        Phase::Ttfb | Phase::TtfbWarm | Phase::Handshake | Phase::Rtt | Phase::Unspecified => &[],
    }
}

#[cfg(test)]
#[path = "cell_tests.rs"]
mod tests;
