//! What `firstmile-agent status` reads: a small file that `run` writes every few seconds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use firstmile_wire::version::Version;
use serde::{Deserialize, Serialize};

use super::durable::write_whole;
use crate::host;

/// Seconds without a write after which an agent counts as dead: six writes.
const STALE_S: u64 = 30;

/// State of a running agent, for people and scripts. Times are UTC, milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) agent_id: String,
    pub(crate) site: Option<String>,
    pub(crate) collector: String,
    /// The address that the last report came from, as the collector saw it.
    pub(crate) seen_address: Option<String>,
    /// `host:port` of the proxy that reports take; absent when they go directly.
    pub(crate) proxy: Option<String>,
    pub(crate) version: String,
    /// Version that the collector's plan expects of this agent; absent when it expects none.
    pub(crate) expected_version: Option<String>,
    pub(crate) pid: u32,
    pub(crate) started_unix_ms: i64,
    pub(crate) written_unix_ms: i64,
    pub(crate) icmp_capability: String,
    /// What to do so that the missing probes work; absent when none is missing.
    pub(crate) advice: Option<String>,
    /// Last success of each kind of probe: icmp, tcp, https, tls, quic, dns, trace.
    pub(crate) last_success_unix_ms: BTreeMap<String, i64>,
    pub(crate) spool_reports: usize,
    pub(crate) spool_bytes: u64,
    /// Why the last report could not be kept on disk; absent when it could.
    pub(crate) spool_problem: Option<String>,
    pub(crate) last_upload_unix_ms: Option<i64>,
    /// Why the last upload failed; absent after a success.
    pub(crate) upload_problem: Option<String>,
    pub(crate) upload_failures: u64,
    pub(crate) rejected_reports: u64,
    pub(crate) dropped_reports: u64,
    pub(crate) skipped_probes: u64,
    /// What else the agent gave up or could not use, by name, since it started.
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) certificate_ends_unix_ms: i64,
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    #[error("there is no {}: the agent has not run with this state_dir yet; start `firstmile-agent run`", file.display())]
    NeverRan { file: PathBuf },
    #[error("cannot read {}", file.display())]
    Unreadable {
        file: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is damaged; a running agent writes it anew within seconds", file.display())]
    Damaged {
        file: PathBuf,
        source: serde_json::Error,
    },
}

impl Status {
    /// Reads the status in `state_dir`.
    ///
    /// # Errors
    /// See [`StatusError`].
    pub(crate) fn load(state_dir: &Path) -> Result<Self, StatusError> {
        let file = file_in(state_dir);
        match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| StatusError::Damaged { file, source }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(StatusError::NeverRan { file })
            }
            Err(source) => Err(StatusError::Unreadable { file, source }),
        }
    }

    /// Keeps the version that the collector expects; gives back whether that is news.
    pub(crate) fn expect_version(&mut self, text: &str) -> bool {
        let is_version = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
        let good = (1..=64).contains(&text.len()) && text.chars().all(is_version);
        let expected = good.then(|| text.to_owned());
        let is_news = self.expected_version != expected;
        self.expected_version = expected;
        is_news
    }

    /// The version that the collector expects and that is newer than the one that runs. One that is ahead of the plan, as a
    /// machine that tries a version out is, has nothing to change.
    pub(crate) fn newer_expected(&self) -> Option<Version> {
        let expected = self.expected_version.as_deref()?.parse::<Version>().ok()?;
        let own = self.version.parse::<Version>().ok()?;
        (own < expected).then_some(expected)
    }

    /// What to say where the collector expects a newer version.
    pub(crate) fn behind(&self) -> Option<String> {
        let expected = self.newer_expected()?;
        let own = &self.version;
        Some(format!(
            "the collector expects version {expected}, this is {own}"
        ))
    }

    /// Why no agent seems to be at work; `None` when one is.
    pub(crate) fn not_running(&self, now_unix_ms: i64) -> Option<String> {
        if !host::is_alive(self.pid) {
            return Some(format!("there is no process {}", self.pid));
        }
        // A clock that was set makes a gap in either direction, which the next write closes.
        let silent_s = now_unix_ms.abs_diff(self.written_unix_ms) / 1000;
        (silent_s > STALE_S).then(|| {
            format!(
                "process {} has written nothing for {silent_s} s: it hangs, cannot write, or is another program",
                self.pid
            )
        })
    }

    /// The status as JSON, with whether the agent is `running`.
    ///
    /// # Errors
    /// None that can occur: all keys are texts.
    pub(crate) fn to_json(&self, now_unix_ms: i64) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Shown<'a> {
            running: bool,
            #[serde(flatten)]
            status: &'a Status,
        }
        serde_json::to_string_pretty(&Shown {
            running: self.not_running(now_unix_ms).is_none(),
            status: self,
        })
    }

    /// Writes the status into `state_dir`. It may be older after a power cut: no flash memory has to bear a sync for it.
    ///
    /// # Errors
    /// As the file system says.
    pub(crate) fn save(&self, state_dir: &Path) -> std::io::Result<()> {
        write_whole(&file_in(state_dir), &serde_json::to_vec_pretty(self)?)
    }
}

fn file_in(state_dir: &Path) -> PathBuf {
    state_dir.join("status.json")
}

