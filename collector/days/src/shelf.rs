//! The head and the files of days, behind an inbox that somebody keeps: [`crate::Days`] in a catalogue of its own, or the caller
//! in a database of his.
//!
//! The keeper of the inbox has three duties. (1) Its rows have numbers that only grow, beginning behind [`Shelf::last_mark`].
//! (2) A row is on disk, synced, before it is named in [`Shelf::seal`]. (3) It is deleted only while it is below
//! [`Shelf::first_needed`]. Why then each sample is found once is argued in `days.rs`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firstmile_columns::varint::DecodeError;
use firstmile_columns::{Block, Chunk};
use rusqlite::ErrorCode;

use crate::day::{Chunks, DayFile, DayNumber, Stored, with_companions};
use crate::head::{Head, Sample, by_day, pieces};
use crate::inbox;
use crate::outcome::{DaysError, Seal, engine, folder};
use crate::view::View;

/// What is put behind the name of a file that is damaged.
const DAMAGED: &str = ".damaged";
/// Files of days that are open at once: late samples come for a few days at a time.
const OPEN_DAYS: usize = 4;

/// By day and agent: up to which row of the inbox samples are in chunks.
type Marks = BTreeMap<DayNumber, BTreeMap<u32, i64>>;

/// The head and the files of days.
#[derive(Debug)]
pub struct Shelf {
    dir: PathBuf,
    files: BTreeMap<DayNumber, DayFile>,
    head: Arc<Mutex<Head>>,
    view: View,
    first_day: DayNumber,
    chunk: Chunk,
    marks: Marks,
    broken: bool,
}

impl Shelf {
    /// Opens the files of days in a folder that exists; says which could not be read and were set aside. What the inbox has is
    /// then to be given to [`Shelf::replay`].
    ///
    /// # Errors
    /// [`DaysError`] if the folder or the file of a day cannot be opened. One whose bytes are damaged is set aside instead.
    pub fn open(dir: &Path, first_day: DayNumber) -> Result<(Self, Vec<PathBuf>), DaysError> {
        let mut shelf = Self::empty(dir, first_day);
        let mut quarantined = Vec::new();
        for day in days_in(dir)? {
            let path = shelf.path(day);
            match DayFile::open(&path).and_then(|file| file.sealed()) {
                Ok(sealed) => drop(shelf.marks.insert(day, sealed)),
                Err(error) if is_damage(&error) => quarantined.push(quarantine(&path)?),
                // A full disk, a lock, a later program: the file is sound, and its marks are needed.
                Err(error) => return Err(engine("read what is sealed", &path)(error)),
            }
        }
        Ok((shelf, quarantined))
    }

    /// What somebody else's process writes, to read: no file is made, changed or set aside. Rows of its inbox, of one moment that
    /// was before this call, are then to be given to [`Shelf::replay`]; after that [`Shelf::view`] shows what there is.
    ///
    /// # Errors
    /// [`DaysError`] if the folder cannot be listed.
    pub fn beside(dir: &Path) -> Result<Self, DaysError> {
        let mut shelf = Self::empty(dir, DayNumber(i64::MIN));
        shelf.broken = true;
        for day in days_in(dir)? {
            let sealed = Chunks::open(&shelf.path(day)).and_then(|file| file.sealed());
            shelf.marks.extend(sealed.ok().map(|sealed| (day, sealed)));
        }
        Ok(shelf)
    }

    fn empty(dir: &Path, first_day: DayNumber) -> Self {
        let head = Arc::new(Mutex::new(Head::default()));
        Self {
            dir: dir.to_owned(),
            files: BTreeMap::new(),
            view: View::new(dir, Arc::clone(&head)),
            head,
            first_day,
            chunk: Chunk::default(),
            marks: Marks::new(),
            broken: false,
        }
    }

    /// The highest row of the inbox that any file says is sealed, 0 if none is: the next row has a higher number.
    pub fn last_mark(&self) -> i64 {
        let marks = self.marks.values().flat_map(BTreeMap::values);
        marks.max().copied().unwrap_or(0)
    }

    /// Takes what is in no chunk of row `seq` of the inbox; says how many samples those are. Rows come in ascending order, after
    /// [`Shelf::open`] and before anything else.
    ///
    /// # Errors
    /// [`DecodeError`] unless the bytes are a row of an inbox; nothing is taken of it.
    pub fn replay(
        &mut self,
        seq: i64,
        batch: &[u8],
        now_unix_ms: i64,
    ) -> Result<usize, DecodeError> {
        let mut samples = Vec::new();
        inbox::read(batch, |sample| samples.push(sample))?;
        samples.retain(|sample| {
            let day = DayNumber::of(sample.row.at_unix_ms);
            let sealed = self.marks.get(&day).and_then(|day| day.get(&sample.agent));
            day >= self.first_day && sealed.is_none_or(|sealed| *sealed < seq)
        });
        self.take(&samples, seq, now_unix_ms);
        Ok(samples.len())
    }

    /// Takes the samples of row `seq` of the inbox, which is committed. Those of a day that retention took are left out.
    pub fn take(&mut self, samples: &[Sample], seq: i64, now_unix_ms: i64) {
        self.lock_head().extend(samples, seq, now_unix_ms);
    }

