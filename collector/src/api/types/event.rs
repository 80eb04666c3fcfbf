//! One event: what one agent saw of one target, with its reasons.

use firstmile_shift::level::Class;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PathIdentity;

/// What happened.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EventClass {
    /// The site came out in another network.
    Uplink,
    /// Microsoft's network is not reached.
    Unreachable,
    /// Another AS hands over, or is on the way.
    #[serde(alias = "as_path_shift")]
    Provider,
    /// The ingress moved to another metro: a geo failover.
    #[default]
    #[serde(alias = "geo_failover")]
    Geo,
    /// The ingress moved to another metro for a part of the flows.
    PartialGeo,
    /// The ingress moved to another router of the same metro: a local failover.
    #[serde(alias = "local_failover")]
    Local,
    /// A router that carried a share of the flows carries none.
    RedundancyLost,
    /// The path moves too often to be told one by one.
    Flapping,
    /// Another front-door zone answers over the same ingress.
    FrontDoorMoved,
    /// All agents of a site have stopped to report.
    SiteSilent,
    /// The RTT rose and stays risen; the path is the same.
    Latency,
    /// The same, at an hour of the day at which it did so on two of the six days before.
    Congestion,
    /// The loss rose and stays risen; the path is the same.
    Loss,
    /// The delay variation (IPDV, RFC 3393) rose and stays risen; the path is the same.
    Ipdv,
    /// Replies come by another number of hops for good; the way there is the same.
    ReturnPathSuspected,
    /// A registered prefix is announced by an AS that may not.
    PrefixOriginChange,
    /// A part of a registered prefix is announced that may not be.
    PrefixHijack,
    /// A registered prefix is announced behind an AS that may not be there.
    PrefixForgedPath,
    /// A registered prefix is propagated past the policy of an AS.
    PrefixLeak,
    /// A registered prefix is not announced as RPKI says, or RPKI says something else of it.
    PrefixRpki,
    /// The path of a registered prefix, or what an own AS announces, is not what was agreed on.
    PrefixPolicy,
    /// A registered prefix was withdrawn.
    PrefixWithdrawn,
}

impl EventClass {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uplink => "uplink",
            Self::Unreachable => "unreachable",
            Self::Provider => "provider",
            Self::Geo => "geo",
            Self::PartialGeo => "partial_geo",
            Self::Local => "local",
            Self::RedundancyLost => "redundancy_lost",
            Self::Flapping => "flapping",
            Self::FrontDoorMoved => "front_door_moved",
            Self::SiteSilent => "site_silent",
            Self::Latency => "latency",
            Self::Congestion => "congestion",
            Self::Loss => "loss",
            Self::Ipdv => "ipdv",
            Self::ReturnPathSuspected => "return_path_suspected",
            Self::PrefixOriginChange => "prefix_origin_change",
            Self::PrefixHijack => "prefix_hijack",
            Self::PrefixForgedPath => "prefix_forged_path",
            Self::PrefixLeak => "prefix_leak",
            Self::PrefixRpki => "prefix_rpki",
            Self::PrefixPolicy => "prefix_policy",
            Self::PrefixWithdrawn => "prefix_withdrawn",
        }
    }

    /// Whether it says that something changed while the way there stayed: it has no path before and after.
    pub const fn is_beside_path(self) -> bool {
        match self {
            Self::SiteSilent
            | Self::Latency
            | Self::Congestion
            | Self::Loss
            | Self::Ipdv
            | Self::ReturnPathSuspected => true,
            Self::Uplink
            | Self::Unreachable
            | Self::Provider
            | Self::Geo
            | Self::PartialGeo
            | Self::Local
            | Self::RedundancyLost
            | Self::Flapping
            | Self::FrontDoorMoved
            | Self::PrefixOriginChange
            | Self::PrefixHijack
            | Self::PrefixForgedPath
            | Self::PrefixLeak
            | Self::PrefixRpki
            | Self::PrefixPolicy
            | Self::PrefixWithdrawn => false,
        }
    }

    /// Whether routing says it, and not the path of an agent.
    pub const fn is_of_routing(self) -> bool {
        match self {
            Self::PrefixOriginChange
            | Self::PrefixHijack
            | Self::PrefixForgedPath
            | Self::PrefixLeak
            | Self::PrefixRpki
            | Self::PrefixPolicy
            | Self::PrefixWithdrawn => true,
            Self::Uplink
            | Self::Unreachable
            | Self::Provider
            | Self::Geo
            | Self::PartialGeo
            | Self::Local
            | Self::RedundancyLost
            | Self::Flapping
            | Self::FrontDoorMoved
            | Self::SiteSilent
            | Self::Latency
            | Self::Congestion
            | Self::Loss
            | Self::Ipdv
            | Self::ReturnPathSuspected => false,
        }
    }

    /// The class of a verdict of routing, by its name.
    pub fn of_verdict(name: &str) -> Self {
        match name {
            "hijack.exact.origin" | "hijack.squat" => Self::PrefixOriginChange,
            "hijack.exact.neighbor" | "hijack.exact.path" => Self::PrefixForgedPath,
            "visibility.lost" => Self::PrefixWithdrawn,
            name if name.starts_with("hijack.sub") => Self::PrefixHijack,
            name if name.starts_with("leak.") => Self::PrefixLeak,
            name if name.starts_with("rpki.") || name.starts_with("roa.") => Self::PrefixRpki,
            _ => Self::PrefixPolicy,
        }
    }
}

