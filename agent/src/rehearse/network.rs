//! A made-up network: twelve hops, the first seven shared by all targets, two of them balanced over two routers each; one pair
//! of ingress routers that all flows meet, and that is another pair after each change.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::probe::met::{Reply, ReplyKind};

/// Where the destination stands.
const END: u8 = 12;

/// Where Microsoft's network begins.
const INGRESS: u8 = 8;

/// TTLs at which flows are balanced over two routers.
const BALANCED: [u8; 3] = [4, 5, INGRESS];

/// There and back, for each hop.
const HOP_RTT: Duration = Duration::from_millis(5);

/// What routers are asked, and by how much.
#[derive(Debug, Default)]
pub(super) struct Network {
    /// Changes so far: it is in the address of the ingress routers.
    generation: u16,
    /// Packets of the last second, for each router.
    asked: BTreeMap<IpAddr, VecDeque<Instant>>,
    most_asked: usize,
}

impl Network {
    /// The address of a target.
    pub(super) fn destination(target: usize) -> IpAddr {
        address(END, 0, target, 0)
    }

    /// Whether a router stands in Microsoft's network.
    pub(super) const fn is_inside(address: IpAddr) -> bool {
        match address {
            IpAddr::V6(v6) => v6.segments()[2] >= INGRESS as u16,
            IpAddr::V4(_) => false,
        }
    }

    /// Another pair of ingress routers serves all from now on.
    pub(super) const fn change(&mut self) {
        self.generation += 1;
    }

    /// Changes so far.
    pub(super) const fn generation(&self) -> u16 {
        self.generation
    }

    /// Whether a router is one of the ingress routers of now.
    pub(super) fn is_current_ingress(&self, met: IpAddr) -> bool {
        (0..2).any(|branch| met == address(INGRESS, branch, 0, self.generation))
    }

    /// Packets that one router got within a second, at worst.
    pub(super) const fn most_asked(&self) -> usize {
        self.most_asked
    }

    /// A packet goes out: who answers, and when.
    pub(super) fn send(
        &mut self,
        target: usize,
        flow: u16,
        ttl: u8,
        now: Instant,
    ) -> (Instant, Reply) {
        let ttl = ttl.min(END);
        let branch = if BALANCED.contains(&ttl) { flow % 2 } else { 0 };
        let owner = if ttl <= INGRESS { 0 } else { target };
        let generation = if ttl == INGRESS { self.generation } else { 0 };
        let router = address(ttl, branch, owner, generation);
        let kind = if ttl == END {
            ReplyKind::Destination
        } else {
            self.note(router, now);
            ReplyKind::TimeExceeded
        };
        let reply = Reply::plain(router, kind, 0, 64);
        (now + HOP_RTT * u32::from(ttl), reply)
    }

    fn note(&mut self, router: IpAddr, now: Instant) {
        let asked = self.asked.entry(router).or_default();
        asked.push_back(now);
        let second = Duration::from_secs(1);
        while asked
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= second)
        {
            asked.pop_front();
        }
        self.most_asked = self.most_asked.max(asked.len());
    }
}

/// An address that says what it is (RFC 3849: none that anybody has).
fn address(ttl: u8, branch: u16, owner: usize, generation: u16) -> IpAddr {
    let owner = u16::try_from(owner).unwrap_or(u16::MAX);
    IpAddr::V6(Ipv6Addr::new(
        0x2001,
        0xdb8,
        u16::from(ttl),
        branch,
        owner,
        generation,
        0,
        1,
    ))
}
