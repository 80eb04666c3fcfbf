//! What the collector makes of reports, headers, names and tables.

use std::net::IpAddr;
use std::sync::OnceLock;

use firstmile_collector::auth::identity::Identity;
use firstmile_collector::geo::Meaning;
use firstmile_collector::ingest::decode::decode;
use firstmile_wire::frame;
use firstmile_wire::ids::{AgentId, Epoch, OrganisationId};
use firstmile_wire::v1::Report;
use prost::Message;
use uuid::Uuid;

/// The clock of the collector: 2026-11-01, UTC.
const NOW_UNIX_MS: i64 = 1_793_491_200_000;
const AGENT: AgentId = AgentId(Uuid::from_u128(1));

pub(crate) fn report(bytes: &[u8]) {
    let Ok(mut report) = Report::decode(bytes) else {
        return;
    };
    // Past the gate that chance does not open: the right version and sender, and a time that may be.
    report.version = firstmile_wire::VERSION;
    report.agent_id = AGENT.to_bytes();
    report.epoch = Epoch(Uuid::from_u128(2)).to_bytes();
    report.sequence = report.sequence.max(1);
    report.wall_anchor_unix_ms = NOW_UNIX_MS - report.wall_anchor_unix_ms.rem_euclid(3_600_000);
    let Ok(framed) = frame::encode(&report) else {
        return;
    };
    let sender = Identity {
        organisation: OrganisationId::default_organisation(),
        agent: AGENT,
    };
    let Ok(batch) = decode(&framed, &sender, NOW_UNIX_MS) else {
        return;
    };
    assert_eq!(batch.key.organisation, sender.organisation);
    assert_eq!(batch.key.agent, sender.agent);
    let columns = report.series.iter().map(|series| series.rtt_us.len());
    assert!(batch.samples.len() <= columns.sum(), "no sample is made up");
    assert!(
        batch.rounds.len() <= report.traces.len(),
        "no round is made up"
    );
}

/// Each line is a header, `name: value`, or a link of a CNAME chain.
pub(crate) fn headers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.lines().filter_map(|line| line.split_once(": "));
    let headers: Vec<_> = pairs
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let names: Vec<_> = text.lines().map(str::to_owned).collect();
    let found = [
        meaning().edge_of_headers(&headers),
        meaning().zone_of_cnames(&names),
    ];
    for pop in found.into_iter().flatten() {
        assert!(
            meaning().pop(&pop.code).is_some(),
            "a POP is one of the catalogue's"
        );
    }
}

pub(crate) fn ptr(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(router) = meaning().router(&text) {
        // DNS does not know capitals.
        let shouted = meaning().router(&text.to_ascii_uppercase());
        assert_eq!(shouted, Some(router));
    }
}

pub(crate) fn ip_to_as(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(meaning) = Meaning::builtin().with_ip_to_as_csv(&text) else {
        return;
    };
    let addresses = (text.split(['\n', ',', '/'])).filter_map(|word| word.parse::<IpAddr>().ok());
    for address in addresses.take(100) {
        meaning.asn(address);
    }
}

fn meaning() -> &'static Meaning {
    static MEANING: OnceLock<Meaning> = OnceLock::new();
    MEANING.get_or_init(Meaning::builtin)
}
