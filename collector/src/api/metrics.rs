//! What a Prometheus server scrapes: the collector's own state, and the newest figures of each country and metro.
//!
//! The text format 0.0.4. How many lines there are is bounded, whatever agents send: a level of geography has at most
//! [`GROUPS_MAX`] groups, those with most probes; how many are left out is told.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use firstmile_wire::ids::OrganisationId;
use firstmile_wire::v1::{Phase, Protocol};

use super::ApiState;
use super::failure::Failure;
use super::principal::Access;
use super::published;
use super::types::{ApiError, GeographyLevel};
use crate::registry;
use crate::rollup::{MINUTE_MS, window_start};
use crate::store::questions::{Answer, AnswerRow, Dimension, Holdings, Quantile, Question, Rank};

/// Groups of one level of geography, each with its protocols.
const GROUPS_MAX: usize = 500;
/// What figures cover: whole minutes up to this one.
const FIGURES_MS: i64 = 5 * MINUTE_MS;
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];
const MEASURES: [(Protocol, Phase); 3] = [
    (Protocol::Tcp, Phase::Rtt),
    (Protocol::Icmp, Phase::Rtt),
    (Protocol::Https, Phase::Ttfb),
];

/// Metrics as Prometheus reads them.
#[utoipa::path(get, path = "/metrics", tag = "status", operation_id = "metrics",
    responses((status = 200, body = String, content_type = "text/plain"), (status = 401, body = ApiError)))]
pub(super) async fn metrics(
    State(state): State<ApiState>,
    access: Access,
) -> Result<Response, Failure> {
    let mut page = Page::default();
    of_ingest(&state, &mut page);
    of_store(&state.store.holdings().await?, &mut page);
    of_feeds(&state, &mut page);
    of_agents(&state, &access.organisation, &mut page).await?;
    for level in [GeographyLevel::Country, GeographyLevel::Metro] {
        let question = question(level, (state.now_unix_ms)());
        let answer = state.store.ask(&access.organisation, &question).await?;
        of_level(level, &answer, &mut page);
    }
    published::add(&state, &access.organisation, &mut page).await?;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], page.0).into_response())
}

fn question(level: GeographyLevel, now_unix_ms: i64) -> Question {
    let to_unix_ms = window_start(now_unix_ms, MINUTE_MS);
    Question {
        from_unix_ms: to_unix_ms - FIGURES_MS,
        to_unix_ms,
        measures: MEASURES.to_vec(),
        by: vec![Dimension::Geography(level), Dimension::Protocol],
        quantiles: QUANTILES.to_vec(),
        // One more, which tells that there are more.
        top: Some((GROUPS_MAX * MEASURES.len() + 1, Rank::Count)),
        ..Question::default()
    }
}

fn of_ingest(state: &ApiState, page: &mut Page) {
    let counters = &state.counters;
    page.info("build_info", &[("version", env!("CARGO_PKG_VERSION"))]);
    page.counter(
        "reports_accepted_total",
        "Reports stored for the first time",
        counters.accepted(),
    );
    page.counter(
        "reports_duplicate_total",
        "Reports that were stored already",
        counters.duplicates(),
    );
    page.counter(
        "reports_applied_total",
        "Reports whose samples are in the figures",
        counters.applied(),
    );
    page.counter(
        "reports_set_aside_total",
        "Reports that could not be applied",
        counters.set_aside(),
    );
    page.head(
        "reports_refused_total",
        "counter",
        "Requests refused, by reason",
    );
    for (code, count) in counters.refused() {
        page.line("reports_refused_total", &[("code", code)], count);
    }
}

fn of_store(holdings: &Holdings, page: &mut Page) {
    for (name, help, value) in [
        (
            "reports_pending",
            "Reports stored and not yet in the figures",
            holdings.pending_reports,
        ),
        (
            "sample_rows_waiting",
            "Rows of samples in no file of a day yet",
            holdings.waiting_rows,
        ),
        (
            "store_bytes",
            "Bytes of the store's own file with its log",
            holdings.store_bytes,
        ),
        ("store_days", "Files of days", holdings.days),
        (
            "store_days_bytes",
            "Bytes of the files of days",
            holdings.days_bytes,
        ),
        (
            "store_damaged_days",
            "Days of which something cannot be read",
            holdings.damaged_days.len() as u64,
        ),
    ] {
        page.gauge(name, help, value);
    }
}

