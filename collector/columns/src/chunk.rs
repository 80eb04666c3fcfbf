//! A chunk: up to an hour of one agent's samples, block by block, in one row of bytes.
//!
//! ```text
//! chunk     version (1 byte)  anchor (signed: all times are told from it)  block …  CRC-32 of all before (4 bytes, least first)
//! block     length of what follows  series  n  facts (1 byte)  times  [outcomes]  RTTs  [marks]  [reply TTLs]  [late]
//! ```
//! Numbers are varints where nothing else is said; `series` is told from that of the block before, signed. `facts` says which of the columns in brackets are there: a column that says
//! nothing (all answered, no marks, no TTL known, never late) takes no byte. RTTs are of those that have one, in order. A block
//! says how long it is, so that a reader who wants one series leaps over the others.
//!
//! What is not kept: the scheduling delay of each sample (the mark "untrusted" is; the largest of a block is), and the order of
//! samples of different series.

use crate::column::{Block, Row};
use crate::packed;
use crate::runs;
use crate::time;
use crate::varint::{self, DecodeError, Reader};

/// First byte of a chunk.
const VERSION: u8 = 1;
/// Samples that one chunk may have: damaged bytes cannot ask for more memory than these take.
pub const MAX_ROWS: usize = 65_536;
/// Blocks of one chunk.
pub const MAX_BLOCKS: usize = 4_096;
/// Bytes behind the last block.
const CHECKSUM_BYTES: usize = 4;

/// Bits of `facts`.
const HAS_OUTCOMES: u8 = 1;
const HAS_MARKS: u8 = 2;
const HAS_REPLY_TTLS: u8 = 4;
const HAS_DELAY: u8 = 8;
const KNOWN_FACTS: u8 = HAS_OUTCOMES | HAS_MARKS | HAS_REPLY_TTLS | HAS_DELAY;

/// What every sample of a column that is left out says.
const ANSWERED: u8 = 1;

/// Writes chunks, and keeps its memory from one to the next.
#[derive(Debug, Default)]
pub struct Chunk {
    time: time::Scratch,
    rtt: Vec<i64>,
    block: Vec<u8>,
}

/// Why samples do not fit in one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Seal earlier.
    #[error("{rows} samples in {blocks} series are more than a chunk holds")]
    TooMuch {
        /// Samples.
        rows: usize,
        /// Series.
        blocks: usize,
    },
}

