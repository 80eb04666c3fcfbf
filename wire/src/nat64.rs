//! IPv4 addresses inside IPv6 ones: the prefix of a NAT64, found and taken off again.
//!
//! Agent and collector use the same functions: what an agent on an IPv6-only site sends to `64:ff9b::c000:201` goes to
//! `192.0.2.1`, and only the latter is of any AS.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The name that has no AAAA record of its own: who answers with one has a DNS64 (RFC 7050 §2.2).
pub const DISCOVERY_NAME: &str = "ipv4only.arpa";

/// The addresses of [`DISCOVERY_NAME`] (RFC 7050 §2.2).
pub const DISCOVERY_ADDRESSES: [Ipv4Addr; 2] =
    [Ipv4Addr::new(192, 0, 0, 170), Ipv4Addr::new(192, 0, 0, 171)];

/// Lengths that a prefix may have, in bits (RFC 6052 §2.2).
pub const PREFIX_LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

/// Octet 8 (bits 64 to 71) carries nothing of the IPv4 address and is zero (RFC 6052 §2.2).
const RESERVED: usize = 8;

/// The prefix of a translator: IPv4 addresses stand behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nat64Prefix {
    address: Ipv6Addr,
    bits: u8,
}

impl Nat64Prefix {
    /// The prefix of `bits` bits of `address`; `None` for a length that RFC 6052 §2.2 does not know, and where bits 64 to
    /// 71 are not zero. What follows the prefix in `address` is cut off.
    ///
    /// # Examples
    /// ```
    /// use firstmile_wire::nat64::Nat64Prefix;
    /// let prefix = Nat64Prefix::new("64:ff9b::".parse().unwrap(), 96).unwrap();
    /// let address = "64:ff9b::192.0.2.1".parse().unwrap();
    /// assert_eq!(prefix.embedded(address), Some("192.0.2.1".parse().unwrap()));
    /// ```
    pub fn new(address: Ipv6Addr, bits: u8) -> Option<Self> {
        if !PREFIX_LENGTHS.contains(&bits) {
            return None;
        }
        let mask = u128::MAX << (128 - u32::from(bits));
        let address = Ipv6Addr::from(u128::from(address) & mask);
        (address.octets().get(RESERVED) == Some(&0)).then_some(Self { address, bits })
    }

    /// Reads the wire form: 16 bytes and a length in bits.
    pub fn from_wire(bytes: &[u8], bits: u32) -> Option<Self> {
        let octets: [u8; 16] = bytes.try_into().ok()?;
        Self::new(octets.into(), u8::try_from(bits).ok()?)
    }

    /// The prefix, zeros behind it.
    pub const fn address(self) -> Ipv6Addr {
        self.address
    }

    /// Its length in bits.
    pub const fn bits(self) -> u8 {
        self.bits
    }

    /// The IPv6 address that stands for `inner` behind this prefix (RFC 6052 §2.3).
    pub fn embed(self, inner: Ipv4Addr) -> Ipv6Addr {
        let mut octets = self.address.octets();
        for (place, octet) in places(self.bits).zip(inner.octets()) {
            if let Some(slot) = octets.get_mut(place) {
                *slot = octet;
            }
        }
        octets.into()
    }

    /// The IPv4 address that `address` stands for (RFC 6052 §2.3); `None` when it is not behind this prefix or bits 64 to
    /// 71 are not zero. A suffix is ignored: it is reserved for what may come.
    pub fn embedded(self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        if Self::new(address, self.bits)? != self {
            return None;
        }
        let octets = address.octets();
        if octets.get(RESERVED) != Some(&0) {
            return None;
        }
        let mut inner = [0; 4];
        for (place, slot) in places(self.bits).zip(&mut inner) {
            *slot = *octets.get(place)?;
        }
        Some(inner.into())
    }
}

impl std::str::FromStr for Nat64Prefix {
    type Err = NoNat64Prefix;

    fn from_str(text: &str) -> Result<Self, NoNat64Prefix> {
        let (address, bits) = text.split_once('/').ok_or(NoNat64Prefix)?;
        let address = address.parse().map_err(|_| NoNat64Prefix)?;
        let bits = bits.parse().map_err(|_| NoNat64Prefix)?;
        Self::new(address, bits).ok_or(NoNat64Prefix)
    }
}

/// A text that is no prefix of a translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no NAT64 prefix; one looks like 64:ff9b::/96")]
pub struct NoNat64Prefix;

impl std::fmt::Display for Nat64Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// The prefix by which a DNS64 made `answers` to the AAAA question for [`DISCOVERY_NAME`] (RFC 7050 §3); `None` where there
/// is no such thing. An answer in which a known address stands at more than one place is told by the other answers, else
/// the longest prefix counts.
pub fn discover(answers: &[Ipv6Addr]) -> Option<Nat64Prefix> {
    let candidates = |answer: Ipv6Addr| {
        PREFIX_LENGTHS.into_iter().rev().filter_map(move |bits| {
            let prefix = Nat64Prefix::new(answer, bits)?;
            let inner = prefix.embedded(answer)?;
            DISCOVERY_ADDRESSES
                .contains(&inner)
                .then_some((prefix, inner))
        })
    };
    let found: Vec<(Nat64Prefix, Ipv4Addr)> =
        answers.iter().copied().flat_map(candidates).collect();
    let (first, second) = (DISCOVERY_ADDRESSES.first()?, DISCOVERY_ADDRESSES.last()?);
    let seen = |prefix: Nat64Prefix, inner: &Ipv4Addr| {
        found
            .iter()
            .any(|(other, with)| *other == prefix && with == inner)
    };
    found
        .iter()
        .map(|(prefix, _)| *prefix)
        .find(|prefix| seen(*prefix, first) && seen(*prefix, second))
        .or_else(|| found.first().map(|(prefix, _)| *prefix))
}

