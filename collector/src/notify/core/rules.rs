//! Who is told of what: the rules of the configuration.
//!
//! A rule names channels and says what they want; what it does not say, it does not ask. A notice goes to every channel of every
//! rule that wants it, once. Without rules each channel gets what [`Rule::usual`] wants.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::incident::Incident;
use super::model::{self, Level};
use super::notice::event_type;

/// What some channels want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The channels, by name.
    pub channels: Vec<String>,
    /// Classes of incidents or types of events; none: all.
    pub classes: Vec<String>,
    /// From this level on.
    pub min_level: Level,
    /// Countries (`NL`) or subdivisions (`US-CA`); none: all. One affected site there is enough.
    pub geographies: Vec<String>,
    /// Providers by AS number; none: all.
    pub providers: Vec<u32>,
    /// Prefixes; none: all, and incidents without a prefix. One that overlaps is enough.
    pub prefixes: Vec<IpNet>,
    /// Whether what happens on the path of one agent alone is wanted; then levels of latency are too, without being named.
    pub single_agent: bool,
    /// Whether growing incidents are told again, at most every ten minutes.
    pub updates: bool,
}

impl Rule {
    /// What somebody wants who says nothing: warnings and worse, of two agents or more.
    pub const fn usual(channels: Vec<String>) -> Self {
        Self {
            channels,
            classes: Vec::new(),
            min_level: Level::Warning,
            geographies: Vec::new(),
            providers: Vec::new(),
            prefixes: Vec::new(),
            single_agent: false,
            updates: false,
        }
    }

    /// Whether the rule wants an incident.
    pub fn wants(&self, incident: &Incident) -> bool {
        let (event_type, _) = event_type(&incident.class);
        let named = |class: &String| *class == incident.class || class == event_type;
        let level_class = model::is_level_class(&incident.class);
        let alone = (level_class || model::is_path_class(&incident.class)) && incident.agents() < 2;
        let unasked = level_class && self.classes.is_empty() && !self.single_agent;
        incident.level() >= self.min_level
            && (self.classes.is_empty() || self.classes.iter().any(named))
            && (self.single_agent || !alone)
            && !unasked
            && self.is_of_geography(incident)
            && self.is_of_provider(incident)
            && self.is_of_prefix(incident)
    }

    fn is_of_geography(&self, incident: &Incident) -> bool {
        let inside = |place: &str| {
            self.geographies.iter().any(|wanted| {
                place.strip_prefix(wanted.as_str()).is_some_and(|rest| {
                    rest.is_empty() || (rest.starts_with('-') && wanted.len() == 2)
                })
            })
        };
        let places = || {
            incident
                .affected
                .iter()
                .filter_map(|one| one.geography.as_deref())
        };
        self.geographies.is_empty() || places().any(inside)
    }

    fn is_of_provider(&self, incident: &Incident) -> bool {
        let known = incident
            .provider_asn
            .into_iter()
            .chain(incident.to_asn)
            .any(|asn| self.providers.contains(&asn));
        self.providers.is_empty() || known
    }

    fn is_of_prefix(&self, incident: &Incident) -> bool {
        let prefix = incident
            .prefix
            .as_deref()
            .and_then(|text| text.parse::<IpNet>().ok());
        let overlaps = |wanted: &IpNet| {
            prefix.is_some_and(|prefix| wanted.contains(&prefix) || prefix.contains(wanted))
        };
        self.prefixes.is_empty() || self.prefixes.iter().any(overlaps)
    }
}

/// The channels that want an incident; of those that want updates only, where `updates`.
pub fn channels(rules: &[Rule], incident: &Incident, updates: bool) -> BTreeSet<String> {
    rules
        .iter()
        .filter(|rule| (!updates || rule.updates) && rule.wants(incident))
        .flat_map(|rule| rule.channels.iter().cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::core::plan::tests::incident;

    fn usual() -> Rule {
        Rule::usual(vec!["ops".to_owned()])
    }

    fn of_class(class: &str) -> Incident {
        Incident {
            class: class.to_owned(),
            ..incident()
        }
    }

    fn alone(class: &str) -> Incident {
        let mut alone = of_class(class);
        alone.affected.truncate(1);
        alone
    }

    fn of_prefix(prefix: &str) -> Incident {
        Incident {
            prefix: Some(prefix.to_owned()),
            ..of_class("PrefixOriginAsChangeEvent")
        }
    }

    fn with(change: impl FnOnce(&mut Rule)) -> Rule {
        let mut rule = usual();
        change(&mut rule);
        rule
    }

    #[test]
    fn who_says_nothing_hears_of_warnings_and_worse_of_two_agents() {
        for (name, rule, subject, want) in [
            ("two agents", usual(), incident(), true),
            ("one agent", usual(), alone("geo"), false),
            (
                "one, asked for",
                with(|rule| rule.single_agent = true),
                alone("geo"),
                true,
            ),
            ("one silent site", usual(), alone("site_silent"), true),
            ("latency", usual(), of_class("latency"), false),
            (
                "latency, named",
                with(|rule| rule.classes = vec!["latency".to_owned()]),
                of_class("latency"),
                true,
            ),
            (
                "latency of one, named",
                with(|rule| rule.classes = vec!["latency".to_owned()]),
                alone("latency"),
                false,
            ),
            (
                "latency of one, asked for",
                with(|rule| rule.single_agent = true),
                alone("latency"),
                true,
            ),
            (
                "below the level",
                usual(),
                of_class("front_door_moved"),
                false,
            ),
            ("a class nobody knows", usual(), alone("weather"), true),
        ] {
            assert_eq!(rule.wants(&subject), want, "{name}");
        }
    }

    #[test]
    fn a_rule_asks_what_it_says_and_nothing_else() {
        let class = |class: &str| with(|rule| rule.classes = vec![class.to_owned()]);
        let place = |place: &str| with(|rule| rule.geographies = vec![place.to_owned()]);
        let provider = |asn| with(|rule| rule.providers = vec![asn]);
        let prefix = |prefix: &str| with(|rule| rule.prefixes = vec![prefix.parse().unwrap()]);
        let net = "198.51.100.0/24";
        for (name, rule, subject, want) in [
            ("class", class("geo"), incident(), true),
            (
                "type of event",
                class("PathGeoFailoverEvent"),
                incident(),
                true,
            ),
            ("other class", class("local"), incident(), false),
            ("country of a subdivision", place("US"), incident(), true),
            ("subdivision", place("US-CA"), incident(), true),
            ("other subdivision", place("US-C"), incident(), false),
            ("other country", place("FR"), incident(), false),
            ("provider", provider(64500), incident(), true),
            ("other provider", provider(64501), incident(), false),
            ("no prefix", prefix(net), incident(), false),
            (
                "more specific",
                prefix(net),
                of_prefix("198.51.100.128/25"),
                true,
            ),
            (
                "other prefix",
                prefix(net),
                of_prefix("203.0.113.0/24"),
                false,
            ),
        ] {
            assert_eq!(rule.wants(&subject), want, "{name}");
        }
    }

    #[test]
    fn a_channel_of_two_rules_is_told_once_and_updates_are_asked_for() {
        let rules = [
            usual(),
            Rule {
                updates: true,
                ..Rule::usual(vec!["ops".to_owned(), "log".to_owned()])
            },
            Rule::usual(vec!["quiet".to_owned()]),
        ];
        let told: Vec<_> = channels(&rules, &incident(), false).into_iter().collect();
        assert_eq!(told, ["log", "ops", "quiet"]);
        assert_eq!(channels(&rules, &incident(), true).len(), 2);
    }
}
