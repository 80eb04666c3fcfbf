//! Path rounds of one agent, told against a dictionary of paths: a round that met what an earlier one met is the number of that
//! path, its times, and little else.
//!
//! ```text
//! rounds    version (1 byte)  anchor (signed)  paths: count, then each as bytes  count  round …  CRC-32
//! round     step from the round before (signed)  path  stream and burst (1 byte)  RTTs of the flows' destination  hops
//! hops      the silent ones, then the least RTT of each TTL: buckets of the histogram, told from the last round of the path
//! ```
//!
//! What is kept of a round: its time, stream and burst, which path it met, which hops were silent that its path knows, the RTT of
//! each flow's destination to the microsecond, and for each TTL the least RTT that any flow saw there, within 0.8 %. What is not:
//! the RTT of each flow at each hop. Eight flows over twelve hops are 96 of them, 120 bytes and more a round, and no figure is
//! made of them: what a hop adds is told from the least.

use std::collections::BTreeMap;

use crate::chunk::checked;
use crate::histogram::{bucket_of, middle_of};
use crate::packed;
use crate::varint::{self, DecodeError, Reader};

/// First byte.
const VERSION: u8 = 1;
/// Rounds together.
pub const MAX_ROUNDS: usize = 4_096;
/// Flows of a path.
pub const MAX_FLOWS: usize = 64;
/// Hops of a flow.
pub const MAX_HOPS: usize = 64;
/// Bytes of a hop: one byte may stand for as many, so damaged bytes cannot ask for much more than they are.
pub const MAX_HOP_BYTES: usize = 512;
/// Bit of the byte that has the stream.
const BURST: u8 = 0x80;

/// What rounds meet: everything but times. Two rounds with the same of it met the same path.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// Which target, where the flows went, and by which packets: the store's own bytes, kept as they are.
    pub about: Vec<u8>,
    /// One for each flow.
    pub flows: Vec<FlowPath>,
}

/// What one flow meets.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowPath {
    /// Source port or checksum.
    pub flow_id: u32,
    /// TTL at which the destination answers, 0 when it does not.
    pub destination_ttl: u8,
    /// TTL of the first of `hops`.
    pub first_ttl: u8,
    /// By TTL, one after the other. What is known of each, but for its times: the store's own bytes; empty for one that is always
    /// silent.
    pub hops: Vec<Vec<u8>>,
}

/// One round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Start.
    pub at_unix_ms: i64,
    /// Number of the path in the list beside.
    pub path: usize,
    /// Number of the stream, below 128.
    pub stream: u8,
    /// Started by a suspicion.
    pub burst: bool,
    /// For each flow the RTT of its destination, microseconds; `None` where it did not answer in this round.
    pub destination_rtt_us: Vec<Option<u32>>,
    /// (flow, hop) that were silent in this round, though the path knows who stands there; ascending.
    pub silent: Vec<(u8, u8)>,
    /// For each TTL from the smallest first one on, the least RTT that a flow saw, microseconds; `None` without an answer. What is
    /// read back is the middle of its bucket.
    pub hop_rtt_us: Vec<Option<u32>>,
}

/// Rounds with the paths that they met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rounds {
    /// The dictionary.
    pub paths: Vec<Path>,
    /// In order of arrival.
    pub rounds: Vec<Round>,
}

/// Gathers rounds, and gives each distinct path one number.
#[derive(Debug, Default)]
pub struct RoundsBuilder {
    numbers: BTreeMap<Path, usize>,
    rounds: Rounds,
}

impl RoundsBuilder {
    /// Adds a round; its field `path` is set from `path`. False: there is no room, seal first; or the round is beyond what a
    /// form may have ([`MAX_FLOWS`], [`MAX_HOPS`], [`MAX_HOP_BYTES`]).
    pub fn push(&mut self, path: Path, mut round: Round) -> bool {
        let flow_fits = |flow: &FlowPath| {
            flow.hops.len() <= MAX_HOPS && flow.hops.iter().all(|hop| hop.len() <= MAX_HOP_BYTES)
        };
        let fits = path.flows.len() <= MAX_FLOWS
            && path.flows.iter().all(flow_fits)
            && round.destination_rtt_us.len() <= MAX_FLOWS
            && round.hop_rtt_us.len() <= MAX_HOPS
            && round.silent.len() <= MAX_FLOWS * MAX_HOPS
            && round.stream & BURST == 0;
        if !fits || self.rounds.rounds.len() >= MAX_ROUNDS {
            return false;
        }
        let paths = &mut self.rounds.paths;
        round.path = *self.numbers.entry(path).or_insert_with_key(|path| {
            paths.push(path.clone());
            paths.len() - 1
        });
        self.rounds.rounds.push(round);
        true
    }

