//! The rule at its edges, over any evidence, and as a story of rounds.

use proptest::prelude::*;

use super::*;
use crate::probe::met::Silence;
use crate::probe::trace::{Hop, Place};

const MS: Duration = Duration::from_millis(1);

fn evidence(tcp_ms: u32, ingress_ms: u32, tcp: Option<u8>, echo: Option<u8>, met: u8) -> Evidence {
    let some = |ms: u32| (ms > 0).then(|| MS * ms);
    Evidence {
        tcp: some(tcp_ms),
        ingress: some(ingress_ms),
        tcp_routers: tcp,
        echo_routers: echo,
        met_routers: met,
    }
}

#[test]
fn what_is_nearer_than_it_can_be_is_told_from_what_is_merely_near() {
    for (name, evidence, is_local) in [
        ("behind the ingress", evidence(12, 10, None, None, 0), false),
        ("at the ingress", evidence(10, 10, None, None, 0), false),
        ("a slow router", evidence(9, 11, None, None, 0), false),
        (
            "a slow router far away",
            evidence(80, 100, None, None, 0),
            false,
        ),
        ("a proxy at home", evidence(1, 10, None, None, 0), true),
        ("a gateway half way", evidence(20, 40, None, None, 0), true),
        ("no ingress known", evidence(1, 0, None, None, 0), false),
        ("no TCP since", evidence(0, 10, None, None, 0), false),
        (
            "as far as the echo",
            evidence(0, 0, Some(11), Some(12), 10),
            false,
        ),
        (
            "another way back",
            evidence(0, 0, Some(9), Some(12), 10),
            false,
        ),
        (
            "much nearer than the echo",
            evidence(0, 0, Some(2), Some(12), 2),
            true,
        ),
        (
            "next door, echo not answered",
            evidence(0, 0, Some(1), None, 9),
            true,
        ),
        ("a short way back", evidence(0, 0, Some(5), None, 9), false),
        ("a neighbour", evidence(0, 0, Some(0), Some(0), 0), false),
        ("nothing known", Evidence::default(), false),
    ] {
        assert_eq!(evidence.judge().is_some(), is_local, "{name}");
    }
}

#[test]
fn the_routers_crossed_are_counted_from_the_next_start() {
    for (ttl, want) in [
        (0, None),
        (1, Some(63)),
        (64, Some(0)),
        (65, Some(63)),
        (117, Some(11)),
        (128, Some(0)),
        (243, Some(12)),
        (255, Some(0)),
    ] {
        assert_eq!(routers_crossed(ttl), want, "{ttl}");
    }
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([198, 51, 100, last])
}

/// A flow over routers 1, 2 and the ingress with this number and RTT, to a destination whose reply has this TTL.
fn flow(ingress: u8, ingress_ms: u32, reply_ttl: u8) -> FlowPath {
    let place = |ttl: u8, last: u8, ms: u32, reply_ttl: u8| Place {
        ttl,
        hop: Some(Hop {
            reply_ttl,
            ..Hop::plain(address(last), MS * ms)
        }),
        silence: Silence::default(),
        also: Vec::new(),
    };
    FlowPath {
        flow: 0,
        first_ttl: 1,
        last_ttl: 4,
        hops: vec![
            place(1, 1, 1, 64),
            place(2, 2, 5, 64),
            place(3, ingress, ingress_ms, 64),
            place(4, 99, ingress_ms + 1, reply_ttl),
        ],
        destination_ttl: Some(4),
        loops: false,
    }
}

/// A round of several flows, without a TCP connect; returns whether TCP is held to be answered on the way.
fn round_of(nearness: &mut Nearness, flows: &[FlowPath]) -> bool {
    nearness.on_round(flows, true, |_| false);
    nearness.verdict().is_some()
}

/// A round after one TCP connect; returns whether TCP is held to be answered on the way.
fn round(nearness: &mut Nearness, tcp_ms: u32, flow: &FlowPath) -> bool {
    nearness.on_tcp(MS * tcp_ms);
    let inside = |router: IpAddr| router == address(50) || router == address(51);
    nearness.on_round(std::slice::from_ref(flow), true, inside);
    nearness.verdict().is_some()
}

