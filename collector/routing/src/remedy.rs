//! What the operator can announce against a verdict: written out for BIRD and FRR, never sent by us.
//!
//! Routers follow the longest prefix, so the owner wins traffic back by announcing parts. A part that RPKI does not allow would be dropped where
//! origins are validated, and a payload that allows more than is announced lets others forge the origin of the rest (RFC 9319 §3): so only
//! what RPKI allows by name is proposed, and of the rest is said what is in the way.

use std::fmt::Write as _;

use ipnet::IpNet;

use crate::asn::Asn;
use crate::class::Class;
use crate::examine::Registry;
use crate::path::Hop;
use crate::vrp::{Rov, Vrps};

/// Longest prefixes that most networks take.
const LONGEST_V4: u8 = 24;
const LONGEST_V6: u8 = 48;
/// Keeps a route within the neighbour's AS (RFC 1997).
const NO_EXPORT: (u16, u16) = (65_535, 65_281);

/// What to announce.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remedy {
    /// Prefixes to announce, from `origin`, without prepends.
    pub announce: Vec<IpNet>,
    /// The AS that announces them.
    pub origin: Option<Asn>,
    /// Communities to put on them.
    pub communities: Vec<(u16, u16)>,
    /// What it does, or why nothing is proposed; one sentence each.
    pub words: Vec<String>,
}

/// What can be done about a verdict of `class` on `prefix`, which concerns the registered prefix `matched`. `None`: announcing helps nothing.
pub fn remedy(
    registry: &Registry,
    vrps: Option<&Vrps>,
    class: Class,
    prefix: IpNet,
    matched: IpNet,
) -> Option<Remedy> {
    let origin =
        registry
            .rules
            .naming(&matched)
            .iter()
            .find_map(|rule| match rule.origins.ranges() {
                [(low, high), ..] if low == high => Some(*low),
                _ => None,
            });
    match class {
        Class::HijackExactOrigin | Class::HijackExactNeighbor | Class::HijackExactPath => {
            Some(parts(vrps, origin?, &halves(prefix)))
        }
        Class::HijackSubOrigin | Class::HijackSubNeighbor | Class::HijackSubPath => {
            let same = parts(vrps, origin?, &[prefix]);
            let longer = parts(vrps, origin?, &halves(prefix));
            // The same prefix shares the traffic, its halves take all of it.
            Some(if longer.announce.is_empty() {
                same
            } else {
                longer
            })
        }
        Class::PathPolicy => Some(as_it_is(
            matched,
            origin,
            Vec::new(),
            "announce it without prepends: the path is longer than the rule lets it be",
        )),
        Class::LeakNoExport => Some(as_it_is(
            matched,
            origin,
            vec![NO_EXPORT],
            "announce it with NO_EXPORT, so that the neighbour keeps it",
        )),
        Class::VisibilityLost | Class::BackupLost => Some(as_it_is(
            matched,
            origin,
            Vec::new(),
            "announce it on the session that lost it, or look why its filter drops it",
        )),
        // A leak goes by routes of others, and RPKI is mended at the registry.
        Class::HijackSubUnknown
        | Class::HijackSquat
        | Class::LeakPath
        | Class::LeakOtc
        | Class::PathNeighbor
        | Class::AsnUnexpectedPrefix
        | Class::RpkiInvalidAsn
        | Class::RpkiInvalidLength
        | Class::RpkiNotFound
        | Class::RpkiExpiring
        | Class::RoaChanged
        | Class::Bogon => None,
    }
}

fn as_it_is(
    prefix: IpNet,
    origin: Option<Asn>,
    communities: Vec<(u16, u16)>,
    words: &str,
) -> Remedy {
    Remedy {
        announce: vec![prefix],
        origin,
        communities,
        words: vec![words.to_owned()],
    }
}

fn halves(prefix: IpNet) -> Vec<IpNet> {
    let parts = prefix.subnets(prefix.prefix_len() + 1);
    parts.map(Iterator::collect).unwrap_or_default()
}

