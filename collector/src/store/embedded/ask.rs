//! The forms in which questions about samples come: a [`Question`], and the [`CellQuery`] of pages.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use firstmile_days::DayNumber;
use firstmile_wire::ids::OrganisationId;
use rusqlite::Transaction;

use super::cells::walk;
use super::samples::Samples;
use super::{Embedded, FILE_NAME, engine};
use crate::rollup::{MINUTE_MS, Weighting, window_start};
use crate::store::questions::{
    Answer, AnswerRow, Dimension, GAPS_MAX, Holdings, Key, Question, Questions, first_rows,
    is_nothing,
};
use crate::store::{CellQuery, CellRow, Group, StoreError, StoreResult};

#[async_trait]
impl Questions for Embedded {
    async fn ask(&self, organisation: &OrganisationId, question: &Question) -> StoreResult<Answer> {
        let (organisation, question) = (organisation.clone(), question.clone());
        let samples = Arc::clone(&self.samples);
        self.readers
            .run("answer a question", move |tx| {
                ask(tx, &samples, &organisation, &question)
            })
            .await
    }

    async fn holdings(&self) -> StoreResult<Holdings> {
        let samples = Arc::clone(&self.samples);
        self.readers
            .run("say what it holds", move |tx| holdings(tx, &samples))
            .await
    }
}

fn holdings(tx: &Transaction<'_>, samples: &Samples) -> StoreResult<Holdings> {
    let count = |sql: &str| -> StoreResult<u64> {
        let found = tx.query_row(sql, [], |row| row.get::<_, i64>(0));
        let found = found.map_err(engine("say what it holds"))?;
        Ok(found.cast_unsigned())
    };
    let folder = samples.folder();
    let days = sizes_in(folder, |name| DayNumber::of_file_name(name).is_some())?;
    let store = folder.parent().unwrap_or(folder);
    let own = sizes_in(store, |name| name.starts_with(FILE_NAME))?;
    let damaged = match samples.shown(tx)? {
        Some(shown) => shown.view.damaged_days().map_err(engine("list its days"))?,
        None => BTreeSet::new(),
    };
    Ok(Holdings {
        pending_reports: count("SELECT count(*) FROM inbox WHERE state = 0")?,
        waiting_rows: count("SELECT count(*) FROM sample_inbox")?,
        store_bytes: own.iter().sum(),
        days: days.len() as u64,
        days_bytes: days.iter().sum(),
        damaged_days: damaged.into_iter().filter_map(DayNumber::date).collect(),
    })
}

/// Bytes of the files in a folder whose name is `wanted`; none if there is no folder.
fn sizes_in(folder: &Path, wanted: impl Fn(&str) -> bool) -> StoreResult<Vec<u64>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(engine("list its files")(error)),
    };
    let mut sizes = Vec::new();
    for entry in entries {
        let entry = entry.map_err(engine("list its files"))?;
        // A file may go between the two looks.
        if entry.file_name().to_str().is_some_and(&wanted)
            && let Ok(about) = entry.metadata()
        {
            sizes.push(about.len());
        }
    }
    Ok(sizes)
}

fn ask(
    tx: &Transaction<'_>,
    samples: &Samples,
    organisation: &OrganisationId,
    question: &Question,
) -> StoreResult<Answer> {
    let Some((n, rank)) = question.top else {
        return answer(tx, samples, organisation, question, None);
    };
    // Ranks come first among the quantiles.
    let mut all = answer(tx, samples, organisation, &question.ranking(rank), None)?;
    if question.step_ms.is_none() {
        all.rows = first_rows(all.rows, n, rank);
        let own = question.quantiles.len();
        for row in &mut all.rows {
            row.quantiles.drain(..row.quantiles.len() - own);
        }
        return Ok(all);
    }
    let first = first_rows(all.rows, n, rank);
    let chosen: BTreeSet<Key> = first.into_iter().map(|row| row.key).collect();
    answer(tx, samples, organisation, question, Some(&chosen))
}

