//! Samples: rows of an inbox in this store's own transactions, the head in memory, files of days beside (`firstmile_days`).
//!
//! A report's samples are written to `sample_inbox` in the transaction that marks it applied, so both are on disk or neither is.
//! Before chunks of them are written, that transaction is synced: what a file says is sealed can then not be undone by a power
//! cut. One process keeps the samples; others read beside it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use firstmile_days::{Batch, DayNumber, Seal, Shelf, View};
use rusqlite::{Connection, Transaction, params};
use tracing::{error, warn};

use super::dictionary::{Dictionary, Numbering, Series};
use super::paths::Subject;
use super::{dirty, engine, registry, schema};
use crate::ingest::batch::Sample;
use crate::rollup::MINUTE_MS;
use crate::store::{StoreError, StoreResult};

/// The folder of the files of days, beside the store's file.
pub(super) const FOLDER: &str = "samples";

/// Days have file names: 1970 to 2199.
const CALENDAR: std::ops::Range<i64> = 0..7_258_118_400_000;

/// Who takes the samples waits so long for another to let go: a process that ends, or a child between fork and exec.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What was written in a transaction, and is told to the head when it is committed.
#[derive(Debug)]
pub(super) struct Taken {
    row_no: i64,
    received_unix_ms: i64,
    samples: Vec<firstmile_days::Sample>,
    new: Vec<(u32, Series)>,
}

/// What is read of samples at one moment.
pub(super) struct Shown {
    pub(super) view: View,
    pub(super) dictionary: Arc<Dictionary>,
}

/// The one who writes.
#[derive(Debug)]
struct Keeper {
    shelf: Shelf,
    /// Number of the next row.
    next: i64,
    /// Held, so that no other process writes.
    _alone: File,
}

/// The samples of the store.
#[derive(Debug)]
pub(super) struct Samples {
    dir: PathBuf,
    keeper: Mutex<Option<Keeper>>,
    /// What readers see of the keeper's.
    open: RwLock<Option<(View, Arc<Dictionary>)>>,
}

impl Samples {
    /// Those of the store in a folder; nothing is opened yet.
    pub(super) fn new(store: &Path) -> Self {
        Self {
            dir: store.join(FOLDER),
            keeper: Mutex::new(None),
            open: RwLock::new(None),
        }
    }

    /// Where the files of days are.
    pub(super) fn folder(&self) -> &Path {
        &self.dir
    }

    /// What is there to read. `None`: there never was a sample.
    pub(super) fn shown(&self, tx: &Transaction<'_>) -> StoreResult<Option<Shown>> {
        let open = self
            .open
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some((view, dictionary)) = open {
            return Ok(Some(Shown { view, dictionary }));
        }
        if !self.dir.exists() {
            return Ok(None);
        }
        let dictionary = Arc::new(Dictionary::load(tx)?);
        // Another process keeps them: first its inbox, then its files, as `Shelf::beside` asks for.
        let rows = rows(tx)?;
        let mut beside = Shelf::beside(&self.dir).map_err(engine("read samples"))?;
        for (row_no, batch) in rows {
            if let Err(error) = beside.replay(row_no, &batch, 0) {
                warn!(%error, row_no, "samples of the inbox cannot be read");
            }
        }
        Ok(Some(Shown {
            view: beside.view(),
            dictionary,
        }))
    }

    /// Takes the samples for this process, unless it has them.
    pub(super) fn keep(&self, tx: &Transaction<'_>, now_unix_ms: i64) -> StoreResult<()> {
        let mut keeper = self.lock();
        if keeper.is_some() {
            return Ok(());
        }
        make_folder(&self.dir)?;
        let alone = alone(&self.dir, pause)?;
        let (mut opened, quarantined) =
            Shelf::open(&self.dir, DayNumber(i64::MIN)).map_err(engine("open its samples"))?;
        for path in quarantined {
            error!(path = %path.display(), "the samples of a day cannot be read and were set aside");
        }
        let mut next = opened.last_mark().max(last_row(tx)?) + 1;
        for (row_no, batch) in rows(tx)? {
            next = next.max(row_no + 1);
            if let Err(error) = opened.replay(row_no, &batch, now_unix_ms) {
                error!(%error, row_no, "samples of the inbox cannot be read and were set aside");
                set_aside(tx, row_no)?;
            }
        }
        let dictionary = Arc::new(Dictionary::load(tx)?);
        self.show(Some((opened.view(), dictionary)));
        *keeper = Some(Keeper {
            shelf: opened,
            next,
            _alone: alone,
        });
        Ok(())
    }