/// These, if all are short enough to travel and RPKI allows them; otherwise the words say why not.
fn parts(vrps: Option<&Vrps>, origin: Asn, wanted: &[IpNet]) -> Remedy {
    let mut found = Remedy {
        origin: Some(origin),
        ..Remedy::default()
    };
    let longest = |prefix: &IpNet| match prefix {
        IpNet::V4(_) => LONGEST_V4,
        IpNet::V6(_) => LONGEST_V6,
    };
    for prefix in wanted {
        let length = prefix.prefix_len();
        let state = vrps.map(|vrps| vrps.state(prefix, &Hop::As(origin)));
        let refusal = if length > longest(prefix) {
            format!(
                "{prefix} is longer than /{}, and most networks drop it",
                longest(prefix)
            )
        } else {
            match state {
                Some(Rov::Valid) => {
                    found.announce.push(*prefix);
                    continue;
                }
                Some(Rov::InvalidAsn | Rov::InvalidLength) => format!(
                    "RPKI does not allow {origin} to announce {prefix}, and it would be dropped: sign a ROA for {prefix} itself \
                     first, not a longer maxLength (RFC 9319)"
                ),
                Some(Rov::NotFound) => format!(
                    "RPKI says nothing of {prefix}: sign a ROA for it and for what is announced now, then announce it"
                ),
                None => format!(
                    "no RPKI data is connected, so nobody knows whether {prefix} would be dropped"
                ),
            }
        };
        found.words.push(refusal);
    }
    if found.announce.len() == wanted.len() && !wanted.is_empty() {
        found.words = vec![format!(
            "announce {} from {origin}: RPKI allows it, and routers follow the longer prefix; withdraw it when the hijack is over",
            list(wanted)
        )];
    } else {
        // Half of the parts would split the traffic.
        found.announce.clear();
    }
    found
}

fn list(prefixes: &[IpNet]) -> String {
    let all: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
    all.join(" and ")
}

/// Whose configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Router {
    /// BIRD 2.
    Bird,
    /// FRR.
    Frr,
}

impl Remedy {
    /// The remedy as configuration; empty if there is nothing to announce. It is a proposal: the export filters stay the operator's.
    pub fn render(&self, router: Router) -> String {
        if self.announce.is_empty() {
            return String::new();
        }
        match router {
            Router::Bird => self.bird(),
            Router::Frr => self.frr(),
        }
    }

