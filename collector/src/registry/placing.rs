//! Which site a new agent belongs to, where its join string does not say.
//!
//! Pure. Sites carry rules: a tag that the machine was given, a pattern of host names, a subnet of its own addresses. The most
//! deliberate one decides: tag before host name before subnet, and of one kind the most specific. Rules of equal weight that
//! name different sites decide nothing: such an agent stays unassigned, where somebody sees it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::SiteId;

/// Name of the site of agents that no rule places. It is outside every geography.
pub const UNASSIGNED: &str = "unassigned";

/// Longest text of a rule.
const MAX_CHARS: usize = 253;

/// What makes an agent one of a site.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// The tag that the machine was given, as it is.
    Tag(String),
    /// Its host name, any case; `*` stands for any letters, `?` for one.
    Hostname(String),
    /// One of its own addresses, or the one its enrolment came from.
    Subnet(IpNet),
}

/// Why a text is no rule.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Nothing before or after the `:`.
    #[error(
        "{0:?} is no rule: write tag:NAME, hostname:PATTERN or subnet:PREFIX, such as hostname:ams-*"
    )]
    Form(String),
    /// The subnet is none.
    #[error("{0:?} is no subnet; write one such as 10.20.0.0/16 or 2001:db8:20::/48")]
    Subnet(String),
    /// A pattern of wildcards alone takes everybody.
    #[error("hostname:{0} takes every machine; write at least one letter of the name")]
    Everybody(String),
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let form = || RuleError::Form(text.chars().take(64).collect());
        let (kind, value) = text.split_once(':').ok_or_else(form)?;
        let value = value.trim();
        let good = (1..=MAX_CHARS).contains(&value.chars().count())
            && !value.chars().any(char::is_control);
        if !good {
            return Err(form());
        }
        match kind.trim() {
            "tag" => Ok(Self::Tag(value.to_owned())),
            "hostname" if value.chars().all(|letter| "*?.".contains(letter)) => {
                Err(RuleError::Everybody(value.to_owned()))
            }
            "hostname" => Ok(Self::Hostname(value.to_lowercase())),
            "subnet" => value
                .parse::<IpNet>()
                .map(|net| Self::Subnet(net.trunc()))
                .map_err(|_| RuleError::Subnet(value.to_owned())),
            _ => Err(form()),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::Hostname(pattern) => write!(f, "hostname:{pattern}"),
            Self::Subnet(net) => write!(f, "subnet:{net}"),
        }
    }
}

/// A rule and the site that it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteRule {
    /// When.
    pub rule: Rule,
    /// Where to.
    pub site: SiteId,
}

/// What is known of a machine when it enrols.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Newcomer {
    /// Tag that the machine was given.
    pub tag: Option<String>,
    /// Its host name.
    pub hostname: String,
    /// Its own addresses, and the one its enrolment came from.
    pub addresses: Vec<IpAddr>,
}

/// The site of a newcomer. `None`: no rule, or rules of equal weight for different sites.
pub fn place(rules: &[SiteRule], newcomer: &Newcomer) -> Option<SiteId> {
    let weighed = rules.iter().filter_map(|rule| {
        let weight = weight(&rule.rule, newcomer)?;
        Some((weight, rule.site))
    });
    let weighed: Vec<((u8, usize), SiteId)> = weighed.collect();
    let (heaviest, _) = weighed.iter().max_by_key(|(weight, _)| *weight)?;
    let sites: BTreeSet<SiteId> = weighed
        .iter()
        .filter(|(weight, _)| weight == heaviest)
        .map(|(_, site)| *site)
        .collect();
    match (sites.first(), sites.len()) {
        (Some(site), 1) => Some(*site),
        _ => None,
    }
}

/// How much a rule that fits has to say: its kind, then how much of the name or the address it fixes.
fn weight(rule: &Rule, newcomer: &Newcomer) -> Option<(u8, usize)> {
    match rule {
        Rule::Tag(tag) => (newcomer.tag.as_ref() == Some(tag)).then_some((2, 0)),
        Rule::Hostname(pattern) => {
            let fixed = pattern.chars().filter(|letter| !"*?".contains(*letter));
            fits(pattern, &newcomer.hostname.to_lowercase()).then(|| (1, fixed.count()))
        }
        Rule::Subnet(net) => {
            let inside = newcomer
                .addresses
                .iter()
                .any(|address| net.contains(&address.to_canonical()));
            inside.then(|| (0, usize::from(net.prefix_len())))
        }
    }
}

