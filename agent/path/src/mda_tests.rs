//! Multipath discovery against simulated diamonds: what it misses is what its rule allows, and what it says is so.

use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::gate::Open;
use crate::plan::{DEFAULT_ALPHA, Known, Stream, all_flows};
use crate::testing;

const MS: Duration = Duration::from_millis(1);

/// At each TTL so many routers, one for each residue of a hash of the flow; past them the destination.
#[derive(Clone, Debug)]
struct Network {
    widths: Vec<u8>,
    seed: u64,
    silent: BTreeSet<u8>,
    per_packet: BTreeSet<u8>,
    /// The last routers pass nothing on.
    barred: bool,
}

impl Network {
    fn new(widths: &[u8], seed: u64) -> Self {
        Self {
            widths: widths.to_vec(),
            seed,
            silent: BTreeSet::new(),
            per_packet: BTreeSet::new(),
            barred: false,
        }
    }

    fn reply(&self, probe: Probe, packet: u64) -> Option<Reply> {
        let at = if self.barred {
            probe.ttl.min(u8::try_from(self.widths.len()).expect("few"))
        } else {
            probe.ttl
        };
        let Some(width) = self.widths.get(usize::from(at) - 1) else {
            return Some(Reply::plain(destination(), ReplyKind::Destination, 0, 50));
        };
        if self.silent.contains(&probe.ttl) {
            return None;
        }
        let what = if self.per_packet.contains(&probe.ttl) {
            packet + 1_000_000
        } else {
            u64::from(probe.flow)
        };
        let branch = mix(self.seed ^ mix(what ^ mix(u64::from(at)))) % u64::from(*width);
        let branch = u8::try_from(branch).expect("a few");
        let kind = if self.barred && usize::from(at) == self.widths.len() {
            ReplyKind::Barred
        } else {
            ReplyKind::TimeExceeded
        };
        Some(Reply::plain(router(at, branch), kind, 11 << 8, 60))
    }
}

/// The finaliser of splitmix64: every bit of the result depends on every bit of the argument.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn router(ttl: u8, branch: u8) -> IpAddr {
    Ipv4Addr::new(198, 18, ttl, branch).into()
}

fn destination() -> IpAddr {
    Ipv4Addr::new(203, 0, 113, 1).into()
}

fn plan(alpha: f64) -> TracePlan {
    TracePlan {
        stream: Stream::Refresh,
        flows: all_flows(4),
        spacing: Duration::ZERO,
        timeout: 1000 * MS,
        grace: 300 * MS,
        alpha,
        known: Known::default(),
    }
}

fn drive(network: &Network, alpha: f64) -> Found {
    let mut mda = Mda::new(plan(alpha));
    drive_with(network, &mut mda);
    mda.found()
}

fn drive_with(network: &Network, mda: &mut Mda) {
    let mut now = testing::start();
    let mut replies: VecDeque<(Instant, ProbeId, Reply)> = VecDeque::new();
    let mut packet = 0;
    for _ in 0..200_000 {
        match mda.poll(now, &mut Open) {
            Step::Finished => return,
            Step::Transmit(probe) => {
                packet += 1;
                if let Some(reply) = network.reply(probe, packet) {
                    replies.push_back((now + 10 * MS, probe.id, reply));
                }
            }
            Step::WaitUntil(deadline) => {
                assert!(deadline > now, "a wait that does not wait would spin");
                now = match replies.front().copied() {
                    Some((at, id, reply)) if at <= deadline => {
                        replies.pop_front();
                        assert!(mda.on_reply(id, reply, at));
                        at
                    }
                    _ => deadline,
                };
            }
        }
    }
    panic!("the discovery does not finish");
}

/// Chance that the rule stops before all of `width` branches of equal weight were met: a walk over (flows, met).
fn chance_of_a_miss(width: usize, alpha: f64) -> f64 {
    let stopping = Stopping::new(alpha);
    let (mut open, mut missed) = (vec![0.0; width + 1], 0.0);
    open[0] = 1.0;
    for flows in 1..2_000 {
        let mut next = vec![0.0; width + 1];
        for met in 0..=width {
            let share = f64::from(u32::try_from(met).expect("few"))
                / f64::from(u32::try_from(width).expect("few"));
            next[met] += open[met] * share;
            if met < width {
                next[met + 1] += open[met] * (1.0 - share);
            }
        }
        for (met, chance) in next.iter_mut().enumerate().take(width).skip(1) {
            if flows >= stopping.point(met) {
                missed += *chance;
                *chance = 0.0;
            }
        }
        open = next;
    }
    missed
}

/// The 95 % interval of a count of `runs` with chance `p`, by the normal approximation with its continuity correction.
fn interval(runs: f64, p: f64) -> (f64, f64) {
    let half = 1.96 * (runs * p * (1.0 - p)).sqrt() + 0.5;
    (runs * p - half, runs * p + half)
}

