//! Promises about what agents say of their machines.

use super::*;
use crate::ingest::facts::{Fact, FactKind};

pub(super) fn fact(kind: FactKind, key: &str, at_unix_ms: i64) -> Fact {
    Fact {
        kind,
        key: key.to_owned(),
        at_unix_ms,
        form: format!("{{\"at_unix_ms\":{at_unix_ms}}}"),
    }
}

pub(crate) async fn the_newest_fact_of_each_key_is_kept(store: &impl Store) {
    use FactKind::{Change, Counters, Handshake, Host};
    let agent = settle(store, &site(1, None, None), 1).await;
    let mut sender = Sender::default();
    for at in [T0, T0 + 2, T0 + 1] {
        let facts = vec![
            fact(Host, "", at),
            fact(Handshake, "exchange", at),
            fact(Handshake, "sharepoint", T0),
        ];
        let applied = Applied {
            facts,
            ..Applied::default()
        };
        sender.apply(store, agent, applied).await;
    }
    let of = async |kind| {
        let organisation = default_organisation();
        store.facts(&organisation, agent, kind).await.unwrap()
    };
    assert_eq!(of(Host).await, [fact(Host, "", T0 + 2)]);
    let handshakes = [
        fact(Handshake, "exchange", T0 + 2),
        fact(Handshake, "sharepoint", T0),
    ];
    assert_eq!(of(Handshake).await, handshakes, "newest first");
    assert_eq!(of(Counters).await, []);
    assert_eq!(of(Change).await, []);
}

pub(crate) async fn the_last_few_changes_are_kept(store: &impl Store) {
    let agent = settle(store, &site(1, None, None), 1).await;
    let mut sender = Sender::default();
    for at in 0..120 {
        let change = fact(FactKind::Change, &format!("{at:04}"), T0 + at);
        let applied = Applied {
            facts: vec![change],
            ..Applied::default()
        };
        sender.apply(store, agent, applied).await;
    }
    let organisation = default_organisation();
    let kept = store
        .facts(&organisation, agent, FactKind::Change)
        .await
        .unwrap();
    assert_eq!(kept.first().map(|fact| fact.at_unix_ms), Some(T0 + 119));
    assert!((20..=100).contains(&kept.len()), "{}", kept.len());
    assert!(
        kept.windows(2)
            .all(|pair| pair[0].at_unix_ms == pair[1].at_unix_ms + 1),
        "none is missing between them"
    );
}
