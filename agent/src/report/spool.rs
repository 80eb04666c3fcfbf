//! Reports on disk until the collector has them: one file for each, named by its sequence.
//!
//! Crash-safe at any point: a report is written under another name, fsynced, renamed, and the directory fsynced before
//! it counts as kept. Sequences are reserved in blocks in a file of their own before any of the block is used, so none
//! is ever used twice, whatever is killed when; a block lost to a crash is a gap, which is legal. The epoch names one
//! life of the spool: a directory that was lost, or whose reservation is damaged, starts another, and so does a collector
//! that knows other reports under the same names (a machine set back to a snapshot). What is kept moves along.
//!
//! Bounded by bytes and by age: the oldest go first, and are counted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use firstmile_wire::ids::{AgentId, Epoch};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::durable::{UNFINISHED, write_durably};
use super::restamp::restamp;
use crate::config::SpoolLimits;

/// Sequences reserved at once: at one report in 30 s, one write of the reservation in half an hour.
const BLOCK: u64 = 64;

const STATE_FILE: &str = "state.json";
const SUFFIX: &str = ".report";

/// Why the spool cannot keep a report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    #[error("cannot use the spool directory {}", directory.display())]
    Directory {
        directory: PathBuf,
        source: io::Error,
    },
    #[error("cannot read {}", file.display())]
    Read { file: PathBuf, source: io::Error },
    #[error("cannot write {}", file.display())]
    Write { file: PathBuf, source: io::Error },
}

/// What the state file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    epoch: Epoch,
    agent: AgentId,
    /// No sequence from here on was ever used.
    reserved_to: u64,
    /// Reports from here on have yet to be moved to this epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restamp_from: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    bytes: u64,
    unix_ms: i64,
}

/// The spool.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    limits: SpoolLimits,
    state: State,
    next: u64,
    kept: BTreeMap<u64, Kept>,
    bytes: u64,
    /// Reports found on disk that can never be sent, and were not yet counted.
    unusable: u64,
}

impl Spool {
    /// Opens the spool of `agent`, or makes it. Another agent's spool is emptied: its reports could not be sent as ours.
    /// Reports without a readable state move to a new epoch.
    ///
    /// # Errors
    /// [`SpoolError`] when the directory or its state cannot be made, read or written; nothing is removed then.
    pub(crate) fn open(
        directory: &Path,
        agent: AgentId,
        limits: SpoolLimits,
    ) -> Result<Self, SpoolError> {
        let fault = |source| SpoolError::Directory {
            directory: directory.to_owned(),
            source,
        };
        fs::create_dir_all(directory).map_err(fault)?;
        let found = read_state(&directory.join(STATE_FILE))?;
        let (kept, emptied) = scan(directory, found.is_usable_by(agent)).map_err(fault)?;
        let state = found.state_for(agent, &kept, emptied);
        let bytes = kept.values().map(|kept| kept.bytes).sum();
        let after_kept = kept.keys().next_back().map_or(1, |last| last + 1);
        let next = state.reserved_to.max(after_kept);
        let mut spool = Self {
            directory: directory.to_owned(),
            limits,
            state,
            next,
            kept,
            bytes,
            unusable: emptied,
        };
        spool.reserve()?;
        spool.finish_restamping()?;
        Ok(spool)
    }

    /// Starts another life: reports after `sent` move to a new epoch; those before are the collector's already.
    ///
    /// # Errors
    /// [`SpoolError::Write`]; opening the spool anew goes on where this ended.
    pub(crate) fn start_epoch(&mut self, sent: u64) -> Result<(), SpoolError> {
        self.state.epoch = Epoch::random();
        let from = sent.saturating_add(1);
        let before = self.state.restamp_from;
        self.state.restamp_from = Some(before.map_or(from, |before| before.min(from)));
        self.reserve()?;
        self.finish_restamping()
    }

    /// How many reports on disk turned out to be of no use since this was last asked.
    pub(crate) const fn take_unusable(&mut self) -> u64 {
        std::mem::replace(&mut self.unusable, 0)
    }

    /// The life of this spool.
    pub(crate) const fn epoch(&self) -> Epoch {
        self.state.epoch
    }

