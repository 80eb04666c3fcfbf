//! Address space and AS numbers that nobody may announce to the internet.

use ipnet::IpNet;

use crate::asn::Asn;

/// Kinds of bogons. What the operator registers something in is no bogon to that operator: it is a laboratory, or a private network
/// that is watched on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Private use, shared by carriers, or local (RFC 1918, 6598, 3927, 4193, 4291; AS: RFC 6996).
    Private,
    /// For documentation and benchmarks (RFC 5737, 3849, 2544; AS: RFC 5398).
    Documentation,
    /// Reserved or for another purpose (RFC 6890; AS: RFC 7607, 7300, 6793).
    Reserved,
}

const BLOCKS: &[(&str, Kind)] = &[
    ("0.0.0.0/8", Kind::Reserved),
    ("10.0.0.0/8", Kind::Private),
    ("100.64.0.0/10", Kind::Private),
    ("127.0.0.0/8", Kind::Reserved),
    ("169.254.0.0/16", Kind::Private),
    ("172.16.0.0/12", Kind::Private),
    ("192.0.0.0/24", Kind::Reserved),
    ("192.0.2.0/24", Kind::Documentation),
    ("192.168.0.0/16", Kind::Private),
    ("198.18.0.0/15", Kind::Documentation),
    ("198.51.100.0/24", Kind::Documentation),
    ("203.0.113.0/24", Kind::Documentation),
    ("224.0.0.0/4", Kind::Reserved),
    ("240.0.0.0/4", Kind::Reserved),
    ("::/8", Kind::Reserved),
    ("100::/64", Kind::Reserved),
    ("2001:2::/48", Kind::Documentation),
    ("2001:10::/28", Kind::Reserved),
    ("2001:db8::/32", Kind::Documentation),
    ("3fff::/20", Kind::Documentation),
    ("fc00::/7", Kind::Private),
    ("fe80::/10", Kind::Private),
    ("fec0::/10", Kind::Reserved),
    ("ff00::/8", Kind::Reserved),
];

/// The tables, without the kinds that are in use here.
#[derive(Clone, Debug)]
pub struct Bogons {
    blocks: Vec<(IpNet, Kind)>,
    /// First octets that a block has, IPv4 and IPv6: most announcements are none of them.
    first: [[bool; 256]; 2],
    asn_kinds: Vec<Kind>,
}

impl Bogons {
    /// Tables for an operator that registers these prefixes and names these ASes.
    pub fn new(registered: &[IpNet], named: &[Asn]) -> Self {
        let all: Vec<(IpNet, Kind)> = BLOCKS
            .iter()
            .filter_map(|(text, kind)| Some((text.parse().ok()?, *kind)))
            .collect();
        let prefix_used = |kind: Kind| {
            let mut blocks = all.iter().filter(|(_, of)| *of == kind);
            blocks.any(|(block, _)| registered.iter().any(|prefix| block.contains(prefix)))
        };
        let asn_used = |kind: Kind| named.iter().any(|asn| asn_kind(*asn) == Some(kind));
        let documentation = prefix_used(Kind::Documentation) || asn_used(Kind::Documentation);
        let private = prefix_used(Kind::Private);
        // A laboratory takes its AS numbers from either.
        let laboratory = documentation || private || asn_used(Kind::Private);
        let reserved = prefix_used(Kind::Reserved);
        let block_counts = |(_, kind): &(IpNet, Kind)| match kind {
            Kind::Private => !private,
            Kind::Documentation => !documentation,
            Kind::Reserved => !reserved,
        };
        let blocks: Vec<_> = all
            .iter()
            .filter(|entry| block_counts(entry))
            .copied()
            .collect();
        Self {
            first: first_octets(&blocks),
            blocks,
            asn_kinds: if laboratory {
                vec![Kind::Reserved]
            } else {
                vec![Kind::Private, Kind::Documentation, Kind::Reserved]
            },
        }
    }

    /// The block of the table that holds `prefix`.
    pub fn block(&self, prefix: &IpNet) -> Option<IpNet> {
        let (family, octet) = first_octet(prefix);
        let family = self.first.get(family)?;
        if !family.get(usize::from(octet)).is_some_and(|is| *is) {
            return None;
        }
        self.blocks
            .iter()
            .map(|(block, _)| block)
            .find(|block| block.contains(prefix))
            .copied()
    }

    /// Whether nobody may use `asn` in a path.
    pub fn holds_asn(&self, asn: Asn) -> bool {
        asn_kind(asn).is_some_and(|kind| self.asn_kinds.contains(&kind))
    }
}

fn first_octet(prefix: &IpNet) -> (usize, u8) {
    match prefix {
        IpNet::V4(net) => (0, net.network().octets()[0]),
        IpNet::V6(net) => (1, net.network().octets()[0]),
    }
}

fn first_octets(blocks: &[(IpNet, Kind)]) -> [[bool; 256]; 2] {
    let mut first = [[false; 256]; 2];
    for (block, _) in blocks {
        let (family, from) = first_octet(block);
        // A block shorter than an octet has several.
        let more = u8::MAX.checked_shr(block.prefix_len().into()).unwrap_or(0);
        if let Some(family) = first.get_mut(family) {
            for octet in from..=from | more {
                if let Some(is) = family.get_mut(usize::from(octet)) {
                    *is = true;
                }
            }
        }
    }
    first
}

fn asn_kind(asn: Asn) -> Option<Kind> {
    match asn.0 {
        0 | 23_456 | 65_535 | 65_552..=131_071 | u32::MAX => Some(Kind::Reserved),
        64_512..=65_534 | 4_200_000_000..=4_294_967_294 => Some(Kind::Private),
        64_496..=64_511 | 65_536..=65_551 => Some(Kind::Documentation),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    #[test]
    fn what_nobody_may_announce_is_known() {
        let bogons = Bogons::new(&[], &[]);
        for (prefix, want) in [
            ("10.1.0.0/16", true),
            ("192.0.2.0/24", true),
            ("198.18.0.0/15", true),
            ("198.18.0.0/14", false),
            ("2001:db8:1::/48", true),
            ("fd00::/16", true),
            ("::/0", false),
            ("0.0.0.0/0", false),
        ] {
            assert_eq!(bogons.block(&net(prefix)).is_some(), want, "{prefix}");
        }
        for (asn, want) in [
            (0, true),
            (23_456, true),
            (64_496, true),
            (64_512, true),
            (65_535, true),
            (65_551, true),
            (131_072, false),
            (4_200_000_000, true),
            (64_495, false),
        ] {
            assert_eq!(bogons.holds_asn(Asn(asn)), want, "{asn}");
        }
    }

    #[test]
    fn a_kind_that_is_registered_is_in_use_here() {
        let bogons = Bogons::new(&[net("192.0.2.0/24")], &[Asn(64_512)]);
        assert_eq!(bogons.block(&net("203.0.113.0/24")), None);
        assert_eq!(bogons.block(&net("10.0.0.0/8")), Some(net("10.0.0.0/8")));
        assert!(!bogons.holds_asn(Asn(65_000)));
        assert!(!bogons.holds_asn(Asn(64_496)));
        assert!(bogons.holds_asn(Asn(0)));
    }
}
