//! What a discovery has found, TTL by TTL and for the flows of its plan.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Group, Mda, Node, Row};
use crate::met::{FlowPath, MAX_ALSO, MultipathHop, Place, Silence};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The paths of the flows of the plan.
    pub flows: Vec<FlowPath>,
    /// TTL by TTL.
    pub hops: Vec<MultipathHop>,
    /// Packets in all.
    pub probes: u32,
}

impl Mda {
    /// What was found so far.
    pub fn found(&self) -> Found {
        let last = self
            .rows
            .iter()
            .filter(|(_, row)| !row.addresses().is_empty())
            .map(|(ttl, _)| *ttl)
            .next_back()
            .unwrap_or(0);
        Found {
            flows: self
                .plan
                .flows
                .iter()
                .map(|flow| self.path(*flow))
                .collect(),
            hops: (1..=last).map(|ttl| self.hop(ttl)).collect(),
            probes: self.rows.values().map(|row| row.probes).sum(),
        }
    }

    fn hop(&self, ttl: u8) -> MultipathHop {
        let groups = self.groups(ttl);
        let is_enough = |group: &Group| {
            !group.next.is_empty() && group.answered >= self.stopping.point(group.next.len())
        };
        let empty = Row::default();
        let row = self.rows.get(&ttl).unwrap_or(&empty);
        MultipathHop {
            ttl,
            addresses: row.addresses().into_iter().collect(),
            probes: row.probes,
            answered: row.answered,
            complete: !groups.is_empty() && groups.values().all(is_enough),
            per_packet: row.is_per_packet(),
            links: self.links(ttl),
        }
    }

    /// Pairs of routers here and one TTL on that one flow met; none where packets are balanced.
    fn links(&self, ttl: u8) -> Vec<(IpAddr, IpAddr)> {
        let (Some(here), Some(there)) = (self.rows.get(&ttl), self.rows.get(&(ttl + 1))) else {
            return Vec::new();
        };
        if here.is_per_packet() || there.is_per_packet() {
            return Vec::new();
        }
        let pair = |(flow, node): (&u16, &Node)| match (node, there.nodes.get(flow)) {
            (Node::At(a), Some(Node::At(b))) => Some((a.address, b.address)),
            _ => None,
        };
        let links: BTreeSet<_> = here.nodes.iter().filter_map(pair).collect();
        links.into_iter().collect()
    }

    fn path(&self, flow: u16) -> FlowPath {
        let node = |ttl: u8| self.rows.get(&ttl).and_then(|row| row.nodes.get(&flow));
        let hop = |ttl: u8| match node(ttl) {
            Some(Node::At(hop)) => Some(*hop),
            Some(Node::Pending | Node::Silent) | None => None,
        };
        let end = self.ends.get(&flow).copied();
        let last_answer = (1..=self.horizon)
            .rev()
            .find(|ttl| hop(*ttl).is_some())
            .unwrap_or(0);
        let last = end.map_or(last_answer, |(ttl, _)| ttl);
        let place = |ttl: u8| Place {
            ttl,
            hop: hop(ttl),
            silence: match self.rows.get(&ttl) {
                _ if hop(ttl).is_some() || ttl > last_answer => Silence::None,
                Some(row) if !row.addresses().is_empty() => Silence::RateLimited,
                Some(_) | None => Silence::Silent,
            },
            also: self.also(flow, ttl),
        };
        let mut path = FlowPath {
            flow,
            first_ttl: 1,
            last_ttl: (1..=self.horizon)
                .rev()
                .find(|ttl| node(*ttl).is_some())
                .unwrap_or(0),
            hops: (1..=last)
                .filter(|ttl| node(*ttl).is_some())
                .map(place)
                .collect(),
            destination_ttl: end
                .filter(|(_, is_destination)| *is_destination)
                .map(|(ttl, _)| ttl),
            loops: false,
        };
        path.loops = path.has_loop();
        path
    }

    /// Whom else the repeated flow met here.
    fn also(&self, flow: u16, ttl: u8) -> Vec<IpAddr> {
        let row = self
            .rows
            .get(&ttl)
            .filter(|row| row.repeated.is_some_and(|(repeated, _)| repeated == flow));
        let Some(row) = row else { return Vec::new() };
        let first = match row.nodes.get(&flow) {
            Some(Node::At(hop)) => Some(hop.address),
            Some(Node::Pending | Node::Silent) | None => None,
        };
        let others = row
            .met
            .iter()
            .copied()
            .filter(|address| Some(*address) != first);
        others.take(MAX_ALSO).collect()
    }
}
