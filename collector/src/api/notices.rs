//! What somebody should know, worst first: what is so, and what to do. Pure.

use super::types::{Agent, AgentTarget, Notice};

/// Names in one sentence; more are counted.
const NAMED: usize = 3;

/// Notices for these agents.
pub(super) fn of(agents: &[Agent], set_aside: u64) -> Vec<Notice> {
    if agents.is_empty() {
        return vec![notice(
            "info",
            "no_agents",
            "No agent is enrolled yet. Make a join string with `firstmile-collector join-string --site NAME` and give it to \
             `firstmile-agent enroll` on a machine of that site."
                .to_owned(),
        )];
    }
    let reporting: Vec<&Agent> = agents
        .iter()
        .filter(|agent| agent.state == "reporting")
        .collect();
    let mut notices = Vec::new();
    notices.extend(no_edge_reached(&reporting));
    notices.extend(nobody_reports(agents, &reporting));
    notices.extend(silent(agents, &reporting));
    if notices
        .iter()
        .all(|notice| notice.code != "no_edge_reached")
    {
        notices.extend(troubles(&reporting));
    }
    if set_aside > 0 {
        let text = format!(
            "{set_aside} reports could not be applied and were set aside since the collector started; its log says why."
        );
        notices.push(notice("warning", "reports_set_aside", text));
    }
    notices.extend(waiting(agents));
    notices
}

/// Agents report, every target was tried, and none answers.
fn no_edge_reached(reporting: &[&Agent]) -> Option<Notice> {
    let targets: Vec<&AgentTarget> = reporting.iter().flat_map(|agent| &agent.targets).collect();
    let tried = !targets.is_empty()
        && targets
            .iter()
            .all(|target| target.state != "waiting" && target.state != "ok");
    if !tried {
        return None;
    }
    let reasons: Vec<String> = REASONS
        .iter()
        .filter_map(|(state, reason)| {
            let n = targets
                .iter()
                .filter(|target| target.state == *state)
                .count();
            (n > 0).then(|| format!("{n} {reason}"))
        })
        .collect();
    let text = format!(
        "No agent reaches any edge. Of {} targets {}. If this machine has no way to the internet, `cargo xtask run --lab` \
         shows the same pages over a simulated one.",
        targets.len(),
        reasons.join(", ")
    );
    Some(notice("error", "no_edge_reached", text))
}

/// States of a target that are trouble, in words.
const REASONS: [(&str, &str); 4] = [
    ("dns_failed", "have names that do not resolve"),
    ("unreachable", "do not answer"),
    ("no_route", "have no route or address family"),
    ("not_permitted", "may not be probed by this user"),
];

fn nobody_reports(agents: &[Agent], reporting: &[&Agent]) -> Option<Notice> {
    let heard = agents.iter().any(|agent| agent.state == "silent");
    (reporting.is_empty() && heard).then(|| {
        let text = format!(
            "None of {} agents was heard for three minutes. Do they reach the collector's ingest address, and is the \
             collector's clock right?",
            agents.len()
        );
        notice("error", "no_agent_reports", text)
    })
}

fn silent(agents: &[Agent], reporting: &[&Agent]) -> Option<Notice> {
    let silent: Vec<&str> = names(agents.iter().filter(|agent| agent.state == "silent"));
    (!silent.is_empty() && !reporting.is_empty()).then(|| {
        let (was, who) = (
            if silent.len() == 1 { "was" } else { "were" },
            list(&silent),
        );
        notice(
            "warning",
            "agents_silent",
            format!("{who} {was} not heard for three minutes."),
        )
    })
}

fn waiting(agents: &[Agent]) -> Option<Notice> {
    let waiting = names(agents.iter().filter(|agent| agent.state == "waiting"));
    (!waiting.is_empty()).then(|| {
        let text = format!("{} enrolled and sent no report yet.", list(&waiting));
        notice("info", "agents_waiting", text)
    })
}

/// One notice for each kind of trouble.
fn troubles(reporting: &[&Agent]) -> Vec<Notice> {
    let of_kind = |(state, reason): &(&str, &str)| {
        let hit: Vec<&Agent> = reporting
            .iter()
            .filter(|agent| agent.targets.iter().any(|target| target.state == *state))
            .copied()
            .collect();
        let n: usize = hit
            .iter()
            .map(|agent| {
                agent
                    .targets
                    .iter()
                    .filter(|target| target.state == *state)
                    .count()
            })
            .sum();
        let targets = if n == 1 { "target" } else { "targets" };
        let who = list(&names(hit.into_iter()));
        (n > 0).then(|| {
            notice(
                "warning",
                state,
                format!("{n} {targets} of {who} {reason}."),
            )
        })
    };
    REASONS.iter().filter_map(of_kind).collect()
}

fn names<'a>(agents: impl Iterator<Item = &'a Agent>) -> Vec<&'a str> {
    agents.map(|agent| agent.hostname.as_str()).collect()
}

/// `a, b, c and 4 more`.
fn list(names: &[&str]) -> String {
    let (shown, more) = (names.iter().take(NAMED), names.len().saturating_sub(NAMED));
    let shown = shown.copied().collect::<Vec<_>>().join(", ");
    if more > 0 {
        format!("{shown} and {more} more")
    } else {
        shown
    }
}

fn notice(level: &str, code: &str, text: String) -> Notice {
    Notice {
        level: level.to_owned(),
        code: code.to_owned(),
        text,
    }
}
