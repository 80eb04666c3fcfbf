//! What routing says: verdicts with their evidence, and how the feeds are.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that is or was wrong with routes to a registered prefix, or of an own AS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoutingVerdict {
    /// Its number.
    pub verdict_no: i64,
    /// What is wrong: `hijack.exact.origin`, `leak.path`, …
    pub class: String,
    /// The prefix that is announced, or gone.
    pub prefix: String,
    /// The registered prefix that it concerns.
    pub matched: Option<String>,
    /// The AS that does it, if that is known.
    pub offender: Option<u32>,
    /// `information`, `warning`, `error` or `critical`.
    pub severity: String,
    /// Peers that see it; after its end: that saw it.
    pub peers: u32,
    /// Peers with another route to the prefix, when it started.
    pub others: u32,
    /// One sentence.
    pub reason: String,
    /// The paths that showed it when it started, the most frequent first.
    pub evidence: Vec<RoutingEvidence>,
    /// What speaks against it, one sentence each.
    #[serde(default)]
    #[schema(required = true)]
    pub counter_evidence: Vec<String>,
    /// What can be announced against it; absent where announcing helps nothing.
    #[serde(default)]
    pub remedy: Option<RoutingRemedy>,
    /// When it started, by the clock of the feed.
    pub started_unix_ms: i64,
    /// When it was stored.
    pub stored_unix_ms: i64,
    /// When it ended; absent: it is so now.
    pub ended_unix_ms: Option<i64>,
    /// How it ended: `over`; `not_observed`, when the feed that showed it is gone; `restart`, when it was not seen again after the
    /// collector was started anew.
    pub ending: Option<String>,
    /// The incident that it belongs to; absent for what is only to know.
    #[serde(default)]
    pub incident_id: Option<String>,
}

/// A path that shows a verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoutingEvidence {
    /// AS numbers, the origin last; sets in braces.
    pub as_path: String,
    /// Peers that have it.
    pub peers: u32,
}

/// What the operator can announce against a verdict: proposed, never sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoutingRemedy {
    /// What to do, or what is in the way, one sentence each.
    pub words: Vec<String>,
    /// As configuration of BIRD 2; empty if there is nothing to announce.
    pub bird: String,
    /// As configuration of FRR.
    pub frr: String,
}

/// How routes to a registered prefix fared in a month of UTC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteStatistics {
    /// The prefix.
    pub prefix: String,
    /// Announcements by peers of the feeds.
    pub announced: u64,
    /// Withdrawals.
    pub withdrawn: u64,
    /// Announcements by the number of ASes in their paths, prepends apart, the shortest first.
    pub as_hops: Vec<AsHops>,
    /// The median of that number; null if nothing was announced.
    pub as_hops_p50: Option<u16>,
    /// Minutes at which it was looked who has a route.
    pub minutes: u64,
    /// Of the peers that feeds showed, those that had a route, in percent, over all these minutes; null if there was no peer.
    pub visibility_pct: Option<f64>,
    /// Of the minutes, those in which no peer had a route, in percent; null before the first.
    pub unseen_pct: Option<f64>,
}

/// Announcements with paths of one length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AsHops {
    /// ASes in the path, prepends apart.
    pub hops: u16,
    /// Announcements.
    pub announced: u64,
}

/// How a feed of routes is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RoutingFeed {
    /// What it is called.
    pub name: String,
    /// Whether it is connected, or its file was read.
    pub connected: bool,
    /// What is wrong with it: `disconnected`, `silent`, `canary_gone`, `withdraws_only`, `expired`. Routes are not to be blamed for that.
    pub alarms: Vec<String>,
    /// When the last message came.
    pub last_message_unix_ms: Option<i64>,
    /// Messages.
    pub messages: u64,
    /// Announced prefixes.
    pub announced: u64,
    /// Withdrawn prefixes.
    pub withdrawn: u64,
    /// Messages or records that could not be read, or not wholly.
    pub unread: u64,
    /// Events that were dropped because there were too many.
    pub dropped: u64,
    /// Times that the connection was lost.
    pub gaps: u64,
    /// Sessions of routers, or payloads of RPKI.
    pub sessions: u64,
}

/// A registered prefix, and how it is by the rules of the service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct RegisteredPrefix {
    /// Id of the resource in the REST interface of `Microsoft.Peering`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Name of its connection.
    pub connection: String,
    /// The prefix.
    pub prefix: String,
    /// `Verified`, `Warning`, `Unknown`, `Failed` or `Invalid`.
    pub state: String,
    /// `ViaSession`, `ViaServiceProvider` or `None`.
    pub learned: String,
    /// What was found, the worst first.
    pub findings: Vec<PrefixFinding>,
    /// The routes to it that sessions of connected routers show.
    pub routes: Vec<PrefixRoute>,
    /// Verdicts of routing on it that are open.
    pub verdicts_open: u32,
    /// The incident of one of them.
    pub incident_id: Option<String>,
}

/// What was found of one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct PrefixFinding {
    /// The rule, such as `community_missing`.
    pub rule: String,
    /// `note`, `not_observable`, `broken` or `hopeless`.
    pub weight: String,
    /// Address of the partner on the session, where it is about one.
    pub session: Option<String>,
    /// AS path of the route there, where there is one.
    pub as_path: Option<String>,
    /// What is so, and what to do.
    pub detail: String,
    /// What can be announced so that the rule is kept; absent where announcing helps nothing.
    pub remedy: Option<RoutingRemedy>,
}

/// A route to a registered prefix on a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct PrefixRoute {
    /// Address of the partner.
    pub session: String,
    /// AS of the partner.
    pub asn: u32,
    /// AS numbers, the origin last.
    pub as_path: String,
    /// Communities such as `8075:8007`; absent where the feed does not show them.
    pub communities: Option<Vec<String>>,
    /// When it was received.
    pub received_unix_ms: i64,
}
