//! Events of several agents that are one: what the incident says, from what its events say.
//!
//! Pure, and nothing of it is stored: an incident is a view of its events, so the two never disagree. Which events are one is
//! decided when they are found, by [`firstmile_shift::incident`].

pub mod route;
mod words;

use std::collections::BTreeSet;

use crate::api::types::{Event, Incident, IncidentEvent, Observability, RttCost, TimelineEntry};

/// Events of one incident that are read to tell of it: beyond them it is counted, not listed.
pub const EVENTS_MAX: u32 = 1_000;
/// Names of sites in one answer.
const SITES_MAX: usize = 100;
/// Entries of a timeline: its first half and its last.
const TIMELINE_MAX: usize = 200;

/// What the store knows of an incident beside its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Identity.
    pub incident_id: String,
    /// When something that changed it was last taken in.
    pub changed_unix_ms: i64,
    /// When its last event ended; `None` while one is open.
    pub ended_unix_ms: Option<i64>,
    /// Its events, all of them.
    pub events_total: u32,
    /// Agents with an event in it.
    pub agents_total: u32,
    /// Of them, those with an open one.
    pub agents_open: u32,
}

/// Tells an incident from its events, which come by onset, oldest first, at most [`EVENTS_MAX`].
pub fn assemble(head: &Head, events: &[Event]) -> Incident {
    let first = events.iter().min_by_key(|event| event.detected_unix_ms);
    let surest = events
        .iter()
        .max_by(|one, other| sureness(one).total_cmp(&sureness(other)));
    let last = events.iter().max_by_key(|event| event.ended_unix_ms);
    let sites: BTreeSet<&String> = events.iter().map(|event| &event.site_name).collect();
    let countries: BTreeSet<&String> = events
        .iter()
        .filter_map(|one| one.country.as_ref())
        .collect();
    let targets = events.iter().map(|event| &event.target);
    let targets: BTreeSet<&String> = targets.filter(|target| !target.is_empty()).collect();
    let closed = head.ended_unix_ms.is_some();
    let mut incident = Incident {
        incident_id: head.incident_id.clone(),
        class: first.map(|event| event.class).unwrap_or_default(),
        state: if closed { "closed" } else { "open" }.to_owned(),
        provider_asn: first.and_then(|event| event.provider_asn),
        from: first.and_then(|event| event.from.clone()),
        to: first.and_then(|event| event.to.clone()),
        onset_from_unix_ms: least(events, |event| event.last_good_unix_ms),
        onset_to_unix_ms: most(events, |event| event.first_novel_unix_ms),
        decided_unix_ms: least(events, |event| event.detected_unix_ms),
        notified_unix_ms: events
            .iter()
            .filter_map(|event| event.notified_unix_ms)
            .min(),
        changed_unix_ms: head.changed_unix_ms,
        ended_unix_ms: head.ended_unix_ms,
        ending: last
            .and_then(|event| event.ending.clone())
            .filter(|_| closed),
        brief: closed && events.iter().all(|event| event.brief),
        late: events.iter().all(|event| event.late),
        moves: events
            .iter()
            .map(|event| event.reopenings)
            .max()
            .unwrap_or(0),
        confidence: surest.and_then(|event| event.confidence),
        agents_total: head.agents_total,
        agents_open: head.agents_open,
        sites: sites.into_iter().take(SITES_MAX).cloned().collect(),
        countries: countries.into_iter().cloned().collect(),
        targets: targets.into_iter().cloned().collect(),
        rtt_cost: cost(events),
        reasons: surest
            .map(|event| event.reasons.clone())
            .unwrap_or_default(),
        events: events.iter().map(in_brief).collect(),
        events_total: head.events_total,
        timeline: timeline(events),
        ..Incident::default()
    };
    incident.text = words::sentence(&incident, first.map_or("", |event| event.moved.as_str()));
    incident
}

