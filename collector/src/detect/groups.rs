//! Which events beside moves of the path are one incident: the same provider and class, begun together.

use std::collections::VecDeque;

use uuid::Uuid;

use crate::api::types::{Event, EventClass, Incident};

/// Onsets this far apart are one: an event of a level is decided two minutes after it.
const TOGETHER_MS: i64 = 120_000;
/// Groups kept; nobody joins one that is older than the newest thousand.
const KEPT: usize = 1_024;

/// Groups that an event may still join.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    kept: VecDeque<Group>,
}

#[derive(Clone, Debug)]
struct Group {
    id: String,
    provider_asn: u32,
    class: EventClass,
    onset_unix_ms: i64,
}

impl Groups {
    /// The incident of an event. Where the provider is not known nothing says that two events are one.
    pub(super) fn join(&mut self, event: &Event) -> String {
        let together = |group: &&Group| {
            Some(group.provider_asn) == event.provider_asn
                && group.class == event.class
                && (group.onset_unix_ms - event.first_novel_unix_ms).abs() <= TOGETHER_MS
        };
        if let Some(group) = self.kept.iter().rev().find(together) {
            return group.id.clone();
        }
        // The same first event makes the same identity, whichever collector finds it (RFC 9562 §5.5).
        let name = format!("firstmile/incident/{}", event.event_id);
        let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string();
        self.keep(
            event.provider_asn,
            event.class,
            event.first_novel_unix_ms,
            &id,
        );
        id
    }

    /// Takes back what was known of an incident before the program started anew.
    pub(super) fn remember(&mut self, incident: &Incident) {
        if incident.class.is_beside_path() {
            let first = incident
                .events
                .iter()
                .map(|event| event.first_novel_unix_ms);
            let onset = first.min().unwrap_or(incident.onset_to_unix_ms);
            let Incident {
                provider_asn,
                class,
                incident_id,
                ..
            } = incident;
            self.keep(*provider_asn, *class, onset, incident_id);
        }
    }

    fn keep(&mut self, provider_asn: Option<u32>, class: EventClass, onset_unix_ms: i64, id: &str) {
        let Some(provider_asn) = provider_asn else {
            return;
        };
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Group {
            id: id.to_owned(),
            provider_asn,
            class,
            onset_unix_ms,
        });
    }
}
