//! What `trace` knows, and the shape of `trace --json`, documented in `docs/operations/agent-commands.md`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::probe::hops::{AddressRow, HopRow, Loss};
use crate::probe::met::MultipathHop;
use crate::probe::trace::FlowSum;

/// Everything there is to show.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) target: Option<String>,
    pub(super) host: String,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// `tcp`, `udp` or `icmp`.
    pub(super) kind: &'static str,
    /// `raw`, `error_queue` or `one_at_a_time`.
    pub(super) method: &'static str,
    pub(super) flows: u16,
    /// Source port (TCP) or checksum (ICMP) of each flow.
    pub(super) flow_ids: Vec<u32>,
    /// IPv6 flow label of each flow, 0 on IPv4.
    pub(super) flow_labels: Vec<u32>,
    /// What each flow of the first round took.
    pub(super) first_round: Vec<FlowSum>,
    /// Packets in all.
    pub(super) probes: u64,
    /// Start of the first round to end of the last one.
    pub(super) wall: Duration,
    /// Flows that met a router again after another, in the last round.
    pub(super) looping_flows: Vec<u16>,
    /// What multipath discovery found, where it was asked for.
    pub(super) discovered: Option<Discovered>,
    /// Rounds that have ended.
    pub(super) rounds: u32,
    pub(super) at_unix_ms: i64,
    pub(super) is_reached: bool,
    pub(super) rows: Vec<HopRow>,
    pub(super) names: BTreeMap<IpAddr, String>,
}

/// What multipath discovery found.
#[derive(Clone, Debug)]
pub(super) struct Discovered {
    /// Chance of a miss at each router that was promised.
    pub(super) alpha: f64,
    pub(super) wall: Duration,
    pub(super) probes: u32,
    pub(super) is_reached: bool,
    pub(super) hops: Vec<MultipathHop>,
}

impl Outcome {
    /// Whether nothing has answered.
    pub(super) fn is_empty(&self) -> bool {
        let found = self.discovered.iter().flat_map(|found| &found.hops);
        self.rows.is_empty() && found.flat_map(|hop| &hop.addresses).next().is_none()
    }

    /// The first address at which Microsoft's network begins, by the routers' names.
    pub(super) fn ingress(&self) -> Option<(u8, IpAddr)> {
        let addresses = self
            .rows
            .iter()
            .flat_map(|row| row.addresses.iter().map(|here| (row.ttl, here.address)));
        let mut of_microsoft = addresses.filter(|(_, address)| {
            self.names
                .get(address)
                .is_some_and(|name| crate::probe::path::is_microsoft_router(name))
        });
        of_microsoft.next()
    }

    /// The whole object.
    pub(super) fn to_json(&self) -> Document<'_> {
        Document {
            agent_version: env!("CARGO_PKG_VERSION"),
            at_unix_ms: self.at_unix_ms,
            target: self.target.as_deref(),
            host: &self.host,
            address: self.address,
            port: self.port,
            kind: self.kind,
            flows: self.flows,
            method: self.method,
            flow_ids: &self.flow_ids,
            flow_labels: &self.flow_labels,
            wall_ms: ms(self.wall),
            probes: self.probes,
            far_rtt_ms: self.far_rtt().map(ms),
            per_flow: self.per_flow(),
            looping_flows: &self.looping_flows,
            multipath: self.discovered.as_ref().map(DiscoveredDocument::of),
            rounds: self.rounds,
            reached: self.is_reached,
            ingress: self.ingress().map(|(ttl, address)| IngressDocument {
                ttl,
                address,
                name: self.names.get(&address).map(String::as_str),
            }),
            hops: self.rows.iter().map(|row| self.hop(row)).collect(),
        }
    }

    /// Smallest RTT of the destination.
    fn far_rtt(&self) -> Option<Duration> {
        let far = |row: &&HopRow| row.addresses.iter().any(|here| here.is_destination);
        self.rows
            .iter()
            .filter(far)
            .filter_map(|row| row.best)
            .min()
    }

    fn per_flow(&self) -> Vec<FlowDocument> {
        let ids = self
            .flow_ids
            .iter()
            .copied()
            .map(Some)
            .chain(std::iter::repeat(None));
        let flows = self.first_round.iter().zip(ids);
        flows
            .map(|(sum, flow_id)| FlowDocument {
                flow_id: flow_id.unwrap_or(0),
                sent: sum.sent,
                answered: sum.answered,
                wall_ms: ms(sum.took),
                reached: sum.reached,
            })
            .collect()
    }

    fn hop(&self, row: &HopRow) -> HopDocument<'_> {
        let (loss_ratio, loss_is_clear) = match row.loss {
            Loss::Ratio(ratio) => (Some(ratio), true),
            Loss::Unclear(ratio) => (Some(ratio), false),
            Loss::Silent => (None, false),
        };
        HopDocument {
            ttl: row.ttl,
            sent: row.sent,
            answered: row.answered,
            loss_ratio: loss_ratio.map(|ratio| (ratio * 10_000.0).round() / 10_000.0),
            loss_is_clear,
            rate_limited: row.is_rate_limited,
            silent_flows: row.silent_flows,
            last_ms: row.last.map(ms),
            average_ms: row.average.map(ms),
            ipdv_ms: row.variation.map(ms),
            best_ms: row.best.map(ms),
            median_ms: row.median.map(ms),
            worst_ms: row.worst.map(ms),
            addresses: row
                .addresses
                .iter()
                .map(|here| self.address(here))
                .collect(),
        }
    }

    fn address(&self, here: &AddressRow) -> AddressDocument<'_> {
        AddressDocument {
            address: here.address,
            name: self.names.get(&here.address).map(String::as_str),
            flows: here.flows,
            answered: here.answered,
            is_destination: here.is_destination,
            mpls: here.mpls.entries().to_vec(),
            rewrites: here.rewrites.bits(),
            quoted_ttl: here.quoted_ttl,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    agent_version: &'static str,
    at_unix_ms: i64,
    target: Option<&'a str>,
    host: &'a str,
    address: IpAddr,
    port: u16,
    kind: &'static str,
    flows: u16,
    flow_ids: &'a [u32],
    flow_labels: &'a [u32],
    method: &'static str,
    rounds: u32,
    wall_ms: f64,
    probes: u64,
    far_rtt_ms: Option<f64>,
    per_flow: Vec<FlowDocument>,
    looping_flows: &'a [u16],
    reached: bool,
    ingress: Option<IngressDocument<'a>>,
    hops: Vec<HopDocument<'a>>,
    multipath: Option<DiscoveredDocument<'a>>,
}