    /// Writes samples, behind `before` rows of this transaction; [`Samples::took_all`] is to follow when it is committed. Gives back those that are to be kept as
    /// cells: they came later than samples are kept, or their agent has too many series.
    pub(super) fn put(
        &self,
        tx: &Transaction<'_>,
        subject: Subject<'_>,
        received_unix_ms: i64,
        samples: &[Sample],
        before: usize,
    ) -> StoreResult<(Option<Taken>, Vec<Sample>)> {
        self.keep(tx, received_unix_ms)?;
        let from = dirty::horizon(tx, subject.organisation, MINUTE_MS)?;
        let mut keeper = self.lock();
        let Some(keeper) = keeper.as_mut() else {
            return Ok((None, samples.to_vec()));
        };
        let mut numbering = Numbering::new(self.dictionary(), subject.agent_no);
        let (mut taken, mut others) = (Vec::new(), Vec::new());
        for sample in samples {
            let number = if sample.at_unix_ms < from || !CALENDAR.contains(&sample.at_unix_ms) {
                None
            } else {
                numbering.number(tx, subject, sample)?
            };
            match number {
                Some(series) => taken.push(kept_form(subject.agent_no, series, sample)),
                None => others.push(sample.clone()),
            }
        }
        if taken.is_empty() {
            return Ok((None, others));
        }
        let row_no = keeper
            .next
            .saturating_add(i64::try_from(before).unwrap_or(i64::MAX));
        let mut batch = Batch::default();
        for sample in &taken {
            batch.push(sample);
        }
        tx.prepare_cached(
            "INSERT INTO sample_inbox (row_no, organisation, batch) VALUES (?1, ?2, ?3)",
        )
        .and_then(|mut put| {
            put.execute(params![row_no, subject.organisation.as_str(), batch.take()])
        })
        .map_err(engine("write samples"))?;
        let taken = Taken {
            row_no,
            received_unix_ms,
            samples: taken,
            new: numbering.new_ones(),
        };
        Ok((Some(taken), others))
    }

    /// Shows what was written, now that it is committed.
    pub(super) fn took_all(&self, taken: Vec<Taken>) {
        if taken.iter().any(|taken| !taken.new.is_empty()) {
            let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, dictionary)) = open.as_mut() {
                // Copied only if somebody reads it now; so it is for all of them at once.
                let dictionary = Arc::make_mut(dictionary);
                for (agent, series) in taken.iter().flat_map(|taken| &taken.new) {
                    dictionary.add(*agent, series.clone());
                }
            }
        }
        if let Some(keeper) = self.lock().as_mut() {
            for taken in taken {
                keeper
                    .shelf
                    .take(&taken.samples, taken.row_no, taken.received_unix_ms);
                keeper.next = keeper.next.max(taken.row_no + 1);
            }
        }
    }

    /// Forgets rows whose samples are in chunks. If there is something to seal, it is noted how far the inbox went: a
    /// change in a transaction that is synced, so all before it is on disk too (one that changes nothing is not synced), and [`Samples::seal`] may follow.
    pub(super) fn prepare(&self, tx: &Transaction<'_>, now_unix_ms: i64) -> StoreResult<bool> {
        self.keep(tx, now_unix_ms)?;
        let keeper = self.lock();
        let Some(keeper) = keeper.as_ref() else {
            return Ok(false);
        };
        let last = keeper.next - 1;
        let needed = keeper.shelf.first_needed().unwrap_or(last).min(last);
        let due = keeper.shelf.is_due(now_unix_ms, Seal::default());
        let write = || -> rusqlite::Result<()> {
            tx.execute("DELETE FROM sample_inbox WHERE row_no < ?1", [needed])?;
            if due {
                note_last(tx, last)?;
            }
            Ok(())
        };
        write().map_err(engine("forget samples that are in chunks"))?;
        Ok(due)
    }

    /// Writes what is due into the files of days, and deletes the files of days before one. After a failure the files are
    /// opened again before anything else is written: that finds out how far they got.
    pub(super) fn seal(&self, now_unix_ms: i64, first: DayNumber) {
        let mut slot = self.lock();
        let Some(keeper) = slot.as_mut() else {
            return;
        };
        let upto = keeper.next - 1;
        let sealed = keeper.shelf.seal(now_unix_ms, Seal::default(), upto);
        let done = sealed.and_then(|_| keeper.shelf.retain_from(first));
        if let Err(error) = done {
            let error: &dyn std::error::Error = &error;
            error!(
                error,
                "samples cannot be written into the files of days; they stay in the inbox"
            );
            *slot = None;
            drop(slot);
            self.show(None);
        }
    }

    fn dictionary(&self) -> Arc<Dictionary> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref()
            .map(|(_, dictionary)| Arc::clone(dictionary))
            .unwrap_or_default()
    }

    fn show(&self, open: Option<(View, Arc<Dictionary>)>) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = open;
    }

    /// The keeper is whole between any two transactions, so a panic in one does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Option<Keeper>> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kept_form(agent: u32, series: u32, sample: &Sample) -> firstmile_days::Sample {
    firstmile_days::Sample {
        agent,
        series,
        row: firstmile_columns::Row {
            at_unix_ms: sample.at_unix_ms,
            // Outcomes are few, and one that is beyond a byte is none that this program knows.
            outcome: u8::try_from(i32::from(sample.outcome)).unwrap_or(0),
            rtt_us: sample.rtt_us,
            marks: sample.marks.0,
            reply_ttl: sample.reply_ttl,
        },
        scheduling_delay_us: sample.scheduling_delay_us,
    }
}

