//! What somebody should know, worst first: what is so, and what to do. Pure.

use std::collections::BTreeSet;

use super::types::{Agent, AgentTarget, Notice};

/// Names in one sentence; more are counted.
const NAMED: usize = 3;

/// Notices for these agents. `hint_lab`: whoever started the collector has the simulated internet at hand.
pub(super) fn of(agents: &[Agent], set_aside: u64, hint_lab: bool) -> Vec<Notice> {
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
    notices.extend(no_edge_reached(&reporting, hint_lab));
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

/// Notices of what the store cannot read.
pub(super) fn of_days(damaged: &[String]) -> Option<Notice> {
    let (first, more) = damaged.split_first()?;
    let days = match more.len() {
        0 => first.clone(),
        _ => format!("{} days from {first} on", damaged.len()),
    };
    let text = format!(
        "Samples of {days} cannot be read and are missing in figures. `firstmile-collector fsck` says which; a backup may have them. \
         A file that ends in `.damaged` was set aside: this is told until it is moved away."
    );
    Some(notice("error", "samples_damaged", text))
}

/// Agents report, most targets were tried, and none answers.
fn no_edge_reached(reporting: &[&Agent], hint_lab: bool) -> Option<Notice> {
    let targets: Vec<&AgentTarget> = reporting.iter().flat_map(|agent| &agent.targets).collect();
    let ok = targets.iter().any(|target| target.state == "ok");
    let waiting = targets
        .iter()
        .filter(|target| target.state == "waiting")
        .count();
    // Right after the start some targets still wait for their first probe.
    if ok || waiting * 2 >= targets.len() {
        return None;
    }
    let reasons: Vec<String> = REASONS
        .iter()
        .filter_map(|(state, reason)| {
            let n = targets
                .iter()
                .filter(|target| target.state == *state)
                .count();
            (n > 0).then(|| counted(n, reason))
        })
        .collect();
    let advice = if hint_lab {
        "If this machine has no way to the internet, `cargo xtask run --lab` shows the same pages over a simulated one."
    } else {
        "Do the agents' machines have a way to the internet, and a resolver? `firstmile-agent once` on one of them shows \
         what each probe finds."
    };
    let text = format!(
        "No agent reaches any edge: {}. {advice}",
        reasons.join(", ")
    );
    Some(notice("error", "no_edge_reached", text))
}

/// States of a target that are trouble, in words after a number of targets.
const REASONS: [(&str, &str); 4] = [
    ("dns_failed", "with a name that does not resolve"),
    ("unreachable", "without an answer"),
    (
        "no_route",
        "without a route or an address of its family here",
    ),
    ("not_permitted", "that the agent's user may not probe"),
];

/// `1 target without an answer`.
fn counted(n: usize, reason: &str) -> String {
    format!("{n} {} {reason}", if n == 1 { "target" } else { "targets" })
}

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
    let (n, who) = in_state(agents, "silent").filter(|_| !reporting.is_empty())?;
    let text = format!("Not heard for three minutes: {n} of {who}.");
    Some(notice("warning", "agents_silent", text))
}

fn waiting(agents: &[Agent]) -> Option<Notice> {
    let (n, who) = in_state(agents, "waiting")?;
    let text = format!("Enrolled, and no report yet: {n} of {who}.");
    Some(notice("info", "agents_waiting", text))
}

/// How many agents are in a state, and where; `None` of none.
fn in_state(agents: &[Agent], state: &str) -> Option<(String, String)> {
    let hit = || agents.iter().filter(|agent| agent.state == state);
    let n = hit().count();
    let number = if n == 1 {
        "1 agent".to_owned()
    } else {
        format!("{n} agents")
    };
    (n > 0).then(|| (number, list(&names(hit()))))
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
        let who = list(&names(hit.into_iter()));
        (n > 0).then(|| notice("warning", state, format!("{who}: {}.", counted(n, reason))))
    };
    REASONS.iter().filter_map(of_kind).collect()
}

/// Agents are told by their sites, each once.
fn names<'a>(agents: impl Iterator<Item = &'a Agent>) -> Vec<&'a str> {
    let sites: BTreeSet<&str> = agents.map(|agent| agent.site.name.as_str()).collect();
    sites.into_iter().collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{Figures, Site};

    fn agent(site: &str, state: &str, targets: &[&str]) -> Agent {
        let site = Site {
            site_id: site.to_owned(),
            name: site.to_owned(),
            country: None,
            subdivision: None,
            metro: None,
            latitude: None,
            longitude: None,
            geography_source: "unknown".to_owned(),
        };
        let target = |state: &&str| AgentTarget {
            name: "exchange".to_owned(),
            host: "exchange.example".to_owned(),
            port: 443,
            service: "m365".to_owned(),
            address: None,
            state: (*state).to_owned(),
            edge_pop: None,
            ingress_pop: None,
            path_state: "learning".to_owned(),
            observability: None,
            provider_asn: None,
            figures: Figures::default(),
            protocols: Vec::new(),
        };
        Agent {
            agent_id: site.name.clone(),
            hostname: "host".to_owned(),
            site,
            version: "0.1.0".to_owned(),
            expected_version: None,
            version_state: None,
            os: None,
            icmp_capability: None,
            enrolled_unix_ms: 0,
            last_seen_unix_ms: None,
            state: state.to_owned(),
            spool_dropped_reports: 0,
            targets: targets.iter().map(target).collect(),
        }
    }

    fn told(agents: &[Agent]) -> Vec<(String, String)> {
        let notices = of(agents, 0, false).into_iter();
        notices.map(|notice| (notice.code, notice.text)).collect()
    }

    #[test]
    fn where_no_edge_is_reached_it_is_said_plainly_and_once() {
        let agents = [
            agent(
                "Pune",
                "reporting",
                &["dns_failed", "dns_failed", "unreachable"],
            ),
            agent("Oslo", "silent", &["silent"]),
        ];
        let want = "No agent reaches any edge: 2 targets with a name that does not resolve, 1 target without an \
                    answer. Do the agents' machines have a way to the internet, and a resolver? `firstmile-agent once` on \
                    one of them shows what each probe finds.";
        assert_eq!(
            told(&agents),
            [
                ("no_edge_reached".to_owned(), want.to_owned()),
                (
                    "agents_silent".to_owned(),
                    "Not heard for three minutes: 1 agent of Oslo.".to_owned()
                ),
            ]
        );
    }

    #[test]
    fn the_simulated_internet_is_offered_to_those_who_have_it() {
        let agents = [agent("Pune", "reporting", &["dns_failed"])];
        for hint_lab in [false, true] {
            let offered = of(&agents, 0, hint_lab)
                .iter()
                .any(|notice| notice.text.contains("xtask"));
            assert_eq!(offered, hint_lab);
        }
    }

    #[test]
    fn nothing_is_said_of_what_works_or_has_just_begun() {
        assert_eq!(told(&[agent("Pune", "reporting", &["ok", "ok"])]), []);
        assert_eq!(
            told(&[agent("Pune", "reporting", &["dns_failed", "waiting"])]).len(),
            1
        );
        assert_eq!(told(&[agent("Pune", "reporting", &[])]), []);
        assert_eq!(
            told(&[agent("Pune", "waiting", &[])])[0].0,
            "agents_waiting"
        );
        assert_eq!(
            told(&[agent("Pune", "silent", &["silent"])])[0].0,
            "no_agent_reports"
        );
    }
}
