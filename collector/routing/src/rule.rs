//! What the operator registered: prefixes with who may announce them, and own ASes.

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;
use serde::{Deserialize, Deserializer, de};

use crate::asn::{Allowed, Asn};
use crate::class::{Class, Family};
use crate::near::Near;
use crate::policy::{PathPolicy, PathPolicyFile, PolicyError};

/// A prefix as people write it: host bits are dropped, an address alone is itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(pub IpNet);

impl Prefix {
    /// Reads a prefix or an address.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let net = match text.parse::<IpNet>() {
            Ok(net) => net,
            Err(_) => IpNet::from(text.parse::<std::net::IpAddr>().ok()?),
        };
        Some(Self(net.trunc()))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format_args!("{text:?} is no prefix")))
    }
}

/// What to say of more-specifics of a prefix that are not registered themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MoreSpecifics {
    /// Judge them.
    #[default]
    Alert,
    /// Nothing.
    Ignore,
}

/// One registered prefix.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The prefix.
    pub prefix: IpNet,
    /// Lengths that count as the prefix itself.
    pub lengths: (u8, u8),
    /// Who may originate it; nobody: it must not be seen.
    pub origins: Allowed,
    /// First hops that the origin may have; an empty list demands nothing.
    pub neighbors: Allowed,
    /// Sequences of which one must stand just before the origin; none: no demand.
    pub paths: Vec<Vec<Asn>>,
    /// It must not be seen more than three ASes away.
    pub no_export: bool,
    /// What to say of more-specifics.
    pub more_specifics: MoreSpecifics,
    /// Say nothing.
    pub ignore: bool,
    /// Rules on the form of the path.
    pub path_policy: Vec<PathPolicy>,
    /// If any: the only classes to speak of.
    pub only: Vec<Family>,
    /// Classes not to speak of.
    pub skip: Vec<Family>,
    /// ASes that may only be seen behind certain others.
    pub upstreams: BTreeMap<Asn, Allowed>,
    /// ASes that have to carry the prefix, each: the backup route, or every upstream.
    pub carriers: Vec<Asn>,
}

impl Rule {
    /// A rule that demands nothing of `prefix`.
    pub fn new(prefix: IpNet) -> Self {
        let prefix = prefix.trunc();
        Self {
            prefix,
            lengths: (prefix.prefix_len(), prefix.prefix_len()),
            origins: Allowed::Any,
            neighbors: Allowed::Any,
            paths: Vec::new(),
            no_export: false,
            more_specifics: MoreSpecifics::Alert,
            ignore: false,
            path_policy: Vec::new(),
            only: Vec::new(),
            skip: Vec::new(),
            upstreams: BTreeMap::new(),
            carriers: Vec::new(),
        }
    }

    /// Whether the rule wants to hear of `class`.
    pub fn speaks_of(&self, class: Class) -> bool {
        let named = |families: &[Family]| families.iter().any(|family| family.holds(class));
        (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }

    /// Length of the registered prefix that an announcement of this length is, or is more specific than; `None`: the rule does not
    /// speak of it.
    fn specificity(&self, length: u8) -> Option<u8> {
        let (low, high) = self.lengths;
        (length >= low).then(|| length.min(high))
    }
}

/// A rule as files give it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    prefix: Prefix,
    prefix_len: Option<[u8; 2]>,
    origins: Option<Allowed>,
    neighbors: Option<Allowed>,
    paths: Option<Vec<Vec<Asn>>>,
    no_export: Option<bool>,
    more_specifics: Option<MoreSpecifics>,
    ignore: Option<bool>,
    path_policy: Option<Vec<PathPolicyFile>>,
    only: Option<Vec<Family>>,
    skip: Option<Vec<Family>>,
    upstreams: Option<BTreeMap<String, Allowed>>,
    carriers: Option<Vec<Asn>>,
}

