//! What a report says of the machine and of handshakes, in the words of the API. Pure.

use std::net::Ipv6Addr;

use firstmile_wire::v1::{self, GapReason, InterfaceKind, NetworkChangeKind, Protocol, Report};
use serde::Serialize;

use super::decode::{DecodeError, Reader, address, limit, protocol_of, short, wrong};
use crate::api::types::{EngineCounters, Handshake, HostState, MachineChange};

/// Facts of one kind in a report.
const MAX_FACTS: usize = 10_000;
/// Targets that a tunnel may carry: as many as a report may name.
const MAX_TARGETS: usize = 80;
/// Certificates of a chain.
const MAX_CHAIN: usize = 16;
/// SHA-256.
const HASH_BYTES: usize = 32;

/// What a report says of the machine and of handshakes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The newest state of the machine.
    pub host: Option<HostState>,
    /// Handshakes, oldest first.
    pub handshakes: Vec<Handshake>,
    /// Changes and gaps, oldest first.
    pub changes: Vec<MachineChange>,
}

/// What the store keeps of a [`Fact`]: the newest of each kind and key, or the last few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FactKind {
    /// [`HostState`], the newest.
    Host,
    /// [`EngineCounters`], the newest.
    Counters,
    /// [`Handshake`], the newest of each target and protocol.
    Handshake,
    /// [`MachineChange`], the last few.
    Change,
}

impl FactKind {
    /// The word in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Counters => "counters",
            Self::Handshake => "handshake",
            Self::Change => "change",
        }
    }
}

/// One fact as it is kept: its JSON form is part of the store's format, so fields are only added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Which kind.
    pub kind: FactKind,
    /// Which of its kind.
    pub key: String,
    /// When it was so.
    pub at_unix_ms: i64,
    /// JSON.
    pub form: String,
}

impl Fact {
    /// Makes a fact; `None` never happens, plain data has a JSON form.
    pub fn new(
        kind: FactKind,
        key: String,
        at_unix_ms: i64,
        value: &impl Serialize,
    ) -> Option<Self> {
        let form = serde_json::to_string(value).ok()?;
        Some(Self {
            kind,
            key,
            at_unix_ms,
            form,
        })
    }
}

/// Reads what a report says of the machine and of handshakes.
///
/// # Errors
/// [`DecodeError`] when a part does not add up.
pub(super) fn read(reader: &Reader, report: &Report) -> Result<Facts, DecodeError> {
    limit(
        "states of the machine",
        report.host_contexts.len(),
        MAX_FACTS,
    )?;
    limit("handshakes", report.tls_sightings.len(), MAX_FACTS)?;
    limit(
        "changes of the network",
        report.network_changes.len(),
        MAX_FACTS,
    )?;
    limit("gaps", report.gaps.len(), MAX_FACTS)?;
    let newest = report
        .host_contexts
        .iter()
        .max_by_key(|one| one.at_offset_ms);
    let host = newest.map(|one| host(reader, one)).transpose()?;
    let mut handshakes = Vec::with_capacity(report.tls_sightings.len());
    for sighting in &report.tls_sightings {
        for target in reader.names.all(sighting.target)? {
            limit("handshakes", handshakes.len() + 1, MAX_FACTS)?;
            handshakes.push(handshake(reader, sighting, &target)?);
        }
    }
    let changes = report.network_changes.iter().map(|one| change(reader, one));
    let gaps = report.gaps.iter().map(|one| gap(reader, one));
    let mut changes = changes.chain(gaps).collect::<Result<Vec<_>, _>>()?;
    handshakes.sort_by_key(|one| one.at_unix_ms);
    changes.sort_by_key(|one| one.at_unix_ms);
    Ok(Facts {
        host,
        handshakes,
        changes,
    })
}