impl Status {
    /// The status as a person reads it.
    pub(crate) fn to_text(&self, now_unix_ms: i64) -> String {
        let ago = |unix_ms: i64| {
            let seconds = u64::try_from(now_unix_ms.saturating_sub(unix_ms) / 1000).unwrap_or(0);
            format!(
                "{} ago",
                humantime::format_duration(std::time::Duration::from_secs(seconds))
            )
        };
        let state = self
            .not_running(now_unix_ms)
            .map_or_else(|| "running".to_owned(), |why| format!("NOT RUNNING: {why}"));
        let mut lines = vec![
            format!("state       {state}"),
            format!("agent       {} {}", self.agent_id, self.version),
        ];
        lines.extend(self.behind().map(|says| format!("            {says}")));
        lines.extend([
            format!("site        {}", self.site.as_deref().unwrap_or("none")),
            format!("collector   {}", self.collector),
            format!(
                "address     {} (public address as the collector sees it)",
                self.seen_address.as_deref().unwrap_or("not known yet")
            ),
            format!(
                "started     {}, last word {}",
                ago(self.started_unix_ms),
                ago(self.written_unix_ms)
            ),
            format!("icmp        {}", self.icmp_capability),
        ]);
        lines.extend(
            self.proxy
                .iter()
                .map(|proxy| format!("proxy       reports go through {proxy}")),
        );
        lines.extend(
            self.advice
                .iter()
                .map(|advice| format!("            {advice}")),
        );
        lines.extend(self.kind_lines(ago));
        lines.extend(self.count_line());
        lines.push(format!(
            "spool       {} reports, {} bytes, {} dropped",
            self.spool_reports, self.spool_bytes, self.dropped_reports
        ));
        lines.extend(
            self.spool_problem
                .iter()
                .map(|problem| format!("            {problem}")),
        );
        let upload = self
            .last_upload_unix_ms
            .map_or_else(|| "never".to_owned(), ago);
        lines.push(format!(
            "upload      last {upload}, {} failures, {} refused",
            self.upload_failures, self.rejected_reports
        ));
        lines.extend(
            self.upload_problem
                .iter()
                .map(|problem| format!("            {problem}")),
        );
        lines.push(String::new());
        lines.join("\n")
    }

    /// When each kind of probe last succeeded. Not every target is asked by TLS alone or by QUIC.
    fn kind_lines(&self, ago: impl Fn(i64) -> String) -> Vec<String> {
        let kinds = ["icmp", "tcp", "https", "tls", "quic", "dns", "trace"];
        let line = |kind: &str| {
            let last = self.last_success_unix_ms.get(kind).map(|at| ago(*at));
            let optional = matches!(kind, "tls" | "quic");
            last.or_else(|| (!optional).then(|| "never".to_owned()))
                .map(|last| format!("{kind:<11} last success {last}"))
        };
        kinds.into_iter().filter_map(line).collect()
    }

    /// What was counted, where anything was.
    fn count_line(&self) -> Option<String> {
        let counts = self.counters.iter().filter(|(_, count)| **count > 0);
        let counts: Vec<String> = counts
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        (!counts.is_empty()).then(|| format!("counted     {}", counts.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_expected_version_is_news_once_and_said_until_it_runs() {
        let mut status = Status {
            version: "0.1.0".to_owned(),
            ..Status::default()
        };
        let long = "1".repeat(65);
        for (text, is_news, says) in [
            ("", false, None),
            ("0.1.0", true, None),
            ("0.2.0", true, Some("expects version 0.2.0, this is 0.1.0")),
            ("0.2.0", false, Some("expects version 0.2.0, this is 0.1.0")),
            ("0.0.9", true, None),
            ("0.1.0+x", true, None),
            ("0.1.0-rc.1", true, None),
            (
                "0.10.0",
                true,
                Some("expects version 0.10.0, this is 0.1.0"),
            ),
            ("later", true, None),
            ("", true, None),
            ("0.2\u{1b}[2J", false, None),
            (&long, false, None),
        ] {
            assert_eq!(status.expect_version(text), is_news, "{text}");
            let shown = status.to_text(0);
            assert_eq!(shown.contains("expects version"), says.is_some(), "{shown}");
            assert!(says.is_none_or(|says| shown.contains(says)), "{shown}");
        }
    }

    #[test]
    fn a_dead_or_silent_agent_is_not_running() {
        let own = std::process::id();
        for (name, pid, age_ms, running) in [
            ("at work", own, 5_000, true),
            ("at the bound", own, 30_999, true),
            ("silent", own, 31_000, false),
            ("clock set back", own, -31_000, false),
            ("gone", i32::MAX.unsigned_abs(), 0, false),
            ("no process at all", 0, 0, false),
        ] {
            let status = Status {
                pid,
                written_unix_ms: 1_000_000,
                ..Status::default()
            };
            let now = 1_000_000 + age_ms;
            assert_eq!(status.not_running(now).is_none(), running, "{name}");
            assert_eq!(status.to_text(now).contains("NOT RUNNING"), !running);
            let json = status.to_json(now).expect("JSON");
            let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            assert_eq!(json.get("running"), Some(&running.into()), "{name}");
            assert!(json.get("last_success_unix_ms").is_some());
        }
    }
}
