//! Bytes of earlier releases: what was written once is read for ever.
//!
//! A file is never rewritten. When the format gains fields, add a new file beside the old ones; to write it, run this test
//! with `FIRSTMILE_WRITE_GOLDEN=1`, which writes only what is missing.

use std::fs;
use std::path::{Path, PathBuf};

use firstmile_wire::frame;
use firstmile_wire::v1::{
    AgentCounters, Clock, EdgeSighting, Header, HopName, HostFacts, Outcome, Phase, Protocol,
    Report, Resolution, Series, Target, TraceFlow, TraceHop, TraceKind, TraceRound,
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// A report that uses every field of version 1 as of release 0.1.
fn report_of_0_1() -> Report {
    Report {
        version: 1,
        agent_id: (0..16).collect(),
        epoch: (16..32).collect(),
        sequence: 42,
        boot_id: (32..48).collect(),
        wall_anchor_unix_ms: 1_795_420_800_000,
        monotonic_anchor_us: 86_400_000_000,
        plan_version: 7,
        agent_version: "0.1.0".to_owned(),
        host: Some(HostFacts {
            hostname: "branch-1.example".to_owned(),
            os: "Debian GNU/Linux 12".to_owned(),
            arch: "x86_64".to_owned(),
            icmp_capability: "datagram".to_owned(),
            cpus: 2,
            memory_bytes: 1 << 31,
        }),
        targets: vec![Target {
            name: "exchange".to_owned(),
            host: "outlook.example".to_owned(),
            port: 443,
            service: "m365".to_owned(),
        }],
        series: vec![series()],
        traces: vec![trace()],
        hop_names: vec![HopName {
            address: vec![198, 51, 100, 1],
            name: "ae1.cr1.ams.example".to_owned(),
        }],
        edge_sightings: vec![EdgeSighting {
            target: 0,
            destination: vec![192, 0, 2, 1],
            at_offset_ms: 10_000,
            http_status: 401,
            headers: vec![Header {
                name: "x-feefzinfo".to_owned(),
                value: "AMS".to_owned(),
            }],
        }],
        resolutions: vec![Resolution {
            target: 0,
            at_offset_ms: 0,
            resolver: "192.0.2.53:53".to_owned(),
            ipv6: false,
            outcome: Outcome::Answered.into(),
            addresses: vec![vec![192, 0, 2, 1]],
            cname_chain: vec!["edge.example".to_owned()],
            ttl_s: 60,
            ..Resolution::default()
        }],
        counters: Some(AgentCounters {
            spool_dropped_reports: 1,
            spool_bytes: 2,
            late_replies: 3,
            unmatched_replies: 4,
            upload_failures: 5,
            rejected_reports: 6,
            skipped_probes: 7,
            ..AgentCounters::default()
        }),
        ..Report::default()
    }
}

fn series() -> Series {
    Series {
        target: 0,
        destination: vec![192, 0, 2, 1],
        protocol: Protocol::Tcp.into(),
        phase: Phase::Rtt.into(),
        clock: Clock::User.into(),
        at_delta_ms: vec![-250, 5_003, 4_998],
        rtt_us: vec![11_250, 0, 12_001],
        outcome: vec![
            Outcome::Answered.into(),
            Outcome::Timeout.into(),
            Outcome::Refused.into(),
        ],
        ..Series::default()
    }
}

fn trace() -> TraceRound {
    TraceRound {
        target: 0,
        destination: vec![192, 0, 2, 1],
        kind: TraceKind::Tcp.into(),
        at_offset_ms: 9_000,
        flows: vec![TraceFlow {
            flow_id: 33_434,
            hops: vec![
                TraceHop {
                    ttl: 1,
                    address: vec![198, 51, 100, 1],
                    rtt_us: 400,
                    reply_ttl: 64,
                    icmp: 11 << 8,
                    ..TraceHop::default()
                },
                TraceHop {
                    ttl: 2,
                    ..TraceHop::default()
                },
            ],
            destination_ttl: 3,
            ..TraceFlow::default()
        }],
        burst: true,
        destination_port: 443,
        ..TraceRound::default()
    }
}

#[test]
fn a_report_of_0_1_is_read_field_by_field() {
    let path = golden("report-0.1.bin");
    if !path.exists() && std::env::var_os("FIRSTMILE_WRITE_GOLDEN").is_some() {
        fs::write(&path, frame::encode(&report_of_0_1()).expect("encodes")).expect("writes");
    }
    let bytes = fs::read(&path).expect("the golden file is in the checkout");
    assert_eq!(frame::decode(&bytes).expect("decodes"), report_of_0_1());
}
