//! Reads everything that the files of days have, and says what cannot be read. Changes nothing.

use std::path::{Path, PathBuf};

use firstmile_columns::ChunkReader;

use crate::day::{Chunks, DayNumber};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Files of days that were read.
    pub files: usize,
    /// Chunks in them.
    pub chunks: usize,
    /// Samples in them.
    pub rows: usize,
    /// What is wrong: which file, and what.
    pub faults: Vec<(PathBuf, String)>,
}

impl FsckReport {
    /// Whether all can be read.
    pub const fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Reads every chunk of every day in a folder.
///
/// # Errors
/// Why the folder cannot be listed.
pub fn fsck(dir: &Path) -> std::io::Result<FsckReport> {
    let mut report = FsckReport::default();
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| DayNumber::of_file_name(name).is_some()) {
            paths.push(path);
        }
    }
    paths.sort();
    for path in paths {
        report.files += 1;
        let mut faults = Vec::new();
        if let Err(error) = file(&path, &mut report, &mut faults) {
            faults.push(format!("the file cannot be read: {error}"));
        }
        report
            .faults
            .extend(faults.into_iter().map(|fault| (path.clone(), fault)));
    }
    Ok(report)
}

fn file(path: &Path, report: &mut FsckReport, faults: &mut Vec<String>) -> rusqlite::Result<()> {
    let chunks = Chunks::open(path)?;
    let said: String = chunks
        .connection()
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if said != "ok" {
        faults.push(said);
    }
    let mut reader = ChunkReader::new();
    let mut select = chunks.connection().prepare(
        "SELECT rowid, agent, from_unix_ms, to_unix_ms, rows, bytes FROM chunk NOT INDEXED",
    )?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (number, agent): (i64, u32) = (row.get(0)?, row.get(1)?);
        let span: (i64, i64, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        let (mut count, mut first, mut last) = (0, i64::MAX, i64::MIN);
        let read = reader.read(
            row.get_ref(5)?.as_blob()?,
            |_| true,
            |block| {
                count += block.len();
                for at in block.at_unix_ms() {
                    (first, last) = (first.min(*at), last.max(*at));
                }
            },
        );
        report.chunks += 1;
        report.rows += count;
        match read {
            Err(error) => faults.push(format!("chunk {number} of agent {agent}: {error}")),
            Ok(()) if i64::try_from(count).is_ok_and(|count| (first, last, count) == span) => {}
            Ok(()) => faults.push(format!(
                "chunk {number} of agent {agent} has {count} samples from {first} to {last}, its row says {} from {} to {}",
                span.2, span.0, span.1
            )),
        }
    }
    Ok(())
}