/// Octets that carry the IPv4 address: those behind the prefix, but for the reserved one.
fn places(bits: u8) -> impl Iterator<Item = usize> {
    let start = usize::from(bits / 8);
    (start..16).filter(move |place| *place != RESERVED).take(4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().expect("an address")
    }

    /// The table of RFC 6052 §2.4: 192.0.2.33 behind each length of prefix.
    #[test]
    fn the_examples_of_the_standard_hold() {
        let inner = Ipv4Addr::new(192, 0, 2, 33);
        for (prefix, bits, whole) in [
            ("2001:db8::", 32, "2001:db8:c000:221::"),
            ("2001:db8:100::", 40, "2001:db8:1c0:2:21::"),
            ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33"),
        ] {
            let prefix = Nat64Prefix::new(v6(prefix), bits).expect("a prefix");
            assert_eq!(prefix.embed(inner), v6(whole), "{prefix}");
            assert_eq!(prefix.embedded(v6(whole)), Some(inner), "{prefix}");
        }
    }

    #[test]
    fn what_is_no_translated_address_stays_itself() {
        let prefix = Nat64Prefix::new(v6("2001:db8:122:300::"), 56).expect("a prefix");
        assert_eq!(
            prefix.embedded(v6("2001:db8:122:4c0:0:221::")),
            None,
            "elsewhere"
        );
        assert_eq!(
            prefix.embedded(v6("2001:db8:122:3c0:100:221::")),
            None,
            "reserved bits"
        );
        for bits in [0, 31, 33, 72, 97, 128] {
            assert_eq!(Nat64Prefix::new(v6("2001:db8::"), bits), None, "{bits}");
        }
        assert_eq!(
            Nat64Prefix::new(v6("2001:db8::ff00:0:0:0"), 96),
            None,
            "reserved bits"
        );
        assert_eq!(Nat64Prefix::from_wire(&[0; 4], 96), None);
        assert_eq!(Nat64Prefix::from_wire(&[0; 16], 4_000), None);
    }

    #[test]
    fn a_dns64_is_known_by_its_answers() {
        for (name, answers, want) in [
            ("no answer", vec![], None),
            ("a real address", vec!["2001:db8::1"], None),
            (
                "the well-known prefix",
                vec!["64:ff9b::c000:aa"],
                Some("64:ff9b::/96"),
            ),
            (
                "both",
                vec!["64:ff9b::c000:ab", "64:ff9b::c000:aa"],
                Some("64:ff9b::/96"),
            ),
            (
                "48 bits",
                vec!["2001:db8:122:c000:0:aa00::"],
                Some("2001:db8:122::/48"),
            ),
            // The address stands at two places of the first answer; the second tells which one is the translator's.
            (
                "twice in one",
                vec!["2001:db8:c000:aa::c000:aa", "2001:db8:c000:aa::c000:ab"],
                Some("2001:db8:c000:aa::/96"),
            ),
        ] {
            let answers: Vec<Ipv6Addr> = answers.into_iter().map(v6).collect();
            let found = discover(&answers).map(|prefix| prefix.to_string());
            assert_eq!(found.as_deref(), want, "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_is_embedded_is_found_again(address: u128, which in 0..PREFIX_LENGTHS.len(), inner: u32) {
            let (bits, inner) = (PREFIX_LENGTHS[which], Ipv4Addr::from(inner));
            let address = Ipv6Addr::from(address & !(0xff << 56));
            let prefix = Nat64Prefix::new(address, bits).expect("a prefix");
            prop_assert_eq!(prefix.embedded(prefix.embed(inner)), Some(inner));
            let read = Nat64Prefix::from_wire(&prefix.address().octets(), u32::from(bits));
            prop_assert_eq!(read, Some(prefix));
        }

        #[test]
        fn a_translator_is_found_by_its_two_answers(address: u128, which in 0..PREFIX_LENGTHS.len()) {
            let address = Ipv6Addr::from(address & !(0xff << 56));
            let prefix = Nat64Prefix::new(address, PREFIX_LENGTHS[which]).expect("a prefix");
            let answers = DISCOVERY_ADDRESSES.map(|inner| prefix.embed(inner));
            prop_assert_eq!(discover(&answers), Some(prefix));
        }

        #[test]
        fn nothing_that_comes_from_outside_panics(bytes in prop::collection::vec(any::<u8>(), 0..20), bits: u32, address: u128) {
            if let Some(prefix) = Nat64Prefix::from_wire(&bytes, bits) {
                prefix.embedded(address.into());
            }
            discover(&[address.into()]);
        }
    }
}
