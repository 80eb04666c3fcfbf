//! Samples in files of days: the same figures from the head, from chunks, beside the writer, after a death and from a backup.

use std::path::Path;
use std::sync::Arc;

use firstmile_wire::v1::{Outcome, Phase, Protocol};
use uuid::Uuid;

use super::*;
use crate::ingest::batch::{Marks, Sample};
use crate::store::Group;
use crate::store::contract::{settle, site};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// A Monday at noon.
const T0: i64 = 1_767_614_400_000;

fn organisation() -> OrganisationId {
    OrganisationId::default_organisation()
}

fn agent() -> AgentId {
    AgentId(Uuid::from_u128(1))
}

fn sample(at_unix_ms: i64, destination: u32) -> Sample {
    Sample {
        at_unix_ms,
        target: Arc::from("a"),
        destination: Some(std::net::Ipv4Addr::from(0xc633_6400 + destination % 256).into()),
        protocol: Protocol::Tcp,
        phase: Phase::Rtt,
        outcome: Outcome::Answered,
        rtt_us: 10_000 + destination,
        reply_ttl: 54,
        marks: Marks::default(),
        scheduling_delay_us: 7,
    }
}

async fn prepared(dir: &Path) -> Embedded {
    let store = open(dir).await.unwrap();
    assert_eq!(settle(&store, &site(1, None, None), 1).await, agent());
    store
}

async fn send(store: &Embedded, sequence: u64, samples: Vec<Sample>) {
    let key = ReportKey {
        organisation: organisation(),
        agent: agent(),
        epoch: Epoch(Uuid::from_u128(1)),
        sequence,
    };
    let report = InboxReport {
        key: key.clone(),
        received_unix_ms: T0,
        frame: sequence.to_be_bytes().to_vec(),
    };
    store.append(vec![report]).await.unwrap();
    let applied = Applied {
        samples,
        ..Applied::default()
    };
    store.apply(&key, applied).await.unwrap();
}

/// By minute: how many probes, and the least RTT.
async fn minutes(store: &Embedded) -> Vec<(i64, u64, Option<u32>)> {
    let query = CellQuery {
        from_unix_ms: T0 - DAY,
        to_unix_ms: T0 + DAY,
        step_ms: Some(60_000),
        protocol: Protocol::Tcp,
        phase: Phase::Rtt,
        target: None,
        scope: Scope::Agent(agent()),
        group: Group::All,
    };
    let rows = store.cells(&organisation(), &query).await.unwrap();
    let row = |row: &CellRow| (row.at_unix_ms, row.cell.n(), row.cell.min_us);
    rows.iter().map(row).collect()
}

/// Two hundred samples over ten minutes and a midnight, in ten reports.
async fn filled(dir: &Path) -> Embedded {
    let store = prepared(dir).await;
    for report in 0..10u32 {
        let at =
            |n: u32| T0 + DAY / 2 - HOUR / 12 + i64::from(report) * 60_000 + i64::from(n) * 3_000;
        let samples = (0..20).map(|n| sample(at(n), report * 20 + n)).collect();
        send(&store, u64::from(report) + 1, samples).await;
    }
    store
}

async fn rows_in_inbox(store: &Embedded) -> i64 {
    let count = |tx: &rusqlite::Transaction<'_>| {
        tx.query_row("SELECT count(*) FROM sample_inbox", [], |row| row.get(0))
            .map_err(engine("count"))
    };
    store.readers.run("count", count).await.unwrap()
}

#[tokio::test]
async fn figures_are_the_same_wherever_samples_lie() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    let want = minutes(&store).await;
    assert_eq!(want.iter().map(|minute| minute.1).sum::<u64>(), 200);
    let beside = open(dir.path()).await.unwrap();
    assert_eq!(
        minutes(&beside).await,
        want,
        "another process, from the inbox"
    );

    store.maintain(T0 + 2 * HOUR).await.unwrap();
    assert_eq!(minutes(&store).await, want, "from chunks");
    assert_eq!(minutes(&beside).await, want, "another process, from chunks");
    store.maintain(T0 + 2 * HOUR).await.unwrap();
    assert_eq!(
        rows_in_inbox(&store).await,
        1,
        "the inbox forgets, but for its last row"
    );
    assert_eq!(minutes(&store).await, want);
    let files = std::fs::read_dir(dir.path().join(samples::FOLDER)).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(
        files
            .filter(|name| is_file_of(&format!("samples/{name}")))
            .count(),
        2,
        "two days"
    );

    drop((store, beside));
    let store = open(dir.path()).await.unwrap();
    assert_eq!(
        minutes(&store).await,
        want,
        "opened again, before it is the writer"
    );
    send(&store, 11, vec![sample(T0, 0)]).await;
    assert_eq!(minutes(&store).await.len(), want.len() + 1);
    assert!(check(dir.path()).unwrap().is_sound());
}

#[tokio::test]
async fn a_second_process_reads_but_does_not_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    let other = open(dir.path()).await.unwrap();
    let refused = other.maintain(T0 + 2 * HOUR).await.unwrap_err();
    assert!(
        matches!(
            refused,
            StoreError::Engine {
                action: "take its samples",
                ..
            }
        ),
        "{refused}"
    );
    drop(store);
    other.maintain(T0 + 2 * HOUR).await.unwrap();
    assert_eq!(minutes(&other).await.len(), 10);
}