    /// What was gathered.
    pub fn finish(self) -> Rounds {
        self.rounds
    }
}

impl Rounds {
    /// The bytes form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let anchor = self.rounds.first().map_or(0, |round| round.at_unix_ms);
        let mut bytes = vec![VERSION];
        varint::put_signed(&mut bytes, anchor);
        varint::put(&mut bytes, self.paths.len() as u64);
        for path in &self.paths {
            put_path(&mut bytes, path);
        }
        varint::put(&mut bytes, self.rounds.len() as u64);
        let mut before = anchor;
        let mut last = vec![[0; MAX_HOPS]; self.paths.len()];
        for round in &self.rounds {
            varint::put_signed(&mut bytes, round.at_unix_ms.wrapping_sub(before));
            before = round.at_unix_ms;
            let mut none = [0; MAX_HOPS];
            put_round(
                &mut bytes,
                round,
                last.get_mut(round.path).unwrap_or(&mut none),
            );
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the bytes form. Any bytes may come.
    ///
    /// # Errors
    /// [`DecodeError`] unless the bytes are exactly that, of a known version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(checked(bytes)?);
        let version = reader.byte()?;
        if version != VERSION {
            return Err(DecodeError::Version { version });
        }
        let mut at = reader.signed()?;
        let paths = bounded(&mut reader, MAX_ROUNDS)?;
        let paths = (0..paths).map(|_| take_path(&mut reader));
        let paths: Vec<Path> = paths.collect::<Result<_, _>>()?;
        let mut rounds = Vec::new();
        let mut last = vec![[0; MAX_HOPS]; paths.len()];
        for _ in 0..bounded(&mut reader, MAX_ROUNDS)? {
            at = at.wrapping_add(reader.signed()?);
            rounds.push(take_round(&mut reader, at, &mut last)?);
        }
        reader.finish()?;
        Ok(Self { paths, rounds })
    }
}

/// What an RTT of a hop is read back as.
pub fn as_kept(rtt_us: u32) -> u32 {
    middle_of(bucket_of(rtt_us))
}

fn put_path(bytes: &mut Vec<u8>, path: &Path) {
    put_bytes(bytes, &path.about);
    varint::put(bytes, path.flows.len() as u64);
    let mut before: &[Vec<u8>] = &[];
    for flow in &path.flows {
        varint::put(bytes, u64::from(flow.flow_id));
        bytes.push(flow.destination_ttl);
        bytes.push(flow.first_ttl);
        varint::put(bytes, flow.hops.len() as u64);
        for (place, hop) in flow.hops.iter().enumerate() {
            // Flows share most of their hops: 0 stands for the same as the flow before.
            if before.get(place) == Some(hop) {
                bytes.push(0);
            } else {
                varint::put(bytes, hop.len() as u64 + 1);
                bytes.extend_from_slice(hop);
            }
        }
        before = &flow.hops;
    }
}

fn take_path(reader: &mut Reader<'_>) -> Result<Path, DecodeError> {
    let about = take_bytes(reader)?;
    let mut flows: Vec<FlowPath> = Vec::new();
    for _ in 0..bounded(reader, MAX_FLOWS)? {
        let flow_id = reader.number_u32()?;
        let (destination_ttl, first_ttl) = (reader.byte()?, reader.byte()?);
        let mut hops = Vec::new();
        for place in 0..bounded(reader, MAX_HOPS)? {
            let hop = match reader.number()? {
                0 => flows
                    .last()
                    .and_then(|before| before.hops.get(place))
                    .ok_or(DecodeError::OutOfRange)?
                    .clone(),
                more => {
                    let len = usize::try_from(more - 1).map_err(|_| DecodeError::OutOfRange)?;
                    if len > MAX_HOP_BYTES {
                        return Err(DecodeError::OutOfRange);
                    }
                    reader.bytes(len)?.to_vec()
                }
            };
            hops.push(hop);
        }
        flows.push(FlowPath {
            flow_id,
            destination_ttl,
            first_ttl,
            hops,
        });
    }
    Ok(Path { about, flows })
}

/// The bucket of each TTL as a round of the path last had it, 0 when none has.
type Buckets = [i64; MAX_HOPS];

fn put_round(bytes: &mut Vec<u8>, round: &Round, last: &mut Buckets) {
    varint::put(bytes, round.path as u64);
    bytes.push((round.stream & !BURST) | if round.burst { BURST } else { 0 });
    let destinations = round.destination_rtt_us.iter();
    let destinations: Vec<_> = destinations.map(|rtt| rtt.map(i64::from)).collect();
    put_times(bytes, &destinations);
    varint::put(bytes, round.silent.len() as u64);
    for (flow, hop) in &round.silent {
        bytes.extend([flow, hop]);
    }
    let hops = round.hop_rtt_us.iter().zip(last);
    let hops = hops.map(|(rtt, last)| {
        let bucket = rtt.map(|rtt| i64::from(bucket_of(rtt)))?;
        Some(bucket - std::mem::replace(last, bucket))
    });
    put_times(bytes, &hops.collect::<Vec<_>>());
}