/// The counters of the wire in the words of the API.
pub(super) fn counters(counters: &v1::AgentCounters) -> EngineCounters {
    EngineCounters {
        spool_dropped_reports: counters.spool_dropped_reports,
        spool_bytes: counters.spool_bytes,
        skipped_probes: counters.skipped_probes,
        deferred_rounds: counters.deferred_rounds,
        untrusted_samples: counters.untrusted_samples,
        clock_step_samples: counters.clock_step_samples,
        late_replies: counters.late_replies,
        duplicate_replies: counters.duplicate_replies,
        truncated_replies: counters.truncated_replies,
        forged_replies: counters.forged_replies,
        unmatched_replies: counters.unmatched_replies,
        upload_failures: counters.upload_failures,
        rejected_reports: counters.rejected_reports,
    }
}

fn host(reader: &Reader, one: &v1::HostContext) -> Result<HostState, DecodeError> {
    let some = |text: &str, what| -> Result<Option<String>, DecodeError> {
        let text = short(what, text)?;
        Ok((!text.is_empty()).then_some(text))
    };
    let errors = [
        one.receive_errors,
        one.transmit_errors,
        one.receive_drops,
        one.transmit_drops,
    ];
    limit(
        "tunnelled targets",
        one.tunnelled_targets.len(),
        MAX_TARGETS,
    )?;
    let mut tunnelled_targets = Vec::new();
    for index in &one.tunnelled_targets {
        let names = reader.names.all(*index)?;
        tunnelled_targets.extend(names.iter().map(ToString::to_string));
    }
    let positive = |value: u32| (value > 0).then_some(value);
    Ok(HostState {
        at_unix_ms: reader.at("a state of the machine", one.at_offset_ms)?,
        span_ms: one.span_ms,
        cpu_permille: one.cpu_permille.min(1000),
        memory_available_bytes: one.memory_available_bytes,
        own_cpu_permille: one.own_cpu_permille,
        own_rss_bytes: one.own_rss_bytes,
        scheduling_delay_max_us: one.scheduling_delay_max_us,
        interface: some(&one.interface, "an interface's name")?,
        interface_kind: interface_kind(one.interface_kind).map(str::to_owned),
        interface_speed_mbps: positive(one.interface_speed_mbps),
        interface_errors: errors.into_iter().fold(0, u32::saturating_add),
        gateway: address(&one.gateway)?.map(|gateway| gateway.to_string()),
        gateway_sent: one.gateway_sent,
        gateway_lost: one.gateway_lost.min(one.gateway_sent),
        gateway_rtt_min_us: positive(one.gateway_rtt_min_us),
        gateway_rtt_median_us: positive(one.gateway_rtt_median_us),
        network: (!one.network_id.is_empty() && one.network_id.len() <= HASH_BYTES)
            .then(|| hex(&one.network_id)),
        roaming: one.roaming,
        tunnelled_targets,
        tunnel_interface: some(&one.tunnel_interface, "a tunnel's name")?,
        proxy: some(&one.proxy, "a proxy")?,
        captive_portal: one.captive_portal,
        nat64_prefix: nat64_prefix(one),
    })
}

fn interface_kind(kind: i32) -> Option<&'static str> {
    match InterfaceKind::try_from(kind).unwrap_or_default() {
        InterfaceKind::Unspecified => None,
        InterfaceKind::Ethernet => Some("ethernet"),
        InterfaceKind::Wifi => Some("wifi"),
        InterfaceKind::Cellular => Some("cellular"),
        InterfaceKind::Tunnel => Some("tunnel"),
        InterfaceKind::Loopback => Some("loopback"),
        InterfaceKind::Other => Some("other"),
    }
}

fn nat64_prefix(one: &v1::HostContext) -> Option<String> {
    let bytes = <[u8; 16]>::try_from(one.nat64_prefix.as_slice()).ok()?;
    let bits = (one.nat64_prefix_bits <= 96).then_some(one.nat64_prefix_bits)?;
    Some(format!("{}/{bits}", Ipv6Addr::from(bytes)))
}

