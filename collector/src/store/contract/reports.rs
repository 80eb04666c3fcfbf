//! Promises about reports: durable, once, pending until applied.

use super::*;
use crate::store::{Appended, Sender, StoreError};

pub(crate) async fn an_appended_report_is_pending_until_applied(store: &impl Store) {
    let agent = settle(store, &site(1, None, None), 1).await;
    let reports = [
        report(key(agent, 1)),
        report(key(agent, 2)),
        report(key(agent, 3)),
    ];
    store.append(reports.to_vec()).await.unwrap();
    assert_eq!(
        store.pending(2).await.unwrap(),
        reports[..2],
        "oldest first"
    );
    store
        .apply(&reports[0].key, Applied::default())
        .await
        .unwrap();
    assert_eq!(store.pending(9).await.unwrap(), reports[1..]);
}

pub(crate) async fn a_report_is_stored_once(store: &impl Store) {
    let (first, second) = (report(key(agent_id(1), 1)), report(key(agent_id(1), 2)));
    let outcomes = store
        .append(vec![first.clone(), first.clone(), second.clone()])
        .await
        .unwrap();
    assert_eq!(
        outcomes,
        [Appended::Stored, Appended::Duplicate, Appended::Stored]
    );
    // An agent sends the bytes of its spool; others under the same key are of another history.
    let other = InboxReport {
        frame: vec![9],
        ..first.clone()
    };
    assert_eq!(
        store.append(vec![other, first.clone()]).await.unwrap(),
        [Appended::Conflict, Appended::Duplicate],
        "what was acknowledged stays"
    );
    assert_eq!(store.pending(9).await.unwrap(), [first, second]);
}

pub(crate) async fn the_watermark_is_the_highest_sequence_of_its_epoch(store: &impl Store) {
    let agent = agent_id(1);
    let (organisation, epoch) = (default_organisation(), Epoch(Uuid::from_u128(7)));
    assert_eq!(
        store.watermark(&organisation, agent, epoch).await.unwrap(),
        0
    );
    for sequence in [1, 2, 9, 4] {
        store
            .append(vec![report(key(agent, sequence))])
            .await
            .unwrap();
    }
    assert_eq!(
        store.watermark(&organisation, agent, epoch).await.unwrap(),
        9
    );
    let next_epoch = Epoch(Uuid::from_u128(8));
    assert_eq!(
        store
            .watermark(&organisation, agent, next_epoch)
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        store
            .watermark(&organisation, agent_id(2), epoch)
            .await
            .unwrap(),
        0
    );
    let restarted = InboxReport {
        key: ReportKey {
            epoch: next_epoch,
            ..key(agent, 1)
        },
        ..report(key(agent, 1))
    };
    assert_eq!(
        store.append(vec![restarted]).await.unwrap(),
        [Appended::Stored]
    );
}

pub(crate) async fn a_report_set_aside_is_never_pending_again(store: &impl Store) {
    let agent = settle(store, &site(1, None, None), 1).await;
    let poisoned = key(agent, 1);
    store.append(vec![report(poisoned.clone())]).await.unwrap();
    store.set_aside(&poisoned, "a test").await.unwrap();
    store.set_aside(&poisoned, "a test again").await.unwrap();
    assert_eq!(store.pending(9).await.unwrap(), []);
    assert_eq!(
        store.append(vec![report(poisoned.clone())]).await.unwrap(),
        [Appended::Duplicate]
    );
    let error = store
        .set_aside(&key(agent, 2), "there is no such report")
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
}

pub(crate) async fn applying_twice_counts_once(store: &impl Store) {
    let agent = settle(store, &site(1, None, None), 1).await;
    let key = key(agent, 1);
    store.append(vec![report(key.clone())]).await.unwrap();
    let applied = Applied {
        samples: vec![sample(T0, "a", Some(10_000))],
        ..Applied::default()
    };
    store.apply(&key, applied.clone()).await.unwrap();
    store.apply(&key, applied.clone()).await.unwrap();
    assert_eq!(cells(store, &hour()).await[0].cell.n(), 1);
    let error = store
        .apply(&super::key(agent, 2), applied)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
}

pub(crate) async fn reports_applied_at_once_count_as_one_after_the_other(store: &impl Store) {
    let agents = [
        settle(store, &site(1, None, None), 1).await,
        settle(store, &site(2, None, None), 2).await,
    ];
    // Two of an agent, the second of which goes by what the first left, and one that is applied already.
    let keys = [
        key(agents[0], 1),
        key(agents[1], 1),
        key(agents[0], 2),
        key(agents[1], 2),
    ];
    let reports = keys.iter().cloned().map(report).collect();
    store.append(reports).await.unwrap();
    let applied = || Applied {
        samples: vec![sample(T0, "a", Some(10_000)), sample(T0, "b", Some(9_000))],
        ..Applied::default()
    };
    store.apply(&keys[3], applied()).await.unwrap();
    let all = keys.iter().map(|key| (key.clone(), applied()));
    store.apply_all(all.collect()).await.unwrap();
    assert_eq!(store.pending(9).await.unwrap(), []);
    let world = cells(store, &hour()).await;
    assert_eq!((world[0].cell.n(), world[0].agents), (8, 2));
    assert_eq!(store.watermarks(&keys).await.unwrap(), [2; 4]);
}

pub(crate) async fn what_is_known_before_reports_is_told_of_each_agent(store: &impl Store) {
    let known = settle(store, &site(1, None, None), 1).await;
    let sender = |agent| Sender {
        organisation: default_organisation(),
        agent,
        paths: true,
        addresses: Vec::new(),
    };
    let senders = vec![sender(agent_id(9)), sender(known)];
    let told = store.before(senders).await.unwrap();
    assert!(
        matches!(&told[0], Err(StoreError::NotFound { .. })),
        "{:?}",
        told[0]
    );
    let before = told[1].as_ref().unwrap();
    assert_eq!(
        (before.agent.id, before.site.id),
        (known, before.agent.site)
    );
    assert!(before.memories.is_empty());
}

pub(crate) async fn a_report_counts_for_its_own_agent_alone(store: &impl Store) {
    let mine = settle(store, &site(1, None, None), 1).await;
    let other = settle(store, &site(2, None, None), 2).await;
    let key = key(mine, 1);
    store.append(vec![report(key.clone())]).await.unwrap();
    let applied = Applied {
        samples: vec![sample(T0, "a", Some(10_000))],
        ..Applied::default()
    };
    store.apply(&key, applied).await.unwrap();
    for (agent, n) in [(mine, 1), (other, 0)] {
        let query = CellQuery {
            scope: Scope::Agent(agent),
            ..hour()
        };
        assert_eq!(cells(store, &query).await.len(), n);
    }
}

pub(crate) async fn what_retention_took_is_still_a_duplicate(store: &impl Store) {
    let agent = settle(store, &site(1, None, None), 1).await;
    store
        .append(vec![report(key(agent, 1)), report(key(agent, 2))])
        .await
        .unwrap();
    store
        .apply(&key(agent, 1), Applied::default())
        .await
        .unwrap();
    store.maintain(T0 + 100 * DAY).await.unwrap();
    assert_eq!(
        store.pending(9).await.unwrap().len(),
        1,
        "what is not applied is never taken"
    );
    let again = store
        .append(vec![
            report(key(agent, 1)),
            report(key(agent, 2)),
            report(key(agent, 3)),
        ])
        .await
        .unwrap();
    assert_eq!(
        again,
        [Appended::Duplicate, Appended::Duplicate, Appended::Stored]
    );
}