/// Why a rule cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The lengths are no range of lengths of this prefix.
    #[error(
        "the lengths {low} to {high} are none of {prefix}: use {from} to {to}, the smaller first"
    )]
    Lengths {
        /// The prefix.
        prefix: Prefix,
        /// Shortest that was asked for.
        low: u8,
        /// Longest that was asked for.
        high: u8,
        /// Shortest there is.
        from: u8,
        /// Longest there is.
        to: u8,
    },
    /// A key of `upstreams` is no AS number.
    #[error("{key:?} in `upstreams` of {prefix} is no AS number")]
    Upstream {
        /// The prefix.
        prefix: Prefix,
        /// The key.
        key: String,
    },
    /// An expression cannot be read.
    #[error("the path policy of {prefix} cannot be used")]
    Policy {
        /// The prefix.
        prefix: Prefix,
        /// Why.
        source: PolicyError,
    },
}

impl TryFrom<RuleFile> for Rule {
    type Error = RuleError;

    fn try_from(file: RuleFile) -> Result<Self, RuleError> {
        let prefix = file.prefix;
        let (from, to) = (prefix.0.prefix_len(), prefix.0.max_prefix_len());
        let [low, high] = file.prefix_len.unwrap_or([from, from]);
        if low < from || high > to || low > high {
            return Err(RuleError::Lengths {
                prefix,
                low,
                high,
                from,
                to,
            });
        }
        let upstream = |(key, allowed): (String, Allowed)| match Asn::parse(&key) {
            Some(asn) => Ok((asn, allowed)),
            None => Err(RuleError::Upstream { prefix, key }),
        };
        let policy = |file: PathPolicyFile| {
            PathPolicy::try_from(file).map_err(|source| RuleError::Policy { prefix, source })
        };
        Ok(Self {
            lengths: (low, high),
            origins: file.origins.unwrap_or_default(),
            neighbors: file.neighbors.unwrap_or_default(),
            paths: file.paths.unwrap_or_default(),
            no_export: file.no_export.unwrap_or_default(),
            more_specifics: file.more_specifics.unwrap_or_default(),
            ignore: file.ignore.unwrap_or_default(),
            path_policy: file
                .path_policy
                .unwrap_or_default()
                .into_iter()
                .map(policy)
                .collect::<Result<_, _>>()?,
            only: file.only.unwrap_or_default(),
            skip: file.skip.unwrap_or_default(),
            carriers: file.carriers.unwrap_or_default(),
            upstreams: file
                .upstreams
                .unwrap_or_default()
                .into_iter()
                .map(upstream)
                .collect::<Result<_, _>>()?,
            ..Self::new(prefix.0)
        })
    }
}

/// An AS of the operator.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnAs {
    /// Its number.
    pub asn: Asn,
    /// Who may stand before it, towards us.
    #[serde(default)]
    pub upstreams: Allowed,
    /// Who may stand behind it, towards the origin.
    #[serde(default)]
    pub downstreams: Allowed,
}

/// All registered prefixes.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    trie: JointPrefixMap<IpNet, Vec<Rule>>,
    near: Near,
    count: usize,
}

/// The rules that speak of an announcement: those of the most specific registered prefix.
#[derive(Clone, Debug)]
pub struct Match<'a> {
    /// The announcement is the registered prefix itself, not a part of it.
    pub exact: bool,
    /// The rules; at least one.
    pub rules: Vec<&'a Rule>,
}

impl Rules {
    /// A set of these rules.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        let mut set = Self::default();
        for rule in rules {
            set.count += 1;
            set.near.add(&rule.prefix);
            match set.trie.get_mut(&rule.prefix) {
                Some(same) => same.push(rule),
                None => {
                    set.trie.insert(rule.prefix, vec![rule]);
                }
            }
        }
        set
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether `prefix` is a registered one, or a part of it.
    pub fn covers(&self, prefix: &IpNet) -> bool {
        self.near.may_cover(prefix) && self.trie.get_lpm(prefix).is_some()
    }

