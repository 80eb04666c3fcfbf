//! What a check found, against what it expects. Pure but for writing the file.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::control::{Calibration, Truth};
use crate::emulator::lateness::LatenessReport;

/// Largest error of a median RTT, whichever is larger.
const RTT_ERROR_MS: f64 = 1.0;
const RTT_ERROR_RATIO: f64 = 0.05;
/// A failover is flagged within this, at every target of every site that it moves.
const FAILOVER_S: f64 = 60.0;

/// A measured median against the truth.
#[derive(Clone, Debug, Serialize)]
pub struct Rtt {
    /// `tcp` or `icmp`.
    pub protocol: String,
    /// Samples.
    pub n: u64,
    /// Median of the answered ones; absent when there is none.
    pub measured_ms: Option<f64>,
    /// Sum of the links' delays, there and back.
    pub truth_ms: f64,
    /// Distance of both.
    pub error_ms: Option<f64>,
}

/// One site and one front door.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The site.
    pub site: String,
    /// The front door.
    pub target: String,
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
    /// Medians by protocol.
    pub rtt: Vec<Rtt>,
    /// True hops, then the destination.
    pub true_path: Vec<String>,
    /// Measured hops; several at one TTL are joined by `|`, a silent one is `*`.
    pub measured_path: Vec<String>,
    /// Whether both are equal.
    pub path_right: bool,
}

/// One site and front door in the failover.
#[derive(Clone, Debug, Serialize)]
pub struct Flagged {
    /// The site.
    pub site: String,
    /// The front door.
    pub target: String,
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
    /// The target's name at the collector.
    #[serde(skip)]
    pub collector_target: String,
    /// From injection to the event in the API; absent when it was not flagged.
    pub delay_s: Option<f64>,
}

/// All that a check found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Largest distance between a measured median and the truth.
    pub rtt_err_ms_max: Option<f64>,
    /// Whether each median is within 1 ms or 5 % of the truth.
    pub rtt_within_target: bool,
    /// Share of paths that are measured exactly as they are.
    pub paths_right_ratio: f64,
    /// Whether the failover was flagged at every site whose POP moved.
    pub failover_flagged: bool,
    /// From injection until the last of these sites was flagged at all of its targets; absent when one was not.
    pub failover_delay_s: Option<f64>,
    /// From injection until the last of these sites was flagged at any of its targets; absent when one was not.
    pub failover_site_delay_s: Option<f64>,
    /// From injection until the first was flagged.
    pub failover_first_delay_s: Option<f64>,
    /// Events in the quiet time, and events at sites whose path did not move.
    pub false_events: usize,
    /// What these events said.
    pub false_event_texts: Vec<String>,
    /// Length of the quiet time.
    pub quiet_s: u64,
    /// From the start of the agents until every path was learned.
    pub learning_s: f64,
    /// The emulator's own error.
    pub emulator: Calibration,
    /// By site and front door.
    pub rows: Vec<Row>,
    /// The failover by site and front door.
    pub failover: Vec<Flagged>,
}

impl Rtt {
    /// Compares a median with the truth.
    pub(crate) fn compare(
        protocol: &str,
        n: u64,
        median_us: Option<u64>,
        expected_us: u64,
    ) -> Self {
        let truth_ms = milliseconds(expected_us);
        let measured_ms = median_us.map(milliseconds);
        let error_ms = measured_ms.map(|measured| (measured - truth_ms).abs());
        Self {
            protocol: protocol.to_owned(),
            n,
            measured_ms,
            truth_ms,
            error_ms,
        }
    }

    /// Whether the median is as right as promised. Without a sample it is not.
    pub(crate) fn within_target(&self) -> bool {
        let allowed = RTT_ERROR_MS.max(self.truth_ms * RTT_ERROR_RATIO);
        self.error_ms.is_some_and(|error| error <= allowed)
    }
}

impl Row {
    /// Compares what was measured with the truth.
    pub(crate) fn compare(truth: &Truth, rtt: Vec<Rtt>, measured_path: Vec<String>) -> Self {
        let hops = truth.hops.iter().chain([&truth.destination]);
        let true_path: Vec<String> = hops.map(ToString::to_string).collect();
        let path_right = true_path == measured_path;
        Self {
            site: truth.site.clone(),
            target: truth.target.clone(),
            family: truth.family(),
            rtt,
            true_path,
            measured_path,
            path_right,
        }
    }
}

impl Report {
    /// Whether every expectation is met.
    pub fn passed(&self) -> bool {
        self.rtt_within_target
            && self.paths_right_ratio >= 1.0
            && self.failover_flagged
            && self
                .failover_site_delay_s
                .is_some_and(|delay| delay <= FAILOVER_S)
            && self
                .failover_delay_s
                .is_some_and(|delay| delay <= FAILOVER_S)
            && self.false_events == 0
    }