    /// Bytes on disk.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reports on disk.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Gives out the next sequence; it is used up even if no report follows.
    ///
    /// # Errors
    /// [`SpoolError::Write`] when a block cannot be reserved: a full or broken disk.
    pub(crate) fn take_sequence(&mut self) -> Result<u64, SpoolError> {
        if self.next >= self.state.reserved_to {
            self.reserve()?;
        }
        let sequence = self.next;
        self.next += 1;
        Ok(sequence)
    }

    /// Keeps a report. When this returns `Ok`, the report outlives a power cut.
    ///
    /// # Errors
    /// [`SpoolError::Write`]; nothing half-written counts.
    pub(crate) fn append(
        &mut self,
        sequence: u64,
        report: &[u8],
        now_unix_ms: i64,
    ) -> Result<(), SpoolError> {
        self.append_with(sequence, report, now_unix_ms, write_durably)
    }

    fn append_with(
        &mut self,
        sequence: u64,
        report: &[u8],
        now_unix_ms: i64,
        write: impl FnOnce(&Path, &[u8]) -> io::Result<()>,
    ) -> Result<(), SpoolError> {
        let file = self.file(sequence);
        if let Err(source) = write(&file, report) {
            // It may be whole and only not be sure to stay: the report comes again under another sequence.
            drop(fs::remove_file(&file));
            return Err(SpoolError::Write { file, source });
        }
        let bytes = u64::try_from(report.len()).unwrap_or(u64::MAX);
        self.kept.insert(
            sequence,
            Kept {
                bytes,
                unix_ms: now_unix_ms,
            },
        );
        self.bytes += bytes;
        Ok(())
    }

    /// Drops the oldest reports until the bounds hold; returns how many. The newest is always kept.
    pub(crate) fn enforce_limits(&mut self, now_unix_ms: i64) -> u64 {
        let max_age_ms = i64::try_from(self.limits.max_age.as_millis()).unwrap_or(i64::MAX);
        let mut dropped = 0;
        while self.kept.len() > 1 {
            let Some((sequence, oldest)) = self.kept.first_key_value().map(|(s, k)| (*s, *k))
            else {
                break;
            };
            let too_old = now_unix_ms.saturating_sub(oldest.unix_ms) > max_age_ms;
            if self.bytes <= self.limits.max_bytes && !too_old {
                break;
            }
            self.remove(sequence);
            dropped += 1;
        }
        dropped
    }

    /// The oldest report after `sequence`.
    pub(crate) fn first_after(&self, sequence: u64) -> Option<u64> {
        self.kept
            .range(sequence.saturating_add(1)..)
            .next()
            .map(|(sequence, _)| *sequence)
    }

    /// The bytes of a report; `None` when its file is gone or damaged, in which case it is forgotten.
    pub(crate) fn read(&mut self, sequence: u64) -> Option<Vec<u8>> {
        let bytes = fs::read(self.file(sequence)).ok();
        let expected = self.kept.get(&sequence).map(|kept| kept.bytes);
        let whole =
            bytes.filter(|bytes| u64::try_from(bytes.len()).ok() == expected && !bytes.is_empty());
        if whole.is_none() {
            self.remove(sequence);
        }
        whole
    }

    /// Frees one report.
    pub(crate) fn remove(&mut self, sequence: u64) {
        if let Some(kept) = self.kept.remove(&sequence) {
            self.bytes = self.bytes.saturating_sub(kept.bytes);
            let file = self.file(sequence);
            if let Err(error) = fs::remove_file(&file) {
                tracing::debug!(file = %file.display(), %error, "spool file not removed");
            }
        }
    }

    /// Frees every report up to and including `sequence`.
    pub(crate) fn free_to(&mut self, sequence: u64) {
        let freed: Vec<u64> = self
            .kept
            .range(..=sequence)
            .map(|(sequence, _)| *sequence)
            .collect();
        for sequence in freed {
            self.remove(sequence);
        }
    }

    fn reserve(&mut self) -> Result<(), SpoolError> {
        let state = State {
            reserved_to: self.next + BLOCK,
            ..self.state
        };
        let file = self.directory.join(STATE_FILE);
        let bytes = serde_json::to_vec(&state).unwrap_or_default();
        write_durably(&file, &bytes).map_err(|source| SpoolError::Write { file, source })?;
        self.state = state;
        Ok(())
    }