#[derive(Debug, Serialize)]
struct FlowDocument {
    flow_id: u32,
    sent: u32,
    answered: usize,
    wall_ms: f64,
    reached: bool,
}

#[derive(Debug, Serialize)]
struct DiscoveredDocument<'a> {
    alpha: f64,
    probes: u32,
    wall_ms: f64,
    complete: bool,
    reached: bool,
    hops: Vec<BranchesDocument<'a>>,
}

#[derive(Debug, Serialize)]
struct BranchesDocument<'a> {
    ttl: u8,
    addresses: &'a [IpAddr],
    probes: u32,
    answered: u32,
    complete: bool,
    per_packet: bool,
    links: &'a [(IpAddr, IpAddr)],
}

impl<'a> DiscoveredDocument<'a> {
    fn of(found: &'a Discovered) -> Self {
        Self {
            alpha: found.alpha,
            probes: found.probes,
            wall_ms: ms(found.wall),
            complete: !found.hops.is_empty() && found.hops.iter().all(|hop| hop.complete),
            reached: found.is_reached,
            hops: found.hops.iter().map(BranchesDocument::of).collect(),
        }
    }
}

impl<'a> BranchesDocument<'a> {
    fn of(hop: &'a MultipathHop) -> Self {
        Self {
            ttl: hop.ttl,
            addresses: &hop.addresses,
            probes: hop.probes,
            answered: hop.answered,
            complete: hop.complete,
            per_packet: hop.per_packet,
            links: &hop.links,
        }
    }
}

#[derive(Debug, Serialize)]
struct IngressDocument<'a> {
    ttl: u8,
    address: IpAddr,
    name: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct HopDocument<'a> {
    ttl: u8,
    sent: u64,
    answered: u64,
    loss_ratio: Option<f64>,
    loss_is_clear: bool,
    rate_limited: bool,
    silent_flows: usize,
    last_ms: Option<f64>,
    average_ms: Option<f64>,
    ipdv_ms: Option<f64>,
    best_ms: Option<f64>,
    median_ms: Option<f64>,
    worst_ms: Option<f64>,
    addresses: Vec<AddressDocument<'a>>,
}

#[derive(Debug, Serialize)]
struct AddressDocument<'a> {
    address: IpAddr,
    name: Option<&'a str>,
    flows: usize,
    answered: u64,
    is_destination: bool,
    mpls: Vec<u32>,
    rewrites: u8,
    quoted_ttl: u8,
}

/// Milliseconds with three digits.
fn ms(duration: Duration) -> f64 {
    f64::from(crate::probe::micros(duration)) / 1000.0
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An outcome of nothing.
    pub(in crate::trace) fn nothing() -> Outcome {
        Outcome {
            target: None,
            host: "mail.example".to_owned(),
            address: IpAddr::from([203, 0, 113, 1]),
            port: 443,
            kind: "tcp",
            method: "raw",
            flows: 2,
            flow_ids: vec![24_100, 24_101],
            flow_labels: vec![0, 0],
            first_round: Vec::new(),
            probes: 0,
            wall: Duration::ZERO,
            looping_flows: Vec::new(),
            discovered: None,
            rounds: 1,
            at_unix_ms: 0,
            is_reached: false,
            rows: Vec::new(),
            names: BTreeMap::new(),
        }
    }
}
