//! The head: committed samples that are in no chunk yet. Pure.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firstmile_columns::chunk::{MAX_BLOCKS, MAX_ROWS};
use firstmile_columns::{Block, Row};

use crate::day::DayNumber;

/// What one agent has waiting.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) blocks: Vec<Block>,
    rows: usize,
    /// Where the last sample went.
    last: usize,
    /// First row of the inbox that has a sample of it.
    first: i64,
    /// Last row of the inbox that has one.
    pub(crate) last_row: i64,
    /// When that was committed.
    since_unix_ms: i64,
}

impl Waiting {
    /// Series come in the same order round after round, so the next one is looked for behind the last one first.
    fn push(&mut self, sample: &Sample) {
        let next = self.last + 1;
        let is_it = |place: usize| {
            let block = self.blocks.get(place);
            block.is_some_and(|block| block.series == sample.series)
        };
        let place = if is_it(next) {
            next
        } else if is_it(0) {
            0
        } else {
            let series = |block: &Block| block.series;
            let place = self.blocks.binary_search_by_key(&sample.series, series);
            place.unwrap_or_else(|place| {
                self.blocks.insert(place, Block::new(sample.series));
                place
            })
        };
        self.last = place;
        if let Some(block) = self.blocks.get_mut(place) {
            block.push(sample.row, sample.scheduling_delay_us);
        }
    }
}

/// Committed samples in no chunk yet, by agent.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// Shared with those who read: what one of them holds is copied before it is changed.
    agents: BTreeMap<u32, Arc<Waiting>>,
    rows: usize,
}

impl Head {
    /// Adds samples of row `inbox` of the inbox, committed at `now`. Those of one agent follow each other, so it is looked up
    /// once for all of them.
    pub(crate) fn extend(&mut self, samples: &[Sample], inbox: i64, now_unix_ms: i64) {
        for run in samples.chunk_by(|a, b| a.agent == b.agent) {
            let Some(agent) = run.first().map(|sample| sample.agent) else {
                continue;
            };
            let waiting = Arc::make_mut(self.agents.entry(agent).or_default());
            if waiting.rows == 0 {
                waiting.first = inbox;
                waiting.since_unix_ms = now_unix_ms;
            }
            waiting.last_row = inbox;
            waiting.rows += run.len();
            self.rows += run.len();
            for sample in run {
                waiting.push(sample);
            }
        }
    }

    /// Agents that have enough for a chunk, or have waited long enough.
    pub(crate) fn due(&self, now_unix_ms: i64, rows: usize, after_ms: i64) -> Vec<u32> {
        let due = |waiting: &Arc<Waiting>| {
            waiting.rows >= rows
                || waiting.rows > 0 && now_unix_ms.saturating_sub(waiting.since_unix_ms) >= after_ms
        };
        let due = self.agents.iter().filter(|(_, waiting)| due(waiting));
        due.map(|(agent, _)| *agent).collect()
    }

    /// What some agents have waiting, or all, as it is now.
    pub(crate) fn snapshot(&self, agents: Option<&BTreeSet<u32>>) -> Vec<(u32, Arc<Waiting>)> {
        let of = |agent: &u32| Some((*agent, Arc::clone(self.agents.get(agent)?)));
        match agents {
            Some(agents) => agents.iter().filter_map(of).collect(),
            None => self.agents.keys().filter_map(of).collect(),
        }
    }

    /// Forgets what an agent has: it is in chunks now.
    pub(crate) fn sealed(&mut self, agent: u32) {
        if let Some(waiting) = self.agents.remove(&agent) {
            self.rows -= waiting.rows;
        }
    }

    /// The first row of the inbox that is still needed.
    pub(crate) fn first_needed(&self) -> Option<i64> {
        self.agents.values().map(|waiting| waiting.first).min()
    }

    /// Samples in it.
    pub(crate) const fn rows(&self) -> usize {
        self.rows
    }
}

/// A sample with whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Whose: a number of the caller's dictionary.
    pub agent: u32,
    /// Of which series: another one.
    pub series: u32,
    /// What was found.
    pub row: Row,
    /// How late the agent's program ran, microseconds.
    pub scheduling_delay_us: u32,
}

/// Blocks cut at midnights, by day. The usual agent has samples of one day, and none is copied.
pub(crate) fn by_day(blocks: &[Block]) -> BTreeMap<DayNumber, Vec<Cow<'_, Block>>> {
    let mut days: BTreeMap<DayNumber, Vec<Cow<'_, Block>>> = BTreeMap::new();
    for block in blocks {
        let times = block.at_unix_ms().iter().copied();
        let ends = times.clone().min().zip(times.max());
        let Some((first, last)) = ends.map(|(a, b)| (DayNumber::of(a), DayNumber::of(b))) else {
            continue;
        };
        if first == last {
            days.entry(first).or_default().push(Cow::Borrowed(block));
            continue;
        }
        let mut parts: BTreeMap<DayNumber, Block> = BTreeMap::new();
        for row in block.rows() {
            let day = DayNumber::of(row.at_unix_ms);
            let part = parts.entry(day).or_insert_with(|| Block::new(block.series));
            part.push(row, block.scheduling_delay_max_us);
        }
        for (day, part) in parts {
            days.entry(day).or_default().push(Cow::Owned(part));
        }
    }
    days
}

/// Blocks in as many groups as it takes for each to fit in a chunk. The usual agent has one.
pub(crate) fn pieces(blocks: Vec<Cow<'_, Block>>) -> Vec<Vec<Cow<'_, Block>>> {
    let (mut pieces, mut piece, mut rows) = (Vec::new(), Vec::new(), 0);
    for block in blocks.into_iter().flat_map(cut) {
        if rows + block.len() > MAX_ROWS || piece.len() >= MAX_BLOCKS {
            pieces.push(std::mem::take(&mut piece));
            rows = 0;
        }
        rows += block.len();
        piece.push(block);
    }
    pieces.push(piece);
    pieces
}

/// A block in parts that each fit in a chunk.
fn cut(block: Cow<'_, Block>) -> Vec<Cow<'_, Block>> {
    if block.len() <= MAX_ROWS {
        return vec![block];
    }
    let mut parts = vec![Block::new(block.series)];
    for row in block.rows() {
        if parts.last().is_none_or(|part| part.len() >= MAX_ROWS) {
            parts.push(Block::new(block.series));
        }
        if let Some(part) = parts.last_mut() {
            part.push(row, block.scheduling_delay_max_us);
        }
    }
    parts.into_iter().map(Cow::Owned).collect()
}