#[test]
fn a_proxy_is_known_after_a_few_rounds_and_forgotten_when_it_is_gone() {
    let mut nearness = Nearness::default();
    let path = flow(50, 20, 0);
    let seen: Vec<bool> = (0..4).map(|_| round(&mut nearness, 1, &path)).collect();
    assert_eq!(seen, [false, false, true, true]);
    assert!(!round(&mut nearness, 22, &path), "the proxy is gone");
}

#[test]
fn one_late_reply_of_a_router_says_nothing() {
    let mut nearness = Nearness::default();
    for ms in [10, 10, 300, 300, 300] {
        assert!(!round(&mut nearness, 11, &flow(50, ms, 0)));
    }
}

#[test]
fn a_path_that_becomes_shorter_is_no_proxy() {
    let mut nearness = Nearness::default();
    for _ in 0..5 {
        assert!(!round(&mut nearness, 42, &flow(50, 40, 0)));
    }
    // From now on the network is entered near by. Between the change and the next round nothing is decided.
    assert!(!round(&mut nearness, 6, &flow(51, 5, 0)));
    for _ in 0..5 {
        assert!(!round(&mut nearness, 6, &flow(51, 5, 0)));
    }
}

#[test]
fn replies_that_cross_too_few_routers_are_known_at_once() {
    let mut nearness = Nearness::default();
    nearness.on_echo(64 - 12);
    assert!(round(&mut nearness, 30, &flow(50, 20, 63)));
    assert!(!round(&mut nearness, 30, &flow(50, 20, 64 - 11)));
}

/// TCP is answered next door for all of them; only a path that has come to its end says how far that is from the edge.
#[test]
fn a_loop_or_a_path_without_an_end_says_nothing_of_how_far_the_edge_is() {
    for (name, loops, reaches, is_local) in [
        ("whole", false, true, true),
        ("looping", true, true, false),
        ("not reached", false, false, false),
        ("looping, not reached", true, false, false),
    ] {
        let mut nearness = Nearness::default();
        let mut far = flow(50, 20, 0);
        far.loops = loops;
        far.destination_ttl = reaches.then_some(20);
        for place in &mut far.hops {
            place.ttl += 16;
        }
        far.last_ttl = 20;
        // Another flow comes to its end, next door.
        let mut near = flow(50, 20, 63);
        near.hops.retain(|place| place.ttl == 1 || place.ttl == 4);
        assert_eq!(round_of(&mut nearness, &[near, far]), is_local, "{name}");
    }
}

proptest! {
    /// What takes at least as long as the ingress, and crosses at least as many routers as others, is never local.
    #[test]
    fn what_is_far_enough_is_never_local(ingress in 0u32..500, more in 0u32..500, routers in 0u8..60, extra in 0u8..60, met in 0u8..30) {
        let tcp = routers.saturating_add(extra).max(met);
        prop_assert_eq!(evidence(ingress + more, ingress, Some(tcp), Some(routers), met).judge(), None);
    }

    /// What is local stays so when TCP comes back yet sooner, and over yet fewer routers.
    #[test]
    fn nearer_is_no_less_local(tcp in 1u32..200, sooner in 0u32..200, ingress in 0u32..200, crossed in 0u8..64, fewer in 0u8..64, echo in prop::option::of(0u8..64), met in 0u8..30) {
        if evidence(tcp, ingress, Some(crossed), echo, met).judge().is_some() {
            let nearer = evidence(tcp.saturating_sub(sooner).max(1), ingress, Some(crossed.saturating_sub(fewer)), echo, met);
            prop_assert!(nearer.judge().is_some());
        }
    }

    #[test]
    fn every_ttl_has_its_count(ttl: u8) {
        prop_assert_eq!(routers_crossed(ttl).is_none(), ttl == 0);
        prop_assert!(routers_crossed(ttl).is_none_or(|routers| routers < 127));
    }
}
