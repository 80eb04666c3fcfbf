//! What is a change of the network and what is not: on made-up ways, and in a network of its own.

use proptest::prelude::*;

use super::*;

fn leaving(interface: &str, gateway: &str, source: &str) -> Leaving {
    Leaving {
        interface: interface.to_owned(),
        gateway: gateway.parse().ok(),
        source: source.parse().expect("an address"),
    }
}

fn one(way: Option<Leaving>) -> Ways {
    Ways::from([(IpAddr::from([203, 0, 113, 1]), way)])
}

#[test]
fn another_way_is_a_change_and_its_kind_is_told() {
    use NetworkChangeKind::{Address, Link, Route};

    let (link, route) = (
        Heard {
            link: true,
            ..Heard::default()
        },
        Heard {
            route: true,
            ..Heard::default()
        },
    );
    let eth = || Some(leaving("eth0", "192.0.2.1", "192.0.2.9"));
    let wlan = || Some(leaving("wlan0", "198.51.100.1", "198.51.100.9"));
    let router = || Some(leaving("eth0", "192.0.2.2", "192.0.2.9"));
    let lease = || Some(leaving("eth0", "192.0.2.1", "192.0.2.10"));
    for (name, before, now, heard, want) in [
        ("the same", eth(), eth(), route, None),
        ("cable pulled", eth(), None, link, Some(Link)),
        ("route removed", eth(), None, route, Some(Route)),
        ("cable back", None, eth(), link, Some(Link)),
        ("to wireless", eth(), wlan(), link, Some(Link)),
        ("preferred route", eth(), wlan(), route, Some(Route)),
        ("another router", eth(), router(), route, Some(Route)),
        ("another lease", eth(), lease(), link, Some(Address)),
    ] {
        let change = judge(&one(before), &one(now), heard);
        assert_eq!(
            change.as_ref().map(|(kind, _)| *kind),
            want,
            "{name}: {change:?}"
        );
    }
    let new = judge(&Ways::new(), &one(eth()), route);
    assert_eq!(
        new, None,
        "a destination that is new has not changed its way"
    );
}

#[test]
fn messages_are_told_apart_by_their_types() {
    let message = |kind: u16, length: u32| {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(usize::try_from(length).expect("short"), 0);
        bytes
    };
    let three = [message(16, 32), message(20, 20), message(25, 28)].concat();
    let heard = heard_in(&three);
    assert!(heard.link && heard.address && heard.route);
    assert_eq!(heard_in(&message(28, 16)), Heard::default(), "neighbours");
}

proptest! {
    #[test]
    fn no_bytes_panic_or_hang(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        heard_in(&bytes);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn changes_of_link_address_and_route_are_noticed_at_once() {
    crate::net::lab::run_inside(concat!(module_path!(), "::inside_a_network_of_its_own"));
}

/// Waits for the next change and says how long that took.
#[cfg(target_os = "linux")]
async fn noticed(
    changes: &mut Changes,
    destinations: &Destinations,
) -> (NetworkChangeKind, Duration) {
    let began = clock::now();
    let next = changes.next(destinations);
    let (kind, said) = tokio::time::timeout(Duration::from_secs(10), next)
        .await
        .expect("noticed");
    let took = clock::now() - began;
    assert!(said.contains("203.0.113.1"), "{said}");
    (kind, took)
}

#[cfg(target_os = "linux")]
#[tokio::test]
#[ignore = "runs in a namespace of its own, by the test above"]
async fn inside_a_network_of_its_own() {
    use crate::net::lab::ip;

    for (one, other) in [("first", "first-end"), ("second", "second-end")] {
        ip(&["link", "add", one, "type", "veth", "peer", "name", other]);
        ip(&["link", "set", one, "up"]);
        ip(&["link", "set", other, "up"]);
    }
    ip(&["address", "add", "192.0.2.9/24", "dev", "first"]);
    ip(&["address", "add", "198.51.100.9/24", "dev", "second"]);
    ip(&["route", "add", "default", "via", "192.0.2.1"]);
    let destinations = Destinations::default();
    destinations.set(0, vec![IpAddr::from([203, 0, 113, 1])]);
    let mut changes = Changes::listen();
    changes.ways = ways(&destinations.all());
    let at_once = SPACING + SETTLE + Duration::from_secs(1);

    // What concerns nobody here: another link, another route, and the same route once more.
    ip(&[
        "link",
        "add",
        "third",
        "type",
        "veth",
        "peer",
        "name",
        "third-end",
    ]);
    ip(&["link", "set", "third", "up"]);
    ip(&["route", "add", "10.9.0.0/16", "via", "192.0.2.1"]);
    ip(&["route", "replace", "default", "via", "192.0.2.1"]);
    let quiet = tokio::time::timeout(2 * SPACING, changes.next(&destinations)).await;
    assert!(quiet.is_err(), "{quiet:?}");

    ip(&["route", "replace", "default", "via", "198.51.100.1"]);
    let (kind, took) = noticed(&mut changes, &destinations).await;
    assert_eq!(kind, NetworkChangeKind::Route);
    assert!(took < at_once, "{took:?}");

    ip(&["address", "add", "198.51.100.77/24", "dev", "second"]);
    ip(&[
        "route",
        "replace",
        "default",
        "via",
        "198.51.100.1",
        "src",
        "198.51.100.77",
    ]);
    let (kind, took) = noticed(&mut changes, &destinations).await;
    assert_eq!(kind, NetworkChangeKind::Address);
    assert!(took < at_once, "{took:?}");

    ip(&["link", "set", "second", "down"]);
    let (kind, took) = noticed(&mut changes, &destinations).await;
    assert_eq!(kind, NetworkChangeKind::Link);
    assert!(took < at_once, "{took:?}");

    ip(&["route", "add", "default", "via", "192.0.2.1"]);
    let (kind, took) = noticed(&mut changes, &destinations).await;
    assert_eq!(kind, NetworkChangeKind::Route);
    assert!(took < at_once, "{took:?}");
}
