//! What a report says, written in the one transaction that marks it applied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firstmile_wire::ids::ReportKey;
use firstmile_wire::v1::{Phase, Protocol};
use rusqlite::{OptionalExtension, Transaction, params};

use super::paths::{self, Subject};
use super::samples::{Samples, Taken};
use super::writer::Durability;
use super::{Embedded, dirty, engine, events, facts, inbox, incidents, registry, vantage};
use crate::rollup::{Cell, FIVE_MINUTES_MS, cells_of, window_start};
use crate::store::{Applied, CellKey, StoreResult};

/// Reports of one transaction at most.
const TOGETHER: usize = 64;

/// Writes all of `applied` in one transaction, and shows its samples when that is committed.
pub(super) async fn run(store: &Embedded, key: &ReportKey, applied: Applied) -> StoreResult<()> {
    together(store, vec![(key.clone(), applied)]).await
}

/// Writes what several reports say, in as few transactions as may be: no two reports of an agent are in one, since the second
/// goes by what the first left.
pub(super) async fn run_all(
    store: &Embedded,
    reports: Vec<(ReportKey, Applied)>,
) -> StoreResult<()> {
    let (mut some, mut agents) = (Vec::new(), BTreeSet::new());
    for (key, applied) in reports {
        let is_other = agents.insert((key.organisation.clone(), key.agent));
        if !is_other || some.len() >= TOGETHER {
            together(store, std::mem::take(&mut some)).await?;
            agents = BTreeSet::from([(key.organisation.clone(), key.agent)]);
        }
        some.push((key, applied));
    }
    together(store, some).await
}

async fn together(store: &Embedded, reports: Vec<(ReportKey, Applied)>) -> StoreResult<()> {
    if reports.is_empty() {
        return Ok(());
    }
    let (samples, then) = (Arc::clone(&store.samples), Arc::clone(&store.samples));
    let work = move |tx: &Transaction<'_>| {
        let mut taken = Vec::new();
        for (key, applied) in &reports {
            apply(tx, &samples, key, applied, &mut taken)?;
        }
        Ok(taken)
    };
    let took = move |taken: Vec<Taken>| then.took_all(taken);
    let action = "apply a report";
    let run = store
        .writer
        .run_then(Durability::Replayable, action, work, took);
    run.await
}

/// Writes all of `applied` and marks the report; does nothing if it is not pending any more. What it took of samples is to be told
/// to them when the transaction is committed.
fn apply(
    tx: &Transaction<'_>,
    samples: &Samples,
    key: &ReportKey,
    applied: &Applied,
    taken: &mut Vec<Taken>,
) -> StoreResult<()> {
    let report = inbox::find(tx, key)?;
    if !report.pending {
        return Ok(());
    }
    if let Some(agent) = &applied.agent {
        registry::put_agent(tx, agent)?;
    }
    let agent_no = registry::agent_no(tx, &key.organisation, key.agent)?
        .ok_or_else(|| registry::no_agent(key.agent))?;
    let subject = Subject {
        organisation: &key.organisation,
        agent_no,
    };
    let cells = cells_of(key.agent, &applied.samples);
    let received = report.received_unix_ms;
    let (own, others) = samples.put(tx, subject, received, &applied.samples, taken.len())?;
    taken.extend(own);
    put_cells(tx, subject, &cells_of(key.agent, &others))?;
    mark_windows(tx, subject, &cells)?;
    put_histories(tx, subject, &cells)?;
    paths::put(tx, subject, report.received_unix_ms, applied)?;
    facts::put(tx, subject, &applied.facts)?;
    for event in &applied.events {
        events::put(tx, &key.organisation, event, report.received_unix_ms)?;
    }
    incidents::put_rounds(tx, subject, applied)?;
    inbox::mark_applied(tx, report.inbox_no)
}

/// Notes the rollups that cells put out of date.
fn mark_windows(
    tx: &Transaction<'_>,
    subject: Subject<'_>,
    cells: &BTreeMap<CellKey, Cell>,
) -> StoreResult<()> {
    let window = |key: &CellKey| window_start(key.at_unix_ms, FIVE_MINUTES_MS);
    let windows: BTreeSet<i64> = cells.keys().map(window).collect();
    windows
        .iter()
        .try_for_each(|at| dirty::mark_dirty(tx, subject.organisation, FIVE_MINUTES_MS, *at))
}

/// Merges cells into those that are there.
fn put_cells(
    tx: &Transaction<'_>,
    subject: Subject<'_>,
    cells: &BTreeMap<CellKey, Cell>,
) -> StoreResult<()> {
    cells
        .iter()
        .try_for_each(|(key, cell)| put_cell(tx, subject, key, cell))
}