fn of_feeds(state: &ApiState, page: &mut Page) {
    let feeds = state.feeds.told((state.now_unix_ms)());
    page.head(
        "feed_up",
        "gauge",
        "Whether a feed of routes or of RPKI is as it should be",
    );
    for feed in &feeds {
        let is_up = u64::from(feed.connected && feed.alarms.is_empty());
        page.line("feed_up", &[("feed", &feed.name)], is_up);
    }
    page.head("feed_messages_total", "counter", "Messages of a feed");
    for feed in &feeds {
        page.line(
            "feed_messages_total",
            &[("feed", &feed.name)],
            feed.messages,
        );
    }
    page.head(
        "feed_dropped_total",
        "counter",
        "Events of a feed that were dropped",
    );
    for feed in &feeds {
        page.line("feed_dropped_total", &[("feed", &feed.name)], feed.dropped);
    }
}

async fn of_agents(
    state: &ApiState,
    organisation: &OrganisationId,
    page: &mut Page,
) -> Result<(), Failure> {
    let now = (state.now_unix_ms)();
    let agents = state.store.agents(organisation).await?;
    page.head("agents", "gauge", "Agents by state");
    for wanted in ["reporting", "silent", "waiting", "revoked"] {
        let state_of = |agent: &&registry::Agent| agent.state(now) == wanted;
        let count = agents.iter().filter(state_of).count() as u64;
        page.line("agents", &[("state", wanted)], count);
    }
    Ok(())
}

fn of_level(level: GeographyLevel, answer: &Answer, page: &mut Page) {
    let word = Dimension::Geography(level).word();
    let most = GROUPS_MAX * MEASURES.len();
    let rows: Vec<&AnswerRow> = answer.rows.iter().take(most).collect();
    let is_cut = u64::from(answer.rows.len() > most);
    let name = format!("{word}_groups_left_out");
    page.gauge(&name, "Whether there are more groups than are told", is_cut);
    let rtt = format!("{word}_rtt_seconds");
    let help = "Round-trip times of the last five minutes, each agent with the same weight";
    page.head(&rtt, "gauge", help);
    for row in &rows {
        for (share, quantile) in ["0.5", "0.95", "0.99"].iter().zip(&row.quantiles) {
            if let Quantile::Us(us) = quantile {
                let seconds = f64::from(*us) / 1e6;
                page.line(&rtt, &labels(word, row, Some(share)), seconds);
            }
        }
    }
    let lost = format!("{word}_loss_ratio");
    page.head(
        &lost,
        "gauge",
        "Share of probes of the last five minutes that were lost",
    );
    for row in &rows {
        if let Some(ratio) = row.loss_ratio() {
            page.line(&lost, &labels(word, row, None), ratio);
        }
    }
    let probes = format!("{word}_probes");
    page.head(
        &probes,
        "gauge",
        "Probes of the last five minutes that count",
    );
    for row in &rows {
        page.line(&probes, &labels(word, row, None), row.n);
    }
}

fn labels<'a>(
    word: &'static str,
    row: &'a AnswerRow,
    share: Option<&'a &'a str>,
) -> Vec<(&'static str, &'a str)> {
    let names = [word, "protocol"];
    let mut labels: Vec<(&'static str, &str)> = Vec::new();
    for (name, value) in names.into_iter().zip(row.key.iter()) {
        labels.push((name, value));
    }
    labels.extend(share.map(|share| ("quantile", *share)));
    labels
}

/// The text, line by line; every name of ours begins with `firstmile_`.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.published_head(&format!("firstmile_{name}"), kind, help);
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.published_line(&format!("firstmile_{name}"), labels, value);
    }

    /// The head of a metric whose name somebody else gave.
    pub(super) fn published_head(&mut self, name: &str, kind: &str, help: &str) {
        // A string takes what is written, here and below.
        writeln!(self.0, "# HELP {name} {help}.").ok();
        writeln!(self.0, "# TYPE {name} {kind}").ok();
    }

    /// A line of such a metric.
    pub(super) fn published_line(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        value: impl std::fmt::Display,
    ) {
        write!(self.0, "{name}").ok();
        for (place, (label, text)) in labels.iter().enumerate() {
            let open = if place == 0 { '{' } else { ',' };
            write!(self.0, "{open}{label}=\"{}\"", escaped(text)).ok();
        }
        let close = if labels.is_empty() { "" } else { "}" };
        writeln!(self.0, "{close} {value}").ok();
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.line(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        self.line(name, &[], value);
    }

    fn info(&mut self, name: &str, labels: &[(&str, &str)]) {
        self.head(name, "gauge", "What runs");
        self.line(name, labels, 1);
    }
}

/// A label's value: backslash, quotation mark and line feed are escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_lines_are_whole() {
        let mut page = Page::default();
        page.gauge("x", "A thing", 3);
        page.line("y", &[("a", "b\\c\"d\ne"), ("f", "g")], 0.5);
        let want = "# HELP firstmile_x A thing.\n# TYPE firstmile_x gauge\nfirstmile_x 3\n\
            firstmile_y{a=\"b\\\\c\\\"d\\ne\",f=\"g\"} 0.5\n";
        assert_eq!(page.0, want);
    }
}