#[test]
fn what_is_missed_of_a_diamond_is_what_the_rule_allows() {
    const RUNS: u32 = 2_000;
    for (width, alpha) in [(2, 0.05), (3, 0.05), (4, 0.05), (8, 0.05), (4, 0.01)] {
        let missed: u32 = (0..RUNS)
            .map(|seed| {
                let network = Network {
                    barred: true,
                    ..Network::new(&[1, width], mix(u64::from(seed) + 77))
                };
                let found = drive(&network, alpha);
                u32::from(found.hops[1].addresses.len() < usize::from(width))
            })
            .sum();
        let expected = chance_of_a_miss(usize::from(width), alpha);
        assert!(expected <= alpha * 1.2, "width {width}: {expected}");
        let (least, most) = interval(f64::from(RUNS), expected);
        let missed = f64::from(missed);
        assert!(
            missed >= least && missed <= most,
            "width {width}, alpha {alpha}: {missed} of {RUNS} missed, {least:.1} to {most:.1} allowed"
        );
    }
}

#[test]
fn following_the_branches_makes_misses_rarer_than_promised() {
    const RUNS: u32 = 200;
    let missed: u32 = (0..RUNS)
        .map(|seed| {
            let found = drive(&Network::new(&[1, 4, 1], u64::from(seed)), DEFAULT_ALPHA);
            u32::from(found.hops[1].addresses.len() < 4)
        })
        .sum();
    let (_, most) = interval(f64::from(RUNS), DEFAULT_ALPHA);
    assert!(f64::from(missed) <= most, "{missed} of {RUNS}");
}

#[test]
fn a_single_path_costs_six_packets_a_hop() {
    let found = drive(&Network::new(&[1; 11], 7), DEFAULT_ALPHA);
    assert_eq!(found.hops.len(), 12);
    for hop in &found.hops {
        assert!(hop.complete && !hop.per_packet, "{hop:?}");
        assert_eq!(hop.addresses.len(), 1);
        assert!(hop.probes <= 6, "{hop:?}");
    }
    assert_eq!(found.flows.len(), 4);
    for flow in &found.flows {
        assert_eq!((flow.destination_ttl, flow.hops.len()), (Some(12), 12));
    }
}

#[test]
fn links_are_those_that_flows_took() {
    let found = drive(&Network::new(&[1, 2, 2], 3), DEFAULT_ALPHA);
    assert_eq!(found.hops[0].links.len(), 2);
    assert!(found.hops[1].links.len() >= 2);
    for (a, b) in &found.hops[1].links {
        assert!(found.hops[1].addresses.contains(a) && found.hops[2].addresses.contains(b));
    }
}

#[test]
fn balanced_packets_are_told_from_balanced_flows() {
    let mut network = Network::new(&[1, 3, 1], 11);
    assert!(!drive(&network, DEFAULT_ALPHA).hops[1].per_packet);
    network.per_packet.insert(2);
    let found = drive(&network, DEFAULT_ALPHA);
    assert!(found.hops[1].per_packet);
    assert!(!found.flows[0].place(2).expect("asked").also.is_empty());
    assert!(
        found.hops[1].links.is_empty(),
        "no flow keeps to one of them"
    );
    assert!(found.hops[2].complete, "what stands behind is still found");
}

#[test]
fn a_silent_ttl_is_passed_over_and_not_called_complete() {
    let mut network = Network::new(&[1, 1, 2, 1], 5);
    network.silent.insert(2);
    let found = drive(&network, DEFAULT_ALPHA);
    assert!(!found.hops[1].complete && found.hops[1].addresses.is_empty());
    assert!(
        found.hops[2].complete,
        "flows are counted together behind it: {:?}",
        found.hops[2]
    );
    assert!(
        found.hops[1].probes <= 24,
        "silence is not worth more: {:?}",
        found.hops[1]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_discovery_finishes_within_its_bounds_and_says_nothing_untrue(
        widths in prop::collection::vec(1u8..10, 1..14), seed in any::<u64>(),
        silent in prop::collection::btree_set(1u8..14, 0..4), per_packet in prop::collection::btree_set(1u8..14, 0..2),
    ) {
        let network = Network { widths: widths.clone(), seed, silent, per_packet, barred: false };
        let found = drive(&network, DEFAULT_ALPHA);
        prop_assert!(found.hops.len() <= widths.len() + 1);
        for hop in &found.hops {
            prop_assert!(hop.probes <= MOST_PROBES + 16);
            let width = widths.get(usize::from(hop.ttl) - 1).map_or(1, |width| usize::from(*width));
            prop_assert!(hop.addresses.len() <= width);
            if hop.per_packet { prop_assert!(network.per_packet.contains(&hop.ttl)); }
            if network.silent.contains(&hop.ttl) && usize::from(hop.ttl) <= widths.len() { prop_assert!(!hop.complete); }
        }
        for flow in &found.flows {
            prop_assert_eq!(flow.destination_ttl, Some(u8::try_from(widths.len() + 1).expect("few")));
        }
    }
}
