//! The whole: a catalogue with the inbox, the head, and the files of days.
//!
//! Why each committed sample is found once, whatever instruction the program dies at. A sample has a row `i` of the inbox, an
//! agent `a` and a day `d`. Call it *sealed* when file `d` says that agent `a` is sealed up to `i` or more. (1) A commit writes
//! the row, synced, before the sample is in the head. (2) Sealing takes all that the head has of an agent, and writes for each
//! day the chunk and "sealed up to the last committed row" in one transaction. So a sample is in a chunk exactly when it is
//! sealed. (3) A row of the inbox is deleted only after every sample in it is sealed, in a later commit. (4) At the start the
//! head takes those samples of the inbox that are not sealed. After a write that failed nobody knows what the disk has: the
//! store says [`DaysError::Broken`] until it is opened again, which is (4).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use firstmile_columns::{Block, Row};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::day::DayNumber;
use crate::head::Sample;
use crate::inbox::Batch;
use crate::outcome::{DaysError, Opened, Refused, Seal, Shown, engine};
use crate::shelf::Shelf;
use crate::view::{Asked, View};

/// Name of the catalogue.
const CATALOGUE: &str = "samples.db";
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
    shelf: Shelf,
    batch: Batch,
    waiting: Vec<Sample>,
    /// Number of the next row of the inbox.
    next: i64,
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
        let (shelf, quarantined) = Shelf::open(dir, DayNumber(first_day.unwrap_or(0)))?;
        let mut opened = Opened {
            quarantined,
            ..Opened::default()
        };
        let mut days = Self {
            dir: dir.to_owned(),
            catalogue,
            next: shelf.last_mark() + 1,
            shelf,
            batch: Batch::default(),
            waiting: Vec::new(),
        };
        days.replay(now_unix_ms, &mut opened)?;
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
        if DayNumber::of(row.at_unix_ms) < self.shelf.first_day() {
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
        self.shelf.whole()?;
        if self.batch.rows() == 0 {
            return Ok(0);
        }
        let (seq, batch) = (self.next, self.batch.take());
        let needed = self.shelf.first_needed().unwrap_or(seq);
        self.shelf.set_broken(true);
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
        self.shelf.set_broken(false);
        self.next += 1;
        self.shelf.take(&self.waiting, seq, now_unix_ms);
        let count = self.waiting.len();
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
        let upto = self.next - 1;
        self.shelf.seal_observed(now_unix_ms, when, upto, between)
    }

    /// Shows the committed samples of one agent, or of all, in a span (end exclusive), of the series that are `wanted`: agent,
    /// block. A series comes in several blocks.
    ///
    /// # Errors
    /// [`DaysError`] if the folder cannot be listed. A file that cannot be read is counted in [`Shown::damaged`].
    pub fn read(
        &self,
        agent: Option<u32>,
        from_unix_ms: i64,
        to_unix_ms: i64,
        wanted: impl Fn(u32) -> bool,
        show: impl FnMut(u32, &Block),
    ) -> Result<Shown, DaysError> {
        let agents = agent.map(|agent| BTreeSet::from([agent]));
        let asked = Asked {
            agents: agents.as_ref(),
            from_unix_ms,
            to_unix_ms,
            stop: None,
        };
        self.shelf
            .view()
            .read(&asked, |_, series| wanted(series), show)
    }

    /// For those who read beside the writer.
    pub fn view(&self) -> View {
        self.shelf.view()
    }

    /// Deletes the days before one, and takes no more samples of them. Says which files went.
    ///
    /// # Errors
    /// [`DaysError`] if a file cannot be deleted; the next call tries again.
    pub fn retain_from(&mut self, first: DayNumber) -> Result<Vec<PathBuf>, DaysError> {
        self.shelf.whole()?;
        // First the horizon: what is replayed after a death does not bring back a day that is gone.
        self.catalogue
            .execute(
                "INSERT INTO horizon VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET first_day = max(first_day, excluded.first_day)",
                [first.0],
            )
            .map_err(engine("move the horizon", &self.dir.join(CATALOGUE)))?;
        self.shelf.retain_from(first)
    }

    /// Brings all logs into their files.
    ///
    /// # Errors
    /// [`DaysError`] if the engine fails.
    pub fn settle(&mut self) -> Result<(), DaysError> {
        self.shelf.settle()?;
        self.catalogue
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(engine("settle", &self.dir.join(CATALOGUE)))
    }

    /// Committed samples that are in no chunk.
    pub fn waiting_rows(&self) -> usize {
        self.shelf.waiting_rows()
    }

    fn replay(&mut self, now_unix_ms: i64, opened: &mut Opened) -> Result<(), DaysError> {
        let path = self.dir.join(CATALOGUE);
        let failed = |action| engine(action, &path);
        let mut unreadable = Vec::new();
        let mut select = self
            .catalogue
            .prepare("SELECT seq, batch FROM inbox ORDER BY seq")
            .map_err(failed("read the inbox"))?;
        let mut rows = select.query([]).map_err(failed("read the inbox"))?;
        while let Some(row) = rows.next().map_err(failed("read the inbox"))? {
            let seq: i64 = row.get(0).map_err(failed("read the inbox"))?;
            let batch: Vec<u8> = row.get(1).map_err(failed("read the inbox"))?;
            self.next = self.next.max(seq + 1);
            match self.shelf.replay(seq, &batch, now_unix_ms) {
                Ok(samples) => opened.replayed += samples,
                Err(_) => unreadable.push(seq),
            }
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

#[cfg(test)]
#[path = "days_tests.rs"]
mod tests;
