//! Reading beside the writer: what the head has at one moment, and after it what each file has.
//!
//! First the head is looked at, then each file at one moment of its own. A sample that was in the head and has been sealed since
//! is in both: the file says up to which row of the inbox it has the agent's samples, and what the head had up to there is left
//! out. A sample that was not in the head was sealed before, so it is in the file. So each is shown once, and nobody waits.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firstmile_columns::{Block, ChunkReader};
use rusqlite::{Connection, OptionalExtension};

use crate::day::{self, Chunks, DayNumber};
use crate::head::{Head, Waiting};
use crate::outcome::{DaysError, Shown};
use crate::shelf::{days_in, set_aside_in};

/// Up to so many agents are looked up in the index one by one.
const FEW_AGENTS: usize = 64;
/// Connections kept for the next reader, of each day.
const KEPT: usize = 4;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Whose samples; all without.
    pub agents: Option<&'a BTreeSet<u32>>,
    /// First instant.
    pub from_unix_ms: i64,
    /// End, exclusive.
    pub to_unix_ms: i64,
    /// Once set, nothing more is read: what was shown until then is a part.
    pub stop: Option<&'a AtomicBool>,
}

/// The samples as they are, for any number of readers.
#[derive(Clone, Debug)]
pub struct View {
    dir: PathBuf,
    head: Arc<Mutex<Head>>,
    idle: Arc<Mutex<BTreeMap<DayNumber, Vec<Chunks>>>>,
    /// Days of which something could not be read since this was opened.
    damaged: Arc<Mutex<BTreeSet<DayNumber>>>,
}

/// Up to which row of the inbox an agent's samples of a day are sealed.
type Sealed = BTreeMap<(u32, DayNumber), i64>;

impl View {
    pub(crate) fn new(dir: &Path, head: Arc<Mutex<Head>>) -> Self {
        Self {
            dir: dir.to_owned(),
            head,
            idle: Arc::default(),
            damaged: Arc::default(),
        }
    }

    /// Shows the committed samples that are asked for, of the (agent, series) that are `wanted`: agent, block. A series comes in
    /// several blocks, those of an agent in no order of time.
    ///
    /// # Errors
    /// [`DaysError`] if the folder cannot be listed. A file that cannot be read is counted in [`Shown::damaged`].
    pub fn read(
        &self,
        asked: &Asked<'_>,
        wanted: impl Fn(u32, u32) -> bool,
        mut show: impl FnMut(u32, &Block),
    ) -> Result<Shown, DaysError> {
        let mut shown = Shown::default();
        let mut show = |agent: u32, block: &Block| {
            if let Some(block) = within(block, asked).as_ref() {
                shown.rows += block.len();
                show(agent, block);
            }
        };
        let waiting = lock(&self.head).snapshot(asked.agents);
        let on_disk = days_in(&self.dir)?;
        lock(&self.idle).retain(|day, _| on_disk.binary_search(day).is_ok());
        lock(&self.damaged).retain(|day| on_disk.binary_search(day).is_ok());
        let (mut damaged, mut sealed) = (0, Sealed::new());
        let mut reader = ChunkReader::new();
        for day in on_disk.into_iter().filter(|day| asked.touches(*day)) {
            if asked.is_stopped() {
                break;
            }
            let before = damaged;
            let read = self.of_day(day, |file| {
                note_sealed(file, day, &waiting, &mut sealed)?;
                each(file, asked, |agent, bytes| {
                    if asked.is_stopped() {
                        return;
                    }
                    let read = reader.read(
                        bytes,
                        |series| wanted(agent, series),
                        |block| show(agent, block),
                    );
                    damaged += usize::from(read.is_err());
                })
            });
            damaged += usize::from(read.is_err());
            if damaged > before {
                lock(&self.damaged).insert(day);
            }
        }
        for (agent, waiting) in &waiting {
            let gone: Vec<DayNumber> = (sealed.range((*agent, DayNumber(i64::MIN))..))
                .take_while(|((of, _), _)| of == agent)
                .filter(|(_, row)| **row >= waiting.last_row)
                .map(|((_, day), _)| *day)
                .collect();
            let wanted = waiting.blocks.iter().filter(|b| wanted(*agent, b.series));
            for block in wanted {
                // Sealing takes all that an agent has, so either all of a day is sealed or nothing.
                let rest = part_of(block, |at| !gone.contains(&DayNumber::of(at)));
                if let Some(block) = rest.as_ref() {
                    show(*agent, block);
                }
            }
        }
        shown.damaged = damaged;
        Ok(shown)
    }

    /// Days of which something could not be read since the store was opened, and days whose file was set aside as damaged: those
    /// that are there still.
    ///
    /// # Errors
    /// [`DaysError`] if the folder cannot be listed.
    pub fn damaged_days(&self) -> Result<BTreeSet<DayNumber>, DaysError> {
        let on_disk = days_in(&self.dir)?;
        let mut days = lock(&self.damaged).clone();
        days.retain(|day| on_disk.binary_search(day).is_ok());
        days.extend(set_aside_in(&self.dir)?);
        Ok(days)
    }