fn take_round(
    reader: &mut Reader<'_>,
    at_unix_ms: i64,
    last: &mut [Buckets],
) -> Result<Round, DecodeError> {
    let path = usize::try_from(reader.number()?).map_err(|_| DecodeError::OutOfRange)?;
    let last = last.get_mut(path).ok_or(DecodeError::OutOfRange)?;
    let stream = reader.byte()?;
    let us = |value: i64| u32::try_from(value).map_err(|_| DecodeError::OutOfRange);
    let destination_rtt_us = take_times(reader, MAX_FLOWS)?.into_iter();
    let destination_rtt_us = destination_rtt_us.map(|rtt| rtt.map(us).transpose());
    let destination_rtt_us = destination_rtt_us.collect::<Result<_, _>>()?;
    let mut silent = Vec::new();
    for _ in 0..bounded(reader, MAX_FLOWS * MAX_HOPS)? {
        silent.push((reader.byte()?, reader.byte()?));
    }
    let hops = take_times(reader, MAX_HOPS)?.into_iter().zip(last);
    let hop_rtt_us = hops.map(|(step, last)| {
        step.map(|step| {
            *last = last.wrapping_add(step);
            us_of(*last)
        })
        .transpose()
    });
    let hop_rtt_us = hop_rtt_us.collect::<Result<_, _>>()?;
    Ok(Round {
        at_unix_ms,
        path,
        stream: stream & !BURST,
        burst: stream & BURST != 0,
        destination_rtt_us,
        silent,
        hop_rtt_us,
    })
}

/// The middle of a bucket that there is.
fn us_of(bucket: i64) -> Result<u32, DecodeError> {
    let bucket = u16::try_from(bucket).map_err(|_| DecodeError::OutOfRange)?;
    if bucket == 0 || bucket > bucket_of(u32::MAX) {
        return Err(DecodeError::OutOfRange);
    }
    Ok(middle_of(bucket))
}

/// Times that may be missing: how many there are, which are (a bit each, unless all), and those that are, packed.
fn put_times(bytes: &mut Vec<u8>, times: &[Option<i64>]) {
    let known: Vec<i64> = times.iter().flatten().copied().collect();
    let all = known.len() == times.len();
    varint::put(bytes, (times.len() as u64) << 1 | u64::from(all));
    if !all {
        for eight in times.chunks(8) {
            let bits = eight.iter().rev();
            bytes.push(bits.fold(0, |byte, time| byte << 1 | u8::from(time.is_some())));
        }
    }
    packed::put(bytes, &known, packed::plan(&known));
}

fn take_times(reader: &mut Reader<'_>, at_most: usize) -> Result<Vec<Option<i64>>, DecodeError> {
    let head = reader.number()?;
    let n = usize::try_from(head >> 1).map_err(|_| DecodeError::OutOfRange)?;
    if n > at_most {
        return Err(DecodeError::OutOfRange);
    }
    let bits: Vec<u8> = if head & 1 == 1 {
        vec![0xff; n.div_ceil(8)]
    } else {
        reader.bytes(n.div_ceil(8))?.to_vec()
    };
    let is_known = |place: usize| {
        bits.get(place / 8)
            .is_some_and(|byte| byte >> (place % 8) & 1 == 1)
    };
    let mut known = Vec::new();
    let count = (0..n).filter(|place| is_known(*place)).count();
    packed::take(reader, count, &mut known)?;
    let mut known = known.into_iter();
    let times = (0..n).map(|place| is_known(place).then(|| known.next()).flatten());
    Ok(times.collect())
}

fn put_bytes(bytes: &mut Vec<u8>, what: &[u8]) {
    varint::put(bytes, what.len() as u64);
    bytes.extend_from_slice(what);
}

fn take_bytes(reader: &mut Reader<'_>) -> Result<Vec<u8>, DecodeError> {
    let len = usize::try_from(reader.number()?).map_err(|_| DecodeError::OutOfRange)?;
    Ok(reader.bytes(len)?.to_vec())
}

fn bounded(reader: &mut Reader<'_>, at_most: usize) -> Result<usize, DecodeError> {
    let n = usize::try_from(reader.number()?).map_err(|_| DecodeError::OutOfRange)?;
    if n > at_most {
        Err(DecodeError::OutOfRange)
    } else {
        Ok(n)
    }
}

#[cfg(test)]
#[path = "rounds_tests.rs"]
mod tests;
