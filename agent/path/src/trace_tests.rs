//! The trace machine against a virtual network: routers that answer, stay silent, lose packets, answer late.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::testing;

const MS: Duration = Duration::from_millis(1);

/// A network with one path: for each TTL from 1 the router there; past them the destination.
#[derive(Clone, Debug)]
struct Network {
    routers: Vec<Router>,
    destination_answers: bool,
}

#[derive(Clone, Copy, Debug)]
struct Router {
    silent: bool,
    /// How many of the first packets of each flow to this TTL are lost.
    loses_first: u8,
}

const GOOD: Router = Router {
    silent: false,
    loses_first: 0,
};
const SILENT: Router = Router {
    silent: true,
    loses_first: 0,
};
const LOSSY: Router = Router {
    silent: false,
    loses_first: 1,
};

fn router(ttl: u8) -> IpAddr {
    Ipv4Addr::new(198, 51, 100, ttl).into()
}

fn destination() -> IpAddr {
    Ipv4Addr::new(203, 0, 113, 1).into()
}

impl Network {
    fn reply(&self, probe: Probe, attempt: u8) -> Option<(Duration, Reply)> {
        let rtt = MS * 2 * u32::from(probe.ttl);
        match self.routers.get(usize::from(probe.ttl) - 1) {
            Some(router_here) => {
                (!router_here.silent && attempt > router_here.loses_first).then(|| {
                    (
                        rtt,
                        Reply::plain(router(probe.ttl), ReplyKind::TimeExceeded, 11 << 8, 60),
                    )
                })
            }
            None => self.destination_answers.then(|| {
                let hops = u32::try_from(self.routers.len() + 1).expect("few");
                (
                    MS * 2 * hops,
                    Reply::plain(destination(), ReplyKind::Destination, 0, 50),
                )
            }),
        }
    }
}

fn plan(flows: u16, known: Known) -> TracePlan {
    TracePlan {
        stream: Stream::Full,
        flows: all_flows(flows),
        spacing: 250 * MS,
        timeout: 1000 * MS,
        grace: 300 * MS,
        alpha: DEFAULT_ALPHA,
        known,
    }
}

struct Outcome {
    flows: Vec<FlowPath>,
    tallies: Vec<Tally>,
    packets: Vec<(Duration, Probe)>,
    took: Duration,
}

fn drive(network: &Network, plan: TracePlan) -> Outcome {
    let start = testing::start();
    drive_round(network, TraceRound::new(plan, start), start)
}

fn drive_round(network: &Network, mut round: TraceRound, start: Instant) -> Outcome {
    let mut now = start;
    let mut packets = Vec::new();
    let mut replies: Vec<(Instant, ProbeId, Reply)> = Vec::new();
    for _ in 0..10_000 {
        match round.poll(now, &mut Open) {
            Step::Finished => {
                return Outcome {
                    tallies: round.tallies(),
                    flows: round.into_flows(),
                    packets,
                    took: now - start,
                };
            }
            Step::Transmit(probe) => {
                packets.push((now - start, probe));
                let same = |p: &&(Duration, Probe)| (p.1.flow, p.1.ttl) == (probe.flow, probe.ttl);
                let attempt = u8::try_from(packets.iter().filter(same).count()).expect("few");
                if let Some((rtt, reply)) = network.reply(probe, attempt) {
                    replies.push((now + rtt, probe.id, reply));
                    replies.sort_by_key(|(at, _, _)| *at);
                }
            }
            Step::WaitUntil(deadline) => {
                assert!(deadline > now, "a wait that does not wait would spin");
                now = match replies.first().copied() {
                    Some((at, id, reply)) if at <= deadline => {
                        replies.remove(0);
                        round.on_reply(id, reply, at);
                        at
                    }
                    _ => deadline,
                };
            }
        }
    }
    panic!("the round does not finish");
}

fn addresses(path: &FlowPath) -> Vec<Option<IpAddr>> {
    path.hops
        .iter()
        .map(|place| place.hop.map(|hop| hop.address))
        .collect()
}

