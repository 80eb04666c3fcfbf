//! The clock, the collector, and the directory that bridges its absence.

use super::Finding;
use crate::doctor::facts::{Access, Clock, Collector, Enrolled, LastWord, State};

/// Start of 2025: this program is younger.
const YOUNGEST_UNIX_MS: i64 = 1_735_689_600_000;

/// Start of 2100: certificates of today do not live that long.
const OLDEST_UNIX_MS: i64 = 4_102_444_800_000;

const DAY_MS: i64 = 86_400_000;

/// An offset below this is noise: the other clock is read in whole seconds and some way off.
const OFFSET_NOISE_MS: i64 = 3_000;

/// From here on samples stand at visibly wrong times.
const OFFSET_WRONG_MS: i64 = 60_000;

/// A wall clock that moves this far from the monotonic one within seconds was set.
const STEP_MS: i64 = 100;

/// A certificate is renewed after two thirds of 90 days; with less than this left renewal has failed for a while.
const CERTIFICATE_LOW_DAYS: i64 = 14;

/// Below this a spool cannot even be started.
const DISK_LEAST: u64 = 16 << 20;

const SET_CLOCK: &str = "sudo timedatectl set-ntp true";

/// Whether the wall clock can be believed.
pub(super) fn clock(clock: &Clock) -> Vec<Finding> {
    let Clock {
        unix_ms,
        moved_ms,
        offset,
    } = clock;
    let mut findings = Vec::new();
    if !(YOUNGEST_UNIX_MS..OLDEST_UNIX_MS).contains(unix_ms) {
        findings.push(
            Finding::problem(
                "clock",
                format!(
                    "the clock says {}: it is years off, and every certificate will seem invalid",
                    day(*unix_ms)
                ),
            )
            .change(SET_CLOCK),
        );
    } else if let Some((offset_ms, whose)) = offset {
        findings.push(compared(*offset_ms, whose));
    } else {
        findings.push(Finding::ok(
            "clock",
            format!(
                "the clock says {}; there was no other to compare it with",
                day(*unix_ms)
            ),
        ));
    }
    if moved_ms.abs() > STEP_MS {
        findings.push(
            Finding::warning(
                "clock",
                format!("the clock was set by {moved_ms} ms during the checks: RTTs do not depend on it, times of day do"),
            )
            .change("chronyc tracking"),
        );
    }
    findings
}

fn compared(offset_ms: i64, whose: &str) -> Finding {
    let size = offset_ms.abs();
    let direction = if offset_ms > 0 { "ahead of" } else { "behind" };
    if size <= OFFSET_NOISE_MS {
        return Finding::ok("clock", format!("the clock agrees with that of {whose}"));
    }
    let says = format!("the clock is {} {direction} that of {whose}", span(size));
    if size <= OFFSET_WRONG_MS {
        Finding::warning("clock", says).change(SET_CLOCK)
    } else {
        let years = if size > 365 * DAY_MS {
            ": years off, and every certificate will seem invalid"
        } else {
            ": samples stand at the wrong time"
        };
        Finding::problem("clock", format!("{says}{years}")).change(SET_CLOCK)
    }
}

/// Identity, certificate, contact, uploads, spool.
pub(super) fn collector(collector: &Collector, now_unix_ms: i64) -> Vec<Finding> {
    match collector {
        Collector::NotEnrolled => vec![
            Finding::warning("collector", "this agent is not enrolled: it can measure for you (once, trace) and reports to nobody")
                .change("firstmile-collector join-string --site NAME on the collector, then paste what it prints into `sudo firstmile-agent enroll -` here"),
        ],
        Collector::Hidden => vec![
            Finding::warning("collector", "this user may not look whether the agent is enrolled, so the collector was not tried")
                .change("sudo firstmile-agent doctor"),
        ],
        Collector::Unusable(why) => {
            vec![Finding::problem("collector", format!("the identity cannot be used: {why}"))
                .change("sudo firstmile-agent enroll --replace <new join string>")]
        }
        Collector::Enrolled(enrolled) => {
            let mut findings = vec![contact(enrolled), certificate(enrolled, now_unix_ms)];
            findings.extend(uploads(enrolled, now_unix_ms));
            findings
                .into_iter()
                .map(|finding| finding.about(&enrolled.url))
                .collect()
        }
    }
}

fn contact(enrolled: &Enrolled) -> Finding {
    match &enrolled.contact {
        Ok(status) if *status < 500 => {
            let through = enrolled
                .proxy
                .as_ref()
                .map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"));
            Finding::ok("collector", format!("the collector answers{through}, with a certificate of the CA that this agent was enrolled by"))
        }
        Ok(status) => Finding::problem("collector", format!("the collector answers with status {status}"))
            .change("journalctl -u firstmile-collector on the collector"),
        Err(why) if enrolled.proxy_refuses => {
            Finding::problem("collector", format!("the collector cannot be reached: {why}"))
                .change(format!("set [proxy] in the configuration as the site's proxy wants it (docs/operations/agent-config.md), or let this machine reach {} directly and name its host in proxy.no_proxy", enrolled.url))
        }
        Err(why) if why.contains("peer certificate") => {
            Finding::problem("collector", format!("the collector's certificate is not accepted: {why}"))
                .change(format!(
                    "{SET_CLOCK}; if the clock is right, exempt {} from TLS inspection",
                    enrolled.url
                ))
        }
        Err(why) => Finding::problem("collector", format!("the collector cannot be reached: {why}"))
            .change(format!(
                "allow TCP to {} in the site's firewall, and see whether it runs: systemctl status firstmile-collector",
                enrolled.url
            )),
    }
}