fn answer(
    tx: &Transaction<'_>,
    samples: &Samples,
    organisation: &OrganisationId,
    question: &Question,
    chosen: Option<&BTreeSet<Key>>,
) -> StoreResult<Answer> {
    let mut rows: Vec<AnswerRow> = Vec::new();
    let rests_on = walk(
        tx,
        samples,
        organisation,
        question,
        &mut |at, key, merged| {
            if is_nothing(&merged.cell) || chosen.is_some_and(|chosen| !chosen.contains(&key)) {
                return Ok(());
            }
            if rows.len() >= question.rows_max {
                return Err(StoreError::TooMuch {
                    rows: rows.len() + 1,
                    allowed: question.rows_max,
                    nearest: "ask for a wider step, a shorter time or fewer groups".to_owned(),
                });
            }
            rows.push(question.row(at, key, &merged));
            Ok(())
        },
    )?;
    let gaps = gaps(question, &rows);
    Ok(Answer {
        rows,
        rests_on,
        gaps,
    })
}

/// Whole windows without a row, those that follow each other as one span.
fn gaps(question: &Question, rows: &[AnswerRow]) -> Vec<(i64, i64)> {
    let (begin, end) = (question.from_unix_ms, question.to_unix_ms);
    let Some(step) = question.step_ms else {
        return if rows.is_empty() && begin < end {
            vec![(begin, end)]
        } else {
            Vec::new()
        };
    };
    let mut gaps = Vec::new();
    let mut due = window_start(begin, step);
    let times = rows.iter().map(|row| row.at_unix_ms).chain([end]);
    for at in times {
        if at > due {
            gaps.push((due.max(begin), at.min(end)));
        }
        due = due.max(at.saturating_add(step));
    }
    gaps.truncate(GAPS_MAX);
    gaps
}

/// Answers what pages ask for.
pub(super) fn cells(
    tx: &Transaction<'_>,
    samples: &Samples,
    organisation: &OrganisationId,
    query: &CellQuery,
) -> StoreResult<Vec<CellRow>> {
    let by = match query.group {
        Group::All => Vec::new(),
        Group::Geography(level) => vec![Dimension::Geography(level)],
        Group::Agent => vec![Dimension::Agent],
        Group::AgentTarget => vec![Dimension::Agent, Dimension::Target],
    };
    let question = Question {
        from_unix_ms: query.from_unix_ms,
        to_unix_ms: query.to_unix_ms,
        step_ms: query.step_ms.map(|step| step.max(MINUTE_MS)),
        measures: vec![(query.protocol, query.phase)],
        target: query.target.clone(),
        scope: query.scope.clone(),
        by,
        weighting: Weighting::Agent,
        rows_max: usize::MAX,
        ..Question::default()
    };
    let mut rows = Vec::new();
    walk(
        tx,
        samples,
        organisation,
        &question,
        &mut |at, key, merged| {
            rows.push(CellRow {
                at_unix_ms: at,
                group: key.join("\t"),
                cell: merged.cell,
                agents: merged.agents.len(),
            });
            Ok(())
        },
    )?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_whole_windows_without_a_row() {
        let question = Question {
            from_unix_ms: 30,
            to_unix_ms: 100,
            step_ms: Some(10),
            ..Question::default()
        };
        let rows_at = |times: &[i64]| -> Vec<AnswerRow> {
            let row =
                |at: &i64| question.row(*at, Key::default(), &crate::rollup::Merged::default());
            times.iter().map(row).collect()
        };
        for (times, want) in [
            (vec![], vec![(30, 100)]),
            (vec![30, 30, 40, 50, 60, 70, 80, 90], vec![]),
            (vec![40, 70, 80], vec![(30, 40), (50, 70), (90, 100)]),
        ] {
            assert_eq!(gaps(&question, &rows_at(&times)), want, "{times:?}");
        }
        let whole = Question {
            step_ms: None,
            ..question.clone()
        };
        assert_eq!(gaps(&whole, &[]), [(30, 100)]);
    }
}
