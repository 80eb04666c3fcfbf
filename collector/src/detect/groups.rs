//! Which events beside moves of the path are one incident: the same provider and class, begun together.

use std::collections::{BTreeSet, VecDeque};

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
    /// Events of it that go on.
    open: BTreeSet<String>,
}

impl Groups {
    /// The incident of an event. Where the provider is not known nothing says that two events are one. An event that goes on joins no
    /// incident that is over: its end was told.
    pub(super) fn join(&mut self, event: &Event) -> String {
        let goes_on = event.ended_unix_ms.is_none();
        let together = |group: &&mut Group| {
            Some(group.provider_asn) == event.provider_asn
                && group.class == event.class
                && (group.onset_unix_ms - event.first_novel_unix_ms).abs() <= TOGETHER_MS
                && !(goes_on && group.open.is_empty())
        };
        let open = goes_on.then(|| event.event_id.clone());
        if let Some(group) = self.kept.iter_mut().rev().find(together) {
            group.open.extend(open);
            return group.id.clone();
        }
        // The same first event makes the same identity, whichever collector finds it (RFC 9562 §5.5).
        let name = format!("firstmile/incident/{}", event.event_id);
        let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string();
        if let Some(provider_asn) = event.provider_asn {
            self.keep(Group {
                id: id.clone(),
                provider_asn,
                class: event.class,
                onset_unix_ms: event.first_novel_unix_ms,
                open: open.into_iter().collect(),
            });
        }
        id
    }

    /// Notes that an event is over.
    pub(super) fn ended(&mut self, event: &Event) {
        let of_incident = |group: &&mut Group| Some(&group.id) == event.incident_id.as_ref();
        if let Some(group) = self.kept.iter_mut().rev().find(of_incident) {
            group.open.remove(&event.event_id);
        }
    }

    /// Takes back what was known of an incident before the program started anew.
    pub(super) fn remember(&mut self, incident: &Incident) {
        if incident.class.is_beside_path() {
            let first = incident
                .events
                .iter()
                .map(|event| event.first_novel_unix_ms);
            let onset = first.min().unwrap_or(incident.onset_to_unix_ms);
            let open = incident
                .events
                .iter()
                .filter(|event| event.ended_unix_ms.is_none());
            if let Some(provider_asn) = incident.provider_asn {
                self.keep(Group {
                    id: incident.incident_id.clone(),
                    provider_asn,
                    class: incident.class,
                    onset_unix_ms: onset,
                    open: open.map(|event| event.event_id.clone()).collect(),
                });
            }
        }
    }

    fn keep(&mut self, group: Group) {
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: i64 = 1_767_614_400_000;

    fn event(id: &str, class: EventClass, after_ms: i64) -> Event {
        Event {
            event_id: id.to_owned(),
            class,
            provider_asn: Some(64_500),
            first_novel_unix_ms: T0 + after_ms,
            ..Event::default()
        }
    }

    fn over(mut event: Event, incident_id: &str) -> Event {
        event.incident_id = Some(incident_id.to_owned());
        event.ended_unix_ms = Some(event.first_novel_unix_ms + 1);
        event
    }

    #[test]
    fn an_event_joins_those_of_its_provider_while_one_of_them_goes_on() {
        let mut groups = Groups::default();
        let (a, b) = (
            event("a", EventClass::Latency, 0),
            event("b", EventClass::Latency, 60_000),
        );
        let incident = groups.join(&a);
        assert_eq!(groups.join(&b), incident);
        groups.ended(&over(a, &incident));
        let c = event("c", EventClass::Latency, 90_000);
        assert_eq!(groups.join(&c), incident, "one of it goes on");
        groups.ended(&over(b, &incident));
        groups.ended(&over(c, &incident));
        let d = event("d", EventClass::Latency, 100_000);
        let next = groups.join(&d);
        assert_ne!(next, incident, "its end was told");
        assert_eq!(groups.join(&event("e", EventClass::Latency, 110_000)), next);
    }

    #[test]
    fn events_that_are_over_as_they_are_found_are_one_incident() {
        let mut groups = Groups::default();
        let found = |id, after_ms| over(event(id, EventClass::ReturnPathSuspected, after_ms), "");
        let incident = groups.join(&found("a", 0));
        assert_eq!(groups.join(&found("b", 60_000)), incident);
        assert_ne!(groups.join(&found("c", 300_000)), incident);
    }
}
