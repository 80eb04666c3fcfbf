//! The JSON that the API speaks; the `OpenAPI` document and the dashboard's types are generated from here.
//!
//! Times are `*_unix_ms` (UTC), durations and RTTs `*_us`, shares `*_ratio` from 0 to 1. Quantiles are of answered probes;
//! every figure carries its `n`, its loss, and the agents behind it.

mod connection;
mod desk;
mod event;
mod incident;
mod machine;
mod path;
mod query;
mod routing;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use connection::{Connection, ConnectionPrefix, ConnectionSite, PathCompliance};
pub use desk::{
    ChangeWindow, ChannelState, Doing, IncidentMarks, IncidentNote, Letter, NoteRequest,
    Notifications, SiteZone,
};
pub use event::{Event, EventClass, EventStatus, Observability, RttCost};
pub use incident::{
    CrossCheck, EventPath, EventPaths, Incident, IncidentEvent, IncidentReport, Peer, TimelineEntry,
};
pub use machine::{EngineCounters, Handshake, HostState, Machine, MachineChange};
pub use path::{PathHop, PathIdentity, PathNode, PathReport, PathSpan};
pub use query::{QueryFigure, QueryReport, QueryRestsOn, QueryRow, QuestionQuery};
pub use routing::{
    AsHops, PrefixFinding, PrefixRoute, RegisteredPrefix, RouteStatistics, RoutingEvidence,
    RoutingFeed, RoutingRemedy, RoutingVerdict,
};

/// A span of time that an answer covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Window {
    /// Start, inclusive.
    pub from_unix_ms: i64,
    /// End, exclusive.
    pub to_unix_ms: i64,
}

/// The state of the collector, for the frame of the dashboard and for scripts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Status {
    /// Version of the collector's program.
    pub version: String,
    /// Who is asking.
    pub principal: Principal,
    /// The collector's clock.
    pub now_unix_ms: i64,
    /// Agents that are enrolled and not revoked.
    pub agents_total: u32,
    /// Agents heard in the last three minutes.
    pub agents_reporting: u32,
    /// Sites that have at least one of them.
    pub sites_total: u32,
    /// Reports accepted since the collector started.
    pub reports_accepted: u64,
    /// Reports refused since the collector started, by reason.
    pub reports_refused: Vec<RefusedCount>,
    /// Things that somebody should know, worst first; for example that no agent reaches any edge.
    pub notices: Vec<Notice>,
}

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Principal {
    /// Organisation whose data the principal sees.
    pub organisation: String,
    /// Name for people: `loopback` or the login.
    pub name: String,
    /// What the principal may do: `admin`.
    pub role: String,
}

/// How often reports were refused for one reason.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RefusedCount {
    /// The refusal's code, such as `truncated`.
    pub code: String,
    /// Times since the collector started.
    pub count: u64,
}

/// Something that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Notice {
    /// `info`, `warning` or `error`.
    pub level: String,
    /// A constant word for programs, such as `no_edge_reached`.
    pub code: String,
    /// One sentence for people: what is so, and what to do.
    pub text: String,
}

/// A level of geography.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GeographyLevel {
    /// ISO 3166-1 country.
    Country,
    /// ISO 3166-2 subdivision.
    Subdivision,
    /// City or metropolitan area.
    Metro,
    /// One branch site.
    Site,
}

/// Latency per geography.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GeographyReport {
    /// What the figures cover.
    pub window: Window,
    /// Level of the rows.
    pub level: GeographyLevel,
    /// Protocol of the samples, such as `tcp`.
    pub protocol: String,
    /// Phase of the samples, such as `rtt`.
    pub phase: String,
    /// One row for each geography that has agents, worst p50 first; those without samples last.
    pub rows: Vec<GeographyRow>,
}

/// One geography.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GeographyRow {
    /// Key to ask with: `NL`, `NL-NH`, `NL/Amsterdam`, a site's id; `unknown` where nothing is declared or found.
    pub key: String,
    /// Name for people.
    pub name: String,
    /// ISO 3166-1 alpha-2 country, absent when unknown.
    pub country: Option<String>,
    /// Centre or declared place, degrees.
    pub latitude: Option<f64>,
    /// Centre or declared place, degrees.
    pub longitude: Option<f64>,
    /// The figures of the window.
    pub figures: Figures,
    /// The same figures of the span of equal length before the window, for "against its usual".
    pub before: Figures,
    /// Agents of this geography; revoked ones do not count.
    pub agents: u32,
    /// Of them, those not heard for three minutes.
    pub agents_silent: u32,
    /// Events open now.
    pub open_events: u32,
    /// Metro codes of the POPs where this geography's paths enter Microsoft's network, most used first.
    pub ingress_metros: Vec<String>,
}

