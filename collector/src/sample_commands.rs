//! The command about samples: what an agent measured, one line each.

use anyhow::{Context, Result};
use firstmile_collector::clock;
use firstmile_collector::config::Config;
use firstmile_collector::ingest::batch::Sample;
use firstmile_collector::store::{SampleQuery, Store};
use firstmile_wire::ids::OrganisationId;

use super::commands::{agent_named, open_existing_store, print};

const HOUR_MS: i64 = 3_600_000;

/// Which samples.
#[derive(Debug, clap::Args)]
pub(super) struct SampleArgs {
    /// Identity or host name of the agent.
    agent: String,
    /// One target, by its name.
    #[arg(long)]
    target: Option<String>,
    /// How many hours, up to a day.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=24))]
    hours: u8,
    /// When they end, such as `2026-11-23T10:00:00Z`; now without.
    #[arg(long)]
    to: Option<jiff::Timestamp>,
}

/// Prints the samples of an agent as CSV, oldest first.
pub(super) async fn samples(config: &Config, args: SampleArgs) -> Result<()> {
    let store = open_existing_store(config).await?;
    let organisation = OrganisationId::default_organisation();
    let agent = agent_named(store.agents(&organisation).await?, &args.agent)?;
    let to_unix_ms = args
        .to
        .map_or_else(clock::unix_ms, jiff::Timestamp::as_millisecond);
    let query = SampleQuery {
        agent: agent.id,
        from_unix_ms: to_unix_ms.saturating_sub(i64::from(args.hours) * HOUR_MS),
        to_unix_ms,
        target: args.target,
    };
    let samples = store.samples(&organisation, &query).await?;
    print(csv_of(&samples)?.trim_end())
}

fn csv_of(samples: &[Sample]) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    let head = [
        "at",
        "target",
        "destination",
        "protocol",
        "phase",
        "outcome",
        "rtt_us",
        "marks",
        "reply_ttl",
    ];
    csv.write_record(head)?;
    for sample in samples {
        let at = jiff::Timestamp::from_millisecond(sample.at_unix_ms)?;
        let destination = sample.destination.map(|address| address.to_string());
        csv.write_record([
            format!("{at:.3}"),
            sample.target.to_string(),
            destination.unwrap_or_default(),
            word(sample.protocol.as_str_name(), "PROTOCOL_"),
            word(sample.phase.as_str_name(), "PHASE_"),
            word(sample.outcome.as_str_name(), "OUTCOME_"),
            sample.rtt_us.to_string(),
            sample.marks.0.to_string(),
            sample.reply_ttl.to_string(),
        ])?;
    }
    let bytes = csv
        .into_inner()
        .context("a table in memory cannot be written")?;
    String::from_utf8(bytes).context("a target's name is not written in UTF-8")
}

/// The word of a wire value: `PROTOCOL_TCP` is `tcp`.
fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix)
        .unwrap_or(name)
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use firstmile_collector::ingest::batch::Marks;
    use firstmile_wire::v1::{Outcome, Phase, Protocol};

    use super::*;

    #[test]
    fn a_sample_is_a_line() {
        let sample = Sample {
            at_unix_ms: 1_767_614_400_005,
            target: Arc::from("a, or b"),
            destination: Some(std::net::Ipv4Addr::new(192, 0, 2, 1).into()),
            protocol: Protocol::Https,
            phase: Phase::Ttfb,
            outcome: Outcome::HttpFailed,
            rtt_us: 0,
            reply_ttl: 54,
            marks: Marks(3),
            scheduling_delay_us: 7,
        };
        let text = csv_of(&[sample]).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "at,target,destination,protocol,phase,outcome,rtt_us,marks,reply_ttl",
                "2026-01-05T12:00:00.005Z,\"a, or b\",192.0.2.1,https,ttfb,http_failed,0,3,54"
            ]
        );
    }
}
