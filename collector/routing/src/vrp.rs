//! Validated ROA payloads, and what they say of a route (RFC 6811 §2).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;
use serde::Deserialize;

use crate::asn::Asn;
use crate::path::Hop;

/// One payload: this origin may announce the prefix, and what is more specific up to a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vrp {
    /// The prefix.
    pub prefix: IpNet,
    /// Longest length that is allowed.
    pub max_length: u8,
    /// The origin; AS 0 allows nobody (RFC 6483 §4).
    pub asn: Asn,
}

/// One payload as files give it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VrpFile {
    prefix: crate::rule::Prefix,
    max_length: Option<u8>,
    asn: Asn,
    /// Unix seconds.
    pub(crate) expires: Option<u32>,
}

impl From<VrpFile> for Vrp {
    fn from(file: VrpFile) -> Self {
        let prefix = file.prefix.0;
        Self {
            prefix,
            max_length: file.max_length.unwrap_or(prefix.prefix_len()),
            asn: file.asn,
        }
    }
}

/// What the payloads say of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rov {
    /// One allows it.
    Valid,
    /// Some cover the prefix, none for this origin.
    InvalidAsn,
    /// Some cover the prefix for this origin, none at this length.
    InvalidLength,
    /// None covers the prefix.
    NotFound,
}

/// A payload without its prefix: the longest length, the origin, and when it expires (Unix seconds), if the source says so.
type Entry = (u8, Asn, Option<NonZeroU32>);

/// All payloads that are known.
#[derive(Clone, Debug, Default)]
pub struct Vrps {
    trie: JointPrefixMap<IpNet, Box<[Entry]>>,
    count: usize,
}

impl Vrps {
    /// A set of these payloads; what stands twice counts once.
    pub fn new(vrps: impl IntoIterator<Item = Vrp>) -> Self {
        Self::expiring(vrps.into_iter().map(|vrp| (vrp, None)))
    }

    /// A set of payloads with their ends, Unix seconds: what stands twice ends with the later one.
    pub fn expiring(vrps: impl IntoIterator<Item = (Vrp, Option<u32>)>) -> Self {
        let mut all: Vec<(Vrp, Option<u32>)> = vrps.into_iter().collect();
        // No known end is the latest of all.
        all.sort_unstable_by_key(|(vrp, expires)| (*vrp, Reverse(expires.unwrap_or(u32::MAX))));
        all.dedup_by_key(|(vrp, _)| *vrp);
        let mut trie = JointPrefixMap::new();
        for same in all.chunk_by(|(a, _), (b, _)| a.prefix == b.prefix) {
            if let Some((first, _)) = same.first() {
                let entry = |(vrp, expires): &(Vrp, Option<u32>)| {
                    (vrp.max_length, vrp.asn, expires.and_then(NonZeroU32::new))
                };
                trie.insert(first.prefix, same.iter().map(entry).collect());
            }
        }
        Self {
            trie,
            count: all.len(),
        }
    }

    /// Number of payloads.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The state of a route with this origin. A set of ASes is no origin (RFC 6811 §2): it is never valid.
    pub fn state(&self, prefix: &IpNet, origin: &Hop) -> Rov {
        let mut covered = false;
        let mut same_origin = false;
        for (_, entries) in self.trie.cover(prefix) {
            covered = true;
            for (max_length, asn, _) in entries {
                if origin.single() == Some(*asn) && asn.0 != 0 {
                    if prefix.prefix_len() <= *max_length {
                        return Rov::Valid;
                    }
                    same_origin = true;
                }
            }
        }
        match (covered, same_origin) {
            (false, _) => Rov::NotFound,
            (true, true) => Rov::InvalidLength,
            (true, false) => Rov::InvalidAsn,
        }
    }

    /// Origins that may announce `prefix`, each with the latest end of what allows it, Unix seconds; `None`: no end is known.
    pub fn allowed(&self, prefix: &IpNet) -> BTreeMap<Asn, Option<u32>> {
        let mut allowed: BTreeMap<Asn, Option<u32>> = BTreeMap::new();
        for (_, entries) in self.trie.cover(prefix) {
            for (max_length, asn, expires) in entries {
                if asn.0 == 0 || prefix.prefix_len() > *max_length {
                    continue;
                }
                let expires = expires.map(NonZeroU32::get);
                let latest = allowed.entry(*asn).or_insert(expires);
                *latest = latest.zip(expires).map(|(a, b)| a.max(b));
            }
        }
        allowed
    }