/// RTT and loss of a set of samples. Quantiles are absent without an answered probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Figures {
    /// Probes that count: answered plus lost.
    pub n: u64,
    /// Agents behind them.
    pub agents: u32,
    /// Probes that agents marked as saying nothing of the road from the site: answered by something nearer than the edge,
    /// through a tunnel, or in another network. They are in no other figure.
    pub left_out: u64,
    /// Answered probes whose time is a busy machine's own fault: they are in `n`, as answered, and in no quantile.
    pub mistimed: u64,
    /// Lost probes over `n`; absent when `n` is 0.
    pub loss_ratio: Option<f64>,
    /// Smallest RTT.
    pub min_us: Option<u32>,
    /// 5th percentile.
    pub p5_us: Option<u32>,
    /// 25th percentile.
    pub p25_us: Option<u32>,
    /// Median.
    pub p50_us: Option<u32>,
    /// 75th percentile.
    pub p75_us: Option<u32>,
    /// 95th percentile.
    pub p95_us: Option<u32>,
    /// 99th percentile.
    pub p99_us: Option<u32>,
}

/// Latency over time of a geography, a site or an agent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LatencyReport {
    /// What the figures cover.
    pub window: Window,
    /// Width of a point.
    pub step_s: u32,
    /// The scope that was asked for, such as `country:NL`, `site:…`, `agent:…`, `world`.
    pub scope: String,
    /// Name of the scope for people.
    pub name: String,
    /// Target that was asked for, absent for all.
    pub target: Option<String>,
    /// Protocol of the samples.
    pub protocol: String,
    /// Phase of the samples.
    pub phase: String,
    /// How a geography's quantiles are weighted: `agent` or `sample`.
    pub weighting: String,
    /// The figures of the whole window.
    pub total: Figures,
    /// One point for each step that has samples, oldest first.
    pub points: Vec<LatencyPoint>,
    /// Protocols with samples in this scope and window, and whether they are answered at all.
    pub protocols: Vec<ProtocolState>,
}

/// One step of a latency report.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct LatencyPoint {
    /// Start of the step.
    pub at_unix_ms: i64,
    /// The figures of the step.
    pub figures: Figures,
}

/// Whether a protocol is answered in a scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProtocolState {
    /// `icmp`, `tcp`, `https`, `tls`, `quic` or `dns`.
    pub protocol: String,
    /// False: never answered here, so it counts neither as loss nor as a fault.
    pub answered_here: bool,
    /// Probes sent in the window.
    pub n: u64,
}

/// Where something is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Site {
    /// Identity of the site.
    pub site_id: String,
    /// Name for people.
    pub name: String,
    /// ISO 3166-1 alpha-2 country.
    pub country: Option<String>,
    /// ISO 3166-2 subdivision, such as `NL-NH`.
    pub subdivision: Option<String>,
    /// City or metropolitan area.
    pub metro: Option<String>,
    /// Degrees, north positive.
    pub latitude: Option<f64>,
    /// Degrees, east positive.
    pub longitude: Option<f64>,
    /// Where the geography comes from: `declared`, `country_table` or `unknown`.
    pub geography_source: String,
}

/// What may be changed of a site (PATCH). An absent field stays, an explicit null clears.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SitePatch {
    /// Name for people.
    pub name: Option<String>,
    /// ISO 3166-1 alpha-2 country.
    #[serde(default, deserialize_with = "crate::api::patch::present")]
    #[schema(value_type = Option<String>)]
    pub country: Option<Option<String>>,
    /// ISO 3166-2 subdivision.
    #[serde(default, deserialize_with = "crate::api::patch::present")]
    #[schema(value_type = Option<String>)]
    pub subdivision: Option<Option<String>>,
    /// City or metropolitan area.
    #[serde(default, deserialize_with = "crate::api::patch::present")]
    #[schema(value_type = Option<String>)]
    pub metro: Option<Option<String>>,
    /// Degrees, north positive.
    #[serde(default, deserialize_with = "crate::api::patch::present")]
    #[schema(value_type = Option<f64>)]
    pub latitude: Option<Option<f64>>,
    /// Degrees, east positive.
    #[serde(default, deserialize_with = "crate::api::patch::present")]
    #[schema(value_type = Option<f64>)]
    pub longitude: Option<Option<f64>>,
}

