//! Multipath discovery over simulated diamonds: the agent's own pure core, with virtual time, as often as it takes to tell its
//! rate of misses from what it promises.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::ensure;
use firstmile_path::gate::Open;
use firstmile_path::mda::Mda;
use firstmile_path::met::{Reply, ReplyKind};
use firstmile_path::plan::{DEFAULT_ALPHA, Known, Stream, TracePlan, all_flows};
use firstmile_path::trace::{Probe, Step};

use super::diamond::Seen;
use crate::clock;

const RTT: Duration = Duration::from_millis(10);
/// Steps of one discovery at most: it is bounded itself, and a fault shall not hang the bench.
const MOST_STEPS: u32 = 100_000;

/// Discovers a diamond so many times, each with another hash of its router.
pub(crate) fn discover(width: u8, runs: u32) -> anyhow::Result<Seen> {
    let truth: BTreeSet<IpAddr> = (0..width).map(|branch| router(2, branch)).collect();
    let mut seen = Seen {
        width,
        alpha: DEFAULT_ALPHA,
        ..Seen::default()
    };
    for run in 0..runs {
        let mut mda = Mda::new(plan());
        drive(&mut mda, width, mix(u64::from(run) << 8 | u64::from(width)))?;
        let found = mda.found();
        let branches = found.hops.iter().find(|hop| hop.ttl == 2);
        let branches: BTreeSet<IpAddr> = branches
            .into_iter()
            .flat_map(|hop| hop.addresses.iter().copied())
            .collect();
        seen.runs += 1;
        seen.missed += u32::from(branches != truth);
        seen.packets += u64::from(found.probes);
    }
    Ok(seen)
}

fn plan() -> TracePlan {
    TracePlan {
        stream: Stream::Refresh,
        flows: all_flows(8),
        spacing: Duration::ZERO,
        timeout: RTT * 10,
        grace: RTT * 5,
        alpha: DEFAULT_ALPHA,
        known: Known::default(),
    }
}

fn drive(mda: &mut Mda, width: u8, seed: u64) -> anyhow::Result<()> {
    let mut now = clock::instant();
    let mut replies: VecDeque<(Instant, _, Reply)> = VecDeque::new();
    for _ in 0..MOST_STEPS {
        match mda.poll(now, &mut Open) {
            Step::Finished => return Ok(()),
            Step::Transmit(probe) => {
                replies.push_back((now + RTT, probe.id, reply(probe, width, seed)));
            }
            Step::WaitUntil(deadline) => {
                now = deadline;
                if let Some((at, id, reply)) = replies.pop_front_if(|(at, _, _)| *at <= deadline) {
                    mda.on_reply(id, reply, at);
                    now = at;
                }
            }
        }
    }
    ensure!(false, "a discovery does not end");
    Ok(())
}

fn reply(probe: Probe, width: u8, seed: u64) -> Reply {
    let (from, kind) = match probe.ttl {
        2 => {
            let branch = mix(seed ^ mix(u64::from(probe.flow))) % u64::from(width.max(1));
            (
                router(2, u8::try_from(branch).unwrap_or(0)),
                ReplyKind::TimeExceeded,
            )
        }
        1 | 3 => (router(probe.ttl, 0), ReplyKind::TimeExceeded),
        _ => (router(4, 0), ReplyKind::Destination),
    };
    Reply::plain(from, kind, 11 << 8, 60)
}

fn router(ttl: u8, branch: u8) -> IpAddr {
    Ipv4Addr::new(198, 18, ttl, branch + 1).into()
}

/// The finaliser of splitmix64: every bit of the result depends on every bit of the argument.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
