//! A block: the samples of one series, as columns of equal length.

/// What a sample of the wire is when it was answered, and when it was refused: those have an RTT.
const ANSWERED: u8 = 1;
const REFUSED: u8 = 3;

/// One sample as it is kept. Its numbers are those of the wire (`proto/report.proto`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// When the probe was sent.
    pub at_unix_ms: i64,
    /// What became of it: a number of `Outcome`.
    pub outcome: u8,
    /// RTT of an answered or refused probe in microseconds, else 0.
    pub rtt_us: u32,
    /// Sum of `Mark` bits.
    pub marks: u32,
    /// TTL or hop limit of the reply as received, 0 when unknown.
    pub reply_ttl: u8,
}

impl Row {
    /// Whether an outcome comes with an RTT.
    pub const fn has_rtt(outcome: u8) -> bool {
        matches!(outcome, ANSWERED | REFUSED)
    }
}

/// The samples of one series, in the order they came. All columns have the same length: there is no other way in than
/// [`Block::push`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Which series: a number of the store's dictionary.
    pub series: u32,
    /// The longest time that the agent's program ran late at any of these samples, microseconds.
    pub scheduling_delay_max_us: u32,
    pub(crate) at: Vec<i64>,
    pub(crate) outcome: Vec<u8>,
    pub(crate) rtt_us: Vec<u32>,
    pub(crate) marks: Vec<u32>,
    pub(crate) reply_ttl: Vec<u8>,
}

impl Block {
    /// Without samples.
    pub fn new(series: u32) -> Self {
        Self {
            series,
            ..Self::default()
        }
    }

    /// Adds a sample. The RTT of a probe that has none is not kept.
    pub fn push(&mut self, row: Row, scheduling_delay_us: u32) {
        let rtt_us = if Row::has_rtt(row.outcome) {
            row.rtt_us
        } else {
            0
        };
        self.scheduling_delay_max_us = self.scheduling_delay_max_us.max(scheduling_delay_us);
        self.at.push(row.at_unix_ms);
        self.outcome.push(row.outcome);
        self.rtt_us.push(rtt_us);
        self.marks.push(row.marks);
        self.reply_ttl.push(row.reply_ttl);
    }

    /// Number of samples.
    pub const fn len(&self) -> usize {
        self.at.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// Forgets the samples and keeps the memory.
    pub fn clear(&mut self) {
        self.scheduling_delay_max_us = 0;
        self.at.clear();
        self.outcome.clear();
        self.rtt_us.clear();
        self.marks.clear();
        self.reply_ttl.clear();
    }

    /// The samples one by one.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        let times = self.at.iter().zip(&self.outcome).zip(&self.rtt_us);
        let rows = times.zip(&self.marks).zip(&self.reply_ttl);
        rows.map(|((((at, outcome), rtt), marks), ttl)| Row {
            at_unix_ms: *at,
            outcome: *outcome,
            rtt_us: *rtt,
            marks: *marks,
            reply_ttl: *ttl,
        })
    }

    /// When each was sent, UTC.
    pub fn at_unix_ms(&self) -> &[i64] {
        &self.at
    }

    /// What became of each: numbers of `Outcome`.
    pub fn outcomes(&self) -> &[u8] {
        &self.outcome
    }

    /// RTT of each in microseconds, 0 without one.
    pub fn rtts_us(&self) -> &[u32] {
        &self.rtt_us
    }

    /// Sum of `Mark` bits of each.
    pub fn marks(&self) -> &[u32] {
        &self.marks
    }

    /// TTL of the reply to each, 0 when unknown.
    pub fn reply_ttls(&self) -> &[u8] {
        &self.reply_ttl
    }
}
