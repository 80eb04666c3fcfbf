//! An incident as the notifier reads it, and what a message makes of it.

use std::collections::BTreeSet;

use super::model::{self, Level};
use super::notice::{Cost, NAMES_MAX, Notice, Phase, event_type, message_id};

/// One affected agent and target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Affected {
    /// The agent.
    pub agent: String,
    /// Identity of its site.
    pub site: String,
    /// Name of its site.
    pub site_name: String,
    /// Country of its site, or country and subdivision: `NL`, `US-CA`; absent when unknown.
    pub geography: Option<String>,
    /// The target.
    pub target: String,
}

/// An incident as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Its identity.
    pub id: String,
    /// Its class, such as `geo`.
    pub class: String,
    /// Whether it goes on.
    pub open: bool,
    /// What was before.
    pub from: Option<String>,
    /// What is now.
    pub to: Option<String>,
    /// AS number of what is now, where `to` is an AS.
    pub to_asn: Option<u32>,
    /// Whose network.
    pub provider_asn: Option<u32>,
    /// The prefix that it is about.
    pub prefix: Option<String>,
    /// How grave routing says it is; without it, its type says so.
    pub severity: Option<Level>,
    /// Who is affected.
    pub affected: Vec<Affected>,
    /// It happened after this.
    pub onset_from_unix_ms: i64,
    /// It happened before this.
    pub onset_to_unix_ms: i64,
    /// When it was decided.
    pub decided_unix_ms: i64,
    /// When it was over.
    pub ended_unix_ms: Option<i64>,
    /// How it ended.
    pub ending: Option<String>,
    /// How sure it is.
    pub confidence_ratio: Option<f64>,
    /// Why.
    pub reasons: Vec<String>,
    /// What it costs.
    pub cost: Option<Cost>,
    /// How often it came back.
    pub reopenings: u32,
    /// Decided from rounds that were old already: recorded, never told as new.
    pub late: bool,
    /// One sentence for people.
    pub summary: String,
}

impl Incident {
    /// Agents affected.
    pub fn agents(&self) -> usize {
        let agents: BTreeSet<&str> = self.affected.iter().map(|one| one.agent.as_str()).collect();
        agents.len()
    }

    /// How grave it is: of a type that is grave in general, one that few see is less so, and the gravest of several counts.
    pub fn level(&self) -> Level {
        let (_, usual) = event_type(&self.class);
        match self.severity {
            Some(severity) if model::is_path_class(&self.class) => usual.max(severity),
            Some(severity) => severity,
            None => usual,
        }
    }

    /// The same incident with only those affected that are not muted.
    #[must_use]
    pub fn without(mut self, is_muted: impl Fn(&Affected) -> bool) -> Self {
        self.affected.retain(|one| !is_muted(one));
        self
    }

    /// The message of a phase.
    pub fn notice(&self, phase: Phase, sequence: u32, dashboard: Option<&str>) -> Notice {
        let (event_type, _) = event_type(&self.class);
        let over = phase == Phase::End;
        let sites = self.distinct(|one| Some(one.site_name.clone()));
        let site_ids: BTreeSet<&str> = self.affected.iter().map(|one| one.site.as_str()).collect();
        Notice {
            version: 1,
            message_id: message_id(&self.id, sequence),
            incident_id: self.id.clone(),
            sequence,
            phase,
            event_type: event_type.to_owned(),
            event_level: self.level(),
            class: self.class.clone(),
            summary: self.summary.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            provider_asn: self.provider_asn,
            prefix: self.prefix.clone(),
            geographies: self.distinct(|one| one.geography.clone()),
            sites,
            sites_affected: count(site_ids.len()),
            targets: self.distinct(|one| Some(one.target.clone())),
            agents_affected: count(self.agents()),
            onset_from_unix_ms: self.onset_from_unix_ms,
            onset_to_unix_ms: self.onset_to_unix_ms,
            decided_unix_ms: self.decided_unix_ms,
            ended_unix_ms: self.ended_unix_ms.filter(|_| over),
            ending: self.ending.clone().filter(|_| over),
            confidence_ratio: self.confidence_ratio,
            reasons: self.reasons.clone(),
            cost: self.cost,
            reopenings: self.reopenings,
            link: dashboard
                .map(|base| format!("{}/incidents/{}", base.trim_end_matches('/'), self.id)),
        }
    }

    fn distinct(&self, of: impl Fn(&Affected) -> Option<String>) -> Vec<String> {
        let all: BTreeSet<String> = self.affected.iter().filter_map(of).collect();
        all.into_iter().take(NAMES_MAX).collect()
    }
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