/// The rows of the inbox, in order.
fn rows(connection: &Connection) -> StoreResult<Vec<(i64, Vec<u8>)>> {
    let sql = "SELECT row_no, batch FROM sample_inbox ORDER BY row_no";
    let mut select = connection.prepare(sql).map_err(engine("read samples"))?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let rows = rows.map_err(engine("read samples"))?;
    rows.collect::<Result<_, _>>()
        .map_err(engine("read samples"))
}

fn set_aside(tx: &Transaction<'_>, row_no: i64) -> StoreResult<()> {
    let sql = "INSERT OR REPLACE INTO sample_unreadable SELECT row_no, organisation, batch FROM sample_inbox WHERE row_no = ?1";
    tx.execute(sql, [row_no])
        .and_then(|_| tx.execute("DELETE FROM sample_inbox WHERE row_no = ?1", [row_no]))
        .and_then(|_| note_last(tx, row_no))
        .map_err(engine("set samples aside"))
}

/// Notes how far the inbox went; always changes a page.
fn note_last(tx: &Transaction<'_>, row_no: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE sample_sealed SET upto = max(upto, ?1), turn = turn + 1";
    tx.execute(sql, [row_no]).map(drop)
}

/// The number of the last row of a store's inbox: what its files have beyond it is of later.
pub(super) fn last_row(connection: &Connection) -> StoreResult<i64> {
    let sql = if schema::knows_last_sample(connection)? {
        "SELECT max((SELECT coalesce(max(row_no), 0) FROM sample_inbox), (SELECT coalesce(max(upto), 0) FROM sample_sealed))"
    } else {
        "SELECT coalesce(max(row_no), 0) FROM sample_inbox"
    };
    connection
        .query_row(sql, [], |row| row.get(0))
        .map_err(engine("read samples"))
}

/// The first day that some organisation still needs, no later than `latest`.
pub(super) fn first_day(tx: &Transaction<'_>, latest_unix_ms: i64) -> StoreResult<DayNumber> {
    let mut first = latest_unix_ms;
    for organisation in registry::organisations(tx)? {
        first = first.min(dirty::horizon(tx, &organisation, MINUTE_MS)?);
    }
    Ok(DayNumber::of(first))
}

/// Makes the folder of the files of days, for its owner alone.
pub(super) fn make_folder(dir: &Path) -> StoreResult<()> {
    if dir.exists() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(engine("make the folder of its samples")(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a lock of another process can be waited for with a deadline in no other way"
)]
fn pause() {
    std::thread::sleep(LOCK_PAUSE);
}

/// A lock on the folder, for this process alone; tried again after each pause, for a bounded time.
pub(super) fn alone(dir: &Path, mut pause: impl FnMut()) -> StoreResult<File> {
    let folder = File::open(dir).map_err(engine("open the folder of its samples"))?;
    let mut locked = folder.try_lock();
    for _ in 1..LOCK_TRIES {
        if !matches!(locked, Err(TryLockError::WouldBlock)) {
            break;
        }
        pause();
        locked = folder.try_lock();
    }
    match locked {
        Ok(()) => Ok(folder),
        Err(TryLockError::WouldBlock) => Err(StoreError::Engine {
            action: "take its samples",
            source: "another process writes them".into(),
        }),
        Err(TryLockError::Error(error)) => Err(engine("lock the folder of its samples")(error)),
    }
}
