//! One incident: the events of one or several agents that are one.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Event, EventClass, PathHop, PathIdentity, RoutingVerdict, RttCost};

/// Events with one provider, class, from and to, whose onsets overlap, and verdicts of routing with one cause; both together where routing
/// says why paths moved. It begins with the first of them and ends with the last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Incident {
    /// Identity: the same first event makes the same one, whichever collector finds it.
    pub incident_id: String,
    /// What happened.
    pub class: EventClass,
    /// `open` or `closed`.
    pub state: String,
    /// One sentence for people.
    pub text: String,
    /// AS by which the sites usually come out.
    pub provider_asn: Option<u32>,
    /// What was before, at the level of the class: `AS64500`, a metro such as `AMS`, or a router.
    pub from: Option<String>,
    /// What is now, in the same words.
    pub to: Option<String>,
    /// The onset lies after it: the earliest of the events.
    pub onset_from_unix_ms: i64,
    /// The onset lies before it: the latest of the events.
    pub onset_to_unix_ms: i64,
    /// When the first event was decided.
    pub decided_unix_ms: i64,
    /// When an event of it passed the hold-down; absent before.
    pub notified_unix_ms: Option<i64>,
    /// When the collector last took something in that changed it.
    pub changed_unix_ms: i64,
    /// When its last event ended; absent while one is open.
    pub ended_unix_ms: Option<i64>,
    /// How its last event ended, see the event.
    pub ending: Option<String>,
    /// Whether every event of it was brief.
    pub brief: bool,
    /// Whether all of it was decided from rounds that were more than ten minutes old: recorded, never told as new.
    pub late: bool,
    /// Flapping: how often the path moved so far.
    pub moves: u32,
    /// The highest of its events: share of such claims that come true.
    pub confidence: Option<f64>,
    /// Agents with an event in it.
    pub agents_total: u32,
    /// Of them, those with an open one.
    pub agents_open: u32,
    /// Sites with an event in it, by name, at most 100.
    pub sites: Vec<String>,
    /// Countries of the sites, ISO 3166-1 alpha-2.
    pub countries: Vec<String>,
    /// Targets with an event in it.
    pub targets: Vec<String>,
    /// What the move costs: the median over the events, with the medians of their intervals.
    pub rtt_cost: Option<RttCost>,
    /// The reasons of the event that is surest.
    pub reasons: Vec<String>,
    /// Its events, by onset, at most 1,000.
    pub events: Vec<IncidentEvent>,
    /// How many events there are.
    pub events_total: u32,
    /// What happened when, oldest first, at most 200 entries.
    pub timeline: Vec<TimelineEntry>,
    /// The registered prefix that routing speaks of, the first of several; absent where it says nothing.
    #[serde(default)]
    pub prefix: Option<String>,
    /// The gravest of its verdicts: `information`, `warning`, `error` or `critical`; absent without one.
    #[serde(default)]
    pub severity: Option<String>,
    /// Why paths moved, as routing says; absent where it says nothing, or no path moved.
    #[serde(default)]
    pub cause: Option<String>,
    /// What agents of the prefix say to it; absent without a verdict.
    #[serde(default)]
    pub cross_check: Option<CrossCheck>,
    /// Verdicts of routing in it, by start, at most 100.
    #[serde(default)]
    #[schema(required = true)]
    pub verdicts: Vec<RoutingVerdict>,
    /// How many verdicts there are.
    #[serde(default)]
    #[schema(required = true)]
    pub verdicts_total: u32,
}

/// What agents say to a verdict of routing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CrossCheck {
    /// `confirmed` (above 5), `supported` (above 2), `undecided`, `unsupported` (below 0), or `not_testable`: no agent is in the prefix.
    pub grade: String,
    /// Sum of the signs' log-odds.
    pub score: f64,
    /// The signs, each with what it adds or takes away.
    pub signs: Vec<String>,
    /// Agents in the prefix, and those of them whose path moved at the time.
    pub agents: u32,
    /// Of them, those with an event in the incident.
    pub agents_hit: u32,
}

/// An event, as far as its incident shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IncidentEvent {
    /// Identity of the event.
    pub event_id: String,
    /// Identity of the agent.
    pub agent_id: String,
    /// Identity of the agent's site at that time.
    pub site_id: Option<String>,
    /// Name of the site.
    pub site_name: String,
    /// ISO 3166-1 alpha-2 country of the site.
    pub country: Option<String>,
    /// Target's name.
    pub target: String,
    /// The onset lies after it.
    pub last_good_unix_ms: i64,
    /// The onset lies before it.
    pub first_novel_unix_ms: i64,
    /// When it was decided.
    pub detected_unix_ms: i64,
    /// When it ended; absent while open.
    pub ended_unix_ms: Option<i64>,
    /// Share of such claims that come true.
    pub confidence: Option<f64>,
    /// What the move costs there.
    pub rtt_cost: Option<RttCost>,
}

/// One moment of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TimelineEntry {
    /// When, by the agents' rounds.
    pub at_unix_ms: i64,
    /// `onset`, `decided`, `notified`, `ended` of an event.
    pub kind: String,
    /// For people.
    pub text: String,
}

/// An incident with all that there is to see of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct IncidentReport {
    /// The incident.
    pub incident: Incident,
    /// Its events with their reasons and paths, by onset, at most 100.
    pub events: Vec<Event>,
    /// Agents that measure a target of it and are on their usual path, those of the same provider first, at most 50.
    pub unaffected: Vec<Peer>,
    /// How many there are.
    pub unaffected_total: u32,
    /// What could not be seen, one sentence each.
    pub unseen: Vec<String>,
}

/// An agent that an incident does not touch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Peer {
    /// Identity of the agent.
    pub agent_id: String,
    /// Name of its site.
    pub site_name: String,
    /// A target of the incident that it reaches as usual.
    pub target: String,
    /// AS by which it comes out.
    pub provider_asn: Option<u32>,
    /// Metros where its path enters Microsoft's network.
    pub ingress_metros: Vec<String>,
}

/// The paths before and after an event.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventPaths {
    /// The last whole round on the usual path; absent if there was none.
    pub before: Option<EventPath>,
    /// The first whole round after the event was decided; absent while there is none.
    pub after: Option<EventPath>,
}

/// One whole round.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EventPath {
    /// When it started.
    pub at_unix_ms: i64,
    /// Where the flows went.
    pub destination: String,
    /// What the path comparison rests on.
    pub identity: PathIdentity,
    /// Hops in order of TTL.
    pub hops: Vec<PathHop>,
}