impl EventClass {
    /// The class as the classifier of paths knows it; `None`: it is decided elsewhere.
    pub const fn of_path(self) -> Option<Class> {
        Some(match self {
            Self::Uplink => Class::Uplink,
            Self::Unreachable => Class::Unreachable,
            Self::Provider => Class::Provider,
            Self::Geo => Class::Geo,
            Self::PartialGeo => Class::PartialGeo,
            Self::Local => Class::Local,
            Self::RedundancyLost => Class::RedundancyLost,
            Self::Flapping => Class::Flapping,
            Self::FrontDoorMoved => Class::FrontDoorMoved,
            Self::SiteSilent
            | Self::Latency
            | Self::Congestion
            | Self::Loss
            | Self::Ipdv
            | Self::ReturnPathSuspected
            | Self::PrefixOriginChange
            | Self::PrefixHijack
            | Self::PrefixForgedPath
            | Self::PrefixLeak
            | Self::PrefixRpki
            | Self::PrefixPolicy
            | Self::PrefixWithdrawn => return None,
        })
    }
}

impl From<Class> for EventClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Uplink => Self::Uplink,
            Class::Unreachable => Self::Unreachable,
            Class::Provider => Self::Provider,
            Class::Geo => Self::Geo,
            Class::PartialGeo => Self::PartialGeo,
            Class::Local => Self::Local,
            Class::RedundancyLost => Self::RedundancyLost,
            Class::Flapping => Self::Flapping,
            Class::FrontDoorMoved => Self::FrontDoorMoved,
        }
    }
}

/// Whether it is claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventStatus {
    /// Claimed: the confidence is 0.9 at least.
    #[default]
    Event,
    /// Not sure enough to be claimed; nobody is told of it.
    Possible,
}

/// How often each level could have been decided in the last day: `A` (95 % of the rounds), `B` (70 %), `C` (30 %) or `D`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Observability {
    /// AS path and handoff.
    pub provider: String,
    /// Ingress metro.
    pub geo: String,
    /// Ingress router.
    pub local: String,
}

/// What the move costs: medians of TCP RTTs before and after, and the change between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RttCost {
    /// Median before.
    pub before_us: u32,
    /// Median after.
    pub after_us: u32,
    /// After minus before.
    pub change_us: i64,
    /// Lower end of the change's 95 % confidence interval.
    pub change_low_us: i64,
    /// Upper end of the change's 95 % confidence interval.
    pub change_high_us: i64,
    /// RTTs before.
    pub n_before: u32,
    /// RTTs after.
    pub n_after: u32,
}

