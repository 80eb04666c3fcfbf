//! The event model: Microsoft's published prefix events with their levels, word for word, and ours in the same style.
//!
//! Microsoft publishes eight event types for a registered prefix and four levels. It names none for a leak, a sub-prefix hijack,
//! a failover or latency: those are ours. A name, once published, never changes its meaning.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How grave an event is; Microsoft's four levels.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[schema(as = EventLevel)]
pub enum Level {
    /// Worth keeping, nothing to do.
    Information,
    /// Somebody should look at it in working hours.
    Warning,
    /// Users feel it, or protection is gone.
    Error,
    /// Traffic is lost or taken.
    Critical,
}

impl Level {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Information => "Information",
            Self::Warning => "Warning",
            Self::Error => "Error",
            Self::Critical => "Critical",
        }
    }

    /// The level of a word, in any case.
    pub fn parse(word: &str) -> Option<Self> {
        let levels = [
            Self::Information,
            Self::Warning,
            Self::Error,
            Self::Critical,
        ];
        levels
            .into_iter()
            .find(|level| level.as_str().eq_ignore_ascii_case(word))
    }
}

/// Who defined an event type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EventOrigin)]
pub enum Origin {
    /// Published for Azure Peering Service.
    Microsoft,
    /// Ours, in the same style.
    Firstmile,
}

/// One type of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventType {
    /// Its name, such as `PathGeoFailoverEvent`.
    pub event_type: &'static str,
    /// How grave it is.
    pub level: Level,
    /// The class of incident that it tells of, absent for Microsoft's own types.
    pub class: Option<&'static str>,
    /// What it means, in one sentence.
    pub meaning: &'static str,
    /// Who defined it.
    pub origin: Origin,
}

const fn published(event_type: &'static str, level: Level, meaning: &'static str) -> EventType {
    EventType {
        event_type,
        level,
        class: None,
        meaning,
        origin: Origin::Microsoft,
    }
}

const fn ours(
    class: &'static str,
    event_type: &'static str,
    level: Level,
    meaning: &'static str,
) -> EventType {
    EventType {
        event_type,
        level,
        class: Some(class),
        meaning,
        origin: Origin::Firstmile,
    }
}

/// All types: Microsoft's table in its order, then ours.
pub const EVENT_TYPES: &[EventType] = &[
    published(
        "PrefixAnnouncementEvent",
        Level::Information,
        "announcement received",
    ),
    published(
        "PrefixWithdrawalEvent",
        Level::Warning,
        "withdrawal received",
    ),
    published(
        "PrefixBackupRouteAnnouncementEvent",
        Level::Information,
        "announcement received on the backup route",
    ),
    published(
        "PrefixBackupRouteWithdrawalEvent",
        Level::Warning,
        "withdrawal received on the backup route",
    ),
    published(
        "PrefixActivePath",
        Level::Information,
        "current active route",
    ),
    published(
        "PrefixBackupPath",
        Level::Information,
        "current backup route",
    ),
    published(
        "PrefixOriginAsChangeEvent",
        Level::Critical,
        "exact prefix seen with another origin ASN, active route",
    ),
    published(
        "PrefixBackupRouteOriginAsChangeEvent",
        Level::Error,
        "prefix seen with another origin ASN, backup route",
    ),
    ours(
        "unreachable",
        "PathUnreachableEvent",
        Level::Critical,
        "Microsoft's network is not reached",
    ),
    ours(
        "geo",
        "PathGeoFailoverEvent",
        Level::Error,
        "the ingress moved to another metro",
    ),
    ours(
        "partial_geo",
        "PathPartialGeoFailoverEvent",
        Level::Warning,
        "the ingress of a part of the flows moved to another metro",
    ),
    ours(
        "provider",
        "PathProviderChangeEvent",
        Level::Error,
        "another AS hands over to Microsoft, or is on the way",
    ),
    ours(
        "uplink",
        "PathUplinkChangeEvent",
        Level::Warning,
        "the site came out in another network",
    ),
    ours(
        "local",
        "PathLocalFailoverEvent",
        Level::Warning,
        "the ingress moved to another router of the same metro",
    ),
    ours(
        "redundancy_lost",
        "PathRedundancyLostEvent",
        Level::Warning,
        "a router that carried a share of the flows carries none; traffic survives on its sibling",
    ),
    ours(
        "flapping",
        "PathFlappingEvent",
        Level::Warning,
        "the path moves too often to be told one by one",
    ),
    ours(
        "front_door_moved",
        "PathFrontDoorMovedEvent",
        Level::Information,
        "another front-door zone serves over the same ingress",
    ),
    ours(
        "return_path_suspected",
        "PathReturnChangeSuspectedEvent",
        Level::Information,
        "the TTL of replies changed for good and the forward path did not",
    ),
    ours(
        "site_silent",
        "SiteSilentEvent",
        Level::Error,
        "no agent of the site is heard any more",
    ),
    ours(
        "latency",
        "LatencyShiftEvent",
        Level::Warning,
        "the RTT rose and stays risen while the path is the same",
    ),
    ours(
        "loss",
        "LossShiftEvent",
        Level::Warning,
        "the loss rose and stays risen while the path is the same",
    ),
    ours(
        "ipdv",
        "DelayVariationShiftEvent",
        Level::Warning,
        "the delay variation rose and stays risen while the path is the same",
    ),
    ours(
        "congestion",
        "LatencyCongestionEvent",
        Level::Information,
        "the RTT rises at the same hours of each day",
    ),
    ours(
        "prefix_leak",
        "PrefixRouteLeakEvent",
        Level::Error,
        "the prefix is propagated past the policy of an AS (RFC 7908)",
    ),
    ours(
        "prefix_rpki",
        "PrefixRpkiEvent",
        Level::Warning,
        "the prefix is not announced as RPKI says, or RPKI says something else of it",
    ),
    ours(
        "prefix_policy",
        "PrefixPathPolicyEvent",
        Level::Warning,
        "the path of the prefix is not one that was agreed on",
    ),
    ours(
        "prefix_forged_path",
        "PrefixForgedPathEvent",
        Level::Error,
        "the prefix is announced behind an AS that may not stand there",
    ),
    ours(
        "prefix_hijack",
        "PrefixSubprefixHijackEvent",
        Level::Critical,
        "a more specific prefix is announced by an AS that may not",
    ),
];

