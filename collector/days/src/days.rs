//! The whole: a catalogue with the inbox, the head, and the files of days.
//!
//! Why each committed sample is found once, whatever instruction the program dies at. A sample has a row `i` of the inbox, an
//! agent `a` and a day `d`. Call it *sealed* when file `d` says that agent `a` is sealed up to `i` or more. (1) A commit writes
//! the row, synced, before the sample is in the head. (2) Sealing takes all that the head has of an agent, and writes for each
//! day the chunk and "sealed up to the last committed row" in one transaction. So a sample is in a chunk exactly when it is
//! sealed. (3) A row of the inbox is deleted only after every sample in it is sealed, in a later commit. (4) At the start the
//! head takes those samples of the inbox that are not sealed. After a write that failed nobody knows what the disk has: the
//! store says [`DaysError::Broken`] until it is opened again, which is (4).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use firstmile_columns::{Block, Chunk, ChunkReader, Row};
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};

use crate::day::{DayFile, DayNumber, Stored, with_companions};
use crate::head::{Head, Sample, by_day, pieces};
use crate::inbox::{self, Batch};
use crate::outcome::{DaysError, Opened, Refused, Seal, Shown, engine, folder};

/// Name of the catalogue.
const CATALOGUE: &str = "samples.db";
/// Files of days that are open at once: late samples come for a few days at a time.
const OPEN_DAYS: usize = 4;
/// Samples beyond this are of a clock that nobody should believe.
const FUTURE_MS: i64 = 86_400_000;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS inbox (seq INTEGER PRIMARY KEY, committed_unix_ms INTEGER NOT NULL, batch BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS unreadable (seq INTEGER PRIMARY KEY, batch BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS horizon (one INTEGER PRIMARY KEY CHECK (one = 1), first_day INTEGER NOT NULL);
";

/// Samples on disk.
#[derive(Debug)]
pub struct Days {
    dir: PathBuf,
    catalogue: Connection,
    files: BTreeMap<DayNumber, DayFile>,
    head: Head,
    batch: Batch,
    waiting: Vec<Sample>,
    /// Number of the next row of the inbox.
    next: i64,
    first_day: DayNumber,
    chunk: Chunk,
    broken: bool,
}

impl Days {
    /// Opens the store in a folder that exists; `now_unix_ms` is when the samples found in the inbox begin to wait.
    ///
    /// # Errors
    /// [`DaysError`] if the catalogue or the file of a day cannot be opened. One whose bytes are damaged is set aside instead.
    pub fn open(dir: &Path, now_unix_ms: i64) -> Result<(Self, Opened), DaysError> {
        let path = dir.join(CATALOGUE);
        let failed = |action| engine(action, &path);
        let catalogue = Connection::open(&path).map_err(failed("open the catalogue"))?;
        let prepared = catalogue
            .pragma_update(None, "journal_mode", "WAL")
            .and_then(|()| catalogue.pragma_update(None, "synchronous", "FULL"))
            .and_then(|()| catalogue.execute_batch(SCHEMA));
        prepared.map_err(failed("prepare the catalogue"))?;
        let first_day = catalogue
            .query_row("SELECT first_day FROM horizon", [], |row| row.get(0))
            .optional()
            .map_err(failed("read the horizon"))?;
        let mut days = Self {
            dir: dir.to_owned(),
            catalogue,
            files: BTreeMap::new(),
            head: Head::default(),
            batch: Batch::default(),
            waiting: Vec::new(),
            next: 1,
            first_day: DayNumber(first_day.unwrap_or(0)),
            chunk: Chunk::default(),
            broken: false,
        };
        let mut opened = Opened::default();
        let sealed = days.read_marks(&mut opened)?;
        days.replay(&sealed, now_unix_ms, &mut opened)?;
        Ok((days, opened))
    }

    /// Takes a sample for the next commit. It is not durable yet, and not shown.
    ///
    /// # Errors
    /// [`Refused`] if its time cannot be kept.
    pub fn push(
        &mut self,
        agent: u32,
        series: u32,
        row: Row,
        scheduling_delay_us: u32,
        now_unix_ms: i64,
    ) -> Result<(), Refused> {
        if DayNumber::of(row.at_unix_ms) < self.first_day {
            return Err(Refused::TooOld);
        }
        if row.at_unix_ms > now_unix_ms.saturating_add(FUTURE_MS) {
            return Err(Refused::Future);
        }
        let sample = Sample {
            agent,
            series,
            row,
            scheduling_delay_us,
        };
        self.batch.push(&sample);
        self.waiting.push(sample);
        Ok(())
    }

    /// Makes what was pushed durable, in one row of the inbox; returns after it is synced. From then on it may be acknowledged.
    ///
    /// # Errors
    /// [`DaysError`]: nothing of it may be acknowledged, and the store is to be opened again.
    pub fn commit(&mut self, now_unix_ms: i64) -> Result<usize, DaysError> {
        self.whole()?;
        if self.batch.rows() == 0 {
            return Ok(0);
        }
        let (seq, batch) = (self.next, self.batch.take());
        let needed = self.head.first_needed().unwrap_or(seq);
        self.broken = true;
        let written = self
            .catalogue
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|tx| {
                tx.prepare_cached("INSERT INTO inbox VALUES (?1, ?2, ?3)")?
                    .execute(params![seq, now_unix_ms, batch])?;
                tx.prepare_cached("DELETE FROM inbox WHERE seq < ?1")?
                    .execute([needed])?;
                tx.commit()
            });
        written.map_err(engine("commit samples", &self.dir.join(CATALOGUE)))?;
        self.broken = false;
        self.next += 1;
        let samples = std::mem::take(&mut self.waiting);
        self.head.extend(&samples, seq, now_unix_ms);
        let count = samples.len();
        self.waiting = samples;
        self.waiting.clear();
        Ok(count)
    }

    /// Writes chunks of the agents that have enough or waited long enough; returns after they are synced. Says how many.
    ///
    /// # Errors
    /// [`DaysError`]: nothing is lost, and the store is to be opened again.
    pub fn seal(&mut self, now_unix_ms: i64, when: Seal) -> Result<usize, DaysError> {
        self.seal_observed(now_unix_ms, when, &mut || {})
    }

    /// The same; `between` is called between any two changes of the disk.
    pub(crate) fn seal_observed(
        &mut self,
        now_unix_ms: i64,
        when: Seal,
        between: &mut dyn FnMut(),
    ) -> Result<usize, DaysError> {
        self.whole()?;
        let due = self.head.due(now_unix_ms, when.rows, when.after_ms);
        let mut of_days: BTreeMap<DayNumber, Vec<Stored>> = BTreeMap::new();
        for agent in &due {
            for (day, blocks) in by_day(self.head.blocks(*agent)) {
                for piece in pieces(blocks) {
                    let stored = stored(&mut self.chunk, *agent, &piece)?;
                    of_days.entry(day).or_default().push(stored);
                }
            }
        }
        let sealed = of_days.values().map(Vec::len).sum();
        self.broken = true;
        let inbox = self.next - 1;
        for (day, chunks) in of_days {
            let path = self.path(day);
            let file = self.file(day)?;
            file.put(&chunks, inbox)
                .map_err(engine("write chunks", &path))?;
            between();
        }
        self.broken = false;
        for agent in due {
            self.head.sealed(agent);
        }
        Ok(sealed)
    }

    /// Shows the committed samples of one agent, or of all, in a span (end exclusive), of the series that are `wanted`: agent,
    /// block. A series comes in several blocks.
    ///
    /// # Errors
    /// [`DaysError`] if the folder cannot be listed. A file that cannot be read is counted in [`Shown::damaged`].
    pub fn read(
        &mut self,
        agent: Option<u32>,
        from_unix_ms: i64,
        to_unix_ms: i64,
        wanted: impl Fn(u32) -> bool,
        mut show: impl FnMut(u32, &Block),
    ) -> Result<Shown, DaysError> {
        let mut shown = Shown::default();
        let mut show = |agent: u32, block: &Block| {
            if let Some(block) = within(block, from_unix_ms, to_unix_ms).as_ref() {
                shown.rows += block.len();
                show(agent, block);
            }
        };
        let (first, last) = (DayNumber::of(from_unix_ms), DayNumber::of(to_unix_ms));
        let mut reader = ChunkReader::new();
        let mut damaged = 0;
        for day in self
            .days_on_disk()?
            .into_iter()
            .filter(|day| (first..=last).contains(day))
        {
            let Ok(file) = self.file(day) else {
                damaged += 1;
                continue;
            };
            let read = file.each(agent, from_unix_ms, to_unix_ms, |agent, bytes| {
                let chunk = reader.read(bytes, &wanted, |block| show(agent, block));
                damaged += usize::from(chunk.is_err());
            });
            if read.is_err() {
                damaged += 1;
            }
        }
        let waiting: Vec<u32> = agent.map_or_else(|| self.head.agents().collect(), |one| vec![one]);
        for agent in waiting {
            for block in self
                .head
                .blocks(agent)
                .iter()
                .filter(|block| wanted(block.series))
            {
                show(agent, block);
            }
        }
        shown.damaged = damaged;
        Ok(shown)
    }

    /// Deletes the days before one, and takes no more samples of them. Says which files went.
    ///
    /// # Errors
    /// [`DaysError`] if a file cannot be deleted; the next call tries again.
    pub fn retain_from(&mut self, first: DayNumber) -> Result<Vec<PathBuf>, DaysError> {
        self.whole()?;
        self.first_day = self.first_day.max(first);
        // First the horizon: what is replayed after a death does not bring back a day that is gone.
        self.catalogue
            .execute(
                "INSERT INTO horizon VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET first_day = max(first_day, excluded.first_day)",
                [self.first_day.0],
            )
            .map_err(engine("move the horizon", &self.dir.join(CATALOGUE)))?;
        let mut gone = Vec::new();
        for day in self
            .days_on_disk()?
            .into_iter()
            .filter(|day| *day < self.first_day)
        {
            drop(self.files.remove(&day));
            let path = self.path(day);
            for file in with_companions(&path)
                .into_iter()
                .filter(|file| file.exists())
            {
                std::fs::remove_file(&file).map_err(folder("delete", &file))?;
            }
            gone.push(path);
        }
        Ok(gone)
    }

    /// Brings all logs into their files.
    ///
    /// # Errors
    /// [`DaysError`] if the engine fails.
    pub fn settle(&mut self) -> Result<(), DaysError> {
        for (day, file) in &self.files {
            file.settle().map_err(engine("settle", &self.path(*day)))?;
        }
        self.catalogue
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(engine("settle", &self.dir.join(CATALOGUE)))
    }

    /// Committed samples that are in no chunk.
    pub const fn waiting_rows(&self) -> usize {
        self.head.rows()
    }

    fn whole(&self) -> Result<(), DaysError> {
        if self.broken {
            Err(DaysError::Broken)
        } else {
            Ok(())
        }
    }

    fn path(&self, day: DayNumber) -> PathBuf {
        // Days are bounded by the clock and the horizon, so they are in the calendar.
        self.dir.join(day.file_name().unwrap_or_default())
    }

    /// The file of a day, opened or made.
    fn file(&mut self, day: DayNumber) -> Result<&mut DayFile, DaysError> {
        let path = self.path(day);
        if !self.files.contains_key(&day) && self.files.len() >= OPEN_DAYS {
            drop(self.files.pop_first());
        }
        match self.files.entry(day) {
            std::collections::btree_map::Entry::Occupied(open) => Ok(open.into_mut()),
            std::collections::btree_map::Entry::Vacant(room) => {
                let file = DayFile::open(&path).map_err(engine("open the day", &path))?;
                Ok(room.insert(file))
            }
        }
    }

    fn days_on_disk(&self) -> Result<Vec<DayNumber>, DaysError> {
        let failed = || folder("list", &self.dir);
        let mut days = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            days.extend(name.to_str().and_then(DayNumber::of_file_name));
        }
        days.sort_unstable();
        Ok(days)
    }

    /// What each day has sealed, and the number of the next row of the inbox.
    fn read_marks(&mut self, opened: &mut Opened) -> Result<Marks, DaysError> {
        let mut marks = Marks::new();
        for day in self.days_on_disk()? {
            let path = self.path(day);
            match DayFile::open(&path).and_then(|file| file.sealed()) {
                Ok(sealed) => {
                    let last = sealed.values().max().copied().unwrap_or(0);
                    self.next = self.next.max(last + 1);
                    marks.insert(day, sealed);
                }
                Err(error) if is_damage(&error) => opened.quarantined.push(quarantine(&path)?),
                // A full disk, a lock, a later program: the file is sound, and its marks are needed.
                Err(error) => return Err(engine("read what is sealed", &path)(error)),
            }
        }
        Ok(marks)
    }

    fn replay(
        &mut self,
        marks: &Marks,
        now_unix_ms: i64,
        opened: &mut Opened,
    ) -> Result<(), DaysError> {
        let path = self.dir.join(CATALOGUE);
        let failed = |action| engine(action, &path);
        let mut unreadable = Vec::new();
        let (head, first_day, next) = (&mut self.head, self.first_day, &mut self.next);
        let mut select = self
            .catalogue
            .prepare("SELECT seq, batch FROM inbox ORDER BY seq")
            .map_err(failed("read the inbox"))?;
        let mut rows = select.query([]).map_err(failed("read the inbox"))?;
        while let Some(row) = rows.next().map_err(failed("read the inbox"))? {
            let seq: i64 = row.get(0).map_err(failed("read the inbox"))?;
            let batch: Vec<u8> = row.get(1).map_err(failed("read the inbox"))?;
            *next = (*next).max(seq + 1);
            let mut samples = Vec::new();
            if inbox::read(&batch, |sample| samples.push(sample)).is_err() {
                unreadable.push(seq);
                continue;
            }
            samples.retain(|sample| {
                let day = DayNumber::of(sample.row.at_unix_ms);
                let sealed = marks.get(&day).and_then(|day| day.get(&sample.agent));
                day >= first_day && sealed.is_none_or(|sealed| *sealed < seq)
            });
            opened.replayed += samples.len();
            head.extend(&samples, seq, now_unix_ms);
        }
        drop(rows);
        drop(select);
        for seq in &unreadable {
            self.catalogue
                .execute(
                    "INSERT OR IGNORE INTO unreadable SELECT seq, batch FROM inbox WHERE seq = ?1",
                    [seq],
                )
                .and_then(|_| {
                    self.catalogue
                        .execute("DELETE FROM inbox WHERE seq = ?1", [seq])
                })
                .map_err(failed("set a row of the inbox aside"))?;
        }
        opened.unreadable_rows = unreadable.len();
        Ok(())
    }
}

