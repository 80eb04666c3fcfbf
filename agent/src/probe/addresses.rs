//! Which address of a target is probed, one of each family, and how it was learnt.
//!
//! Pure. Resolvers rotate their answers, and a rotation must not look like a change of path: an address stays until it
//! fails, has been absent from the answers for an hour, or the front door's zone became another one. When DNS fails the last
//! good address stays: what users are connected to is still there.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Outcome;

/// An address that DNS gives no more is left after this.
const ABSENCE: Duration = Duration::from_hours(1);

/// TCP probes in a row without an answer after which an address has failed.
const FAILURES: u32 = 3;

/// How an address was learnt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Learnt {
    /// It is not known yet.
    #[default]
    Nowhere,
    /// It stands in the configuration.
    Literal,
    /// This resolver gives it.
    Resolver(String),
    /// This resolver gave it, and gives others now.
    Held(String),
    /// This resolver gave it, and DNS fails now.
    LastGood(String),
}

impl fmt::Display for Learnt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("not known"),
            Self::Literal => f.write_str("configured"),
            Self::Resolver(resolver) => write!(f, "by resolver {resolver}"),
            Self::Held(resolver) => write!(f, "earlier by resolver {resolver}, which gives others"),
            Self::LastGood(resolver) => write!(f, "earlier by resolver {resolver}, DNS fails"),
        }
    }
}

/// What a resolver says of one family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given<'a> {
    pub(crate) resolver: &'a str,
    pub(crate) addresses: &'a [IpAddr],
    /// The aliases that led to them.
    pub(crate) cname_chain: &'a [String],
}

/// The probed address of one family.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pinned {
    address: Option<IpAddr>,
    learnt: Learnt,
    zone: Option<String>,
    absent_since: Option<Instant>,
    failures: u32,
}

impl Pinned {
    /// An address of the configuration: it never changes.
    pub(crate) fn literal(address: IpAddr) -> Self {
        Self {
            address: Some(address),
            learnt: Learnt::Literal,
            ..Self::default()
        }
    }

    /// The address to probe.
    pub(crate) const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// How it was learnt.
    pub(crate) const fn learnt(&self) -> &Learnt {
        &self.learnt
    }

    /// Books what became of a TCP probe of `address`. True when it has failed just now: another answer of DNS would help.
    pub(crate) fn on_tcp(&mut self, address: IpAddr, outcome: Outcome) -> bool {
        if self.address != Some(address) {
            return false;
        }
        match outcome {
            Outcome::Answered(_) => self.failures = 0,
            Outcome::Refused(_)
            | Outcome::Timeout
            | Outcome::Unreachable
            | Outcome::Reset
            | Outcome::Filtered => self.failures = self.failures.saturating_add(1),
            // These say nothing of the address.
            Outcome::DnsFailed
            | Outcome::NoRoute
            | Outcome::NotPermitted
            | Outcome::TlsFailed
            | Outcome::HttpFailed
            | Outcome::QuicFailed
            | Outcome::LocalError => {}
        }
        self.failures == FAILURES
    }

    /// Takes in an answer; `None` is a failed resolution. True when another address than before is probed from now on.
    pub(crate) fn on_answer(&mut self, given: Option<Given<'_>>, now: Instant) -> bool {
        let Some(given) = given else {
            if let Learnt::Resolver(by) | Learnt::Held(by) = &self.learnt {
                self.learnt = Learnt::LastGood(by.clone());
            }
            return false;
        };
        let zone = zone_of(given.cname_chain);
        let is_given = (self.address).is_some_and(|pinned| given.addresses.contains(&pinned));
        self.absent_since = match (is_given, self.absent_since) {
            (true, _) => None,
            (false, since) => since.or(Some(now)),
        };
        if self.is_to_be_left(is_given, zone.as_deref(), now) {
            return self.take(given, zone);
        }
        self.learnt = if is_given {
            Learnt::Resolver(given.resolver.to_owned())
        } else {
            Learnt::Held(given.resolver.to_owned())
        };
        false
    }

    fn is_to_be_left(&self, is_given: bool, zone: Option<&str>, now: Instant) -> bool {
        if self.address.is_none() || self.failures >= FAILURES {
            return true;
        }
        let moved = matches!((self.zone.as_deref(), zone), (Some(old), Some(new)) if old != new);
        let absent = (self.absent_since)
            .is_some_and(|since| now.saturating_duration_since(since) >= ABSENCE);
        !is_given && (moved || absent)
    }

