//! Promises about verdicts of routing.

use firstmile_routing::asn::Asn;
use firstmile_routing::class::{Class, Severity};
use firstmile_routing::verdict::{Phase, Verdict};

use super::*;
use crate::store::routing::VerdictQuery;

fn verdict(phase: Phase, class: Class, offender: Option<u32>, at: f64) -> Verdict {
    Verdict {
        at,
        phase,
        class,
        prefix: "198.51.100.0/24".parse().unwrap(),
        matched: Some("198.51.100.0/24".parse().unwrap()),
        offender: offender.map(Asn),
        severity: Severity::Critical,
        peers: 2,
        others: 5,
        reason: "somebody else announces it".to_owned(),
        evidence: vec![("64510 64497".to_owned(), 2)],
    }
}

pub(crate) async fn a_verdict_is_open_until_its_end_or_a_restart(store: &impl Store) {
    let organisation = default_organisation();
    let hijack = Class::HijackExactOrigin;
    let put = |verdicts| store.put_verdicts(&organisation, verdicts, T0);
    put(vec![
        verdict(Phase::Start, hijack, Some(64_497), 100.5),
        verdict(Phase::Start, hijack, Some(64_498), 101.0),
        verdict(Phase::Start, Class::VisibilityLost, None, 102.0),
        verdict(Phase::Start, Class::RoaChanged, None, 103.0),
    ])
    .await
    .unwrap();
    put(vec![
        verdict(Phase::End, hijack, Some(64_497), 110.0),
        verdict(Phase::End, Class::VisibilityLost, None, 111.0),
        verdict(Phase::Start, hijack, Some(64_497), 112.0),
    ])
    .await
    .unwrap();
    let read = |open| {
        let query = VerdictQuery {
            open,
            from_unix_ms: 0,
            limit: 10,
        };
        store.verdicts(&organisation, query)
    };
    let open = read(Some(true)).await.unwrap();
    let offenders: Vec<_> = open.iter().map(|verdict| verdict.offender).collect();
    assert_eq!(offenders, [Some(64_497), Some(64_498)], "newest first");
    assert_eq!(open[0].evidence[0].as_path, "64510 64497");
    let closed = read(Some(false)).await.unwrap();
    assert_eq!(closed.len(), 3, "a change of RPKI is a moment");
    let first = closed
        .iter()
        .find(|verdict| verdict.offender == Some(64_497))
        .unwrap();
    assert_eq!(
        (first.started_unix_ms, first.ended_unix_ms),
        (100_500, Some(110_000))
    );
    store
        .end_open_verdicts(&organisation, T0 + 5)
        .await
        .unwrap();
    assert!(read(Some(true)).await.unwrap().is_empty());
    let all = read(None).await.unwrap();
    assert_eq!(all.len(), 5);
    assert_eq!(
        all.iter()
            .filter(|verdict| verdict.ending.as_deref() == Some("restart"))
            .count(),
        2
    );
}