/// Whether a name fits a pattern with `*` and `?`. Takes time in the product of both lengths at most.
fn fits(pattern: &str, name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    // reachable[i]: the pattern so far fits the first i letters.
    let mut reachable = vec![false; name.len() + 1];
    if let Some(first) = reachable.first_mut() {
        *first = true;
    }
    for wanted in pattern.chars() {
        let mut next = vec![false; reachable.len()];
        let mut any_before = false;
        for (place, slot) in next.iter_mut().enumerate() {
            any_before |= reachable.get(place).copied().unwrap_or(false);
            let before = place.checked_sub(1);
            let letter = before.and_then(|before| name.get(before));
            let from_before = before
                .and_then(|before| reachable.get(before))
                .copied()
                .unwrap_or(false);
            *slot = match wanted {
                '*' => any_before,
                '?' => from_before,
                wanted => from_before && letter == Some(&wanted),
            };
        }
        reachable = next;
    }
    reachable.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn site(number: u128) -> SiteId {
        SiteId(Uuid::from_u128(number))
    }

    fn rules(texts: &[(&str, u128)]) -> Vec<SiteRule> {
        let one = |&(text, number): &(&str, u128)| SiteRule {
            rule: text.parse().expect("a rule"),
            site: site(number),
        };
        texts.iter().map(one).collect()
    }

    #[test]
    fn the_most_deliberate_rule_decides() {
        let all = rules(&[
            ("subnet:10.0.0.0/8", 1),
            ("subnet:10.20.0.0/16", 2),
            ("hostname:AMS-*", 3),
            ("hostname:ams-pc?", 4),
            ("tag:kiosk", 5),
            ("subnet:2001:db8:20::/48", 6),
        ]);
        for (name, tag, hostname, address, want) in [
            ("wide subnet", None, "x", "10.1.1.1", Some(1)),
            ("narrow subnet", None, "x", "10.20.1.1", Some(2)),
            (
                "an IPv4 address in IPv6 clothes",
                None,
                "x",
                "::ffff:10.20.1.1",
                Some(2),
            ),
            ("IPv6", None, "x", "2001:db8:20::7", Some(6)),
            (
                "name before subnet",
                None,
                "Ams-Server",
                "10.20.1.1",
                Some(3),
            ),
            ("longer pattern", None, "ams-pc7", "10.20.1.1", Some(4)),
            ("? is one letter", None, "ams-pc77", "192.0.2.1", Some(3)),
            (
                "tag before all",
                Some("kiosk"),
                "ams-pc7",
                "10.20.1.1",
                Some(5),
            ),
            ("another tag", Some("lab"), "x", "192.0.2.1", None),
            ("nothing fits", None, "rtm-1", "192.0.2.1", None),
        ] {
            let newcomer = Newcomer {
                tag: tag.map(str::to_owned),
                hostname: hostname.to_owned(),
                addresses: vec![address.parse().expect("an address")],
            };
            assert_eq!(place(&all, &newcomer), want.map(site), "{name}");
        }
    }

    #[test]
    fn rules_that_contradict_each_other_decide_nothing() {
        let contradicting = rules(&[("hostname:ams-*", 1), ("hostname:*-pc7", 2)]);
        let both = Newcomer {
            hostname: "ams-pc7".to_owned(),
            ..Newcomer::default()
        };
        assert_eq!(place(&contradicting, &both), None);
        let agreeing = rules(&[("hostname:ams-*", 1), ("hostname:*-pc7", 1)]);
        assert_eq!(place(&agreeing, &both), Some(site(1)));
    }

    #[test]
    fn what_is_no_rule_is_told() {
        for text in ["", "ams-*", "tag:", "host:x", "hostname:\u{7}", "tag:  "] {
            assert!(
                matches!(text.parse::<Rule>(), Err(RuleError::Form(_))),
                "{text:?}"
            );
        }
        for text in ["subnet:10.0.0.0", "subnet:10.0.0.0/33", "subnet:ams"] {
            assert!(
                matches!(text.parse::<Rule>(), Err(RuleError::Subnet(_))),
                "{text:?}"
            );
        }
        let everybody = "hostname:*".parse::<Rule>();
        assert_eq!(everybody, Err(RuleError::Everybody("*".to_owned())));
        let rule: Rule = "subnet:10.20.30.40/16".parse().expect("a rule");
        assert_eq!(rule.to_string(), "subnet:10.20.0.0/16");
    }

    proptest! {
        #[test]
        fn a_name_fits_itself_with_any_part_of_it_hidden(name in "[a-z0-9-]{1,20}", from in 0usize..20, length in 0usize..20) {
            let head: String = name.chars().take(from).collect();
            let hidden = name.chars().skip(from).take(length).count();
            let tail: String = name.chars().skip(from + length).collect();
            let starred = format!("{head}*{tail}");
            let questioned = format!("{head}{}{tail}", "?".repeat(hidden));
            prop_assert!(fits(&name, &name));
            prop_assert!(fits(&starred, &name), "{}", starred);
            prop_assert!(fits(&questioned, &name), "{}", questioned);
            let longer = format!("{name}x");
            prop_assert!(!fits(&name, &longer));
        }

        #[test]
        fn any_text_is_a_rule_or_refused(text in ".{0,300}") {
            if let Ok(rule) = text.parse::<Rule>() {
                prop_assert_eq!(rule.to_string().parse::<Rule>(), Ok(rule));
            }
        }
    }
}
