//! The contract of every store, and what is particular to this one: two processes, panics, damaged files.

use std::path::Path;

use super::*;
use crate::store::obstacle::Obstacle;

async fn fresh() -> (Embedded, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (open(dir.path()).await.unwrap(), dir)
}

crate::store::contract::suite!(super::fresh);

fn organisation() -> OrganisationId {
    OrganisationId::default_organisation()
}

async fn audit_lines(store: &Embedded) -> u32 {
    let count = |tx: &rusqlite::Transaction<'_>| {
        tx.query_row("SELECT count(*) FROM audit", [], |row| row.get(0))
            .map_err(engine("count"))
    };
    store.readers.run("count", count).await.unwrap()
}

#[tokio::test]
async fn two_processes_may_write_at_once() {
    let dir = tempfile::tempdir().unwrap();
    // Opening at once too: both find an empty file, one of them migrates it.
    let (first, second) = tokio::join!(open(dir.path()), open(dir.path()));
    let (first, second) = (first.unwrap(), second.unwrap());
    let write = async |store: &Embedded| {
        for n in 0..50 {
            store
                .audit(&organisation(), n, "somebody", "did something")
                .await
                .unwrap();
        }
    };
    tokio::join!(write(&first), write(&second));
    assert_eq!(
        (audit_lines(&first).await, audit_lines(&second).await),
        (100, 100)
    );
}

#[tokio::test]
async fn a_panic_in_a_transaction_undoes_it_and_the_writer_goes_on() {
    let (store, _dir) = fresh().await;
    let organisation = organisation();
    let outcome = store
        .writer
        .run(Durability::Full, "panic", {
            let organisation = organisation.clone();
            move |tx| -> StoreResult<()> {
                registry::audit(tx, &organisation, 0, "somebody", "is about to panic")?;
                panic!("a bug");
            }
        })
        .await;
    assert!(
        matches!(
            outcome,
            Err(StoreError::Engine {
                action: "panic",
                ..
            })
        ),
        "{outcome:?}"
    );
    assert_eq!(audit_lines(&store).await, 0);
    store
        .audit(&organisation, 0, "somebody", "goes on")
        .await
        .unwrap();
    assert_eq!(audit_lines(&store).await, 1);
}

#[tokio::test]
async fn a_panic_in_a_read_is_an_error_and_readers_go_on() {
    let (store, _dir) = fresh().await;
    for _ in 0..20 {
        let outcome = store
            .readers
            .run("panic", |_| -> StoreResult<()> { panic!("a bug") })
            .await;
        assert!(
            matches!(
                outcome,
                Err(StoreError::Engine {
                    action: "panic",
                    ..
                })
            ),
            "{outcome:?}"
        );
    }
    assert_eq!(audit_lines(&store).await, 0);
}

#[tokio::test]
async fn what_is_queued_is_written_before_the_store_closes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let organisation = organisation();
    {
        let waiting = store.audit(&organisation, 0, "somebody", "does not wait for the answer");
        let waiting = std::pin::pin!(waiting);
        // One poll puts it into the queue; then the caller goes away.
        assert!(futures::poll!(waiting).is_pending());
    }
    drop(store);
    let store = open(dir.path()).await.unwrap();
    assert_eq!(audit_lines(&store).await, 1);
}

#[tokio::test]
async fn a_full_disk_refuses_reports_and_loses_none() {
    let (store, _dir) = fresh().await;
    let limit = async |pages: u32| {
        let set = move |tx: &rusqlite::Transaction<'_>| {
            tx.pragma_update(None, "max_page_count", pages)
                .map_err(engine("set a limit"))
        };
        store
            .writer
            .run(Durability::Full, "set a limit", set)
            .await
            .unwrap();
    };
    let report = |sequence| InboxReport {
        key: ReportKey {
            organisation: organisation(),
            agent: AgentId(uuid::Uuid::from_u128(1)),
            epoch: Epoch(uuid::Uuid::from_u128(1)),
            sequence,
        },
        received_unix_ms: 0,
        frame: vec![7; 10_000],
    };
    limit(200).await;
    let mut acknowledged = 0;
    let error = loop {
        match store.append(vec![report(acknowledged + 1)]).await {
            Ok(outcomes) => assert_eq!(outcomes, [Appended::Stored]),
            Err(error) => break error,
        }
        acknowledged += 1;
    };
    assert!(
        matches!(
            error,
            StoreError::Engine {
                action: "store reports",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(Obstacle::of(&error), Some(Obstacle::Full), "{error:?}");
    assert!(acknowledged > 0);
    limit(u32::MAX - 1).await;
    assert_eq!(
        store.append(vec![report(acknowledged + 1)]).await.unwrap(),
        [Appended::Stored]
    );
    let kept: Vec<_> = store
        .pending(1_000)
        .await
        .unwrap()
        .into_iter()
        .map(|report| report.key.sequence)
        .collect();
    assert_eq!(kept, (1..=acknowledged + 1).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_damaged_cell_is_left_out_and_holds_up_nobody() {
    let (store, _dir) = fresh().await;
    let put = |tx: &rusqlite::Transaction<'_>| {
        tx.execute_batch(
            "INSERT INTO agent (agent_no, organisation, agent, site, hostname, version, enrolled_unix_ms,
                 spool_dropped_reports, revoked) VALUES (1, 'default', zeroblob(16), zeroblob(16), 'host', '1', 0, 0, 0);
             INSERT INTO agent_cell VALUES ('default', 2, 1, 0, 1, 'a', x'ff');
             INSERT INTO rollup_dirty VALUES ('default', 300000, 0);",
        )
        .map_err(engine("prepare"))
    };
    store
        .writer
        .run(Durability::Full, "prepare", put)
        .await
        .unwrap();
    let query = CellQuery {
        from_unix_ms: 0,
        to_unix_ms: 300_000,
        step_ms: None,
        protocol: firstmile_wire::v1::Protocol::Tcp,
        phase: firstmile_wire::v1::Phase::Rtt,
        target: None,
        scope: Scope::World,
        group: crate::store::Group::All,
    };
    let error = store.cells(&organisation(), &query).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Damaged { what: "a cell", .. }),
        "{error}"
    );
    // In one go: rolled up without it, then past its retention.
    store.maintain(30 * 86_400_000).await.unwrap();
    assert_eq!(store.cells(&organisation(), &query).await.unwrap(), []);
}

#[tokio::test]
async fn the_audit_log_is_kept_as_long_as_events() {
    let (store, _dir) = fresh().await;
    let day = 86_400_000;
    for at in [0, 200 * day] {
        store
            .audit(&organisation(), at, "somebody", "did something")
            .await
            .unwrap();
    }
    store.maintain(399 * day).await.unwrap();
    assert_eq!(audit_lines(&store).await, 2);
    store.maintain(401 * day).await.unwrap();
    assert_eq!(audit_lines(&store).await, 1);
}

#[tokio::test]
async fn a_file_that_is_no_store_is_an_error_that_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let letter = "this is no database, it is a letter to a friend. ".repeat(100);
    std::fs::write(dir.path().join(FILE_NAME), &letter).unwrap();
    let error = open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Engine { .. }), "{error}");
    let kept = std::fs::read_to_string(dir.path().join(FILE_NAME)).unwrap();
    assert_eq!(kept, letter, "what is there is left alone");
    let error = open(Path::new("/no/such/directory")).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Engine {
                action: "create its file",
                ..
            }
        ),
        "{error}"
    );
}
