//! Figures of each hop over many path rounds, and which of its silence is loss.
//!
//! Pure. Routers answer when they have time: a hop that leaves packets unanswered while later hops answer them has passed
//! those packets on, so its silence is no loss (it limits its replies). Loss of a hop is therefore what **every** later
//! hop that answers at all shows too, up to the destination; what a hop lacks beyond that is called rate-limited. Where the
//! destination never answered nothing stands behind the last hop, and what is missing there stays unclear.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::met::{Labels, Rewrites, Tally};

/// RTTs remembered for one TTL of one flow, for the median: four minutes at one a second.
const MAX_RTTS: usize = 256;

/// Addresses remembered for one TTL of one flow; a flow has one unless its path moves.
const MAX_ADDRESSES: usize = 16;

/// Rounds whose distance to the destination is remembered: a path that became longer shows after so many.
const ENDS: usize = 5;

/// Standard errors by which a hop's silence may exceed the path's loss before it is called rate-limited.
const CHANCE: f64 = 3.0;

/// The figures of all rounds.
#[derive(Clone, Debug, Default)]
pub struct HopTable {
    flows: BTreeMap<u16, FlowFigures>,
    /// Numbers the answers, so that the last one is known.
    answers: u64,
}

#[derive(Clone, Debug, Default)]
struct FlowFigures {
    ttls: BTreeMap<u8, Figures>,
    /// TTLs at which the destination answered, of the last rounds.
    ends: VecDeque<u8>,
}

#[derive(Clone, Debug, Default)]
struct Figures {
    sent: u64,
    answered: u64,
    last: Option<(u64, Duration)>,
    best: Option<Duration>,
    worst: Option<Duration>,
    sum: Duration,
    /// Sum of the steps from one answer to the next, without their signs.
    steps: Duration,
    rtts: VecDeque<Duration>,
    addresses: BTreeMap<IpAddr, Responder>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Responder {
    answered: u64,
    is_destination: bool,
    mpls: Labels,
    rewrites: Rewrites,
    quoted_ttl: u8,
}

/// One TTL as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct HopRow {
    /// The TTL, from 1.
    pub ttl: u8,
    /// Who answers there; the one that most flows meet stands first.
    pub addresses: Vec<AddressRow>,
    /// Flows that nobody answered at this TTL: a branch may be silent.
    pub silent_flows: usize,
    /// Packets that were sent and are settled.
    pub sent: u64,
    /// Packets that were answered.
    pub answered: u64,
    /// RTT of the last answer.
    pub last: Option<Duration>,
    /// Smallest RTT.
    pub best: Option<Duration>,
    /// Mean RTT of all answers.
    pub average: Option<Duration>,
    /// Median RTT of the answers that are remembered.
    pub median: Option<Duration>,
    /// Largest RTT.
    pub worst: Option<Duration>,
    /// Mean difference of the RTTs of one flow's packets that follow one another, without its sign: the size of IPDV as
    /// RFC 3393 §4.5 takes it, there and back instead of one way.
    pub variation: Option<Duration>,
    /// What can be said of loss.
    pub loss: Loss,
    /// Leaves more unanswered than is lost: it limits its replies.
    pub is_rate_limited: bool,
}

/// Who answers at a TTL; the one that most flows meet stands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRow {
    /// Who.
    pub address: IpAddr,
    /// Flows that have met it.
    pub flows: usize,
    /// Packets that it answered.
    pub answered: u64,
    /// Whether it is the destination.
    pub is_destination: bool,
    /// Label stack of its last answer.
    pub mpls: Labels,
    /// What its last answer shows was rewritten.
    pub rewrites: Rewrites,
    /// TTL in the quote of its last answer when it is more than 1, else 0.
    pub quoted_ttl: u8,
}

/// What can be said of the loss at a hop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Every later hop that answers shows at least this; 0 to 1.
    Ratio(f64),
    /// Nothing that answers stands behind the hop: loss, a filter and rate limiting look the same.
    Unclear(f64),
    /// The hop never answered.
    Silent,
}

impl HopTable {
    /// Takes in one round, finished or not.
    pub fn absorb(&mut self, tallies: &[Tally]) {
        for tally in tallies {
            self.answers += 1;
            let flow = self.flows.entry(tally.flow).or_default();
            flow.ttls
                .entry(tally.ttl)
                .or_default()
                .take(tally, self.answers);
            if tally.is_destination {
                flow.ends.push_back(tally.ttl);
                if flow.ends.len() > ENDS {
                    flow.ends.pop_front();
                }
            }
        }
    }

    /// Whether the destination has answered.
    pub fn is_reached(&self) -> bool {
        self.flows.values().any(|flow| !flow.ends.is_empty())
    }