    /// Takes the first address that is another one, if there is any; one that failed and is the only one stays.
    fn take(&mut self, given: Given<'_>, zone: Option<String>) -> bool {
        let others = (given.addresses.iter()).find(|address| Some(**address) != self.address);
        let before = self.address;
        let is_alone = given
            .addresses
            .iter()
            .any(|address| Some(*address) == before);
        self.address = others.copied().or(before.filter(|_| is_alone));
        self.learnt = match self.address {
            Some(_) => Learnt::Resolver(given.resolver.to_owned()),
            None => Learnt::Nowhere,
        };
        self.zone = zone;
        self.absent_since = None;
        self.failures = 0;
        before.is_some() && before != self.address
    }
}

/// The front-door zone that a chain of aliases names, where it names one: `lhr` of `lhr-efz.ms-acdc.office.com`.
fn zone_of(cname_chain: &[String]) -> Option<String> {
    cname_chain.iter().find_map(|alias| {
        let alias = alias.to_ascii_lowercase();
        let zone = alias
            .trim_end_matches('.')
            .strip_suffix("-efz.ms-acdc.office.com")?;
        let is_code = zone.len() == 3 && zone.bytes().all(|b| b.is_ascii_lowercase());
        is_code.then(|| zone.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn address(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    /// What DNS says: addresses and zone; `None`: it fails.
    fn answer(pinned: &mut Pinned, now: Instant, said: Option<(&[u8], &str)>) -> bool {
        let Some((lasts, zone)) = said else {
            return pinned.on_answer(None, now);
        };
        let addresses: Vec<IpAddr> = lasts.iter().copied().map(address).collect();
        let chain = [
            "front.example".to_owned(),
            format!("{zone}-efz.ms-acdc.office.com"),
        ];
        let given = Given {
            resolver: "192.0.2.53",
            addresses: &addresses,
            cname_chain: &chain,
        };
        pinned.on_answer(Some(given), now)
    }

    /// What is said, the minute, addresses and zone (`None`: DNS fails), whether another address is probed, which, and how
    /// it was learnt.
    type Said = (
        &'static str,
        u32,
        Option<(&'static [u8], &'static str)>,
        bool,
        u8,
        fn(String) -> Learnt,
    );
    const STORY: &[Said] = &[
        (
            "first",
            0,
            Some((&[1, 2], "lhr")),
            false,
            1,
            Learnt::Resolver,
        ),
        (
            "rotated",
            1,
            Some((&[2, 1], "lhr")),
            false,
            1,
            Learnt::Resolver,
        ),
        ("gone", 2, Some((&[2, 3], "lhr")), false, 1, Learnt::Held),
        ("failed", 3, None, false, 1, Learnt::LastGood),
        ("gone yet", 61, Some((&[3], "lhr")), false, 1, Learnt::Held),
        ("back", 61, Some((&[1], "lhr")), false, 1, Learnt::Resolver),
        (
            "gone again",
            62,
            Some((&[4], "lhr")),
            false,
            1,
            Learnt::Held,
        ),
        (
            "an hour",
            122,
            Some((&[5, 4], "lhr")),
            true,
            5,
            Learnt::Resolver,
        ),
        ("no record", 123, Some((&[], "lhr")), false, 5, Learnt::Held),
        ("moved", 124, Some((&[9], "vie")), true, 9, Learnt::Resolver),
        (
            "moved, same",
            125,
            Some((&[9], "fra")),
            false,
            9,
            Learnt::Resolver,
        ),
    ];

    #[test]
    fn an_address_stays_until_it_is_absent_for_an_hour_or_the_zone_moves() {
        let start = crate::clock::now();
        let mut pinned = Pinned::default();
        for (name, minute, said, changed, want, learnt) in STORY {
            let now = start + MINUTE * *minute;
            assert_eq!(answer(&mut pinned, now, *said), *changed, "{name}");
            assert_eq!(pinned.address(), Some(address(*want)), "{name}");
            assert_eq!(*pinned.learnt(), learnt("192.0.2.53".to_owned()), "{name}");
        }
    }

    #[test]
    fn an_address_that_fails_is_left_for_another_if_there_is_one() {
        let start = crate::clock::now();
        let mut pinned = Pinned::default();
        answer(&mut pinned, start, Some((&[1], "lhr")));
        let fail = |pinned: &mut Pinned, last| {
            (0..FAILURES)
                .map(|_| pinned.on_tcp(address(last), Outcome::Timeout))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            fail(&mut pinned, 2),
            [false; 3],
            "not the one that is probed"
        );
        assert!(!answer(&mut pinned, start, Some((&[2, 1], "lhr"))));
        assert_eq!(fail(&mut pinned, 1), [false, false, true]);
        assert!(
            !answer(&mut pinned, start, None),
            "without DNS there is no other"
        );
        assert!(
            !answer(&mut pinned, start, Some((&[1], "lhr"))),
            "nor is there here"
        );
        assert_eq!(pinned.address(), Some(address(1)));
        fail(&mut pinned, 1);
        assert!(answer(&mut pinned, start, Some((&[1, 2], "lhr"))));
        assert_eq!(pinned.address(), Some(address(2)));
    }

    #[test]
    fn one_answer_ends_a_row_of_failures() {
        let start = crate::clock::now();
        let mut pinned = Pinned::default();
        answer(&mut pinned, start, Some((&[1], "lhr")));
        for _ in 0..10 {
            pinned.on_tcp(address(1), Outcome::Timeout);
            pinned.on_tcp(address(1), Outcome::Filtered);
            pinned.on_tcp(address(1), Outcome::Answered(MINUTE));
        }
        assert!(!answer(&mut pinned, start, Some((&[2, 1], "lhr"))));
    }

    #[test]
    fn a_zone_is_read_where_the_name_has_its_form() {
        for (alias, want) in [
            ("lhr-efz.ms-acdc.office.com", Some("lhr")),
            ("VIE-efz.ms-acdc.office.com.", Some("vie")),
            ("lond-efz.ms-acdc.office.com", None),
            ("x1y-efz.ms-acdc.office.com", None),
            ("lhr-efz.ms-acdc.office.com.example", None),
            ("front.example", None),
        ] {
            assert_eq!(zone_of(&[alias.to_owned()]).as_deref(), want, "{alias}");
        }
    }

    proptest! {
        /// Whatever resolvers say and probes meet: an address that DNS gives at least once an hour and that answers stays.
        #[test]
        fn rotation_alone_changes_nothing(steps in prop::collection::vec((1u32..59, prop::collection::vec(0u8..8, 0..5), any::<bool>()), 1..60)) {
            let mut now = crate::clock::now();
            let mut pinned = Pinned::default();
            answer(&mut pinned, now, Some((&[0], "lhr")));
            for (minutes, lasts, fails) in steps {
                now += MINUTE * minutes;
                pinned.on_tcp(address(0), Outcome::Answered(MINUTE));
                let said = (!fails).then_some((lasts.as_slice(), "lhr"));
                prop_assert!(!answer(&mut pinned, now, said));
                answer(&mut pinned, now, Some((&[7, 0], "lhr")));
                prop_assert_eq!(pinned.address(), Some(address(0)));
            }
        }

        /// What is probed was given by DNS, and any change is said.
        #[test]
        fn only_what_was_given_is_probed(steps in prop::collection::vec((0u32..90, prop::option::of(prop::collection::vec(0u8..8, 0..5)), 0u32..5, 0u8..3), 0..60)) {
            let mut now = crate::clock::now();
            let mut pinned = Pinned::default();
            let mut given = std::collections::BTreeSet::new();
            for (minutes, said, failures, zone) in steps {
                now += MINUTE * minutes;
                let before = pinned.address();
                if let Some(before) = before {
                    for _ in 0..failures {
                        pinned.on_tcp(before, Outcome::Timeout);
                    }
                }
                given.extend(said.iter().flatten().copied().map(address));
                let zone = ["lhr", "vie", "fra"][usize::from(zone)];
                let changed = answer(&mut pinned, now, said.as_deref().map(|lasts| (lasts, zone)));
                prop_assert_eq!(changed, before.is_some() && before != pinned.address());
                prop_assert!(pinned.address().is_none_or(|address| given.contains(&address)));
            }
        }

        #[test]
        fn any_alias_is_read_without_panic(alias in ".{0,40}") {
            zone_of(&[alias]);
        }
    }
}