fn put_cell(
    tx: &Transaction<'_>,
    subject: Subject<'_>,
    key: &CellKey,
    cell: &Cell,
) -> StoreResult<()> {
    let organisation = subject.organisation.as_str();
    let there: Option<Vec<u8>> = tx
        .prepare_cached(
            "SELECT cell FROM agent_cell WHERE organisation = ?1 AND protocol = ?2 AND phase = ?3 AND at_unix_ms = ?4
                 AND agent_no = ?5 AND target = ?6",
        )
        .and_then(|mut find| {
            let key = params![organisation, key.protocol, key.phase, key.at_unix_ms, subject.agent_no, key.target];
            find.query_row(key, |row| row.get(0)).optional()
        })
        .map_err(engine("read a cell"))?;
    let bytes = match there {
        None => cell.to_bytes(),
        Some(bytes) => {
            let mut merged = vantage::cell_of(&bytes)?;
            merged.merge(cell);
            merged.to_bytes()
        }
    };
    tx.prepare_cached(
        "INSERT INTO agent_cell (organisation, protocol, phase, at_unix_ms, agent_no, target, cell)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET cell = excluded.cell",
    )
    .and_then(|mut put| {
        let (protocol, phase, at) = (key.protocol, key.phase, key.at_unix_ms);
        put.execute(params![
            organisation,
            protocol,
            phase,
            at,
            subject.agent_no,
            key.target,
            bytes
        ])
    })
    .map(drop)
    .map_err(engine("write a cell"))
}

/// What the cells of one target and protocol come to.
#[derive(Default)]
struct Told {
    answered: bool,
    probes: u64,
}

fn put_histories(
    tx: &Transaction<'_>,
    subject: Subject<'_>,
    cells: &BTreeMap<CellKey, Cell>,
) -> StoreResult<()> {
    let mut told = BTreeMap::<(&str, i32), Told>::new();
    for (key, cell) in cells {
        let told = told.entry((&key.target, key.protocol)).or_default();
        told.answered |= cell.was_answered();
        if begins_a_probe(key.protocol, key.phase) {
            told.probes = told.probes.saturating_add(cell.probes());
        }
    }
    for ((target, protocol), told) in told {
        if told.answered && !answered_at_site(tx, subject, target, protocol)? {
            // What was kept out of the rollups as "not answered here" has to be counted from now on.
            dirty::mark_target_dirty(tx, subject.organisation, subject.agent_no, target, protocol)?;
        }
        put_history(tx, subject, target, protocol, &told)?;
    }
    Ok(())
}

/// Every probe has exactly one sample of its first phase, whatever it comes to; the later phases would count it again.
fn begins_a_probe(protocol: i32, phase: i32) -> bool {
    if Protocol::try_from(protocol) == Ok(Protocol::Quic) {
        return Phase::try_from(phase) == Ok(Phase::Handshake);
    }
    match Phase::try_from(phase) {
        Ok(Phase::Rtt | Phase::Dns | Phase::Connect | Phase::Handshake | Phase::Unspecified)
        | Err(_) => true,
        Ok(Phase::Tls | Phase::Ttfb | Phase::TtfbWarm) => false,
    }
}

/// Whether any agent of the same site was ever answered. `CROSS JOIN`: few agents have one site, so they are looked up first.
fn answered_at_site(
    tx: &Transaction<'_>,
    subject: Subject<'_>,
    target: &str,
    protocol: i32,
) -> StoreResult<bool> {
    tx.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM agent AS me
             CROSS JOIN agent AS other ON other.organisation = ?1 AND other.site = me.site
             CROSS JOIN protocol_history AS history ON history.organisation = ?1 AND history.agent_no = other.agent_no
                 AND history.target = ?3 AND history.protocol = ?4 AND history.answered
             WHERE me.agent_no = ?2)",
    )
    .and_then(|mut find| {
        find.query_row(params![subject.organisation.as_str(), subject.agent_no, target, protocol], |row| row.get(0))
    })
    .map_err(engine("read what a protocol did"))
}

fn put_history(
    tx: &Transaction<'_>,
    subject: Subject<'_>,
    target: &str,
    protocol: i32,
    told: &Told,
) -> StoreResult<()> {
    tx.prepare_cached(
        "INSERT INTO protocol_history (organisation, agent_no, target, protocol, answered, probes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET answered = max(answered, excluded.answered), probes = probes + excluded.probes",
    )
    .and_then(|mut put| {
        let (organisation, probes) = (subject.organisation.as_str(), told.probes.cast_signed());
        put.execute(params![organisation, subject.agent_no, target, protocol, told.answered, probes])
    })
    .map(drop)
    .map_err(engine("write what a protocol did"))
}
