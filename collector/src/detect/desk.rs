//! What agents see together: recent moves of all of them, and which events are one incident.

use firstmile_shift::fleet::{Claim, Fleet, Others};
use firstmile_shift::incident::{self, Incidents};
use firstmile_shift::level::Class;
use firstmile_shift::track::{Change, Value};
use firstmile_wire::ids::AgentId;

use super::groups::Groups;
use crate::api::types::{Event, Incident};

/// One organisation's.
#[derive(Clone, Debug, Default)]
pub struct Desk {
    fleet: Fleet,
    incidents: Incidents,
    beside: Groups,
}

impl Desk {
    /// With the incidents that are open, or were a moment ago, as the store has them: what joined one before the collector
    /// started joins it after, too. Moves that were only suspected are forgotten; their bursts tell them again.
    pub fn restored(incidents: &[Incident]) -> Self {
        let mut desk = Self::default();
        let mut known: Vec<_> = incidents.iter().filter_map(known).collect();
        known.sort_by(|one, other| one.onset[1].total_cmp(&other.onset[1]));
        for incident in known {
            desk.incidents.remember(incident);
        }
        for incident in incidents {
            desk.beside.remember(incident);
        }
        desk
    }

    /// The incident that a claimed change belongs to.
    pub(super) fn incident(
        &mut self,
        provider: Option<u32>,
        agent: AgentId,
        target: &str,
        change: &Change,
    ) -> String {
        let agent = agent.to_string();
        if change.class == Class::Flapping {
            // Each path flaps for itself: its own counter is what there is to tell.
            return Incidents::default()
                .take_in(provider, &agent, target, change)
                .0;
        }
        self.incidents.take_in(provider, &agent, target, change).0
    }

    /// The incident of what happened beside moves of the path.
    pub(super) fn incident_beside(&mut self, event: &Event) -> String {
        self.beside.join(event)
    }

    /// Notes what of these events is over.
    pub(super) fn note_ended(&mut self, events: &[Event]) {
        let is_over =
            |event: &&Event| event.ended_unix_ms.is_some() && event.class.is_beside_path();
        for event in events.iter().filter(is_over) {
            self.beside.ended(event);
        }
    }

    /// Notes a move that an agent suspects or claims.
    pub(super) fn note(&mut self, provider: Option<u32>, claim: &Claim, agent: &str, at: f64) {
        self.fleet.note(provider.unwrap_or(0), claim, agent, at);
    }

    /// What an agent sees of the others.
    pub(super) const fn others<'a>(&'a self, provider: Option<u32>, agent: &'a str) -> Others<'a> {
        let provider = match provider {
            Some(provider) => provider,
            None => 0,
        };
        self.fleet.seen_by(agent, provider)
    }
}

fn known(told: &Incident) -> Option<incident::Incident> {
    let open = told
        .events
        .iter()
        .filter(|event| event.ended_unix_ms.is_none());
    Some(incident::Incident {
        id: told.incident_id.clone(),
        provider: told.provider_asn,
        class: told
            .class
            .of_path()
            .filter(|class| *class != Class::Flapping)?,
        from: told.from.as_deref().map(Value::from),
        to: told.to.as_deref().map(Value::from),
        onset: [
            seconds(told.onset_from_unix_ms),
            seconds(told.onset_to_unix_ms),
        ],
        agents: told
            .events
            .iter()
            .map(|event| event.agent_id.clone())
            .collect(),
        open: open
            .map(|event| {
                (
                    event.agent_id.clone(),
                    event.target.clone(),
                    seconds(event.detected_unix_ms),
                )
            })
            .collect(),
        closed: told.ended_unix_ms.map(seconds),
    })
}

/// The classifier's seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 are far below 2^52"
)]
pub(super) fn seconds(unix_ms: i64) -> f64 {
    unix_ms as f64 / 1_000.0
}

/// The store's milliseconds.
#[expect(
    clippy::cast_possible_truncation,
    reason = "times of rounds, which the reader of reports found plausible"
)]
pub(super) fn unix_ms(seconds: f64) -> i64 {
    (seconds * 1_000.0).round() as i64
}