    /// Payloads that only one of the two sets has; those of `self` are gone, those of `other` new.
    pub fn difference(&self, other: &Self) -> Vec<(Vrp, Change)> {
        let mut changes = Vec::new();
        collect_missing(self, other, Change::Gone, &mut changes);
        collect_missing(other, self, Change::New, &mut changes);
        changes.sort_unstable();
        changes
    }
}

/// What became of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It was there before.
    Gone,
    /// It was not there before.
    New,
}

fn collect_missing(of: &Vrps, from: &Vrps, change: Change, into: &mut Vec<(Vrp, Change)>) {
    for (prefix, entries) in &of.trie {
        let there = from.trie.get(&prefix);
        for &(max_length, asn, _) in entries {
            let same = |entry: &Entry| (entry.0, entry.1) == (max_length, asn);
            if !there.is_some_and(|there| there.iter().any(same)) {
                let vrp = Vrp {
                    prefix,
                    max_length,
                    asn,
                };
                into.push((vrp, change));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vrp(prefix: &str, max_length: u8, asn: u32) -> Vrp {
        Vrp {
            prefix: prefix.parse().expect("a prefix"),
            max_length,
            asn: Asn(asn),
        }
    }

    #[test]
    fn a_route_has_the_state_of_rfc_6811() {
        let vrps = Vrps::new([
            vrp("192.0.2.0/24", 25, 64_496),
            vrp("192.0.2.0/25", 25, 64_497),
            vrp("198.51.100.0/24", 24, 0),
            vrp("2001:db8::/32", 48, 64_496),
        ]);
        for (prefix, origin, want) in [
            ("192.0.2.0/24", 64_496, Rov::Valid),
            ("192.0.2.128/25", 64_496, Rov::Valid),
            ("192.0.2.0/26", 64_496, Rov::InvalidLength),
            ("192.0.2.0/25", 64_497, Rov::Valid),
            ("192.0.2.0/24", 64_497, Rov::InvalidAsn),
            ("192.0.2.128/25", 64_497, Rov::InvalidAsn),
            ("0.0.0.0/0", 64_496, Rov::NotFound),
            ("198.51.100.0/24", 64_496, Rov::InvalidAsn),
            ("198.51.100.0/24", 0, Rov::InvalidAsn),
            ("203.0.113.0/24", 64_496, Rov::NotFound),
            ("2001:db8:1::/48", 64_496, Rov::Valid),
            ("2001:db8:1:2::/64", 64_496, Rov::InvalidLength),
            ("2001:db8::/32", 64_500, Rov::InvalidAsn),
            ("2001:db9::/32", 64_496, Rov::NotFound),
        ] {
            let prefix: IpNet = prefix.parse().expect("a prefix");
            let state = vrps.state(&prefix, &Hop::As(Asn(origin)));
            assert_eq!(state, want, "{prefix} from {origin}");
        }
    }

    #[test]
    fn a_set_of_origins_is_never_valid() {
        let vrps = Vrps::new([vrp("192.0.2.0/24", 24, 64_496)]);
        let set = Hop::Set([Asn(64_496), Asn(64_497)].into());
        let state = |prefix: &str| vrps.state(&prefix.parse().expect("a prefix"), &set);
        assert_eq!(state("192.0.2.0/24"), Rov::InvalidAsn);
        assert_eq!(state("198.51.100.0/24"), Rov::NotFound);
    }

    #[test]
    fn a_difference_names_what_went_and_what_came() {
        let before = Vrps::new([
            vrp("192.0.2.0/24", 24, 64_496),
            vrp("192.0.2.0/24", 24, 64_497),
        ]);
        let after = Vrps::new([
            vrp("192.0.2.0/24", 24, 64_496),
            vrp("2001:db8::/32", 32, 64_496),
        ]);
        assert_eq!(
            before.difference(&after),
            [
                (vrp("192.0.2.0/24", 24, 64_497), Change::Gone),
                (vrp("2001:db8::/32", 32, 64_496), Change::New),
            ]
        );
        assert!(before.difference(&before).is_empty());
    }
}