/// What could not be seen: levels that too few rounds could have decided at the incident's agents, one sentence each.
pub fn unseen(events: &[Event]) -> Vec<String> {
    type Grade = fn(&Observability) -> &String;
    let levels: [(&str, Grade); 3] = [
        ("AS path and handoff", |grades| &grades.provider),
        ("ingress metro", |grades| &grades.geo),
        ("ingress router", |grades| &grades.local),
    ];
    let graded: Vec<&Observability> = events
        .iter()
        .filter_map(|event| event.observability.as_ref())
        .collect();
    let mut sentences = Vec::new();
    for (level, grade) in levels {
        for (letter, share) in [("D", "in fewer than 30 %"), ("C", "in 30 to 70 %")] {
            let count = graded
                .iter()
                .filter(|grades| grade(grades) == letter)
                .count();
            if count > 0 {
                sentences.push(format!(
                    "{level}: visible {share} of the last day's rounds on {count} of {} paths",
                    graded.len()
                ));
            }
        }
    }
    sentences.push("the way back from Microsoft's network: not measured".to_owned());
    sentences
}

fn sureness(event: &Event) -> f64 {
    event.confidence.unwrap_or(0.0)
}

fn least(events: &[Event], of: fn(&Event) -> i64) -> i64 {
    events.iter().map(of).min().unwrap_or(0)
}

fn most(events: &[Event], of: fn(&Event) -> i64) -> i64 {
    events.iter().map(of).max().unwrap_or(0)
}

fn in_brief(event: &Event) -> IncidentEvent {
    IncidentEvent {
        event_id: event.event_id.clone(),
        agent_id: event.agent_id.clone(),
        site_id: event.site_id.clone(),
        site_name: event.site_name.clone(),
        country: event.country.clone(),
        target: event.target.clone(),
        last_good_unix_ms: event.last_good_unix_ms,
        first_novel_unix_ms: event.first_novel_unix_ms,
        detected_unix_ms: event.detected_unix_ms,
        ended_unix_ms: event.ended_unix_ms,
        confidence: event.confidence,
        rtt_cost: event.rtt_cost,
    }
}

/// The median over the events. Its interval is the medians of theirs: events of one incident share their cause, so more of
/// them do not make it narrower.
fn cost(events: &[Event]) -> Option<RttCost> {
    let costs: Vec<RttCost> = events.iter().filter_map(|event| event.rtt_cost).collect();
    let middle = |of: fn(&RttCost) -> i64| {
        let mut values: Vec<i64> = costs.iter().map(of).collect();
        values.sort_unstable();
        values.get(values.len().saturating_sub(1) / 2).copied()
    };
    let us = |value: i64| u32::try_from(value).unwrap_or(0);
    let sum = |of: fn(&RttCost) -> u32| costs.iter().map(of).fold(0, u32::saturating_add);
    Some(RttCost {
        before_us: us(middle(|cost| i64::from(cost.before_us))?),
        after_us: us(middle(|cost| i64::from(cost.after_us))?),
        change_us: middle(|cost| cost.change_us)?,
        change_low_us: middle(|cost| cost.change_low_us)?,
        change_high_us: middle(|cost| cost.change_high_us)?,
        n_before: sum(|cost| cost.n_before),
        n_after: sum(|cost| cost.n_after),
    })
}

