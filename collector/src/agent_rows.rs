//! Agents as the command line lists them.

use comfy_table::Table;
use firstmile_collector::registry::rollout::{Rollout, standing};
use firstmile_collector::registry::{Agent, Site};

/// An agent as a line of the list.
#[derive(serde::Serialize)]
pub(super) struct AgentRow<'a> {
    pub(super) agent_id: String,
    pub(super) hostname: &'a str,
    pub(super) site: &'a str,
    country: Option<&'a str>,
    version: &'a str,
    expected_version: Option<String>,
    version_state: Option<&'static str>,
    state: &'static str,
    last_seen_unix_ms: Option<i64>,
    enrolled_unix_ms: i64,
    spool_dropped_reports: u64,
}

impl<'a> AgentRow<'a> {
    /// The agent, at one of these sites.
    pub(super) fn of(agent: &'a Agent, sites: &'a [Site], now_unix_ms: i64) -> Self {
        let site = sites.iter().find(|site| site.id == agent.site);
        Self {
            agent_id: agent.id.to_string(),
            hostname: &agent.hostname,
            site: site.map_or("?", |site| &site.name),
            country: site.and_then(|site| site.geography.country.as_deref()),
            version: &agent.version,
            expected_version: None,
            version_state: None,
            state: agent.state(now_unix_ms),
            last_seen_unix_ms: agent.last_seen_unix_ms,
            enrolled_unix_ms: agent.enrolled_unix_ms,
            spool_dropped_reports: agent.spool_dropped_reports,
        }
    }

    /// With what the roll-out plan expects of it.
    pub(super) fn planned(self, agent: &Agent, plan: &Rollout) -> Self {
        let expected = plan.expected(agent.id, Some(self.site));
        Self {
            expected_version: expected.map(|version| version.to_string()),
            version_state: expected.map(|version| standing(&agent.version, version)),
            ..self
        }
    }

    /// The version, and what the plan expects instead.
    fn version_text(&self) -> String {
        match (&self.expected_version, self.version_state) {
            (Some(expected), Some(state)) if state != "current" => {
                format!("{} ({expected} expected)", self.version)
            }
            _ => self.version.to_owned(),
        }
    }
}

/// The list for people.
pub(super) fn table(rows: &[AgentRow<'_>], now_unix_ms: i64) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        "SITE",
        "COUNTRY",
        "HOSTNAME",
        "STATE",
        "LAST SEEN",
        "VERSION",
        "DROPPED",
        "AGENT",
    ]);
    for row in rows {
        let seen = row
            .last_seen_unix_ms
            .map_or_else(|| "never".to_owned(), |seen| ago(now_unix_ms - seen));
        let dropped = row.spool_dropped_reports.to_string();
        let country = row.country.unwrap_or("unknown");
        table.add_row([
            row.site,
            country,
            row.hostname,
            row.state,
            &seen,
            &row.version_text(),
            &dropped,
            &row.agent_id,
        ]);
    }
    if rows.is_empty() {
        "no agent has enrolled yet".to_owned()
    } else {
        table.trim_fmt()
    }
}

fn ago(ms: i64) -> String {
    let whole = std::time::Duration::from_secs(u64::try_from(ms / 1000).unwrap_or(0));
    format!("{} ago", humantime::format_duration(whole))
}

/// A revoked agent with those that were cloned from its machine, as JSON.
///
/// # Errors
/// None that can occur: all keys are texts.
pub(super) fn json_of_revoked(
    agent: &AgentRow<'_>,
    clones: &[AgentRow<'_>],
) -> serde_json::Result<String> {
    #[derive(serde::Serialize)]
    struct Revoked<'a, 'b> {
        #[serde(flatten)]
        agent: &'a AgentRow<'b>,
        clones: &'a [AgentRow<'b>],
    }
    serde_json::to_string_pretty(&Revoked { agent, clones })
}

/// The same for people; `fresh`: it was not revoked before; `with_clones`: its clones are revoked, too.
pub(super) fn text_of_revoked(
    agent: &AgentRow<'_>,
    fresh: bool,
    with_clones: bool,
    clones: &[AgentRow<'_>],
) -> String {
    let name = |row: &AgentRow<'_>| format!("{} of {} ({})", row.hostname, row.site, row.agent_id);
    let mut lines = vec![if fresh {
        format!(
            "{} is revoked: its reports are refused from now on",
            name(agent)
        )
    } else {
        format!("{} was revoked before", name(agent))
    }];
    let names = clones.iter().map(|clone| format!("  {}", name(clone)));
    if !clones.is_empty() {
        lines.push(if with_clones {
            "revoked with it, as cloned from its machine:".to_owned()
        } else {
            "cloned from its machine and still in service (`revoke-agent --clones` revokes them, too):".to_owned()
        });
        lines.extend(names);
    }
    lines.join("\n")
}
