//! Promises about single samples: they come back as they were sent.

use super::*;
use crate::store::SampleQuery;

pub(crate) async fn samples_come_back_as_they_were_sent(store: &impl Store) {
    let agent = settle(store, &site(1, None, None), 1).await;
    let other = settle(store, &site(2, None, None), 2).await;
    let mut want = vec![
        sample(T0, "a", Some(10_000)),
        Sample {
            destination: Some(std::net::Ipv4Addr::new(192, 0, 2, 1).into()),
            outcome: Outcome::Refused,
            reply_ttl: 54,
            ..sample(T0 + 1, "a", Some(7))
        },
        Sample {
            protocol: Protocol::Https,
            phase: Phase::Ttfb,
            marks: crate::ingest::batch::Marks(5),
            ..sample(T0 + 2, "b", None)
        },
        sample(T0 + HOUR, "a", None),
    ];
    let mut sender = Sender::default();
    sender.send(store, agent, &want).await;
    sender.send(store, other, &[sample(T0, "a", Some(1))]).await;
    let all = SampleQuery {
        agent,
        from_unix_ms: T0,
        to_unix_ms: T0 + HOUR + 1,
        target: None,
    };
    let organisation = default_organisation();
    for _ in ["at once", "after maintenance"] {
        assert_eq!(store.samples(&organisation, &all).await.unwrap(), want);
        store.maintain(T0 + 3 * HOUR).await.unwrap();
    }
    want.retain(|sample| &*sample.target == "a" && sample.at_unix_ms < T0 + HOUR);
    let some = SampleQuery {
        to_unix_ms: T0 + HOUR,
        target: Some("a".to_owned()),
        ..all.clone()
    };
    assert_eq!(store.samples(&organisation, &some).await.unwrap(), want);
    let nobody = SampleQuery {
        agent: agent_id(99),
        ..all
    };
    assert_eq!(store.samples(&organisation, &nobody).await.unwrap(), []);
}