    /// A time at or after which the first sample from `at` on was taken: that very time unless there is a gap. `None`: there is
    /// no sample from `at` on.
    ///
    /// # Errors
    /// [`DaysError`] if the folder cannot be listed. A file that cannot be read is passed over.
    pub fn first_from(&self, at: i64) -> Result<Option<i64>, DaysError> {
        let waiting = lock(&self.head).snapshot(None);
        let blocks = waiting.iter().flat_map(|(_, waiting)| &waiting.blocks);
        let times = blocks.flat_map(|block| block.at_unix_ms().iter().copied());
        let in_head = times.filter(|time| *time >= at).min();
        for day in days_in(&self.dir)? {
            if day < DayNumber::of(at) {
                continue;
            }
            let found = self.of_day(day, |file| {
                let sql = "SELECT min(max(from_unix_ms, ?1)) FROM chunk WHERE to_unix_ms >= ?1";
                file.query_row(sql, [at], |row| row.get::<_, Option<i64>>(0))
            });
            if let Ok(Some(found)) = found {
                return Ok(in_head.into_iter().chain([found]).min());
            }
        }
        Ok(in_head)
    }

    /// The time of the last sample there is.
    ///
    /// # Errors
    /// As [`View::first_from`].
    pub fn last(&self) -> Result<Option<i64>, DaysError> {
        let waiting = lock(&self.head).snapshot(None);
        let blocks = waiting.iter().flat_map(|(_, waiting)| &waiting.blocks);
        let in_head = blocks.flat_map(|block| block.at_unix_ms().iter().copied());
        let in_head = in_head.max();
        for day in days_in(&self.dir)?.into_iter().rev() {
            let found = self.of_day(day, |file| {
                let sql = "SELECT max(to_unix_ms) FROM chunk";
                file.query_row(sql, [], |row| row.get::<_, Option<i64>>(0))
            });
            if let Ok(Some(found)) = found {
                return Ok(in_head.into_iter().chain([found]).max());
            }
        }
        Ok(in_head)
    }

    /// Runs `read` on one moment of the file of a day.
    fn of_day<T>(
        &self,
        day: DayNumber,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let kept = lock(&self.idle).get_mut(&day).and_then(Vec::pop);
        let path = self.dir.join(day.file_name().unwrap_or_default());
        let opened = kept.map_or_else(|| Chunks::open(&path), Ok);
        let read = opened.and_then(|mut chunks| {
            let outcome = chunks.at_once(read)?;
            Ok((chunks, outcome))
        });
        if read.is_err() && path.exists() {
            lock(&self.damaged).insert(day);
        }
        let (chunks, outcome) = read?;
        let mut idle = lock(&self.idle);
        let of_day = idle.entry(day).or_default();
        if of_day.len() < KEPT {
            of_day.push(chunks);
        }
        Ok(outcome)
    }
}

impl Asked<'_> {
    fn touches(&self, day: DayNumber) -> bool {
        (DayNumber::of(self.from_unix_ms)..=DayNumber::of(self.to_unix_ms)).contains(&day)
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    fn few(&self) -> Option<&BTreeSet<u32>> {
        self.agents.filter(|agents| agents.len() <= FEW_AGENTS)
    }
}

fn each(
    file: &Connection,
    asked: &Asked<'_>,
    mut show: impl FnMut(u32, &[u8]),
) -> rusqlite::Result<()> {
    let (from, to) = (asked.from_unix_ms, asked.to_unix_ms);
    let Some(few) = asked.few() else {
        let inside = |agent: u32| asked.agents.is_none_or(|agents| agents.contains(&agent));
        return day::each(file, None, from, to, |agent, bytes| {
            if inside(agent) {
                show(agent, bytes);
            }
        });
    };
    few.iter()
        .try_for_each(|agent| day::each(file, Some(*agent), from, to, &mut show))
}

/// Notes what the file says is sealed of the agents that have something waiting.
fn note_sealed(
    file: &Connection,
    day: DayNumber,
    waiting: &[(u32, Arc<Waiting>)],
    sealed: &mut Sealed,
) -> rusqlite::Result<()> {
    if waiting.len() > FEW_AGENTS {
        let all = day::sealed(file)?.into_iter();
        sealed.extend(all.map(|(agent, row)| ((agent, day), row)));
        return Ok(());
    }
    let mut find = file.prepare_cached("SELECT inbox FROM sealed WHERE agent = ?1")?;
    for (agent, _) in waiting {
        let row: Option<i64> = find.query_row([agent], |row| row.get(0)).optional()?;
        sealed.extend(row.map(|row| ((*agent, day), row)));
    }
    Ok(())
}

/// The samples of a block in a span; `None` if there is none.
fn within<'a>(block: &'a Block, asked: &Asked<'_>) -> Option<Cow<'a, Block>> {
    // First and last of all, without a branch for each: the processor takes several in a step.
    let times = block.at_unix_ms().iter().copied();
    let least = times.clone().fold(i64::MAX, i64::min);
    let most = times.fold(i64::MIN, i64::max);
    if !block.is_empty() && least >= asked.from_unix_ms && most < asked.to_unix_ms {
        return Some(Cow::Borrowed(block));
    }
    part_of(block, |at| {
        (asked.from_unix_ms..asked.to_unix_ms).contains(&at)
    })
}

/// The samples of a block at instants that are `wanted`. A block of which all are is not copied.
fn part_of(block: &Block, wanted: impl Fn(i64) -> bool) -> Option<Cow<'_, Block>> {
    if block.at_unix_ms().iter().all(|at| wanted(*at)) {
        return (!block.is_empty()).then_some(Cow::Borrowed(block));
    }
    let mut part = Block::new(block.series);
    for row in block.rows().filter(|row| wanted(row.at_unix_ms)) {
        part.push(row, block.scheduling_delay_max_us);
    }
    (!part.is_empty()).then_some(Cow::Owned(part))
}

/// What is locked is whole between any two calls, so a panic elsewhere does not spoil it.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