fn certificate(enrolled: &Enrolled, now_unix_ms: i64) -> Finding {
    let left_days = (enrolled.certificate_ends_unix_ms - now_unix_ms).div_euclid(DAY_MS);
    let until = day(enrolled.certificate_ends_unix_ms);
    if left_days < 0 {
        Finding::problem(
            "certificate",
            format!("the agent's certificate ended on {until}: the collector takes no report"),
        )
        .change("sudo firstmile-agent enroll --replace <new join string>")
    } else if left_days < CERTIFICATE_LOW_DAYS {
        Finding::warning(
            "certificate",
            format!(
                "the agent's certificate ends on {until}, in {left_days} days, and was not renewed"
            ),
        )
        .change("journalctl -u firstmile-agent | grep -i renew")
    } else {
        Finding::ok(
            "certificate",
            format!("the agent's certificate holds until {until}"),
        )
    }
}

fn uploads(enrolled: &Enrolled, now_unix_ms: i64) -> Vec<Finding> {
    let start = "sudo systemctl enable --now firstmile-agent";
    let Some(run) = &enrolled.run else {
        return vec![
            Finding::warning("upload", "the agent has not run with this state_dir yet")
                .change(start),
        ];
    };
    let interval_ms = i64::try_from(enrolled.upload_interval.as_millis()).unwrap_or(i64::MAX / 8);
    let patience_ms = interval_ms.saturating_mul(4).max(120_000);
    let silent_ms = now_unix_ms - run.written_unix_ms;
    let mut findings = Vec::new();
    if silent_ms > patience_ms {
        findings.push(
            Finding::problem(
                "upload",
                format!(
                    "the agent is not running: its last word is {} old",
                    span(silent_ms)
                ),
            )
            .change(start),
        );
    } else if let Some(problem) = &run.upload_problem {
        findings.push(
            Finding::problem(
                "upload",
                format!("the last upload failed: {problem}; reports wait on disk"),
            )
            .change("firstmile-agent status"),
        );
    } else if let Some(at) = run.last_upload_unix_ms {
        let ago = span(now_unix_ms - at);
        findings.push(Finding::ok(
            "upload",
            format!("the last report was taken {ago} ago"),
        ));
    } else {
        findings.push(
            Finding::warning("upload", "the agent runs and has uploaded nothing yet")
                .change("firstmile-agent status"),
        );
    }
    findings.push(spool(run));
    findings.extend(run.newer_expected.iter().map(|version| {
        let says = format!("the collector expects version {version}, and an older one runs");
        Finding::warning("version", says).change(format!(
            "sudo apt-get update && sudo apt-get install firstmile-agent={version}"
        ))
    }));
    findings
}

fn spool(run: &LastWord) -> Finding {
    if let Some(problem) = &run.spool_problem {
        return Finding::problem(
            "spool",
            format!("reports cannot be kept on disk: {problem}"),
        )
        .change("df -h /var/lib/firstmile-agent");
    }
    let says = format!(
        "{} reports wait on disk ({} kB)",
        run.spool_reports,
        run.spool_bytes / 1000
    );
    if run.dropped_reports > 0 {
        Finding::warning(
            "spool",
            format!(
                "{says}; {} were dropped because the collector was away too long",
                run.dropped_reports
            ),
        )
        .change("raise max_bytes and max_age in [spool]")
    } else {
        Finding::ok("spool", says)
    }
}

/// The state directory.
pub(super) fn state(state: &State) -> Vec<Finding> {
    let shown = state.directory.display().to_string();
    let mut findings = Vec::new();
    findings.push(match &state.access {
        Access::Writable => Finding::ok("state_dir", "it can be written"),
        Access::Missing => {
            Finding::warning("state_dir", "it does not exist yet; enrolling makes it")
                .change(format!("sudo install -d -m 0700 {shown}"))
        }
        Access::NotPermitted => Finding::warning(
            "state_dir",
            "this user may not write it: that is right unless the agent is to run as this user",
        )
        .change("sudo firstmile-agent doctor, to see it as root, or set state_dir"),
        Access::Broken(why) => Finding::problem(
            "state_dir",
            format!("it cannot be written ({why}): no identity, spool or status can be kept"),
        )
        .change(format!("ls -ld {shown}; df -h {shown}")),
    });
    if let Some(free) = state.free_bytes {
        let megabytes = free >> 20;
        let spool = state.spool_max_bytes >> 20;
        let disk = if free < DISK_LEAST {
            Finding::problem(
                "disk",
                format!(
                    "{megabytes} MiB are free: reports cannot be kept while the collector is away"
                ),
            )
            .change(format!("df -h {shown}"))
        } else if free < state.spool_max_bytes {
            Finding::warning(
                "disk",
                format!("{megabytes} MiB are free, and the spool may grow to {spool} MiB"),
            )
            .change("free some space, or lower max_bytes in [spool]")
        } else {
            Finding::ok(
                "disk",
                format!("{megabytes} MiB are free for a spool of at most {spool} MiB"),
            )
        };
        findings.push(disk);
    }
    findings
        .into_iter()
        .map(|finding| finding.about(&shown))
        .collect()
}

/// A day, UTC.
fn day(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(
        |_| "no date".to_owned(),
        |at| at.strftime("%Y-%m-%d").to_string(),
    )
}

/// A time span in its two greatest units.
fn span(ms: i64) -> String {
    let seconds = u64::try_from(ms / 1000).unwrap_or(0);
    let text = humantime::format_duration(std::time::Duration::from_secs(seconds)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