impl Chunk {
    /// The bytes of a chunk with these blocks, in this order.
    ///
    /// # Errors
    /// [`ChunkError::TooMuch`] beyond [`MAX_ROWS`] or [`MAX_BLOCKS`].
    ///
    /// # Examples
    /// ```
    /// use firstmile_columns::{Block, Chunk, ChunkReader, Row};
    ///
    /// let mut block = Block::new(7);
    /// for second in 0..60 {
    ///     let row = Row { at_unix_ms: second * 1_000, outcome: 1, rtt_us: 12_000, marks: 0, reply_ttl: 54 };
    ///     block.push(row, 0);
    /// }
    /// let bytes = Chunk::default().encode(&[&block]).unwrap();
    /// assert!(bytes.len() < 40);
    ///
    /// let mut reader = ChunkReader::new();
    /// let mut back = Vec::new();
    /// reader.read(&bytes, |_| true, |block| back.push(block.clone())).unwrap();
    /// assert_eq!(back, [block]);
    /// ```
    pub fn encode(&mut self, blocks: &[&Block]) -> Result<Vec<u8>, ChunkError> {
        let rows = blocks.iter().map(|block| block.len()).sum();
        if rows > MAX_ROWS || blocks.len() > MAX_BLOCKS {
            return Err(ChunkError::TooMuch {
                rows,
                blocks: blocks.len(),
            });
        }
        let anchor = blocks
            .iter()
            .find_map(|block| block.at.first().copied())
            .unwrap_or(0);
        let mut bytes = Vec::with_capacity(16 + blocks.len() * 16 + rows * 5 / 2);
        bytes.push(VERSION);
        varint::put_signed(&mut bytes, anchor);
        for (place, block) in blocks.iter().enumerate() {
            self.put(block, blocks.get(..place).unwrap_or_default(), anchor);
            varint::put(&mut bytes, self.block.len() as u64);
            bytes.extend_from_slice(&self.block);
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        Ok(bytes)
    }

    fn put(&mut self, block: &Block, before: &[&Block], anchor: i64) {
        let bytes = &mut self.block;
        bytes.clear();
        let last = before.last().map_or(0, |block| i64::from(block.series));
        varint::put_signed(bytes, i64::from(block.series) - last);
        varint::put(bytes, block.len() as u64);
        let facts = facts(block);
        bytes.push(facts);
        let before = before.iter().map(|block| block.at.as_slice());
        time::put(bytes, &block.at, before, anchor, &mut self.time);
        if facts & HAS_OUTCOMES != 0 {
            runs::put(bytes, block.outcome.iter().map(|code| u32::from(*code)));
        }
        self.rtt.clear();
        let rtts = block.rtt_us.iter().zip(&block.outcome);
        let timed = rtts.filter(|(_, outcome)| Row::has_rtt(**outcome));
        self.rtt.extend(timed.map(|(rtt, _)| i64::from(*rtt)));
        packed::put(bytes, &self.rtt, packed::plan(&self.rtt));
        if facts & HAS_MARKS != 0 {
            runs::put(bytes, block.marks.iter().copied());
        }
        if facts & HAS_REPLY_TTLS != 0 {
            runs::put(bytes, block.reply_ttl.iter().map(|ttl| u32::from(*ttl)));
        }
        if facts & HAS_DELAY != 0 {
            varint::put(bytes, u64::from(block.scheduling_delay_max_us));
        }
    }
}

/// Which columns say something.
fn facts(block: &Block) -> u8 {
    let has = |says: bool, fact: u8| if says { fact } else { 0 };
    has(
        block.outcome.iter().any(|code| *code != ANSWERED),
        HAS_OUTCOMES,
    ) | has(block.marks.iter().any(|marks| *marks != 0), HAS_MARKS)
        | has(block.reply_ttl.iter().any(|ttl| *ttl != 0), HAS_REPLY_TTLS)
        | has(block.scheduling_delay_max_us != 0, HAS_DELAY)
}

/// Reads chunks, and keeps its memory from one to the next.
#[derive(Debug, Default)]
pub struct ChunkReader {
    before: time::Before,
    block: Block,
    numbers: Vec<i64>,
}

impl ChunkReader {
    /// One that has read nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows the blocks of a chunk, in order, whose series is `wanted`. Of the others only the times are read.
    ///
    /// # Errors
    /// [`DecodeError`] unless the bytes are one chunk of a known version. Blocks before the fault may have been shown, unless
    /// the checksum is what is wrong: it is looked at first.
    pub fn read(
        &mut self,
        bytes: &[u8],
        mut wanted: impl FnMut(u32) -> bool,
        mut show: impl FnMut(&Block),
    ) -> Result<(), DecodeError> {
        let mut reader = Reader::new(checked(bytes)?);
        let version = reader.byte()?;
        if version != VERSION {
            return Err(DecodeError::Version { version });
        }
        let anchor = reader.signed()?;
        self.before.clear();
        let (mut rows, mut blocks, mut series) = (0usize, 0usize, 0i64);
        while !reader.is_at_end() {
            let len = usize::try_from(reader.number()?).map_err(|_| DecodeError::OutOfRange)?;
            let mut block = Reader::new(reader.bytes(len)?);
            series = series.saturating_add(block.signed()?);
            let number = u32::try_from(series).map_err(|_| DecodeError::OutOfRange)?;
            let n = usize::try_from(block.number()?).map_err(|_| DecodeError::OutOfRange)?;
            rows = rows.saturating_add(n);
            blocks += 1;
            if rows > MAX_ROWS || blocks > MAX_BLOCKS {
                return Err(DecodeError::OutOfRange);
            }
            self.block.clear();
            self.block.series = number;
            let facts = block.byte()?;
            self.times(&mut block, n, anchor)?;
            if wanted(number) {
                self.rest(block, n, facts)?;
                show(&self.block);
            }
        }
        Ok(())
    }

