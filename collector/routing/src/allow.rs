//! What is allowed for a time, and peers that are not listened to.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::{self, Deserializer};

use crate::asn::{Allowed, Asn};
use crate::path::{AsPath, Hop};
use crate::rule::Prefix;

/// For a time somebody else may announce what is registered: a scrubbing centre during an attack, a move between providers.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// The prefix; what is announced lies in it.
    pub prefix: IpNet,
    /// Lengths that may be announced.
    pub lengths: (u8, u8),
    /// Who may announce it.
    pub origins: Allowed,
    /// First hops that the origin may have; an empty list demands nothing.
    pub neighbors: Allowed,
    /// From then on, Unix seconds.
    pub from: f64,
    /// Until then, Unix seconds; the moment itself is after it.
    pub to: f64,
}

impl Allowance {
    /// Whether it holds at a moment.
    pub fn holds(&self, at: f64) -> bool {
        (self.from..self.to).contains(&at)
    }

    /// Whether a route of `prefix` with this path, without prepends, is what is allowed.
    pub fn covers(&self, prefix: &IpNet, path: &AsPath, at: f64) -> bool {
        let (low, high) = self.lengths;
        if !self.holds(at)
            || !self.prefix.contains(prefix)
            || !(low..=high).contains(&prefix.prefix_len())
        {
            return false;
        }
        let steps = path.without_prepends();
        let all =
            |hop: &Hop, allowed: &Allowed| hop.members().iter().all(|asn| allowed.permits(*asn));
        let mut back = steps.iter().rev();
        let origin = back.next().is_some_and(|hop| all(hop, &self.origins));
        let neighbor = back.next().is_none_or(|hop| all(hop, &self.neighbors));
        origin && (self.neighbors.is_nobody() || neighbor)
    }
}

/// An allowance as files give it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowanceFile {
    prefix: Prefix,
    prefix_len: Option<[u8; 2]>,
    #[serde(default)]
    origins: Allowed,
    #[serde(default)]
    neighbors: Allowed,
    from: Option<Moment>,
    to: Option<Moment>,
}

/// Why an allowance cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AllowanceError {
    /// It would never hold.
    #[error("the allowance for {0} ends before it begins: `to` must be after `from`")]
    Never(Prefix),
    /// The lengths are no range of lengths of this prefix.
    #[error("the lengths of the allowance for {0} are none of the prefix, the smaller first")]
    Lengths(Prefix),
}

impl TryFrom<AllowanceFile> for Allowance {
    type Error = AllowanceError;

    fn try_from(file: AllowanceFile) -> Result<Self, AllowanceError> {
        let prefix = file.prefix;
        let (from, to) = (prefix.0.prefix_len(), prefix.0.max_prefix_len());
        // Scrubbing centres announce parts.
        let [low, high] = file.prefix_len.unwrap_or([from, to]);
        if low < from || high > to || low > high {
            return Err(AllowanceError::Lengths(prefix));
        }
        let begins = file.from.map_or(f64::NEG_INFINITY, |moment| moment.0);
        let ends = file.to.map_or(f64::INFINITY, |moment| moment.0);
        if begins >= ends {
            return Err(AllowanceError::Never(prefix));
        }
        Ok(Self {
            prefix: prefix.0,
            lengths: (low, high),
            origins: file.origins,
            neighbors: file.neighbors,
            from: begins,
            to: ends,
        })
    }
}

/// A moment: Unix seconds, or RFC 3339 as text.
#[derive(Clone, Copy, Debug)]
struct Moment(f64);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MomentVisitor)
    }
}

struct MomentVisitor;

impl de::Visitor<'_> for MomentVisitor {
    type Value = Moment;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds since 1970, or a time such as \"2026-01-31T22:00:00Z\"")
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Moment, E> {
        Ok(Moment(seconds))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds of any year with four digits are exact in an f64"
    )]
    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Moment, E> {
        Ok(Moment(seconds as f64))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds of any year with four digits are exact in an f64"
    )]
    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Moment, E> {
        Ok(Moment(seconds as f64))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Moment, E> {
        let at: jiff::Timestamp = text
            .parse()
            .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
        Ok(Moment(at.as_duration().as_secs_f64()))
    }
}