#[test]
fn all_flows_meet_the_whole_path_in_one_go() {
    let network = Network {
        routers: vec![GOOD; 7],
        destination_answers: true,
    };
    let outcome = drive(&network, plan(8, Known::default()));
    let mut want: Vec<Option<IpAddr>> = (1..=7).map(|ttl| Some(router(ttl))).collect();
    want.push(Some(destination()));
    for flow in &outcome.flows {
        assert_eq!(addresses(flow), want);
        assert_eq!(flow.destination_ttl, Some(8));
    }
    let of_flow = |flow| {
        outcome
            .packets
            .iter()
            .filter(|(_, p)| p.flow == flow)
            .count()
    };
    assert_eq!(
        of_flow(0),
        usize::from(FIRST_REACH),
        "the first flow knows nothing"
    );
    assert_eq!(
        of_flow(1),
        8,
        "the next one knows where the destination stands"
    );
    assert!(
        outcome.took < 250 * MS * 7 + 100 * MS,
        "nothing is waited for: {:?}",
        outcome.took
    );
}

#[test]
fn a_flow_that_began_before_the_end_was_known_reaches_it_past_a_silent_router() {
    // One packet of a flow at a time: the second flow begins while the first one waits at TTL 4.
    let network = Network {
        routers: vec![GOOD, GOOD, GOOD, SILENT, GOOD, GOOD, SILENT],
        destination_answers: true,
    };
    let start = testing::start();
    let round = TraceRound::new(plan(8, Known::default()), start);
    let outcome = drive_round(&network, round.one_at_a_time(), start);
    for flow in &outcome.flows {
        assert_eq!(flow.destination_ttl, Some(8), "{flow:?}");
    }
}

#[test]
fn flows_start_apart_and_send_all_ttls_at_once() {
    let network = Network {
        routers: vec![GOOD; 3],
        destination_answers: true,
    };
    let outcome = drive(
        &network,
        plan(
            4,
            Known {
                destination_ttl: Some(4),
                ..Known::default()
            },
        ),
    );
    for (at, probe) in &outcome.packets {
        assert_eq!(*at, 250 * MS * u32::from(probe.flow));
    }
    assert_eq!(outcome.packets.len(), 4 * 4);
}

#[test]
fn a_lost_packet_is_asked_again_and_a_silent_router_stays_silent() {
    let network = Network {
        routers: vec![GOOD, LOSSY, SILENT, GOOD],
        destination_answers: true,
    };
    let outcome = drive(&network, plan(1, Known::default()));
    assert_eq!(
        addresses(&outcome.flows[0]),
        [
            Some(router(1)),
            Some(router(2)),
            None,
            Some(router(4)),
            Some(destination())
        ]
    );
    let to_silent = outcome.packets.iter().filter(|(_, p)| p.ttl == 3).count();
    assert_eq!(to_silent, usize::from(MAX_ATTEMPTS));
    assert!(
        outcome.took <= 700 * MS,
        "grace, not the full timeout: {:?}",
        outcome.took
    );
}

#[test]
fn a_router_known_to_be_silent_is_asked_once() {
    let network = Network {
        routers: vec![GOOD, SILENT, GOOD],
        destination_answers: true,
    };
    let known = Known {
        destination_ttl: Some(4),
        silent_ttls: vec![2],
        ..Known::default()
    };
    let outcome = drive(&network, plan(1, known));
    assert_eq!(
        outcome.packets.iter().filter(|(_, p)| p.ttl == 2).count(),
        1
    );
}

#[test]
fn a_silent_destination_ends_four_ttls_past_the_last_answer() {
    let network = Network {
        routers: vec![GOOD, GOOD, GOOD],
        destination_answers: false,
    };
    let outcome = drive(
        &network,
        plan(
            2,
            Known {
                last_ttl: Some(3),
                ..Known::default()
            },
        ),
    );
    assert!(
        outcome
            .packets
            .iter()
            .all(|(_, p)| p.ttl <= 3 + BEYOND_LAST)
    );
    for flow in &outcome.flows {
        assert_eq!(
            addresses(flow),
            [Some(router(1)), Some(router(2)), Some(router(3))]
        );
        assert_eq!(flow.destination_ttl, None);
    }
}

#[test]
fn a_path_that_grew_is_followed() {
    let network = Network {
        routers: vec![GOOD; 15],
        destination_answers: true,
    };
    let outcome = drive(
        &network,
        plan(
            1,
            Known {
                destination_ttl: Some(4),
                ..Known::default()
            },
        ),
    );
    assert_eq!(outcome.flows[0].destination_ttl, Some(16));
    assert_eq!(outcome.flows[0].hops.len(), 16);
}

