//! Which prefixes may be registered, at one look: nearly all of a whole table are not, and need no walk through a trie.

use ipnet::IpNet;

/// Blocks of IPv4 are looked at by this many bits, numbers of IPv6 blocks by as many.
const BITS: u32 = 20;
/// Blocks of IPv6 are looked at by this many bits.
const SIX: u8 = 32;

/// A bit for each block that a registered prefix touches.
#[derive(Clone, Debug)]
pub(crate) struct Near {
    four: Vec<u64>,
    six: Vec<u64>,
    /// A registered IPv6 prefix is shorter than the blocks.
    wide: bool,
}

impl Default for Near {
    fn default() -> Self {
        let words = 1 << (BITS - 6);
        Self {
            four: vec![0; words],
            six: vec![0; words],
            wide: false,
        }
    }
}

impl Near {
    /// A prefix is registered.
    pub(crate) fn add(&mut self, prefix: &IpNet) {
        match prefix {
            IpNet::V4(net) => {
                let first = number_of_four(net.network().to_bits());
                let last = number_of_four(net.broadcast().to_bits());
                (first..=last).for_each(|number| set(&mut self.four, number));
            }
            IpNet::V6(net) if net.prefix_len() < SIX => self.wide = true,
            IpNet::V6(net) => set(&mut self.six, number_of_six(net.network().to_bits())),
        }
    }

    /// Whether a registered prefix may be, or hold, this one; without it none does.
    pub(crate) fn may_cover(&self, prefix: &IpNet) -> bool {
        match prefix {
            IpNet::V4(net) => is_set(&self.four, number_of_four(net.network().to_bits())),
            IpNet::V6(net) => {
                let block = net.prefix_len() >= SIX
                    && is_set(&self.six, number_of_six(net.network().to_bits()));
                self.wide || block
            }
        }
    }
}

fn number_of_four(bits: u32) -> u32 {
    bits >> (32 - BITS)
}

/// The block's bits, spread: registries give out neighbours.
fn number_of_six(bits: u128) -> u32 {
    let block = u32::try_from(bits >> 96).unwrap_or(u32::MAX);
    block.wrapping_mul(0x9E37_79B1) >> (32 - BITS)
}

fn set(words: &mut [u64], number: u32) {
    if let Some(word) = words.get_mut((number >> 6) as usize) {
        *word |= 1 << (number & 63);
    }
}

fn is_set(words: &[u64], number: u32) -> bool {
    let word = words.get((number >> 6) as usize);
    word.is_some_and(|word| word & (1 << (number & 63)) != 0)
}

#[cfg(test)]
mod tests {
    use ipnet::{Ipv4Net, Ipv6Net};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn net() -> impl Strategy<Value = IpNet> {
        let four = (any::<u32>(), 0..=32_u8).prop_map(|(bits, length)| {
            // Few first octets, so that prefixes meet.
            let net = Ipv4Net::new((bits & 0x03FF_FFFF).into(), length);
            IpNet::V4(net.expect("a length").trunc())
        });
        let six = (any::<u128>(), 0..=128_u8).prop_map(|(bits, length)| {
            let net = Ipv6Net::new((bits & (u128::MAX >> 14)).into(), length);
            IpNet::V6(net.expect("a length").trunc())
        });
        prop_oneof![four, six]
    }

    proptest! {
        #[test]
        fn what_is_covered_is_never_missed(registered in vec(net(), 0..40), asked in net()) {
            let mut near = Near::default();
            for one in &registered {
                near.add(one);
            }
            let covered = registered.iter().any(|one| one.contains(&asked));
            prop_assert!(near.may_cover(&asked) || !covered);
        }
    }

    #[test]
    fn most_of_the_internet_is_far() {
        let mut near = Near::default();
        near.add(&"198.18.100.0/24".parse().expect("a prefix"));
        near.add(&"2001:db8::/32".parse().expect("a prefix"));
        for (text, want) in [
            ("198.18.100.0/25", true),
            ("198.18.0.0/24", false),
            ("203.0.113.0/24", false),
            ("2001:db8:1::/48", true),
            ("2001:db9::/48", false),
            ("2001::/16", false),
        ] {
            assert_eq!(
                near.may_cover(&text.parse().expect("a prefix")),
                want,
                "{text}"
            );
        }
    }
}