/// The type of an event by its published name.
pub fn by_name(event_type: &str) -> Option<&'static EventType> {
    EVENT_TYPES.iter().find(|one| one.event_type == event_type)
}

/// Our classes that one of Microsoft's own types tells of.
const PUBLISHED_FOR: [(&str, &str); 2] = [
    ("prefix_origin_change", "PrefixOriginAsChangeEvent"),
    ("prefix_withdrawn", "PrefixWithdrawalEvent"),
];

/// The type that tells of incidents of a class; a class may be a published name too.
pub fn of_class(class: &str) -> Option<&'static EventType> {
    if let Some((_, name)) = PUBLISHED_FOR.iter().find(|(known, _)| *known == class) {
        return by_name(name);
    }
    EVENT_TYPES
        .iter()
        .find(|one| one.class == Some(class))
        .or_else(|| by_name(class))
}

/// Whether incidents of a class are moves of a path: those of one agent alone are told only where that is asked for.
pub fn is_path_class(class: &str) -> bool {
    of_class(class).is_some_and(|one| one.event_type.starts_with("Path"))
}

/// Whether incidents of a class tell of a level that changed while the path stayed: they come with any busy evening, and are told only
/// where they are asked for.
pub fn is_level_class(class: &str) -> bool {
    matches!(class, "latency" | "congestion" | "loss" | "ipdv")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The complete published table, word for word.
    const PUBLISHED: [(&str, &str); 8] = [
        ("PrefixAnnouncementEvent", "Information"),
        ("PrefixWithdrawalEvent", "Warning"),
        ("PrefixBackupRouteAnnouncementEvent", "Information"),
        ("PrefixBackupRouteWithdrawalEvent", "Warning"),
        ("PrefixActivePath", "Information"),
        ("PrefixBackupPath", "Information"),
        ("PrefixOriginAsChangeEvent", "Critical"),
        ("PrefixBackupRouteOriginAsChangeEvent", "Error"),
    ];

    #[test]
    fn what_microsoft_published_stands_word_for_word() {
        let table: Vec<_> = EVENT_TYPES
            .iter()
            .filter(|one| one.origin == Origin::Microsoft)
            .map(|one| (one.event_type, one.level.as_str()))
            .collect();
        assert_eq!(table, PUBLISHED);
    }

    #[test]
    fn names_and_classes_are_unique_and_every_class_of_the_classifier_has_a_type() {
        let names: BTreeSet<_> = EVENT_TYPES.iter().map(|one| one.event_type).collect();
        assert_eq!(names.len(), EVENT_TYPES.len());
        for class in [
            "uplink",
            "unreachable",
            "provider",
            "geo",
            "partial_geo",
            "local",
            "redundancy_lost",
            "flapping",
            "front_door_moved",
        ] {
            assert!(is_path_class(class), "{class}");
        }
        assert!(!is_path_class("site_silent") && !is_path_class("PrefixWithdrawalEvent"));
        assert!(of_class("weather").is_none());
    }

    #[test]
    fn levels_are_ordered_and_read_in_any_case() {
        assert!(Level::Information < Level::Warning && Level::Error < Level::Critical);
        assert_eq!(Level::parse("critical"), Some(Level::Critical));
        assert_eq!(Level::parse("fatal"), None);
    }
}