/// A chunk of blocks that fit in one.
fn stored(chunk: &mut Chunk, agent: u32, blocks: &[Cow<'_, Block>]) -> Result<Stored, DaysError> {
    let times = || {
        blocks
            .iter()
            .flat_map(|block| block.at_unix_ms().iter().copied())
    };
    let all: Vec<&Block> = blocks.iter().map(AsRef::as_ref).collect();
    let bytes = chunk.encode(&all);
    Ok(Stored {
        agent,
        from_unix_ms: times().min().unwrap_or(0),
        to_unix_ms: times().max().unwrap_or(0),
        rows: blocks.iter().map(|block| block.len()).sum(),
        bytes: bytes.map_err(|source| DaysError::Chunk { agent, source })?,
    })
}

/// By day and agent: up to which row of the inbox samples are in chunks.
type Marks = BTreeMap<DayNumber, BTreeMap<u32, i64>>;

/// The samples of a block in a span; `None` if there is none. A block that lies in it whole is not copied again.
fn within(block: &Block, from_unix_ms: i64, to_unix_ms: i64) -> Option<Cow<'_, Block>> {
    let inside = |at: &i64| (from_unix_ms..to_unix_ms).contains(at);
    if block.at_unix_ms().iter().all(inside) {
        return (!block.is_empty()).then_some(Cow::Borrowed(block));
    }
    let mut part = Block::new(block.series);
    for row in block.rows().filter(|row| inside(&row.at_unix_ms)) {
        part.push(row, block.scheduling_delay_max_us);
    }
    (!part.is_empty()).then_some(Cow::Owned(part))
}

/// Whether the engine says that the bytes themselves are wrong.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Renames a damaged file and its companions, so that the rest is served and nobody writes into it. They still belong together:
/// `X.db.damaged` has its log in `X.db.damaged-wal`.
fn quarantine(path: &Path) -> Result<PathBuf, DaysError> {
    let mut kept = path.as_os_str().to_owned();
    kept.push(".damaged");
    let kept = PathBuf::from(kept);
    let files = with_companions(path)
        .into_iter()
        .zip(with_companions(&kept));
    for (file, to) in files.filter(|(file, _)| file.exists()) {
        std::fs::rename(&file, &to).map_err(folder("set aside", &file))?;
    }
    Ok(kept)
}

#[cfg(test)]
#[path = "days_tests.rs"]
mod tests;