    /// Others may be told from these times, so they are read of every block.
    fn times(&mut self, block: &mut Reader<'_>, n: usize, anchor: i64) -> Result<(), DecodeError> {
        let (at, numbers) = (&mut self.block.at, &mut self.numbers);
        time::take(block, n, anchor, &self.before, numbers, at)?;
        self.before.push(at);
        Ok(())
    }

    fn rest(&mut self, mut reader: Reader<'_>, n: usize, facts: u8) -> Result<(), DecodeError> {
        if facts & !KNOWN_FACTS != 0 {
            return Err(DecodeError::OutOfRange);
        }
        let block = &mut self.block;
        block.outcome.resize(n, ANSWERED);
        if facts & HAS_OUTCOMES != 0 {
            take_bytes(&mut reader, &mut block.outcome)?;
        }
        let timed = block.outcome.iter().filter(|code| Row::has_rtt(**code));
        let timed = timed.count();
        self.numbers.clear();
        packed::take(&mut reader, timed, &mut self.numbers)?;
        spread_rtts(&self.numbers, block)?;
        block.marks.resize(n, 0);
        if facts & HAS_MARKS != 0 {
            runs::take(&mut reader, n, |from, len, value| {
                if let Some(run) = block.marks.get_mut(from..from + len) {
                    run.fill(value);
                }
            })?;
        }
        block.reply_ttl.resize(n, 0);
        if facts & HAS_REPLY_TTLS != 0 {
            take_bytes(&mut reader, &mut block.reply_ttl)?;
        }
        if facts & HAS_DELAY != 0 {
            block.scheduling_delay_max_us = reader.number_u32()?;
        }
        reader.finish()
    }
}

/// Puts the RTTs beside the samples that have one.
fn spread_rtts(rtts: &[i64], block: &mut Block) -> Result<(), DecodeError> {
    let us = |rtt: &i64| u32::try_from(*rtt).map_err(|_| DecodeError::OutOfRange);
    if rtts.len() == block.outcome.len() {
        // All of them at once, so that the processor takes several in a step.
        let beyond = rtts.iter().fold(0, |all, rtt| all | rtt) >> u32::BITS;
        if beyond != 0 {
            return Err(DecodeError::OutOfRange);
        }
        block.rtt_us.extend(rtts.iter().map(|rtt| low_of(*rtt)));
        return Ok(());
    }
    let mut rtts = rtts.iter();
    for outcome in &block.outcome {
        let rtt = if Row::has_rtt(*outcome) {
            rtts.next().map_or(Ok(0), us)?
        } else {
            0
        };
        block.rtt_us.push(rtt);
    }
    Ok(())
}

/// What fits, since nothing lies beyond it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller looked: no bit beyond the 32 is set"
)]
const fn low_of(rtt: i64) -> u32 {
    rtt as u32
}

/// A column of runs whose values are bytes.
fn take_bytes(reader: &mut Reader<'_>, column: &mut [u8]) -> Result<(), DecodeError> {
    let mut fits = true;
    runs::take(reader, column.len(), |from, len, value| {
        match (u8::try_from(value), column.get_mut(from..from + len)) {
            (Ok(value), Some(run)) => run.fill(value),
            _ => fits = false,
        }
    })?;
    if fits {
        Ok(())
    } else {
        Err(DecodeError::OutOfRange)
    }
}

/// The bytes before the checksum, if it is theirs.
pub(crate) fn checked(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let (body, stored) = bytes
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or(DecodeError::Truncated)?;
    let (found, stored) = (crc32fast::hash(body), u32::from_le_bytes(*stored));
    if found == stored {
        Ok(body)
    } else {
        Err(DecodeError::Checksum { found, stored })
    }
}

#[cfg(test)]
#[path = "chunk_tests.rs"]
mod tests;