#[test]
fn a_destination_that_loses_the_first_packet_does_not_move_one_hop_away() {
    // The packet at the destination's own TTL is lost, the one sent again is answered.
    let start = testing::start();
    let mut round = TraceRound::new(
        plan(
            1,
            Known {
                destination_ttl: Some(2),
                ..Known::default()
            },
        ),
        start,
    );
    let mut ids = Vec::new();
    while let Step::Transmit(probe) = round.poll(start, &mut Open) {
        ids.push(probe);
    }
    let from_destination = Reply::plain(destination(), ReplyKind::Destination, 0, 50);
    let from_router = Reply::plain(router(1), ReplyKind::TimeExceeded, 11 << 8, 60);
    assert!(round.on_reply(ids[0].id, from_router, start + MS));
    assert_eq!(ids.len(), 2, "what is known is not overshot");
    let later = start + 1000 * MS;
    let Step::Transmit(again) = round.poll(later, &mut Open) else {
        panic!("the silent TTL is asked again")
    };
    assert_eq!(again.ttl, 2);
    assert!(round.on_reply(again.id, from_destination, later + 5 * MS));
    assert_eq!(round.poll(later + 5 * MS, &mut Open), Step::Finished);
    assert_eq!(round.into_flows()[0].destination_ttl, Some(2));
}

#[test]
fn a_router_that_bars_the_way_ends_the_flow() {
    let start = testing::start();
    let mut round = TraceRound::new(
        plan(
            1,
            Known {
                last_ttl: Some(2),
                ..Known::default()
            },
        ),
        start,
    );
    let mut probes = Vec::new();
    while let Step::Transmit(probe) = round.poll(start, &mut Open) {
        probes.push(probe);
    }
    let barred = Reply::plain(router(2), ReplyKind::Barred, (3 << 8) + 13, 60);
    let passed = Reply::plain(router(1), ReplyKind::TimeExceeded, 11 << 8, 60);
    assert!(
        round.on_reply(probes[3].id, barred, start + MS),
        "any TTL past it is barred too"
    );
    assert!(round.on_reply(probes[1].id, barred, start + MS));
    assert!(round.on_reply(probes[0].id, passed, start + MS));
    assert_eq!(round.poll(start + MS, &mut Open), Step::Finished);
    let flow = &round.into_flows()[0];
    assert_eq!(
        (addresses(flow), flow.destination_ttl),
        (vec![Some(router(1)), Some(router(2))], None)
    );
}

#[test]
fn late_repeated_and_forged_replies_are_nothing() {
    let start = testing::start();
    let mut round = TraceRound::new(
        plan(
            1,
            Known {
                destination_ttl: Some(1),
                ..Known::default()
            },
        ),
        start,
    );
    let Step::Transmit(probe) = round.poll(start, &mut Open) else {
        panic!("sends")
    };
    let reply = Reply::plain(router(1), ReplyKind::TimeExceeded, 11 << 8, 60);
    assert!(!round.on_reply(ProbeId(999), reply, start + MS), "forged");
    assert!(round.on_reply(probe.id, reply, start + MS));
    assert!(!round.on_reply(probe.id, reply, start + 2 * MS), "repeated");
    let Step::Transmit(second) = round.poll(start + 2 * MS, &mut Open) else {
        panic!("sends")
    };
    assert!(!round.on_reply(second.id, reply, start + 1003 * MS), "late");
}

fn any_router() -> impl Strategy<Value = Router> {
    (any::<bool>(), 0u8..3).prop_map(|(silent, loses_first)| Router {
        silent,
        loses_first,
    })
}

