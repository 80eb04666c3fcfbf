//! A process that stores reports is killed (SIGKILL) at moments it does not choose. Whatever it acknowledged is there, once.
//!
//! The child is this test program again, running [`store_reports_until_killed`] in a directory that the parent prepared.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use firstmile_wire::v1::{Outcome, Phase, Protocol};
use uuid::Uuid;

use super::*;
use crate::ingest::batch::Sample;
use crate::store::contract::{settle, site};
use crate::store::{Group, Scope};

/// Its presence in the working directory tells a process that it is the child.
const MARK: &str = "child-of-the-crash-test";

/// A Monday at noon.
const T0: i64 = 1_767_614_400_000;

/// Senders at once, so that commits gather several of them.
const LANES: u128 = 4;

fn organisation() -> OrganisationId {
    OrganisationId::default_organisation()
}

fn agent() -> AgentId {
    AgentId(Uuid::from_u128(1))
}

fn key(lane: u128, sequence: u64) -> ReportKey {
    ReportKey {
        organisation: organisation(),
        agent: agent(),
        epoch: Epoch(Uuid::from_u128(lane)),
        sequence,
    }
}

/// Every report holds one sample.
fn applied(key: &ReportKey) -> Applied {
    let sample = Sample {
        at_unix_ms: T0 + i64::try_from(key.sequence).unwrap() * 10_000,
        target: Arc::from("a"),
        destination: None,
        protocol: Protocol::Tcp,
        phase: Phase::Rtt,
        outcome: Outcome::Answered,
        rtt_us: 10_000,
        reply_ttl: 0,
        marks: crate::ingest::batch::Marks::default(),
        scheduling_delay_us: 0,
    };
    Applied {
        samples: vec![sample],
        ..Applied::default()
    }
}

/// Not a test of its own: what the child of the next test does. It tells each acknowledged report in a line.
#[tokio::test]
#[ignore = "the child of the crash test"]
async fn store_reports_until_killed() {
    let dir = Path::new(".");
    if !dir.join(MARK).exists() {
        return;
    }
    let store = open(dir).await.unwrap();
    let send = async |lane: u128| {
        let mut sequence = store
            .watermark(&organisation(), agent(), key(lane, 0).epoch)
            .await
            .unwrap();
        loop {
            sequence += 1;
            let report = InboxReport {
                key: key(lane, sequence),
                received_unix_ms: T0,
                frame: vec![7; 3_000],
            };
            store.append(vec![report]).await.unwrap();
            println!("acknowledged {lane} {sequence}");
        }
    };
    let apply = async || loop {
        apply_pending(&store).await;
        store.maintain(T0 + 86_400_000).await.unwrap();
        tokio::task::yield_now().await;
    };
    futures::future::join(futures::future::join_all((0..LANES).map(send)), apply()).await;
}

async fn apply_pending(store: &Embedded) {
    for report in store.pending(8).await.unwrap() {
        store
            .apply(&report.key, applied(&report.key))
            .await
            .unwrap();
    }
}

/// Runs the child until it acknowledged `enough` reports, kills it, and gives back all that it acknowledged.
fn acknowledged_before_death(dir: &Path, enough: usize) -> Vec<(u128, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--ignored",
            "--nocapture",
            "store::embedded::crash_tests::store_reports_until_killed",
        ])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = Vec::new();
    for line in lines.map_while(Result::ok) {
        // The first line shares its line with the test harness's own words.
        let Some((_, told)) = line.split_once("acknowledged ") else {
            continue;
        };
        let (lane, sequence) = told.split_once(' ').unwrap();
        acknowledged.push((lane.parse().unwrap(), sequence.parse().unwrap()));
        if acknowledged.len() == enough {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= enough, "the child ended by itself");
    acknowledged
}

async fn stored(store: &Embedded) -> Vec<(u128, u64)> {
    let read = |tx: &rusqlite::Transaction<'_>| {
        let check: String = tx
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .map_err(engine("check"))?;
        assert_eq!(check, "ok");
        registry::all(tx, "SELECT epoch, sequence FROM inbox", [], |row| {
            let epoch: [u8; 16] = row.get(0).map_err(engine("read"))?;
            let sequence: i64 = row.get(1).map_err(engine("read"))?;
            Ok((u128::from_be_bytes(epoch), sequence.cast_unsigned()))
        })
    };
    store.readers.run("read", read).await.unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9_and_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(MARK), "").unwrap();
    let store = open(dir.path()).await.unwrap();
    assert_eq!(settle(&store, &site(1, None, None), 1).await, agent());
    drop(store);

    let mut promised = BTreeSet::new();
    for enough in [1, 2, 3, 7, 20, 41, 5, 64] {
        promised.extend(acknowledged_before_death(dir.path(), enough));
        let store = open(dir.path()).await.unwrap();
        let stored = stored(&store).await;
        let once: BTreeSet<_> = stored.iter().copied().collect();
        assert_eq!(once.len(), stored.len(), "nothing is stored twice");
        assert_eq!(
            promised.difference(&once).count(),
            0,
            "nothing acknowledged is lost"
        );

        while !store.pending(1).await.unwrap().is_empty() {
            apply_pending(&store).await;
        }
        let query = CellQuery {
            from_unix_ms: 0,
            to_unix_ms: i64::MAX,
            step_ms: None,
            protocol: Protocol::Tcp,
            phase: Phase::Rtt,
            target: None,
            scope: Scope::Agent(agent()),
            group: Group::All,
        };
        let rows = store.cells(&organisation(), &query).await.unwrap();
        let counted = rows.first().map_or(0, |row| row.cell.n());
        assert_eq!(
            counted,
            stored.len() as u64,
            "every report counts once, whatever died between storing and applying"
        );
    }
}
