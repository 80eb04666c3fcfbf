//! Which rounds lie on one span, and which do not.

use proptest::prelude::*;

use super::*;
use crate::detect::identity::{AsStep, FlowProjection, Ingress};

const ALL: [&str; 8] = ["r1", "r2", "r1", "r2", "r1", "r2", "r1", "r2"];

/// A round whose flows enter by these routers; `?` is a flow that did not see for certain.
fn entering(routers: &[&str]) -> Sight {
    let flow = |router: &&str| FlowProjection {
        ingress: (**router != *"?").then(|| Ingress {
            address: std::net::Ipv4Addr::new(192, 0, 2, 1).into(),
            router: Some((*router).to_owned()),
            metro: None,
            certain: true,
        }),
        ..FlowProjection::default()
    };
    let known: BTreeSet<&str> = routers.iter().copied().filter(|one| *one != "?").collect();
    let identity = PathIdentity {
        ingress_routers: known.into_iter().map(str::to_owned).collect(),
        ..PathIdentity::default()
    };
    let projection = Projection {
        identity,
        as_path: AsPath::default(),
        flows: routers.iter().map(flow).collect(),
    };
    Sight::of(projection, None)
}

fn routers(sight: &Sight) -> Vec<&str> {
    sight
        .identity
        .ingress_routers
        .iter()
        .map(String::as_str)
        .collect()
}

proptest! {
    /// Flows that were not asked in a round are the everyday case: hops are asked once a second, whoever asks.
    #[test]
    fn whatever_a_round_misses_of_the_same_path_parts_no_span(
        missing in prop::collection::vec(prop::collection::vec(prop::bool::ANY, ALL.len()), 1..20),
    ) {
        let mut span = entering(&ALL);
        for gone in missing {
            let seen: Vec<&str> =
                ALL.iter().zip(gone).map(|(router, gone)| if gone { "?" } else { *router }).collect();
            span = span.joined(&entering(&seen)).expect("the same path");
        }
        prop_assert_eq!(routers(&span), ["r1", "r2"]);
    }
}

#[test]
fn rounds_lie_on_one_span_unless_what_both_saw_differs() {
    for (name, before, now, want) in [
        (
            "the same",
            &["r1", "r2"][..],
            &["r1", "r2"][..],
            Some(&["r1", "r2"][..]),
        ),
        ("one lost", &["r1", "r2"], &["r2", "r2"], None),
        ("another one", &["r1", "r2"], &["r1", "r3"], None),
        ("another one in part", &["r1", "r2"], &["?", "r3"], None),
        (
            "more flows, one more",
            &["r1", "r2"],
            &["r1", "r2", "r3"],
            Some(&["r1", "r2", "r3"]),
        ),
        (
            "more flows, one less",
            &["r1", "r2"],
            &["r1", "r1", "r1"],
            None,
        ),
        ("parts that meet", &["r1", "?"], &["?", "r1"], Some(&["r1"])),
        ("parts that do not", &["r1", "?"], &["?", "r2"], None),
        ("nothing", &["r1", "r2"], &["?", "?"], Some(&["r1", "r2"])),
    ] {
        let joined = entering(before).joined(&entering(now));
        assert_eq!(
            joined.as_ref().map(routers),
            want.map(<[&str]>::to_vec),
            "{name}"
        );
    }
}

#[test]
fn an_as_behind_a_silent_hop_may_be_the_usual_one() {
    let path = |steps: &[AsStep]| Sight {
        as_steps: AsPath::of(steps),
        ..Sight::default()
    };
    let whole = path(&[AsStep::As(64_499), AsStep::As(64_496), AsStep::As(8_075)]);
    let hidden = path(&[AsStep::Gap(2), AsStep::As(8_075)]);
    let past = path(&[AsStep::As(64_499), AsStep::As(8_075)]);
    let kept = whole.joined(&hidden).expect("the same path");
    assert_eq!(kept.identity.as_path, [64_499, 64_496, 8_075]);
    let learnt = hidden.joined(&whole).expect("the same path");
    assert_eq!(learnt.identity.as_path, [64_499, 64_496, 8_075]);
    assert_eq!(whole.joined(&past), None, "the provider is passed by");
    let told: Sight = PathIdentity {
        as_path: vec![64_499, 64_496, 8_075],
        ..PathIdentity::default()
    }
    .into();
    assert!(
        told.joined(&hidden).is_some(),
        "written by an earlier program"
    );
    assert_eq!(told.joined(&past), None);
}

#[test]
fn headers_from_before_a_move_say_nothing_of_the_path_after_it() {
    let seen = |metro: &str, at: i64| Sight {
        edge_unix_ms: Some(at),
        ..PathIdentity {
            edge_metros: vec![metro.to_owned()],
            ..PathIdentity::default()
        }
        .into()
    };
    let moved = seen("AMS", 10).after(20);
    assert!(moved.identity.edge_metros.is_empty());
    let later = moved.joined(&seen("AMS", 10)).expect("still unknown");
    assert!(later.identity.edge_metros.is_empty());
    let known = later.joined(&seen("FRA", 30)).expect("known now");
    assert_eq!(known.identity.edge_metros, ["FRA"]);
    assert_eq!(known.joined(&seen("AMS", 40)), None, "moved back");
    let told = serde_json::to_string(&known).expect("JSON");
    let read: Sight = serde_json::from_str(&told).expect("as written");
    assert_eq!(read, known);
}
