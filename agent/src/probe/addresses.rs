//! Which addresses of a target are probed: the first A and the first AAAA, kept for as long as DNS still gives them.
//!
//! Pure. An address is left only when it is gone from the answers: resolvers that rotate their answers must not look like
//! a change of path. When DNS fails the last good address stays: what users are connected to is still there.

use std::net::IpAddr;

/// The probed address of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pinned {
    address: Option<IpAddr>,
}

impl Pinned {
    /// The address to probe.
    pub(crate) const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Takes in an answer; `None` is a failed resolution. True when another address than before is probed from now on.
    pub(crate) fn on_answer(&mut self, addresses: Option<&[IpAddr]>) -> bool {
        let Some(addresses) = addresses else {
            return false;
        };
        if self
            .address
            .is_some_and(|pinned| addresses.contains(&pinned))
        {
            return false;
        }
        let before = self.address;
        self.address = addresses.first().copied();
        before.is_some() && before != self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    #[test]
    fn an_address_stays_until_dns_gives_it_no_more() {
        let mut pinned = Pinned::default();
        for (name, answer, changed, want) in [
            ("first", Some(vec![1, 2]), false, Some(1)),
            ("rotated", Some(vec![2, 1]), false, Some(1)),
            ("failed", None, false, Some(1)),
            ("gone", Some(vec![2, 3]), true, Some(2)),
            ("no such record", Some(vec![]), true, None),
            ("back", Some(vec![4]), false, Some(4)),
        ] {
            let answer = answer.map(|lasts| lasts.into_iter().map(address).collect::<Vec<_>>());
            assert_eq!(pinned.on_answer(answer.as_deref()), changed, "{name}");
            assert_eq!(pinned.address(), want.map(address), "{name}");
        }
    }
}