proptest! {
    #[test]
    fn every_round_finishes_within_its_bounds(
        routers in prop::collection::vec(any_router(), 0..35),
        destination_answers in any::<bool>(),
        flows in 1u16..=8,
        destination_ttl in prop::option::of(1u8..=30),
        last_ttl in prop::option::of(1u8..=30),
    ) {
        let network = Network { routers: routers.clone(), destination_answers };
        let outcome = drive(&network, plan(flows, Known { destination_ttl, last_ttl, ..Known::default() }));
        prop_assert!(outcome.packets.iter().all(|(_, p)| (1..=MAX_TTL).contains(&p.ttl)));
        for flow in 0..flows {
            for ttl in 1..=MAX_TTL {
                let sent = outcome.packets.iter().filter(|(_, p)| (p.flow, p.ttl) == (flow, ttl)).count();
                prop_assert!(sent <= usize::from(MAX_ATTEMPTS));
            }
        }
        for flow in &outcome.flows {
            // What is claimed is true: a hop is the router that stands there, the destination stands where it stands.
            for (index, hop) in flow.hops.iter().enumerate() {
                let Some(hop) = hop.hop else { continue };
                let truth = if index < routers.len() { router(u8::try_from(index + 1).expect("few")) } else { destination() };
                prop_assert_eq!(hop.address, truth);
            }
            if let Some(ttl) = flow.destination_ttl {
                prop_assert_eq!(usize::from(ttl), routers.len() + 1);
            }
        }
        for tally in &outcome.tallies {
            let sent = outcome.packets.iter().filter(|(_, p)| (p.flow, p.ttl) == (tally.flow, tally.ttl)).count();
            prop_assert_eq!(usize::from(tally.sent), sent);
            let path = &outcome.flows[usize::from(tally.flow)];
            let hop = path.hop(tally.ttl).copied();
            prop_assert_eq!(tally.hop, hop);
            prop_assert_eq!(tally.is_destination, path.destination_ttl == Some(tally.ttl));
        }
    }

    #[test]
    fn one_lost_packet_anywhere_never_changes_the_path(length in 1usize..20, lost in 0usize..20, silent in 0usize..20) {
        let mut routers = vec![GOOD; length];
        if let Some(router) = routers.get_mut(silent) { *router = SILENT; }
        let quiet = drive(&Network { routers: routers.clone(), destination_answers: true }, plan(2, Known::default()));
        if let Some(router) = routers.get_mut(lost).filter(|r| !r.silent) { *router = LOSSY; }
        let lossy = drive(&Network { routers, destination_answers: true }, plan(2, Known::default()));
        prop_assert_eq!(
            quiet.flows.iter().map(addresses).collect::<Vec<_>>(),
            lossy.flows.iter().map(addresses).collect::<Vec<_>>()
        );
    }
}

/// What two flows of earlier rounds met here, except that `other` stands at TTL 3.
fn expecting(flows: u16, other: Option<IpAddr>) -> Known {
    let at = |ttl: u8| {
        let end = ttl == 6;
        other
            .filter(|_| ttl == 3)
            .unwrap_or(if end { destination() } else { router(ttl) })
    };
    let places = (0..flows).flat_map(|flow| (1..=6).map(move |ttl| (flow, ttl)));
    Known {
        destination_ttl: Some(6),
        last_ttl: Some(6),
        expected: places.map(|place| (place, at(place.1))).collect(),
        ..Known::default()
    }
}

#[test]
fn a_round_that_meets_another_router_ends_with_a_second_flow_and_a_burst_does_not() {
    let network = Network {
        routers: vec![GOOD; 5],
        destination_answers: true,
    };
    let moved = expecting(8, Some(Ipv4Addr::new(198, 51, 100, 77).into()));
    for (name, stream, known, flows) in [
        ("as expected", Stream::Full, expecting(8, None), 8),
        ("moved", Stream::Full, moved.clone(), 2),
        ("moved before a burst", Stream::Burst(None), moved, 8),
    ] {
        let outcome = drive(
            &network,
            TracePlan {
                stream,
                ..plan(8, known)
            },
        );
        assert_eq!(outcome.flows.len(), flows, "{name}");
        for flow in &outcome.flows {
            assert_eq!(flow.destination_ttl, Some(6), "{name}: all of it is met");
        }
        if flows == 2 {
            let late = outcome.took > 100 * MS;
            assert!(!late, "the second flow starts at once: {:?}", outcome.took);
        }
    }
}

#[test]
fn a_round_that_is_cut_short_from_outside_waits_for_what_is_under_way() {
    let start = testing::start();
    let mut round = TraceRound::new(plan(8, expecting(8, None)), start);
    let mut sent = Vec::new();
    while let Step::Transmit(probe) = round.poll(start, &mut Open) {
        sent.push(probe);
    }
    assert_eq!(sent.len(), 6, "the first flow");
    round.cut_short(start + 10 * MS);
    let mut second = 0;
    while let Step::Transmit(probe) = round.poll(start + 10 * MS, &mut Open) {
        assert_eq!(probe.flow, 1);
        second += 1;
    }
    assert_eq!(second, 6, "one flow alone says little");
    let reply = Reply::plain(router(2), ReplyKind::TimeExceeded, 11 << 8, 60);
    assert!(round.on_reply(sent[1].id, reply, start + 20 * MS));
    let flows = round.into_flows();
    assert_eq!(flows.len(), 2);
    assert_eq!(flows[0].hop(2).map(|hop| hop.address), Some(router(2)));
}