    fn families(&self) -> [(&'static str, Vec<&IpNet>); 2] {
        let (v4, v6) = self
            .announce
            .iter()
            .partition(|prefix| matches!(prefix, IpNet::V4(_)));
        [("ipv4", v4), ("ipv6", v6)]
    }

    fn bird(&self) -> String {
        let mut text = String::from(
            "# a proposal: call firstmile_remedy() in the export filter of each neighbour that is to hear it\n",
        );
        for (family, prefixes) in self.families() {
            if prefixes.is_empty() {
                continue;
            }
            line(
                &mut text,
                format_args!("protocol static firstmile_{family} {{"),
            );
            line(&mut text, format_args!("  {family};"));
            for prefix in &prefixes {
                line(&mut text, format_args!("  route {prefix} blackhole;"));
            }
            line(&mut text, format_args!("}}"));
        }
        line(&mut text, format_args!("function firstmile_remedy()\n{{"));
        let names = self
            .families()
            .into_iter()
            .filter(|(_, all)| !all.is_empty());
        for (family, _) in names {
            line(
                &mut text,
                format_args!("  if proto = \"firstmile_{family}\" then {{"),
            );
            for (high, low) in &self.communities {
                line(
                    &mut text,
                    format_args!("    bgp_community.add(({high},{low}));"),
                );
            }
            line(&mut text, format_args!("    accept;\n  }}"));
        }
        line(&mut text, format_args!("}}"));
        text
    }

    fn frr(&self) -> String {
        let asn = self.origin.map_or(0, |asn| asn.0);
        let mut text = String::from(
            "! a proposal: let the route-map of each neighbour that is to hear it pass these prefixes\n",
        );
        for prefix in &self.announce {
            let word = if matches!(prefix, IpNet::V4(_)) {
                "ip"
            } else {
                "ipv6"
            };
            line(&mut text, format_args!("{word} route {prefix} blackhole"));
        }
        let map = if self.communities.is_empty() {
            ""
        } else {
            let all: Vec<String> = self
                .communities
                .iter()
                .map(|(high, low)| format!("{high}:{low}"))
                .collect();
            line(
                &mut text,
                format_args!("route-map firstmile-remedy permit 10"),
            );
            line(
                &mut text,
                format_args!(" set community {} additive\nexit", all.join(" ")),
            );
            " route-map firstmile-remedy"
        };
        line(&mut text, format_args!("router bgp {asn}"));
        for (family, prefixes) in self.families() {
            if prefixes.is_empty() {
                continue;
            }
            line(&mut text, format_args!(" address-family {family} unicast"));
            for prefix in prefixes {
                line(&mut text, format_args!("  network {prefix}{map}"));
            }
            line(&mut text, format_args!(" exit-address-family"));
        }
        line(&mut text, format_args!("exit"));
        text
    }
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    let written = writeln!(text, "{words}");
    debug_assert!(written.is_ok(), "a string takes what it is given");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::asn::Allowed;
    use crate::relation::Relations;
    use crate::rule::{Rule, Rules};
    use crate::vrp::Vrp;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn registry(prefix: &str) -> Registry {
        let origins: Allowed = serde_json::from_str("[64496]").expect("origins");
        let rule = Rule {
            origins,
            ..Rule::new(net(prefix))
        };
        Registry::new(Rules::new([rule]), Vec::new(), Relations::default())
    }

    fn vrps(prefix: &str, max_length: u8, asn: u32) -> Vrps {
        Vrps::new([Vrp {
            prefix: net(prefix),
            max_length,
            asn: Asn(asn),
        }])
    }

    /// Registered, hijacked (a part or itself), what RPKI allows, what is proposed, a word of why.
    const CASES: &str = "\
        198.18.0.0/22 | 198.18.0.0/22 | 198.18.0.0/22 23 64496 | 198.18.0.0/23 198.18.2.0/23 | RPKI allows
        198.18.0.0/22 | 198.18.0.0/22 | 198.18.0.0/22 22 64496 | | not a longer maxLength
        198.18.0.0/22 | 198.18.0.0/22 | 198.18.0.0/22 24 64499 | | does not allow
        198.18.0.0/22 | 198.18.0.0/22 | 203.0.113.0/24 24 64496 | | says nothing
        198.18.0.0/22 | 198.18.0.0/22 | | | no RPKI data
        198.51.100.0/24 | 198.51.100.0/24 | 198.51.100.0/24 32 64496 | | most networks drop
        198.18.0.0/22 | 198.18.1.0/24 | 198.18.0.0/22 24 64496 | 198.18.1.0/24 | RPKI allows
        198.18.0.0/22 | 198.18.0.0/23 | 198.18.0.0/22 24 64496 | 198.18.0.0/24 198.18.1.0/24 | RPKI allows
        198.18.0.0/22 | 198.18.0.0/23 | 198.18.0.0/22 23 64496 | 198.18.0.0/23 | RPKI allows
        2001:db8::/32 | 2001:db8::/32 | 2001:db8::/32 33 64496 | 2001:db8::/33 2001:db8:8000::/33 | RPKI allows
        2001:db8::/48 | 2001:db8::/48 | 2001:db8::/32 64 64496 | | most networks drop";

    #[test]
    fn a_part_is_proposed_only_if_it_travels_and_rpki_allows_it() {
        for case in CASES.lines() {
            let cells: Vec<&str> = case.split('|').map(str::trim).collect();
            let [registered, announced, rpki, want, word] = cells[..] else {
                panic!("{case}");
            };
            let rpki: Vec<&str> = rpki.split(' ').collect();
            let set = match rpki[..] {
                [prefix, length, asn] => {
                    Some(vrps(prefix, length.parse().unwrap(), asn.parse().unwrap()))
                }
                _ => None,
            };
            let class = if registered == announced {
                Class::HijackExactOrigin
            } else {
                Class::HijackSubOrigin
            };
            let (announced, matched) = (net(announced), net(registered));
            let found = remedy(
                &registry(registered),
                set.as_ref(),
                class,
                announced,
                matched,
            );
            let found = found.expect("a hijack has a remedy, or a reason why not");
            let all: Vec<String> = found.announce.iter().map(ToString::to_string).collect();
            assert_eq!(all.join(" "), want, "{case}");
            assert!(found.words.join(" ").contains(word), "{:?}", found.words);
            assert_eq!(found.render(Router::Bird).is_empty(), want.is_empty());
            assert_eq!(found.render(Router::Frr).is_empty(), want.is_empty());
        }
    }

    #[test]
    fn what_announcing_does_not_help_has_no_remedy() {
        let (registry, prefix) = (registry("198.18.0.0/22"), net("198.18.0.0/22"));
        for class in Class::ALL {
            let found = remedy(&registry, None, *class, prefix, prefix);
            let helps = !matches!(
                class.name().split('.').next(),
                Some("rpki" | "roa" | "bogon" | "asn")
            );
            assert!(found.is_none() || helps, "{class}");
        }
        let near = remedy(&registry, None, Class::LeakNoExport, prefix, prefix)
            .expect("a community helps");
        assert!(
            near.render(Router::Bird)
                .contains("bgp_community.add((65535,65281));")
        );
        assert!(
            near.render(Router::Frr)
                .contains("set community 65535:65281 additive")
        );
    }

    proptest! {
        #[test]
        fn nothing_that_rpki_does_not_allow_is_ever_proposed_against_a_hijack(
            bits in any::<u32>(), length in 8_u8..=24, max in 8_u8..=32, asn in 64_496_u32..64_499,
        ) {
            let prefix = IpNet::new(std::net::Ipv4Addr::from(bits).into(), length).unwrap().trunc();
            let set = Vrps::new([Vrp { prefix, max_length: max.max(length), asn: Asn(asn) }]);
            let registry = registry(&prefix.to_string());
            let found = remedy(&registry, Some(&set), Class::HijackExactOrigin, prefix, prefix).unwrap();
            for part in &found.announce {
                prop_assert_eq!(set.state(part, &Hop::As(Asn(64_496))), Rov::Valid);
                prop_assert!(prefix.contains(part) && part.prefix_len() <= LONGEST_V4);
            }
        }
    }
}
