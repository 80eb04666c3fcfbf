//! One row of the inbox: the samples of one group commit, as written by whoever came first. Pure.

use firstmile_columns::Row;
use firstmile_columns::varint::{self, DecodeError, Reader};

use crate::head::Sample;

const VERSION: u8 = 1;
const ANSWERED: u8 = 1;
/// Bits of a sample's first number; the rest of it is the outcome, 0 for answered.
const HAS_MORE: u64 = 1;
const OUTCOME_SHIFT: u32 = 1;

/// Samples of one commit, in the order they came.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    rows: usize,
    agent: u32,
    series: u32,
    at_unix_ms: i64,
}

impl Batch {
    /// Adds a sample.
    pub fn push(&mut self, sample: &Sample) {
        if self.rows == 0 {
            self.bytes.push(VERSION);
        }
        let Sample {
            agent,
            series,
            row,
            scheduling_delay_us,
        } = *sample;
        let bytes = &mut self.bytes;
        varint::put_signed(bytes, i64::from(agent) - i64::from(self.agent));
        varint::put_signed(bytes, i64::from(series) - i64::from(self.series));
        varint::put_signed(bytes, row.at_unix_ms.wrapping_sub(self.at_unix_ms));
        let more = row.marks != 0 || row.reply_ttl != 0 || scheduling_delay_us != 0;
        let outcome = u64::from(row.outcome ^ ANSWERED) << OUTCOME_SHIFT;
        varint::put(bytes, outcome | u64::from(more));
        varint::put(bytes, u64::from(row.rtt_us));
        if more {
            varint::put(bytes, u64::from(row.marks));
            varint::put(bytes, u64::from(row.reply_ttl));
            varint::put(bytes, u64::from(scheduling_delay_us));
        }
        (self.agent, self.series, self.at_unix_ms) = (agent, series, row.at_unix_ms);
        self.rows += 1;
    }

    /// Samples in it.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// The row of the inbox; the batch is as new after it.
    pub fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(self).bytes;
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

/// Shows the samples of a row of the inbox.
pub(crate) fn read(bytes: &[u8], mut show: impl FnMut(Sample)) -> Result<usize, DecodeError> {
    let (body, stored) = bytes
        .split_last_chunk::<4>()
        .ok_or(DecodeError::Truncated)?;
    let (found, stored) = (crc32fast::hash(body), u32::from_le_bytes(*stored));
    if found != stored {
        return Err(DecodeError::Checksum { found, stored });
    }
    let mut reader = Reader::new(body);
    let version = reader.byte()?;
    if version != VERSION {
        return Err(DecodeError::Version { version });
    }
    let (mut agent, mut series, mut at_unix_ms, mut rows) = (0i64, 0i64, 0i64, 0);
    while !reader.is_at_end() {
        agent = agent.saturating_add(reader.signed()?);
        series = series.saturating_add(reader.signed()?);
        at_unix_ms = at_unix_ms.wrapping_add(reader.signed()?);
        let head = reader.number()?;
        let rtt_us = reader.number_u32()?;
        let [marks, reply_ttl, scheduling_delay_us] = if head & HAS_MORE == 0 {
            [0; 3]
        } else {
            [
                reader.number_u32()?,
                reader.number_u32()?,
                reader.number_u32()?,
            ]
        };
        show(Sample {
            agent: number(agent)?,
            series: number(series)?,
            row: Row {
                at_unix_ms,
                outcome: byte(head >> OUTCOME_SHIFT)? ^ ANSWERED,
                rtt_us,
                marks,
                reply_ttl: byte(u64::from(reply_ttl))?,
            },
            scheduling_delay_us,
        });
        rows += 1;
    }
    Ok(rows)
}

fn number(value: i64) -> Result<u32, DecodeError> {
    u32::try_from(value).map_err(|_| DecodeError::OutOfRange)
}

fn byte(value: u64) -> Result<u8, DecodeError> {
    u8::try_from(value).map_err(|_| DecodeError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Numbers = (u32, u32, i64, u8, u32, u32, u8, u32);

    fn sample(
        (agent, series, at_unix_ms, outcome, rtt_us, marks, reply_ttl, delay): Numbers,
    ) -> Sample {
        let row = Row {
            at_unix_ms,
            outcome,
            rtt_us,
            marks,
            reply_ttl,
        };
        Sample {
            agent,
            series,
            row,
            scheduling_delay_us: delay,
        }
    }

    proptest! {
        #[test]
        fn any_samples_survive(numbers in vec(any::<Numbers>(), 1..50)) {
            let samples: Vec<Sample> = numbers.into_iter().map(sample).collect();
            let mut batch = Batch::default();
            for sample in &samples {
                batch.push(sample);
            }
            prop_assert_eq!(batch.rows(), samples.len());
            let mut back = Vec::new();
            prop_assert_eq!(read(&batch.take(), |sample| back.push(sample)), Ok(samples.len()));
            prop_assert_eq!(back, samples);
        }

        #[test]
        fn any_bytes_are_a_batch_or_an_error(body in vec(any::<u8>(), 0..100)) {
            let mut bytes = vec![VERSION];
            bytes.extend(body);
            bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
            let mut shown = 0;
            if let Ok(rows) = read(&bytes, |_| shown += 1) {
                prop_assert_eq!(rows, shown);
            }
        }
    }
}
