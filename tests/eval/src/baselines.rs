//! What others would have said of the same stream: hop lists, one flow, sets for each TTL, RTT alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::record::{Body, Sent};
use crate::script::QUIET_S;

/// Names of the baselines, in order of their counts.
pub(crate) const NAMES: [&str; 4] = ["classic", "pinned", "sets", "rtt"];

/// One agent as the baselines see it.
#[derive(Default)]
struct Watch {
    list: Vec<Option<Ipv4Addr>>,
    pinned: Vec<Option<Ipv4Addr>>,
    sets: BTreeMap<u64, BTreeSet<Ipv4Addr>>,
    floor: f64,
    off: u8,
}

/// All baselines over all agents: moments at which each would have spoken.
#[derive(Default)]
pub(crate) struct Baselines {
    watches: BTreeMap<u64, Watch>,
    /// Agent and time, by baseline.
    pub said: [Vec<(u64, f64)>; 4],
}

impl Baselines {
    pub(crate) fn take_in(&mut self, sent: &Sent) {
        let watch = self.watches.entry(sent.agent).or_default();
        let spoke = match &sent.body {
            Body::Pulse { rtt_us } => [
                false,
                false,
                false,
                rtt_us.is_some_and(|rtt| watch.rtt(f64::from(rtt))),
            ],
            Body::Round { stream, flows, .. } if *stream == "full" => {
                let mut spoke = [false; 4];
                if let Some(flow) = flows.first() {
                    let hops: Vec<Option<Ipv4Addr>> =
                        flow.hops.iter().map(|hop| hop.map(|hop| hop.0)).collect();
                    spoke = [watch.classic(&hops), watch.one(&hops), false, false];
                }
                for flow in flows {
                    for (ttl, hop) in (flow.first_ttl..).zip(&flow.hops) {
                        if let Some((address, _)) = hop {
                            spoke[2] |= watch.sets.entry(ttl).or_default().insert(*address);
                        }
                    }
                }
                spoke
            }
            Body::Round { .. } | Body::Gap { .. } | Body::World { .. } => return,
        };
        if sent.at < QUIET_S {
            return;
        }
        for (said, spoke) in self.said.iter_mut().zip(spoke) {
            if spoke {
                said.push((sent.agent, sent.at));
            }
        }
    }
}

impl Watch {
    /// Any difference between two hop lists of one flow.
    fn classic(&mut self, hops: &[Option<Ipv4Addr>]) -> bool {
        let differs = !self.list.is_empty() && self.list != hops;
        self.list = hops.to_vec();
        differs
    }

    /// Another address at a TTL of one pinned flow, silence aside.
    fn one(&mut self, hops: &[Option<Ipv4Addr>]) -> bool {
        let first = self.pinned.is_empty();
        self.pinned.resize(hops.len(), None);
        let mut differs = false;
        for (old, new) in self.pinned.iter_mut().zip(hops) {
            differs |= old.is_some() && new.is_some() && old != new;
            *old = new.or(*old);
        }
        differs && !first
    }

    /// An RTT that is 2 ms off its level for three pulses.
    fn rtt(&mut self, rtt_us: f64) -> bool {
        if self.floor == 0.0 {
            self.floor = rtt_us;
        }
        if (rtt_us - self.floor).abs() < 2_000.0 {
            self.floor += (rtt_us - self.floor) * 0.05;
            self.off = 0;
            return false;
        }
        self.off += 1;
        if self.off < 3 {
            return false;
        }
        (self.floor, self.off) = (rtt_us, 0);
        true
    }
}
