//! Events of several agents that are one: the same provider, class, from and to, with onsets that overlap.

use std::collections::BTreeSet;

use serde::Serialize;
use uuid::Uuid;

use crate::level::Class;
use crate::track::{Change, Phase, Value};

/// Times that went through a text and back are the same within this, seconds.
const SAME_S: f64 = 0.001;
/// Onsets this far apart still overlap, seconds.
const TOGETHER_S: f64 = 120.0;
/// An incident takes no newcomers when it has been over for so long, seconds.
const CLOSED_S: f64 = 120.0;
/// Incidents kept: an open one of every group of a large fleet. The oldest closed ones go first.
const KEPT: usize = 4_096;

/// One incident, as far as it decides what joins it.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Its identity.
    pub id: String,
    /// Whose network.
    pub provider: Option<u32>,
    /// What happened.
    pub class: Class,
    /// What was before.
    pub from: Option<Value>,
    /// What is now.
    pub to: Option<Value>,
    /// When it happened: the earliest of the events' intervals to the latest.
    pub onset: [f64; 2],
    /// All agents so far.
    pub agents: BTreeSet<String>,
    /// Events that are not over: agent, target, start.
    pub open: Vec<(String, String, f64)>,
    /// When its last event was over; `None`: one is open.
    pub closed: Option<f64>,
}

/// What to tell of a group of two or more agents.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentChange {
    /// Start (again whenever an agent joins) or end.
    pub phase: Phase,
    /// Its identity.
    pub incident: String,
    /// What happened.
    pub class: Class,
    /// What was before.
    pub from: Option<Value>,
    /// What is now.
    pub to: Option<Value>,
    /// Whose network.
    pub provider_asn: Option<u32>,
    /// All agents so far.
    pub agents: Vec<String>,
    /// When it happened: the earliest of the events' intervals to the latest.
    pub onset: [f64; 2],
    /// When it was decided.
    pub ts: f64,
}

/// Groups events.
#[derive(Clone, Debug, Default)]
pub struct Incidents {
    kept: Vec<Incident>,
}

impl Incidents {
    /// Takes an event's start or end in: the incident it belongs to, and what to tell of the group.
    pub fn take_in(
        &mut self,
        provider: Option<u32>,
        agent: &str,
        target: &str,
        change: &Change,
    ) -> (String, Option<IncidentChange>) {
        let key = |one: &(String, String, f64)| {
            one.0 == agent && one.1 == target && (one.2 - change.started).abs() < SAME_S
        };
        let held = self
            .kept
            .iter_mut()
            .rev()
            .find(|incident| incident.class == change.class && incident.open.iter().any(key));
        match (change.phase, held) {
            (Phase::End, Some(incident)) => {
                incident.open.retain(|one| !key(one));
                let over = incident.open.is_empty();
                if over {
                    incident.closed = Some(change.at);
                }
                let told = (over && incident.agents.len() > 1)
                    .then(|| incident.tell(Phase::End, change.at));
                (incident.id.clone(), told)
            }
            (Phase::Start | Phase::Notify, Some(incident)) => (incident.id.clone(), None),
            (Phase::Start, None) => self.join(provider, agent, target, change),
            (Phase::Notify | Phase::End, None) => (identity(provider, agent, change), None),
        }
    }

    /// Takes back what was known of an incident before the program started anew; oldest first.
    pub fn remember(&mut self, incident: Incident) {
        self.keep(incident);
    }

    fn join(
        &mut self,
        provider: Option<u32>,
        agent: &str,
        target: &str,
        change: &Change,
    ) -> (String, Option<IncidentChange>) {
        let fits = |incident: &&mut Incident| {
            incident.provider == provider
                && incident.class == change.class
                && incident.from == change.from
                && incident.to == change.to
                && change.onset[0] <= incident.onset[1] + TOGETHER_S
                && change.onset[1] >= incident.onset[0] - TOGETHER_S
                && (change.onset[1] - incident.onset[1]).abs() <= TOGETHER_S
                && incident
                    .closed
                    .is_none_or(|closed| change.at - closed <= CLOSED_S)
        };
        let open = (agent.to_owned(), target.to_owned(), change.started);
        let Some(incident) = self.kept.iter_mut().rev().find(fits) else {
            let id = identity(provider, agent, change);
            self.keep(Incident {
                id: id.clone(),
                provider,
                class: change.class,
                from: change.from.clone(),
                to: change.to.clone(),
                onset: change.onset,
                agents: BTreeSet::from([agent.to_owned()]),
                open: vec![open],
                closed: None,
            });
            return (id, None);
        };
        let joined = incident.agents.insert(agent.to_owned());
        incident.open.push(open);
        incident.closed = None;
        incident.onset = [
            incident.onset[0].min(change.onset[0]),
            incident.onset[1].max(change.onset[1]),
        ];
        let told = joined.then(|| incident.tell(Phase::Start, change.at));
        (incident.id.clone(), told)
    }

    fn keep(&mut self, incident: Incident) {
        if self.kept.len() >= KEPT {
            let oldest = self
                .kept
                .iter()
                .position(|kept| kept.closed.is_some())
                .unwrap_or(0);
            self.kept.remove(oldest);
        }
        self.kept.push(incident);
    }
}

impl Incident {
    fn tell(&self, phase: Phase, ts: f64) -> IncidentChange {
        IncidentChange {
            phase,
            incident: self.id.clone(),
            class: self.class,
            from: self.from.clone(),
            to: self.to.clone(),
            provider_asn: self.provider,
            agents: self.agents.iter().cloned().collect(),
            onset: self.onset,
            ts,
        }
    }
}

/// The same first event makes the same identity, whichever collector finds it (RFC 9562 §5.5).
fn identity(provider: Option<u32>, agent: &str, change: &Change) -> String {
    let name = format!(
        "firstmile/incident/{provider:?}/{}/{:?}/{:?}/{agent}/{}",
        change.class.as_str(),
        change.from,
        change.to,
        change.onset[1]
    );
    Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string()
}
