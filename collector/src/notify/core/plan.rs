//! Which messages an incident makes, and when: hold-down, one start, one end, a digest while it comes and goes.
//!
//! Pure: the incident as it is now and what was told of it go in; messages and what is then told come out. The shell writes both
//! in one transaction, so a collector that dies at any instruction tells neither twice nor never.
//!
//! Recording is not notifying: an incident is told when it has lasted the hold-down (path hunting lasts 30 to 120 s), or at once when a
//! second agent agrees, when nothing is reached, or when it went to a provider that nobody registered.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::incident::{Affected, Incident};
use super::model;
use super::notice::{Notice, Phase};
use super::rules::{self, Rule};

/// First seen so long after it was decided, an incident is old news: recorded, never told as new.
const STALE_MS: i64 = 10 * 60_000;
/// An incident that grows is told again at most so often.
const UPDATE_EVERY_MS: i64 = 10 * 60_000;
/// An incident that came back is over when it is calm for so long.
const CALM_MS: i64 = 15 * 60_000;
/// How often channels that forget are told that it goes on.
pub const REFRESH_EVERY_MS: i64 = 5 * 60_000;

/// What decides beside the incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Who wants what.
    pub rules: Vec<Rule>,
    /// How long an incident of one agent has to last.
    pub hold_down_ms: i64,
    /// How long it has to be over before the end is told: an agent that lags behind may open it again.
    pub end_after_ms: i64,
    /// How often at most an incident that comes and goes is told.
    pub digest_every_ms: i64,
    /// Providers that are expected; a move to another one is told at once. Empty: all are.
    pub registered_providers: Vec<u32>,
    /// Channels that forget what is not said again.
    pub forgetful: BTreeSet<String>,
    /// Where the dashboard is, for links.
    pub dashboard: Option<String>,
}

/// What was told of one incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    /// Messages so far.
    pub sequence: u32,
    /// Channels that know of it and not yet of its end.
    pub channels: BTreeSet<String>,
    /// When people were last told.
    pub at_unix_ms: i64,
    /// When forgetful channels were last told.
    pub refreshed_unix_ms: i64,
    /// Agents, when people were last told.
    pub agents: usize,
    /// Reopenings, when people were last told.
    pub reopenings: u32,
    /// When the end was told; 0: it was not.
    pub ended_unix_ms: i64,
    /// Whether it opened again after its end was told.
    pub flapping: bool,
    /// Whether it was old news at the first look: nothing is ever told of it.
    pub stale: bool,
}

/// A message and who gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What it says.
    pub notice: Notice,
    /// The channels.
    pub channels: BTreeSet<String>,
}

/// What people asked not to be told.
pub trait Mutes {
    /// Whether a change window holds at an affected site.
    fn is_muted(&self, incident: &Incident, affected: &Affected) -> bool;
    /// Whether somebody muted the incident itself.
    fn is_incident_muted(&self, incident: &Incident) -> bool;
}

/// Nobody asked for silence.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMutes;

impl Mutes for NoMutes {
    fn is_muted(&self, _: &Incident, _: &Affected) -> bool {
        false
    }
    fn is_incident_muted(&self, _: &Incident) -> bool {
        false
    }
}

/// What to tell of an incident now. `told` is `None` at the first look.
pub fn plan(
    incident: &Incident,
    told: Option<&Told>,
    settings: &Settings,
    mutes: &impl Mutes,
    now_unix_ms: i64,
) -> (Vec<Message>, Told) {
    let first_look = || Told {
        stale: !incident.late && now_unix_ms - incident.decided_unix_ms > STALE_MS,
        ..Told::default()
    };
    let mut planning = Planning {
        incident,
        told: told.cloned().unwrap_or_else(first_look),
        settings,
        now_unix_ms,
        messages: Vec::new(),
    };
    // Old news waits: an agent that sees the same now makes it news.
    let old_news = incident.late && planning.told.sequence == 0;
    if !planning.told.stale && !old_news {
        planning.start_and_go_on(mutes);
        planning.end();
    }
    (planning.messages, planning.told)
}

struct Planning<'a> {
    incident: &'a Incident,
    told: Told,
    settings: &'a Settings,
    now_unix_ms: i64,
    messages: Vec<Message>,
}