    /// Writes chunks of the agents that have enough or waited long enough; returns after they are synced. Says how many.
    /// `upto` is the last row of the inbox of which [`Shelf::take`] was told; it and all before it are synced.
    ///
    /// # Errors
    /// [`DaysError`]: nothing is lost, and the store is to be opened again.
    pub fn seal(&mut self, now_unix_ms: i64, when: Seal, upto: i64) -> Result<usize, DaysError> {
        self.seal_observed(now_unix_ms, when, upto, &mut || {})
    }

    /// The same; `between` is called between any two changes of the disk.
    pub(crate) fn seal_observed(
        &mut self,
        now_unix_ms: i64,
        when: Seal,
        upto: i64,
        between: &mut dyn FnMut(),
    ) -> Result<usize, DaysError> {
        self.whole()?;
        self.marks.clear();
        let due = {
            let head = self.lock_head();
            let due = head.due(now_unix_ms, when.rows, when.after_ms);
            head.snapshot(Some(&due.into_iter().collect()))
        };
        let mut of_days: BTreeMap<DayNumber, Vec<Stored>> = BTreeMap::new();
        for (agent, waiting) in &due {
            for (day, blocks) in by_day(&waiting.blocks) {
                for piece in pieces(blocks) {
                    let stored = stored(&mut self.chunk, *agent, &piece)?;
                    of_days.entry(day).or_default().push(stored);
                }
            }
        }
        let sealed = of_days.values().map(Vec::len).sum();
        self.broken = true;
        for (day, chunks) in of_days {
            let path = self.path(day);
            let file = self.file(day)?;
            file.put(&chunks, upto)
                .map_err(engine("write chunks", &path))?;
            between();
        }
        self.broken = false;
        let mut head = self.lock_head();
        for (agent, _) in &due {
            head.sealed(*agent);
        }
        Ok(sealed)
    }

    /// Whether [`Shelf::seal`] has something to write.
    pub fn is_due(&self, now_unix_ms: i64, when: Seal) -> bool {
        let due = (self.lock_head()).due(now_unix_ms, when.rows, when.after_ms);
        !due.is_empty()
    }

    /// The first row of the inbox that the head needs; `None`: all rows are sealed.
    pub fn first_needed(&self) -> Option<i64> {
        self.lock_head().first_needed()
    }

    /// For those who read beside the writer; as many as there are.
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// The first day that is kept.
    pub const fn first_day(&self) -> DayNumber {
        self.first_day
    }

    /// Deletes the days before one, and takes no more samples of them. Says which files went. The caller noted the day before, so
    /// that what is replayed after a death does not bring it back.
    ///
    /// # Errors
    /// [`DaysError`] if a file cannot be deleted; the next call tries again.
    pub fn retain_from(&mut self, first: DayNumber) -> Result<Vec<PathBuf>, DaysError> {
        self.whole()?;
        self.first_day = self.first_day.max(first);
        let mut gone = Vec::new();
        let days = days_in(&self.dir)?.into_iter();
        for day in days.filter(|day| *day < self.first_day) {
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
        Ok(())
    }

    /// Samples that are in no chunk.
    pub fn waiting_rows(&self) -> usize {
        self.lock_head().rows()
    }

    /// Nothing is written after a write that failed: whether it is on disk, opening finds out.
    pub(crate) fn whole(&self) -> Result<(), DaysError> {
        if self.broken {
            Err(DaysError::Broken)
        } else {
            Ok(())
        }
    }

    /// A write of the inbox began, or ended well.
    pub(crate) const fn set_broken(&mut self, broken: bool) {
        self.broken = broken;
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

    /// The head is whole between any two calls, so a panic elsewhere does not spoil it.
    fn lock_head(&self) -> MutexGuard<'_, Head> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The days that have a file in a folder, in order.
pub(crate) fn days_in(dir: &Path) -> Result<Vec<DayNumber>, DaysError> {
    let failed = || folder("list", dir);
    let mut days = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name();
        days.extend(name.to_str().and_then(DayNumber::of_file_name));
    }
    days.sort_unstable();
    Ok(days)
}

/// The days whose file was set aside as damaged, in order.
pub(crate) fn set_aside_in(dir: &Path) -> Result<Vec<DayNumber>, DaysError> {
    let failed = || folder("list", dir);
    let mut days = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name();
        let name = name.to_str().and_then(|name| name.strip_suffix(DAMAGED));
        days.extend(name.and_then(DayNumber::of_file_name));
    }
    days.sort_unstable();
    Ok(days)
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

/// Whether the engine says that the bytes themselves are wrong.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Renames a damaged file and its companions, so that the rest is served and nobody writes into it. They still belong together:
/// `X.db.damaged` has its log in `X.db.damaged-wal`.
pub(crate) fn quarantine(path: &Path) -> Result<PathBuf, DaysError> {
    let mut kept = path.as_os_str().to_owned();
    kept.push(DAMAGED);
    let kept = PathBuf::from(kept);
    let files = with_companions(path)
        .into_iter()
        .zip(with_companions(&kept));
    for (file, to) in files.filter(|(file, _)| file.exists()) {
        std::fs::rename(&file, &to).map_err(folder("set aside", &file))?;
    }
    Ok(kept)
}