fn timeline(events: &[Event]) -> Vec<TimelineEntry> {
    let mut entries: Vec<TimelineEntry> = events.iter().flat_map(words::moments).collect();
    entries.sort_by_key(|entry| entry.at_unix_ms);
    let half = TIMELINE_MAX / 2;
    if entries.len() > TIMELINE_MAX {
        let rest = entries.len() - half;
        entries.drain(half..rest);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::EventClass;

    const T0: i64 = 1_767_614_400_000;

    fn event(site: &str, onset_s: i64, ended_s: Option<i64>) -> Event {
        let at = |seconds: i64| T0 + seconds * 1_000;
        Event {
            event_id: format!("{site}-{onset_s}"),
            class: EventClass::Geo,
            agent_id: site.to_owned(),
            site_name: site.to_owned(),
            country: Some("NL".to_owned()),
            provider_asn: Some(64_500),
            target: "exchange".to_owned(),
            from: Some("AMS".to_owned()),
            to: Some("FRA".to_owned()),
            moved: "ingress moved from Amsterdam (AMS) to Frankfurt (FRA)".to_owned(),
            last_good_unix_ms: at(onset_s - 5),
            first_novel_unix_ms: at(onset_s),
            detected_unix_ms: at(onset_s + 10),
            ended_unix_ms: ended_s.map(at),
            ending: ended_s.map(|_| "recovery".to_owned()),
            confidence: Some(0.95),
            ..Event::default()
        }
    }

    fn head(events: &[Event]) -> Head {
        let count = u32::try_from(events.len()).unwrap();
        let open = events.iter().filter(|event| event.ended_unix_ms.is_none());
        let agents_open = u32::try_from(open.count()).unwrap();
        Head {
            incident_id: "one".to_owned(),
            changed_unix_ms: T0,
            ended_unix_ms: (agents_open == 0)
                .then(|| events.iter().filter_map(|event| event.ended_unix_ms).max())
                .flatten(),
            events_total: count,
            agents_total: count,
            agents_open,
        }
    }

    #[test]
    fn an_incident_begins_with_its_first_event_and_ends_with_its_last() {
        let open = [event("Utrecht", 0, Some(300)), event("Lisbon", 20, None)];
        let incident = assemble(&head(&open), &open);
        assert_eq!(incident.state, "open");
        assert_eq!((incident.ending, incident.ended_unix_ms), (None, None));
        assert_eq!(incident.onset_from_unix_ms, T0 - 5_000);
        assert_eq!(incident.onset_to_unix_ms, T0 + 20_000);
        assert_eq!(incident.decided_unix_ms, T0 + 10_000);
        assert_eq!(incident.sites, ["Lisbon", "Utrecht"]);
        assert_eq!(
            incident.text,
            "AS64500: ingress moved from Amsterdam (AMS) to Frankfurt (FRA), 2 agents at Lisbon and Utrecht, between 11:59:55 and 12:00:20 UTC"
        );
        let told: Vec<_> = incident
            .timeline
            .iter()
            .map(|entry| entry.kind.as_str())
            .collect();
        assert_eq!(told, ["onset", "decided", "onset", "decided", "ended"]);
        let closed = [
            event("Utrecht", 0, Some(300)),
            event("Lisbon", 20, Some(320)),
        ];
        let incident = assemble(&head(&closed), &closed);
        assert_eq!(incident.state, "closed");
        assert_eq!(incident.ended_unix_ms, Some(T0 + 320_000));
        assert_eq!(incident.ending.as_deref(), Some("recovery"));
    }

    #[test]
    fn it_is_brief_or_late_only_if_all_of_it_is() {
        for (name, brief, late, want) in [
            ("both", [true, true], [true, true], (true, true)),
            ("one", [true, false], [false, true], (false, false)),
        ] {
            let mut events = [event("Utrecht", 0, Some(30)), event("Lisbon", 20, Some(60))];
            for (index, event) in events.iter_mut().enumerate() {
                (event.brief, event.late) = (brief[index], late[index]);
            }
            let incident = assemble(&head(&events), &events);
            assert_eq!((incident.brief, incident.late), want, "{name}");
        }
    }

    #[test]
    fn the_cost_is_the_median_and_more_events_do_not_make_it_surer() {
        let cost = |change_us: i64| RttCost {
            before_us: 10_000,
            after_us: 17_000,
            change_us,
            change_low_us: change_us - 500,
            change_high_us: change_us + 500,
            n_before: 30,
            n_after: 10,
        };
        let mut events: Vec<Event> = (0..5).map(|index| event("Utrecht", index, None)).collect();
        for (event, change_us) in events.iter_mut().zip([7_000, 6_000, 8_000]) {
            event.rtt_cost = Some(cost(change_us));
        }
        let told = assemble(&head(&events), &events).rtt_cost.expect("a cost");
        assert_eq!(
            (told.change_us, told.change_low_us, told.change_high_us),
            (7_000, 6_500, 7_500)
        );
        assert_eq!((told.n_before, told.n_after), (90, 30));
    }

    #[test]
    fn a_long_timeline_keeps_its_beginning_and_its_end() {
        let events: Vec<Event> = (0..400)
            .map(|index| event("Utrecht", index, Some(9_000 + index)))
            .collect();
        let timeline = assemble(&head(&events), &events).timeline;
        assert_eq!(timeline.len(), TIMELINE_MAX);
        assert_eq!(
            timeline.first().map(|entry| entry.kind.as_str()),
            Some("onset")
        );
        assert_eq!(
            timeline.last().map(|entry| entry.kind.as_str()),
            Some("ended")
        );
    }
}