    /// Writes the report as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        if let Some(directory) = file.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let text = serde_json::to_string_pretty(self).context("cannot write the report")?;
        std::fs::write(file, text + "\n")
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// The report for people.
    pub fn table(&self) -> String {
        [
            self.measured(),
            self.flagged(),
            self.own_error(),
            self.verdicts(),
        ]
        .join("\n")
    }

    fn measured(&self) -> String {
        let mut text = format!(
            "\n{:<12}{:<12}{:<6}{:>6}{:>10}{:>13}{:>10}  path\n",
            "site", "target", "family", "probe", "truth ms", "measured ms", "error ms"
        );
        let number = |value: Option<f64>| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
        };
        for row in &self.rows {
            let path = if row.path_right { "right" } else { "WRONG" };
            for Rtt {
                protocol,
                truth_ms,
                measured_ms,
                error_ms,
                ..
            } in &row.rtt
            {
                let (measured, error) = (number(*measured_ms), number(*error_ms));
                let Row {
                    site,
                    target,
                    family,
                    ..
                } = row;
                writeln!(text, "{site:<12}{target:<12}{family:<6}{protocol:>6}{truth_ms:>10.3}{measured:>13}{error:>10}  {path}").ok();
            }
            if !row.path_right {
                let (truth, measured) = (row.true_path.join(" "), row.measured_path.join(" "));
                writeln!(text, "  true     {truth}\n  measured {measured}").ok();
            }
        }
        text
    }

    fn flagged(&self) -> String {
        let mut text = String::new();
        for Flagged {
            site,
            target,
            family,
            delay_s,
            ..
        } in &self.failover
        {
            let delay = delay_s.map_or_else(
                || "NOT flagged".to_owned(),
                |delay| format!("flagged after {delay:.1} s"),
            );
            writeln!(
                text,
                "{site:<12}{target:<12}{family:<6}geo failover {delay}"
            )
            .ok();
        }
        for event in &self.false_event_texts {
            writeln!(text, "false event: {event}").ok();
        }
        text
    }

    fn own_error(&self) -> String {
        let Calibration {
            error_p50_us,
            error_p99_us,
            lateness,
            ..
        } = &self.emulator;
        let LatenessReport {
            frames,
            p50_us,
            p99_us,
            max_us,
        } = lateness;
        format!(
            "emulator: a round trip over one link costs {error_p50_us} us more than its delay (median; 99 of 100: {error_p99_us} us);\n\
             \x20         {frames} frames left, late by {p50_us} us (median), {p99_us} us (99 of 100), {max_us} us (worst)\n"
        )
    }

    fn verdicts(&self) -> String {
        let verdict = |right| if right { "ok" } else { "FAILED" };
        let delay = self.failover_delay_s.unwrap_or(f64::NAN);
        let site = self.failover_site_delay_s.unwrap_or(f64::NAN);
        [
            format!(
                "learned in {:.0} s, quiet for {} s",
                self.learning_s, self.quiet_s
            ),
            format!(
                "rtt_err_ms_max    {:<10.3} {}",
                self.rtt_err_ms_max.unwrap_or(f64::NAN),
                verdict(self.rtt_within_target)
            ),
            format!(
                "paths_right_ratio {:<10.3} {}",
                self.paths_right_ratio,
                verdict(self.paths_right_ratio >= 1.0)
            ),
            format!(
                "failover_flagged  {:<10} {}",
                self.failover_flagged,
                verdict(self.failover_flagged)
            ),
            format!(
                "failover_site_s   {site:<10.1} {}",
                verdict(site <= FAILOVER_S)
            ),
            format!(
                "failover_delay_s  {delay:<10.1} {}",
                verdict(delay <= FAILOVER_S)
            ),
            format!(
                "false_events      {:<10} {}",
                self.false_events,
                verdict(self.false_events == 0)
            ),
        ]
        .join("\n")
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an RTT in microseconds is far below 2^52"
)]
fn milliseconds(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_right_within_a_millisecond_or_five_percent() {
        for (name, measured_us, truth_us, right) in [
            ("a millisecond off a short way", Some(3_000), 2_000, true),
            ("more", Some(3_001), 2_000, false),
            ("five percent off a long way", Some(105_000), 100_000, true),
            ("more", Some(105_001), 100_000, false),
            ("nothing answered", None, 2_000, false),
        ] {
            assert_eq!(
                Rtt::compare("tcp", 1, measured_us, truth_us).within_target(),
                right,
                "{name}"
            );
        }
    }
}