/// What one agent saw of one target: found, perhaps still going on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Identity of the event.
    pub event_id: String,
    /// What moved.
    pub class: EventClass,
    /// Claimed, or only possible.
    #[serde(default)]
    #[schema(required = true)]
    pub status: EventStatus,
    /// `open` or `closed`.
    pub state: String,
    /// Identity of the agent.
    pub agent_id: String,
    /// Identity of the agent's site at that time.
    #[serde(default)]
    pub site_id: Option<String>,
    /// Site of the agent.
    pub site_name: String,
    /// ISO 3166-1 alpha-2 country of the site.
    pub country: Option<String>,
    /// AS that usually hands over to Microsoft; of the first public hop where no handoff is seen.
    #[serde(default)]
    pub provider_asn: Option<u32>,
    /// Target's name.
    pub target: String,
    /// What was before, at the level of the class: `AS64500`, a metro such as `AMS`, or a router.
    #[serde(default)]
    pub from: Option<String>,
    /// What is now, in the same words.
    #[serde(default)]
    pub to: Option<String>,
    /// What moved from where to where, as the part of a sentence.
    #[serde(default)]
    #[schema(required = true)]
    pub moved: String,
    /// Last moment on the old path: the onset lies after it.
    pub last_good_unix_ms: i64,
    /// First moment on the new path: the onset lies before it.
    pub first_novel_unix_ms: i64,
    /// Start of the round at which it was decided.
    pub detected_unix_ms: i64,
    /// When it had lasted long enough to tell people, or another agent agreed; absent before.
    #[serde(default)]
    pub notified_unix_ms: Option<i64>,
    /// Flapping: first round on the new path of the latest time that it moved; absent while it moved only once.
    #[serde(default)]
    pub reopened_unix_ms: Option<i64>,
    /// Flapping: how often the path moved again after it was back, so the event opened once more than this.
    #[serde(default)]
    #[schema(required = true)]
    pub reopenings: u32,
    /// When it ended, as `ending` says; absent while open.
    pub ended_unix_ms: Option<i64>,
    /// How it ended: `recovery` (the old path is back), `new_normal` (the new one stayed for a day), `unconfirmed` (it was
    /// possible and did not become sure), `not_observed` (no round for a day), `path_moved` (a latency event: the path is another
    /// one), `noted` (it tells of a moment and goes on no further) or `agent_revoked`. Events of earlier versions say `recovered`
    /// and `adopted`.
    pub ending: Option<String>,
    /// Share of such claims that come true; absent in events of earlier versions.
    #[serde(default)]
    pub confidence: Option<f64>,
    /// How often each level could have been decided here.
    #[serde(default)]
    pub observability: Option<Observability>,
    /// Whether it lasted two minutes at most: it cannot be told from a path that hunts. Known at its end.
    #[serde(default)]
    #[schema(required = true)]
    pub brief: bool,
    /// Whether it was decided from rounds that were more than ten minutes old: recorded, never told as new.
    #[serde(default)]
    #[schema(required = true)]
    pub late: bool,
    /// The incident that it belongs to; absent for what is only possible, and in events of earlier versions.
    #[serde(default)]
    pub incident_id: Option<String>,
    /// The usual path, frozen when the first round differed.
    pub before: PathIdentity,
    /// The path after.
    pub after: PathIdentity,
    /// Median TCP RTT in the rounds before, where known.
    pub before_rtt_us: Option<u32>,
    /// Median TCP RTT in the rounds after, where known.
    pub after_rtt_us: Option<u32>,
    /// What the move costs, once there are eight RTTs on each side.
    #[serde(default)]
    pub rtt_cost: Option<RttCost>,
    /// One sentence for people.
    pub text: String,
    /// The reasons, one a line.
    #[serde(default, alias = "evidence")]
    #[schema(required = true)]
    pub reasons: Vec<String>,
}