impl Planning<'_> {
    fn start_and_go_on(&mut self, mutes: &impl Mutes) {
        let visible = self
            .incident
            .clone()
            .without(|affected| mutes.is_muted(self.incident, affected));
        // What routing says of a prefix concerns the prefix: it is told although nobody looks from there.
        // Where somebody does, and all of them are under a change window, it is quiet.
        let has_viewers = !self.incident.affected.is_empty();
        let nobody = visible.affected.is_empty() && (has_viewers || visible.prefix.is_none());
        let quiet = mutes.is_incident_muted(self.incident) || nobody;
        let untold = self.told.sequence == 0;
        if !quiet && self.is_due(&visible) {
            let wanted = rules::channels(&self.settings.rules, &visible, false);
            let missing: BTreeSet<String> =
                wanted.difference(&self.told.channels).cloned().collect();
            if self.told.ended_unix_ms > 0 {
                self.told.flapping = true;
                self.told.ended_unix_ms = 0;
                self.tell(&visible, Phase::Digest, missing);
            } else {
                self.tell(&visible, Phase::Start, missing);
            }
        }
        if !quiet && !untold && self.incident.open {
            self.digest(&visible);
            self.update(&visible);
        }
        self.refresh();
    }

    /// Whether it may be told: it lasted, or needs no waiting. One that ended meanwhile is told only if it never was.
    fn is_due(&self, visible: &Incident) -> bool {
        if !self.incident.open && self.told.sequence > 0 {
            return false;
        }
        if self.told.ended_unix_ms > 0 {
            return self.now_unix_ms - self.told.ended_unix_ms >= self.settings.hold_down_ms;
        }
        let until = self.incident.ended_unix_ms.unwrap_or(self.now_unix_ms);
        let lasted = until - self.incident.onset_to_unix_ms >= self.settings.hold_down_ms;
        lasted || visible.agents() > 1 || self.needs_no_waiting()
    }

    fn needs_no_waiting(&self) -> bool {
        let registered = &self.settings.registered_providers;
        let strange = |asn: u32| !registered.is_empty() && !registered.contains(&asn);
        match self.incident.class.as_str() {
            _ if self.incident.prefix.is_some() => true,
            "unreachable" => true,
            "provider" => self.incident.to_asn.is_some_and(strange),
            other => !model::is_path_class(other),
        }
    }

    /// One message for many moves.
    fn digest(&mut self, visible: &Incident) {
        let rested = self.now_unix_ms - self.told.at_unix_ms >= self.settings.digest_every_ms;
        if self.incident.reopenings > self.told.reopenings && rested {
            self.told.flapping = true;
            self.tell(visible, Phase::Digest, self.told.channels.clone());
        }
    }

    /// Tells of growth where that is asked for: twice the agents.
    fn update(&mut self, visible: &Incident) {
        let rested = self.now_unix_ms - self.told.at_unix_ms >= UPDATE_EVERY_MS;
        if rested && visible.agents() >= self.told.agents.max(1) * 2 {
            let wanted = rules::channels(&self.settings.rules, visible, true);
            let wanted = wanted.intersection(&self.told.channels).cloned().collect();
            self.tell(visible, Phase::Update, wanted);
        }
    }

    fn refresh(&mut self) {
        let rested = self.now_unix_ms - self.told.refreshed_unix_ms >= REFRESH_EVERY_MS;
        let forgetful: BTreeSet<String> = self
            .told
            .channels
            .intersection(&self.settings.forgetful)
            .cloned()
            .collect();
        if !rested || forgetful.is_empty() {
            return;
        }
        let before = self.told.clone();
        self.tell(&self.incident.clone(), Phase::Update, forgetful);
        // People were told nothing.
        self.told = Told {
            sequence: self.told.sequence,
            refreshed_unix_ms: self.now_unix_ms,
            ..before
        };
    }

    /// Who knows of the start hears of the end, muted or not.
    fn end(&mut self) {
        let Some(ended) = self.incident.ended_unix_ms.filter(|_| !self.incident.open) else {
            return;
        };
        let calm = if self.told.flapping {
            CALM_MS
        } else {
            self.settings.end_after_ms
        };
        if self.told.channels.is_empty() || self.now_unix_ms - ended < calm {
            return;
        }
        let channels = std::mem::take(&mut self.told.channels);
        self.tell(&self.incident.clone(), Phase::End, channels);
        self.told.channels.clear();
        self.told.ended_unix_ms = self.now_unix_ms;
    }

    fn tell(&mut self, incident: &Incident, phase: Phase, channels: BTreeSet<String>) {
        if channels.is_empty() {
            return;
        }
        self.told.sequence += 1;
        self.told.at_unix_ms = self.now_unix_ms;
        self.told.refreshed_unix_ms = self.now_unix_ms;
        self.told.agents = incident.agents();
        self.told.reopenings = incident.reopenings;
        self.told.channels.extend(channels.iter().cloned());
        let dashboard = self.settings.dashboard.as_deref();
        self.messages.push(Message {
            notice: incident.notice(phase, self.told.sequence, dashboard),
            channels,
        });
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(crate) mod tests;