    /// Moves to this epoch what has yet to be moved.
    fn finish_restamping(&mut self) -> Result<(), SpoolError> {
        let Some(from) = self.state.restamp_from else {
            return Ok(());
        };
        let waiting: Vec<u64> = self.kept.range(from..).map(|(at, _)| *at).collect();
        for sequence in waiting {
            self.restamp_one(sequence)?;
        }
        self.state.restamp_from = None;
        self.reserve()
    }

    fn restamp_one(&mut self, sequence: u64) -> Result<(), SpoolError> {
        let State { agent, epoch, .. } = self.state;
        let moved = self
            .read(sequence)
            .and_then(|bytes| restamp(&bytes, agent, epoch, sequence));
        let Some(bytes) = moved else {
            self.remove(sequence);
            self.unusable += 1;
            return Ok(());
        };
        let file = self.file(sequence);
        let written_at = fs::metadata(&file).and_then(|metadata| metadata.modified());
        write_durably(&file, &bytes).map_err(|source| SpoolError::Write {
            file: file.clone(),
            source,
        })?;
        // Its age goes on; should that fail it is only kept longer.
        let aged =
            written_at.and_then(|at| File::options().write(true).open(&file)?.set_modified(at));
        drop(aged);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if let Some(kept) = self.kept.get_mut(&sequence) {
            self.bytes = self.bytes.saturating_sub(kept.bytes) + length;
            kept.bytes = length;
        }
        Ok(())
    }

    fn file(&self, sequence: u64) -> PathBuf {
        self.directory.join(format!("{sequence:020}{SUFFIX}"))
    }
}

/// What became of the state file.
enum Found {
    Missing,
    Damaged,
    State(State),
}

fn read_state(file: &Path) -> Result<Found, SpoolError> {
    match fs::read(file) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).map_or(Found::Damaged, Found::State)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Missing),
        Err(source) => Err(SpoolError::Read {
            file: file.to_owned(),
            source,
        }),
    }
}

impl Found {
    /// Whether reports beside this state may be `agent`'s.
    fn is_usable_by(&self, agent: AgentId) -> bool {
        match self {
            Self::Missing | Self::Damaged => true,
            Self::State(state) => state.agent == agent,
        }
    }

    /// The state to go on with: a new epoch unless the old one is known and `agent`'s.
    fn state_for(self, agent: AgentId, kept: &BTreeMap<u64, Kept>, emptied: u64) -> State {
        let reports = kept.len();
        match self {
            Self::State(state) if state.agent == agent => return state,
            Self::State(state) => {
                warn!(other = %state.agent, dropped = emptied, "spool of another agent emptied");
            }
            Self::Damaged => warn!(
                reports,
                "spool state is damaged, reports move to a new epoch"
            ),
            Self::Missing if reports > 0 => {
                warn!(
                    reports,
                    "spool state is missing, reports move to a new epoch"
                );
            }
            Self::Missing => {}
        }
        State {
            epoch: Epoch::random(),
            agent,
            reserved_to: 1,
            restamp_from: (reports > 0).then_some(0),
        }
    }
}

/// Lists the reports that are there, and counts those removed because they are not ours to `keep`. What was never
/// finished is removed in any case.
fn scan(directory: &Path, keep: bool) -> io::Result<(BTreeMap<u64, Kept>, u64)> {
    let (mut kept, mut emptied) = (BTreeMap::new(), 0);
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let sequence = name
            .strip_suffix(SUFFIX)
            .and_then(|digits| digits.parse::<u64>().ok());
        let metadata = entry.metadata()?;
        match sequence {
            Some(sequence) if keep && metadata.len() > 0 => {
                kept.insert(
                    sequence,
                    Kept {
                        bytes: metadata.len(),
                        unix_ms: modified_unix_ms(&metadata),
                    },
                );
            }
            Some(_) => {
                fs::remove_file(entry.path())?;
                emptied += u64::from(metadata.len() > 0);
            }
            None if name.ends_with(UNFINISHED) => fs::remove_file(entry.path())?,
            None => {}
        }
    }
    Ok((kept, emptied))
}

fn modified_unix_ms(metadata: &fs::Metadata) -> i64 {
    metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