#[tokio::test]
async fn a_copy_has_each_sample_once_whatever_is_sealed_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    let want = minutes(&store).await;
    for sealed in [false, true] {
        if sealed {
            store.maintain(T0 + 2 * HOUR).await.unwrap();
        }
        let copy = tempfile::tempdir().unwrap();
        let names = copy_into(dir.path(), copy.path()).unwrap();
        assert!(names.iter().all(|name| is_file_of(name)), "{names:?}");
        assert_eq!(names.len(), if sealed { 3 } else { 1 });
        let restored = open(copy.path()).await.unwrap();
        assert_eq!(minutes(&restored).await, want);
        send(&restored, 12, vec![sample(T0, 0)]).await;
        restored.maintain(T0 + 2 * HOUR).await.unwrap();
        assert_eq!(minutes(&restored).await.len(), want.len() + 1);
    }
}

#[tokio::test]
async fn a_damaged_day_is_told_and_set_aside_and_the_rest_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    for _ in ["sealed", "forgotten by the inbox"] {
        store.maintain(T0 + 2 * HOUR).await.unwrap();
    }
    drop(store);
    let day = dir
        .path()
        .join(samples::FOLDER)
        .join("samples-2026-01-05.db");
    std::fs::write(&day, "noise, and nothing that is a database").unwrap();
    for log in ["-wal", "-shm"] {
        drop(std::fs::remove_file(format!("{}{log}", day.display())));
    }
    assert_eq!(check(dir.path()).unwrap().days.faults.len(), 1);
    let store = open(dir.path()).await.unwrap();
    send(&store, 11, vec![sample(T0, 0)]).await;
    let left: u64 = minutes(&store).await.iter().map(|minute| minute.1).sum();
    assert_eq!(left, 101, "those after midnight, and a new one before it");
    assert!(!day.exists());
}

#[tokio::test]
async fn an_agent_with_too_many_series_still_counts() {
    let dir = tempfile::tempdir().unwrap();
    let store = prepared(dir.path()).await;
    let of_target = |n: u32| Sample {
        target: Arc::from(format!("target {n}")),
        ..sample(T0, 1)
    };
    send(&store, 1, (0..7_000).map(of_target).collect()).await;
    assert_eq!(minutes(&store).await, [(T0, 7_000, Some(10_001))]);
    let count = |tx: &rusqlite::Transaction<'_>| {
        let series = "SELECT count(*) FROM sample_series";
        let cells = "SELECT count(*) FROM agent_cell";
        let count = |sql: &str| tx.query_row(sql, [], |row| row.get::<_, i64>(0));
        Ok((
            count(series).map_err(engine("count"))?,
            count(cells).map_err(engine("count"))?,
        ))
    };
    let (series, cells) = store.readers.run("count", count).await.unwrap();
    assert_eq!((series, cells), (6_144, 856));
}

#[tokio::test]
async fn a_file_of_a_day_that_cannot_be_written_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    let want = minutes(&store).await;
    // A folder stands where the file of the day is to be made.
    let day = dir
        .path()
        .join(samples::FOLDER)
        .join("samples-2026-01-05.db");
    std::fs::create_dir(&day).unwrap();
    store.maintain(T0 + 2 * HOUR).await.unwrap();
    assert_eq!(minutes(&store).await, want, "from the inbox");
    std::fs::remove_dir(&day).unwrap();
    // What is read again from the inbox waits for its hour again.
    for hours in [3, 4] {
        store.maintain(T0 + hours * HOUR).await.unwrap();
    }
    send(&store, 11, vec![sample(T0, 0)]).await;
    assert!(day.exists(), "it recovers alone");
    assert_eq!(minutes(&store).await.len(), want.len() + 1);
}

#[tokio::test]
async fn before_chunks_are_written_a_page_changes_so_that_the_log_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    let samples = Arc::clone(&store.samples);
    let path = dir.path().join("firstmile.db-wal");
    // The log is begun anew, so that its length is what the transaction wrote.
    let other = rusqlite::Connection::open(dir.path().join("firstmile.db")).unwrap();
    other
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    assert_eq!(path.metadata().unwrap().len(), 0);
    let prepare = move |tx: &rusqlite::Transaction<'_>| samples.prepare(tx, T0 + DAY);
    let run = store.writer.run(Durability::Full, "prepare", prepare);
    assert!(run.await.unwrap(), "something is due");
    assert_eq!(rows_in_inbox(&store).await, 10, "nothing to delete");
    assert!(path.metadata().unwrap().len() > 0);
}

#[tokio::test]
async fn a_copy_has_what_is_sealed_though_the_last_row_of_the_inbox_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    let want = minutes(&store).await;
    store.maintain(T0 + DAY).await.unwrap();
    drop(store);
    let other = rusqlite::Connection::open(dir.path().join("firstmile.db")).unwrap();
    other.execute("DELETE FROM sample_inbox", []).unwrap();
    let copy = tempfile::tempdir().unwrap();
    copy_into(dir.path(), copy.path()).unwrap();
    let restored = open(copy.path()).await.unwrap();
    assert_eq!(minutes(&restored).await, want);
}

#[test]
fn the_lock_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut held = Some(samples::alone(dir.path(), || {}).unwrap());
    assert!(samples::alone(dir.path(), || {}).is_err());
    samples::alone(dir.path(), || drop(held.take())).unwrap();
}
