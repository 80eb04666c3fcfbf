//! What `trace` knows, and the shape of `trace --json`, documented in `docs/operations/agent-commands.md`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::probe::hops::{AddressRow, HopRow, Loss};

/// Everything there is to show.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) target: Option<String>,
    pub(super) host: String,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// `tcp` or `icmp`.
    pub(super) kind: &'static str,
    pub(super) flows: u16,
    /// Source port (TCP) or checksum (ICMP) of each flow.
    pub(super) flow_ids: Vec<u32>,
    /// Rounds that have ended.
    pub(super) rounds: u32,
    pub(super) at_unix_ms: i64,
    pub(super) is_reached: bool,
    pub(super) rows: Vec<HopRow>,
    pub(super) names: BTreeMap<IpAddr, String>,
}

impl Outcome {
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
            flow_ids: &self.flow_ids,
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
    rounds: u32,
    reached: bool,
    ingress: Option<IngressDocument<'a>>,
    hops: Vec<HopDocument<'a>>,
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
}

/// Milliseconds with three digits.
fn ms(duration: Duration) -> f64 {
    f64::from(crate::probe::micros(duration)) / 1000.0
}
