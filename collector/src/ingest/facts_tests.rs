//! What is read of machines and handshakes, and what in it is news.

use firstmile_wire::frame;
use firstmile_wire::ids::{AgentId, Epoch, OrganisationId};
use proptest::prelude::*;

use super::*;
use crate::auth::identity::Identity;
use crate::ingest::batch::Batch;
use crate::ingest::decode::decode;
use crate::ingest::machine;

const NOW_MS: i64 = 1_750_000_000_000;

fn decoded(report: Report) -> Result<Batch, DecodeError> {
    let sender = Identity {
        organisation: OrganisationId::default_organisation(),
        agent: AgentId(uuid::Uuid::from_u128(7)),
    };
    let target = v1::Target {
        name: "exchange".to_owned(),
        host: "outlook.example".to_owned(),
        port: 443,
        service: "m365".to_owned(),
    };
    let report = Report {
        version: firstmile_wire::VERSION,
        agent_id: sender.agent.to_bytes(),
        epoch: Epoch(uuid::Uuid::from_u128(9)).to_bytes(),
        sequence: 1,
        wall_anchor_unix_ms: NOW_MS,
        targets: vec![target],
        ..report
    };
    let bytes = frame::encode(&report).unwrap_or_default();
    decode(&bytes, &sender, NOW_MS)
}

fn sighting(issuer: &str, problem: &str, at_offset_ms: i64) -> v1::TlsSighting {
    v1::TlsSighting {
        destination: vec![192, 0, 2, 1],
        at_offset_ms,
        protocol: Protocol::Https.into(),
        version: 0x0304,
        alpn: "h2".to_owned(),
        certificate_sha256: vec![vec![0xab; 32], vec![1; 32]],
        key_sha256: vec![vec![0xcd; 32], vec![2; 32]],
        issuer: issuer.to_owned(),
        problem: problem.to_owned(),
        ..v1::TlsSighting::default()
    }
}

#[test]
fn a_machine_is_told_in_the_words_of_the_api() {
    let batch = decoded(Report {
        host_contexts: vec![v1::HostContext {
            at_offset_ms: -60_000,
            span_ms: 60_000,
            interface: "eth0".to_owned(),
            interface_kind: InterfaceKind::Ethernet.into(),
            receive_errors: 1,
            transmit_drops: 2,
            gateway: vec![192, 0, 2, 254],
            gateway_sent: 12,
            gateway_lost: 1,
            gateway_rtt_min_us: 300,
            network_id: vec![0xfe, 1],
            tunnelled_targets: vec![0],
            nat64_prefix: [&[0, 0x64, 0xff, 0x9b][..], &[0; 12]].concat(),
            nat64_prefix_bits: 96,
            ..v1::HostContext::default()
        }],
        ..Report::default()
    })
    .expect("adds up");
    let host = batch.facts.host.expect("told");
    assert_eq!(host.at_unix_ms, NOW_MS - 60_000);
    assert_eq!(host.interface_kind.as_deref(), Some("ethernet"));
    assert_eq!(host.interface_errors, 3);
    assert_eq!(host.gateway.as_deref(), Some("192.0.2.254"));
    assert_eq!(host.gateway_rtt_median_us, None);
    assert_eq!(host.network.as_deref(), Some("fe01"));
    assert_eq!(host.tunnelled_targets, ["exchange"]);
    assert_eq!(host.nat64_prefix.as_deref(), Some("64:ff9b::/96"));
}

#[test]
fn handshakes_and_changes_are_told_in_order() {
    let batch = decoded(Report {
        tls_sightings: vec![sighting("CN=B", "", -1), sighting("CN=A", "", -2)],
        network_changes: vec![v1::NetworkChange {
            at_offset_ms: -5,
            kind: NetworkChangeKind::Link.into(),
            detail: "eth0 is down".to_owned(),
        }],
        gaps: vec![v1::Gap {
            from_offset_ms: -9,
            until_offset_ms: -8,
            reason: GapReason::ClockStep.into(),
            step_ms: -3_600_001,
        }],
        ..Report::default()
    })
    .expect("adds up");
    let issuers: Vec<_> = batch
        .facts
        .handshakes
        .iter()
        .map(|one| &one.issuer)
        .collect();
    assert_eq!(issuers, ["CN=A", "CN=B"]);
    let one = &batch.facts.handshakes[0];
    assert_eq!((one.version.as_str(), one.chain_length), ("TLS 1.3", 2));
    assert_eq!(one.key_sha256, Some("cd".repeat(32)));
    let changes: Vec<_> = batch
        .facts
        .changes
        .iter()
        .map(|one| one.detail.as_str())
        .collect();
    assert_eq!(
        changes,
        ["The clock was set back by 3600.001 s.", "eth0 is down"]
    );
}

#[test]
fn another_issuer_is_news_and_a_renewed_certificate_is_not() {
    let at = |issuer: &str, problem: &str, at| {
        let report = Report {
            tls_sightings: vec![sighting(issuer, problem, at)],
            ..Report::default()
        };
        decoded(report).expect("adds up")
    };
    let usual = at("CN=Public CA", "", -100);
    let known = usual
        .facts
        .handshakes
        .iter()
        .map(|one| ("exchange\thttps\t4".to_owned(), one.clone()))
        .collect();
    for (name, batch, news) in [
        ("the same", at("CN=Public CA", "", 0), 0),
        ("another issuer", at("CN=Inspection", "", 0), 1),
        ("no longer valid", at("CN=Public CA", "expired", 0), 1),
        ("an older one, late", at("CN=Inspection", "", -200), 0),
    ] {
        let facts = machine::facts(&batch, &known);
        let changes = facts.iter().filter(|fact| fact.kind == FactKind::Change);
        assert_eq!(changes.count(), news, "{name}");
    }
    let first = machine::facts(&usual, &std::collections::BTreeMap::new());
    assert!(
        first.iter().all(|fact| fact.kind != FactKind::Change),
        "the first is no news"
    );
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(
        target in 0u32..3,
        address in prop::collection::vec(any::<u8>(), 0..18),
        hash in prop::collection::vec(any::<u8>(), 30..34),
        offset in any::<i64>(),
        kind in any::<i32>(),
        number in any::<u32>(),
        text in ".{0,40}",
    ) {
        let report = Report {
            host_contexts: vec![v1::HostContext {
                at_offset_ms: offset, interface_kind: kind, gateway: address.clone(), gateway_lost: number,
                tunnelled_targets: vec![target], proxy: text.clone(), nat64_prefix: hash.clone(), nat64_prefix_bits: number,
                ..v1::HostContext::default()
            }],
            tls_sightings: vec![v1::TlsSighting {
                target, destination: address, at_offset_ms: offset, protocol: kind, version: number, issuer: text.clone(),
                certificate_sha256: vec![hash], ..v1::TlsSighting::default()
            }],
            network_changes: vec![v1::NetworkChange { at_offset_ms: offset, kind, detail: text }],
            gaps: vec![v1::Gap { from_offset_ms: offset, until_offset_ms: 0, reason: kind, step_ms: offset }],
            ..Report::default()
        };
        if let Ok(batch) = decoded(report) {
            for fact in machine::facts(&batch, &std::collections::BTreeMap::new()) {
                prop_assert!(!fact.form.chars().any(char::is_control));
            }
        }
    }
}
