//! The JSON forms of what is kept whole. They are part of the store's format: fields are only added, each with a default.
//!
//! Types of other rooms are mirrored here rather than given a serialised form of their own, so that a change of theirs cannot
//! change what is on disk unseen.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use firstmile_wire::v1::{Outcome, TraceKind, TraceStream};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::engine;
use crate::ingest::batch::{Flow, Hop, Resolution, Round, Sighting};
use crate::store::{StoreError, StoreResult};

/// The text to store.
pub(super) fn write<T: Serialize>(what: &'static str, value: &T) -> StoreResult<String> {
    serde_json::to_string(value).map_err(engine(what))
}

/// What a stored text says.
pub(super) fn read<T: DeserializeOwned>(what: &'static str, text: &str) -> StoreResult<T> {
    serde_json::from_str(text).map_err(|error| StoreError::Damaged {
        what,
        detail: error.to_string(),
    })
}

/// A path round.
#[derive(Serialize, Deserialize)]
pub(super) struct RoundForm {
    at_unix_ms: i64,
    target: String,
    destination: IpAddr,
    kind: i32,
    burst: bool,
    #[serde(default)]
    stream: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nat64: Option<String>,
    flows: Vec<FlowForm>,
}

/// Of a path round, only where its flows went.
#[derive(Deserialize)]
pub(super) struct DestinationForm {
    pub(super) destination: IpAddr,
}

#[derive(Serialize, Deserialize)]
struct FlowForm {
    flow_id: u32,
    destination_ttl: Option<u32>,
    /// TTL, address, RTT in microseconds, TTL of the reply, ICMP type and code.
    hops: Vec<(u32, Option<IpAddr>, u32, u32, u32)>,
    /// TTLs that were silent, and when what is shown there last answered.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    seen: BTreeMap<u32, i64>,
}

impl From<&Round> for RoundForm {
    fn from(round: &Round) -> Self {
        let hop = |hop: &Hop| (hop.ttl, hop.address, hop.rtt_us, hop.reply_ttl, hop.icmp);
        let flow = |flow: &Flow| FlowForm {
            flow_id: flow.flow_id,
            destination_ttl: flow.destination_ttl,
            hops: flow.hops.iter().map(hop).collect(),
            seen: (flow.hops.iter())
                .filter_map(|hop| Some((hop.ttl, hop.seen_unix_ms?)))
                .collect(),
        };
        Self {
            at_unix_ms: round.at_unix_ms,
            target: round.target.to_string(),
            destination: round.destination,
            kind: i32::from(round.kind),
            burst: round.burst,
            stream: i32::from(round.stream),
            nat64: round.nat64.map(|prefix| prefix.to_string()),
            flows: round.flows.iter().map(flow).collect(),
        }
    }
}

impl From<RoundForm> for Round {
    fn from(form: RoundForm) -> Self {
        let flow = |flow: FlowForm| Flow {
            flow_id: flow.flow_id,
            hops: (flow.hops.into_iter())
                .map(|(ttl, address, rtt_us, reply_ttl, icmp)| Hop {
                    ttl,
                    address,
                    rtt_us,
                    reply_ttl,
                    icmp,
                    seen_unix_ms: flow.seen.get(&ttl).copied(),
                })
                .collect(),
            destination_ttl: flow.destination_ttl,
        };
        Self {
            at_unix_ms: form.at_unix_ms,
            target: Arc::from(form.target),
            destination: form.destination,
            kind: TraceKind::try_from(form.kind).unwrap_or_default(),
            burst: form.burst,
            stream: TraceStream::try_from(form.stream).unwrap_or_default(),
            nat64: form.nat64.and_then(|text| text.parse().ok()),
            flows: form.flows.into_iter().map(flow).collect(),
        }
    }
}

/// Headers that may name the edge.
#[derive(Serialize, Deserialize)]
pub(super) struct SightingForm {
    at_unix_ms: i64,
    target: String,
    destination: Option<IpAddr>,
    http_status: u32,
    headers: Vec<(String, String)>,
}

impl From<&Sighting> for SightingForm {
    fn from(sighting: &Sighting) -> Self {
        Self {
            at_unix_ms: sighting.at_unix_ms,
            target: sighting.target.to_string(),
            destination: sighting.destination,
            http_status: sighting.http_status,
            headers: sighting.headers.clone(),
        }
    }
}

impl From<SightingForm> for Sighting {
    fn from(form: SightingForm) -> Self {
        Self {
            at_unix_ms: form.at_unix_ms,
            target: Arc::from(form.target),
            destination: form.destination,
            http_status: form.http_status,
            headers: form.headers,
        }
    }
}

/// An answer of a resolver.
#[derive(Serialize, Deserialize)]
pub(super) struct ResolutionForm {
    at_unix_ms: i64,
    target: String,
    resolver: String,
    ipv6: bool,
    outcome: i32,
    addresses: Vec<IpAddr>,
    cname_chain: Vec<String>,
    ttl_s: u32,
}

impl From<&Resolution> for ResolutionForm {
    fn from(resolution: &Resolution) -> Self {
        Self {
            at_unix_ms: resolution.at_unix_ms,
            target: resolution.target.to_string(),
            resolver: resolution.resolver.clone(),
            ipv6: resolution.ipv6,
            outcome: i32::from(resolution.outcome),
            addresses: resolution.addresses.clone(),
            cname_chain: resolution.cname_chain.clone(),
            ttl_s: resolution.ttl_s,
        }
    }
}

impl From<ResolutionForm> for Resolution {
    fn from(form: ResolutionForm) -> Self {
        Self {
            at_unix_ms: form.at_unix_ms,
            target: Arc::from(form.target),
            resolver: form.resolver,
            ipv6: form.ipv6,
            outcome: Outcome::try_from(form.outcome).unwrap_or_default(),
            addresses: form.addresses,
            cname_chain: form.cname_chain,
            ttl_s: form.ttl_s,
        }
    }
}