/// Peers that are not listened to: one that sends stale routes must not cry wolf for all.
#[derive(Clone, Debug, Default)]
pub struct Mute {
    names: BTreeSet<String>,
    asns: BTreeSet<Asn>,
}

impl Mute {
    /// Mutes peers by the names that people write: an address, a route collector such as `rrc00`, or an AS.
    pub fn new(peers: impl IntoIterator<Item = String>) -> Self {
        let mut mute = Self::default();
        for peer in peers {
            match Asn::parse(&peer) {
                // A bare number is an AS; an address has a dot or a colon and is none.
                Some(asn) if !peer.contains('.') => mute.asns.insert(asn),
                _ => mute.names.insert(peer.trim().to_ascii_lowercase()),
            };
        }
        mute
    }

    /// Whether everybody is listened to.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.asns.is_empty()
    }

    /// Whether one of its names, or its AS, is muted.
    pub fn holds(&self, names: &[&str], asn: Option<Asn>) -> bool {
        let is_muted = |name: &&str| self.names.contains(&name.to_ascii_lowercase());
        names.iter().any(is_muted) || asn.is_some_and(|asn| self.asns.contains(&asn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(json: &str) -> Option<Allowance> {
        let file: AllowanceFile = serde_json::from_str(json).ok()?;
        file.try_into().ok()
    }

    #[test]
    fn an_allowance_is_for_a_prefix_an_origin_a_first_hop_and_a_time() {
        let allowed = allowance(
            r#"{"prefix":"198.51.100.0/24","prefix_len":[24,25],"origins":[64500],"neighbors":[64501],"from":100,"to":"1970-01-01T00:03:20Z"}"#,
        )
        .expect("usable");
        for (prefix, path, at, want) in [
            ("198.51.100.0/24", &[64_501, 64_500][..], 100.0, true),
            ("198.51.100.128/25", &[64_501, 64_500, 64_500], 199.0, true),
            ("198.51.100.0/24", &[64_500], 150.0, true),
            ("198.51.100.0/24", &[64_501, 64_500], 99.9, false),
            ("198.51.100.0/24", &[64_501, 64_500], 200.0, false),
            ("198.51.100.0/26", &[64_501, 64_500], 150.0, false),
            ("198.51.100.0/23", &[64_501, 64_500], 150.0, false),
            ("198.51.100.0/24", &[64_502, 64_500], 150.0, false),
            ("198.51.100.0/24", &[64_501, 64_502], 150.0, false),
            ("198.51.100.0/24", &[], 150.0, false),
        ] {
            let prefix: IpNet = prefix.parse().expect("a prefix");
            let covers = allowed.covers(&prefix, &AsPath::of(path), at);
            assert_eq!(covers, want, "{prefix} {path:?} {at}");
        }
    }

    #[test]
    fn one_that_never_holds_is_refused() {
        for json in [
            r#"{"prefix":"198.51.100.0/24","from":10,"to":10}"#,
            r#"{"prefix":"198.51.100.0/24","from":"yesterday"}"#,
            r#"{"prefix":"198.51.100.0/24","prefix_len":[23,24]}"#,
            r#"{"prefix":"198.51.100.0/24","until":10}"#,
        ] {
            assert!(allowance(json).is_none(), "{json}");
        }
        let always = allowance(r#"{"prefix":"2001:db8::/32"}"#).expect("usable");
        assert!(always.holds(0.0) && always.holds(4e9));
    }

    #[test]
    fn a_peer_is_muted_by_address_route_collector_or_as() {
        let names = ["192.0.2.1", "2001:DB8::1", "rrc00", "AS64500", "64501"];
        let mute = Mute::new(names.map(str::to_owned));
        for (names, asn, want) in [
            (&["192.0.2.1"][..], None, true),
            (&["2001:db8::1"], None, true),
            (&["rrc00", "192.0.2.9"], None, true),
            (&["192.0.2.9"], Some(64_500), true),
            (&["192.0.2.9"], Some(64_501), true),
            (&["192.0.2.9"], Some(64_502), false),
        ] {
            assert_eq!(mute.holds(names, asn.map(Asn)), want, "{names:?} {asn:?}");
        }
        assert!(!Mute::default().holds(&["192.0.2.1"], Some(Asn(1))));
    }
}