    /// The rules that speak of an announcement of `prefix`.
    pub fn matching(&self, prefix: &IpNet) -> Option<Match<'_>> {
        let length = prefix.prefix_len();
        let mut best: Option<(u8, Vec<&Rule>)> = None;
        for rule in self.trie.cover(prefix).flat_map(|(_, rules)| rules) {
            let Some(specificity) = rule.specificity(length) else {
                continue;
            };
            match &mut best {
                Some((found, rules)) if *found == specificity => rules.push(rule),
                Some((found, _)) if *found > specificity => {}
                _ => best = Some((specificity, vec![rule])),
            }
        }
        best.map(|(specificity, rules)| Match {
            exact: specificity == length,
            rules,
        })
    }

    /// The rules that name exactly `prefix`.
    pub fn naming(&self, prefix: &IpNet) -> &[Rule] {
        self.trie.get(prefix).map_or(&[], Vec::as_slice)
    }

    /// All rules, by prefix.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.trie.iter().flat_map(|(_, rules)| rules)
    }

    /// Registered prefixes that overlap `prefix`, each once.
    pub fn overlapping(&self, prefix: &IpNet) -> Vec<IpNet> {
        let mut found: Vec<IpNet> = self.trie.cover_keys(prefix).collect();
        found.extend(self.trie.children(prefix).map(|(registered, _)| registered));
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> Rule {
        let file: RuleFile = serde_json::from_str(json).expect("a rule");
        file.try_into().expect("a usable rule")
    }

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    #[test]
    fn the_most_specific_registered_prefix_speaks() {
        let rules = Rules::new([
            rule(r#"{"prefix":"198.18.0.0/15"}"#),
            rule(r#"{"prefix":"198.18.0.0/16","prefix_len":[18,20]}"#),
            rule(r#"{"prefix":"198.18.4.0/22"}"#),
            rule(r#"{"prefix":"198.18.4.7/22","ignore":true}"#),
            rule(r#"{"prefix":"2001:db8::/32","prefix_len":[32,48]}"#),
        ]);
        for (announced, matched, exact, count) in [
            ("198.18.0.0/15", "198.18.0.0/15", true, 1),
            ("198.18.0.0/16", "198.18.0.0/15", false, 1),
            ("198.18.0.0/18", "198.18.0.0/16", true, 1),
            ("198.18.16.0/20", "198.18.0.0/16", true, 1),
            ("198.18.16.0/21", "198.18.0.0/16", false, 1),
            ("198.18.4.0/22", "198.18.4.0/22", true, 2),
            ("198.18.4.0/24", "198.18.4.0/22", false, 2),
            ("198.19.0.0/16", "198.18.0.0/15", false, 1),
            ("2001:db8:1::/48", "2001:db8::/32", true, 1),
            ("2001:db8:1:2::/64", "2001:db8::/32", false, 1),
        ] {
            let found = rules.matching(&net(announced)).expect("a rule speaks");
            assert_eq!(found.rules[0].prefix, net(matched), "{announced}");
            assert_eq!(found.exact, exact, "{announced}");
            assert_eq!(found.rules.len(), count, "{announced}");
        }
        assert!(rules.matching(&net("0.0.0.0/0")).is_none());
        assert!(rules.matching(&net("192.0.2.0/24")).is_none());
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused() {
        for json in [
            r#"{"prefix":"198.18.0.0/16","prefix_len":[24,20]}"#,
            r#"{"prefix":"198.18.0.0/16","prefix_len":[15,20]}"#,
            r#"{"prefix":"198.18.0.0/16","prefix_len":[16,33]}"#,
            r#"{"prefix":"198.18.0.0/16","upstreams":{"ten":[1]}}"#,
            r#"{"prefix":"198.18.0.0/16","path_policy":[{"match":"("}]}"#,
        ] {
            let file: RuleFile = serde_json::from_str(json).expect("well formed");
            assert!(Rule::try_from(file).is_err(), "{json}");
        }
        for json in [
            r#"{"prefix":"198.18.0.0/16","origin":[1]}"#,
            r#"{"prefix":"198.18.0.0/33"}"#,
            r#"{"prefix":"198.18.0.0/16","only":["hijak"]}"#,
            r#"{"prefix":"198.18.0.0/16","path_policy":[{"matches":"1"}]}"#,
            r"{}",
        ] {
            assert!(serde_json::from_str::<RuleFile>(json).is_err(), "{json}");
        }
    }
}
