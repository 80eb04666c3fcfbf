//! The command that asks: figures by any grouping, as CSV or JSON.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use firstmile_collector::answer::{csv_of, report_of};
use firstmile_collector::api::ask::question_of;
use firstmile_collector::api::types::QuestionQuery;
use firstmile_collector::clock;
use firstmile_collector::config::Config;
use firstmile_collector::geo::Meaning;
use firstmile_collector::store::questions::{Prefixes, Questions};
use firstmile_wire::ids::OrganisationId;
use ipnet::IpNet;

use super::commands::{open_existing_store, print};

/// Which figures.
#[derive(Debug, clap::Args)]
pub(super) struct QueryArgs {
    /// What rows are told apart by, with commas: country, subdivision, metro, site, agent, target, protocol, phase, destination,
    /// prefix, provider, edge, ingress.
    #[arg(long)]
    by: Option<String>,
    /// `world`, `country:NL`, `subdivision:NL-NH`, `metro:NL/Amsterdam`, `site:ID` or `agent:ID`.
    #[arg(long)]
    scope: Option<String>,
    /// `15m`, `1h`, `6h`, `12h`, `1d`, `7d` or `30d` up to now; `1h` without.
    #[arg(long)]
    window: Option<String>,
    /// When it begins instead, such as `2026-11-23T10:00:00Z`.
    #[arg(long, conflicts_with = "window")]
    from: Option<jiff::Timestamp>,
    /// When it ends; now without.
    #[arg(long, requires = "from")]
    to: Option<jiff::Timestamp>,
    /// `none` (without), `auto`, or a multiple of a minute such as `5m`.
    #[arg(long)]
    step: Option<String>,
    /// `tcp` (without), `icmp`, `https`, `tls`, `quic`, `dns`; several with commas if rows are told apart by protocol.
    #[arg(long)]
    protocol: Option<String>,
    /// `rtt`, `dns`, `connect`, `tls` or `ttfb`; each protocol's own without.
    #[arg(long)]
    phase: Option<String>,
    /// One target, by its name.
    #[arg(long)]
    target: Option<String>,
    /// Shares from above 0 to 1, with commas.
    #[arg(long)]
    quantiles: Option<String>,
    /// `agent` (without) or `sample`.
    #[arg(long)]
    weighting: Option<String>,
    /// `apart` (without), or `infinite` with `--weighting sample`.
    #[arg(long)]
    losses: Option<String>,
    /// Only so many groups, the first by rank.
    #[arg(long)]
    top: Option<String>,
    /// `p95` (without) or another pNN, `mean`, `loss` or `n`.
    #[arg(long)]
    rank: Option<String>,
    /// `auto` (without) or `raw`.
    #[arg(long)]
    source: Option<String>,
    /// `csv` (without) or `json`.
    #[arg(long, default_value = "csv")]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Csv,
    Json,
}

/// Prints the answer to a question.
pub(super) async fn query(config: &Config, args: QueryArgs) -> Result<()> {
    let store = open_existing_store(config).await?;
    let format = args.format;
    let millis = |at: jiff::Timestamp| at.as_millisecond().to_string();
    let asked = QuestionQuery {
        by: args.by,
        scope: args.scope,
        window: args.window,
        from: args.from.map(millis),
        to: args.to.map(millis),
        step: args.step,
        protocol: args.protocol,
        phase: args.phase,
        target: args.target,
        quantiles: args.quantiles,
        weighting: args.weighting,
        losses: args.losses,
        top: args.top,
        rank: args.rank,
        source: args.source,
        format: None,
    };
    let mut question = question_of(&asked, clock::unix_ms()).map_err(anyhow::Error::msg)?;
    question.prefixes = Some(Arc::new(BuiltIn(Meaning::builtin())));
    let organisation = OrganisationId::default_organisation();
    let answer = store.ask(&organisation, &question).await?;
    match format {
        Format::Csv => print(csv_of(&question, &answer).trim_end()),
        Format::Json => {
            let report = report_of(&question, &answer);
            let text = serde_json::to_string_pretty(&report).context("an answer has no JSON")?;
            print(&text)
        }
    }
}

/// The prefixes that the program carries; the tables of the configuration are not read.
struct BuiltIn(Meaning);

impl Prefixes for BuiltIn {
    fn prefix(&self, address: IpAddr) -> Option<IpNet> {
        self.0.prefix(address)
    }
}