fn handshake(
    reader: &Reader,
    one: &v1::TlsSighting,
    target: &str,
) -> Result<Handshake, DecodeError> {
    limit(
        "certificates of a chain",
        one.certificate_sha256.len(),
        MAX_CHAIN,
    )?;
    limit("keys of a chain", one.key_sha256.len(), MAX_CHAIN)?;
    let hashes = one.certificate_sha256.iter().chain(&one.key_sha256);
    if hashes.into_iter().any(|hash| hash.len() != HASH_BYTES) {
        return Err(wrong("a hash of a certificate", "has not 32 bytes"));
    }
    let problem = short("a handshake's problem", &one.problem)?;
    Ok(Handshake {
        at_unix_ms: reader.at("a handshake", one.at_offset_ms)?,
        target: target.to_owned(),
        protocol: protocol_word(protocol_of(one.protocol)).to_owned(),
        destination: address(&one.destination)?.map(|address| address.to_string()),
        version: version_words(one),
        alpn: short("a handshake's ALPN", &one.alpn)?,
        certificate_sha256: one.certificate_sha256.first().map(|hash| hex(hash)),
        key_sha256: one.key_sha256.first().map(|hash| hex(hash)),
        chain_length: u32::try_from(one.certificate_sha256.len()).unwrap_or(u32::MAX),
        not_before_unix_s: one.not_before_unix_s,
        not_after_unix_s: one.not_after_unix_s,
        issuer: short("an issuer", &one.issuer)?,
        top: short("the subject of a certificate", &one.top)?,
        problem: (!problem.is_empty()).then_some(problem),
    })
}

const fn protocol_word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Https => "https",
        Protocol::Quic => "quic",
        Protocol::Tls | Protocol::Icmp | Protocol::Tcp | Protocol::Dns | Protocol::Unspecified => {
            "tls"
        }
    }
}

/// `TLS 1.3`, and the QUIC version where there is one (RFC 9000 §15, RFC 9369).
fn version_words(one: &v1::TlsSighting) -> String {
    let tls = match one.version {
        0x0304 => "TLS 1.3".to_owned(),
        0x0303 => "TLS 1.2".to_owned(),
        0x0302 => "TLS 1.1".to_owned(),
        0x0301 => "TLS 1.0".to_owned(),
        0 => "not told".to_owned(),
        other => format!("0x{other:04x}"),
    };
    match one.quic_version {
        0 => tls,
        1 => format!("QUIC 1, {tls}"),
        0x6b33_43cf => format!("QUIC 2, {tls}"),
        other => format!("QUIC 0x{other:08x}, {tls}"),
    }
}

fn change(reader: &Reader, one: &v1::NetworkChange) -> Result<MachineChange, DecodeError> {
    let kind = match NetworkChangeKind::try_from(one.kind).unwrap_or_default() {
        NetworkChangeKind::Unspecified => "network",
        NetworkChangeKind::Link => "link",
        NetworkChangeKind::Address => "address",
        NetworkChangeKind::Route => "route",
        NetworkChangeKind::Resolver => "resolver",
    };
    Ok(MachineChange {
        at_unix_ms: reader.at("a change of the network", one.at_offset_ms)?,
        until_unix_ms: None,
        kind: kind.to_owned(),
        detail: short("a change of the network", &one.detail)?,
    })
}

fn gap(reader: &Reader, one: &v1::Gap) -> Result<MachineChange, DecodeError> {
    let from = reader.at("a gap", one.from_offset_ms)?;
    let until = reader.at("a gap", one.until_offset_ms)?;
    let (kind, detail) = match GapReason::try_from(one.reason).unwrap_or_default() {
        GapReason::Suspended => ("suspended", "The machine was suspended.".to_owned()),
        GapReason::Starved | GapReason::Unspecified => {
            ("starved", "The agent did not get the processor.".to_owned())
        }
        GapReason::ClockStep => ("clock_step", clock_step(one.step_ms)),
    };
    Ok(MachineChange {
        at_unix_ms: from,
        until_unix_ms: Some(until.max(from)),
        kind: kind.to_owned(),
        detail,
    })
}

fn clock_step(step_ms: i64) -> String {
    let seconds = step_ms.unsigned_abs() / 1000;
    let millis = step_ms.unsigned_abs() % 1000;
    let way = if step_ms < 0 { "back" } else { "forward" };
    format!("The clock was set {way} by {seconds}.{millis:03} s.")
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.filter_map(|digit| char::from_digit(u32::from(digit), 16));
    digits.collect()
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