    /// A row for each TTL from 1 to the last one that answered.
    pub fn rows(&self) -> Vec<HopRow> {
        let mut merged: BTreeMap<u8, Vec<&Figures>> = BTreeMap::new();
        for flow in self.flows.values() {
            let end = flow.ends.iter().min().copied().unwrap_or(u8::MAX);
            for (&ttl, figures) in flow.ttls.range(..=end) {
                merged.entry(ttl).or_default().push(figures);
            }
        }
        let answering = |(_, here): &(&u8, &Vec<&Figures>)| here.iter().any(|f| f.answered > 0);
        let last = merged
            .iter()
            .filter(answering)
            .map(|(ttl, _)| *ttl)
            .next_back()
            .unwrap_or(0);
        let mut rows: Vec<HopRow> = (1..=last)
            .map(|ttl| row(ttl, merged.get(&ttl).map_or(&[], Vec::as_slice)))
            .collect();
        judge_loss(&mut rows, self.is_reached());
        rows
    }
}

impl Figures {
    fn take(&mut self, tally: &Tally, number: u64) {
        self.sent += u64::from(tally.sent);
        let Some(hop) = tally.hop else {
            return;
        };
        if let Some((_, before)) = self.last {
            self.steps += before.abs_diff(hop.rtt);
        }
        self.answered += 1;
        self.sum += hop.rtt;
        self.last = Some((number, hop.rtt));
        self.best = Some(self.best.map_or(hop.rtt, |best| best.min(hop.rtt)));
        self.worst = Some(self.worst.map_or(hop.rtt, |worst| worst.max(hop.rtt)));
        self.rtts.push_back(hop.rtt);
        if self.rtts.len() > MAX_RTTS {
            self.rtts.pop_front();
        }
        if self.addresses.len() < MAX_ADDRESSES || self.addresses.contains_key(&hop.address) {
            let responder = self.addresses.entry(hop.address).or_default();
            responder.answered += 1;
            responder.is_destination |= tally.is_destination;
            responder.mpls = hop.mpls;
            responder.rewrites = hop.rewrites;
            responder.quoted_ttl = hop.quoted_ttl;
        }
    }
}

fn row(ttl: u8, here: &[&Figures]) -> HopRow {
    let mut addresses: BTreeMap<IpAddr, AddressRow> = BTreeMap::new();
    for (address, responder) in here.iter().flat_map(|figures| &figures.addresses) {
        let row = addresses.entry(*address).or_insert(AddressRow {
            address: *address,
            flows: 0,
            answered: 0,
            is_destination: false,
            mpls: responder.mpls,
            rewrites: responder.rewrites,
            quoted_ttl: responder.quoted_ttl,
        });
        row.flows += 1;
        row.answered += responder.answered;
        row.is_destination |= responder.is_destination;
    }
    let mut addresses: Vec<AddressRow> = addresses.into_values().collect();
    addresses.sort_by_key(|row| std::cmp::Reverse((row.flows, row.answered)));
    let mut rtts: Vec<Duration> = here.iter().flat_map(|f| f.rtts.iter().copied()).collect();
    rtts.sort_unstable();
    HopRow {
        ttl,
        addresses,
        silent_flows: here.iter().filter(|figures| figures.answered == 0).count(),
        sent: here.iter().map(|figures| figures.sent).sum(),
        answered: here.iter().map(|figures| figures.answered).sum(),
        last: here
            .iter()
            .filter_map(|figures| figures.last)
            .max_by_key(|(number, _)| *number)
            .map(|(_, rtt)| rtt),
        best: here.iter().filter_map(|figures| figures.best).min(),
        average: mean(
            here.iter().map(|f| f.sum).sum(),
            here.iter().map(|f| f.answered).sum(),
        ),
        variation: mean(
            here.iter().map(|f| f.steps).sum(),
            here.iter().map(|f| f.answered.saturating_sub(1)).sum(),
        ),
        median: rtts.get(rtts.len() / 2).copied(),
        worst: here.iter().filter_map(|figures| figures.worst).max(),
        loss: Loss::Silent,
        is_rate_limited: false,
    }
}

fn mean(sum: Duration, count: u64) -> Option<Duration> {
    let count = u32::try_from(count).ok()?;
    sum.checked_div(count)
}

/// From the last hop back: loss is no more than at any later hop that answers.
fn judge_loss(rows: &mut [HopRow], reached: bool) {
    let mut common: f64 = 1.0;
    for row in rows.iter_mut().rev().filter(|row| row.answered > 0) {
        let missing = row.missing_ratio();
        common = common.min(missing);
        row.loss = if reached || common == 0.0 {
            Loss::Ratio(common)
        } else {
            Loss::Unclear(common)
        };
        let error = (common * (1.0 - common) / number(row.sent)).sqrt();
        row.is_rate_limited = missing - common > CHANCE * error;
    }
}

impl HopRow {
    /// What was sent and not answered, of what was sent: not yet loss.
    pub fn missing_ratio(&self) -> f64 {
        if self.sent == 0 {
            return 0.0;
        }
        1.0 - number(self.answered.min(self.sent)) / number(self.sent)
    }
}

/// As a float; exact for any count of packets that a person waits for.
fn number(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
#[path = "hops_tests.rs"]
mod tests;