/// An agent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Agent {
    /// Identity of the agent.
    pub agent_id: String,
    /// Host name of its machine.
    pub hostname: String,
    /// Its site.
    pub site: Site,
    /// Version of its program.
    pub version: String,
    /// Version that the roll-out plan expects of it; absent when it expects none.
    pub expected_version: Option<String>,
    /// How its version stands to the expected one: `current`, `behind`, `ahead`, `unknown` (it said none yet); absent when none is
    /// expected.
    pub version_state: Option<String>,
    /// Operating system of its machine.
    pub os: Option<String>,
    /// What ICMP it may do: `raw`, `datagram` or `none`.
    pub icmp_capability: Option<String>,
    /// When it enrolled.
    pub enrolled_unix_ms: i64,
    /// When the collector last stored a report of it; absent before the first.
    pub last_seen_unix_ms: Option<i64>,
    /// `reporting`, `silent` (nothing for three minutes), `waiting` (nothing yet), `revoked` (its reports are refused).
    pub state: String,
    /// Reports it had to drop because its spool was full.
    pub spool_dropped_reports: u64,
    /// The state of each of its targets, by name.
    pub targets: Vec<AgentTarget>,
}

/// What an agent sees of a target now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AgentTarget {
    /// Name in the agent's configuration.
    pub name: String,
    /// Host name or literal address.
    pub host: String,
    /// Port of TCP and HTTPS.
    pub port: u32,
    /// Service it stands for.
    pub service: String,
    /// The address that is probed now.
    pub address: Option<String>,
    /// What answered: `ok`, `dns_failed`, `unreachable`, `no_route`, `not_permitted`, `silent`, `waiting`,
    /// `revoked`.
    pub state: String,
    /// Metro of the POP that serves the target, from headers.
    pub edge_pop: Option<Pop>,
    /// Metro where the path enters Microsoft's network, from router names.
    pub ingress_pop: Option<Pop>,
    /// State of its path comparison: `learning`, `stable`, `suspect`, `shifted`, `flapping`, `blind`.
    pub path_state: String,
    /// How often each level of a path shift could have been decided in the last day; absent before the first round.
    pub observability: Option<Observability>,
    /// AS by which the site comes out to this target, once it is learned.
    pub provider_asn: Option<u32>,
    /// The figures of the last 15 minutes, TCP RTT.
    pub figures: Figures,
    /// Which protocols are answered at all.
    pub protocols: Vec<ProtocolState>,
}

/// A POP of the catalogue, by metro.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pop {
    /// Code as seen, such as `AM`.
    pub code: String,
    /// Metro, such as `AMS`.
    pub metro: String,
    /// Name for people.
    pub name: String,
    /// ISO 3166-1 alpha-2 country.
    pub country: String,
    /// City centre, degrees.
    pub latitude: f64,
    /// City centre, degrees.
    pub longitude: f64,
}

/// What a POST to `/api/v1/join-strings` asks for.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinStringRequest {
    /// Name of the site; made if it does not exist. Needed unless `by_rules`.
    pub site: Option<String>,
    /// True: the rules of the sites say where each agent stands.
    #[serde(default)]
    pub by_rules: bool,
    /// Agents that the string lets in; one when absent.
    pub uses: Option<u32>,
    /// ISO 3166-1 alpha-2 country of a new site.
    pub country: Option<String>,
    /// ISO 3166-2 subdivision of a new site.
    pub subdivision: Option<String>,
    /// City or metropolitan area of a new site.
    pub metro: Option<String>,
    /// Degrees, north positive.
    pub latitude: Option<f64>,
    /// Degrees, east positive.
    pub longitude: Option<f64>,
    /// Life of the join string in seconds; one day when absent.
    pub expires_s: Option<u64>,
}

/// A fresh join string.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JoinStringResponse {
    /// The string, to be given to `firstmile-agent enroll`.
    pub join_string: String,
    /// Its site; absent where the rules of the sites say.
    pub site: Option<Site>,
    /// When it ends.
    pub expires_unix_ms: i64,
}

/// What a POST to `/api/v1/login` asks for.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// Name of the user.
    pub user: String,
    /// The user's password.
    pub password: String,
}

/// The body of every error.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ApiError {
    /// A constant word for programs, such as `bad_parameter`.
    pub code: String,
    /// What was tried, on what, why it failed and what to do.
    pub message: String,
}

/// A message of `/api/v1/live` (server-sent events); the event's name is the variant's.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Live {
    /// An event opened, changed or closed.
    Event {
        /// The event as it is now.
        event: Box<Event>,
    },
    /// An incident opened, changed or closed.
    Incident {
        /// Its identity: ask for it anew.
        incident_id: String,
    },
    /// New reports were applied: figures may have changed.
    Reports {
        /// Newest sample.
        to_unix_ms: i64,
    },
}
