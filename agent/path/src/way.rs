//! The ways that packets take, and the keys by which the budget knows their places.

use std::net::IpAddr;

/// Flows of a destination that are remembered; those of multipath discovery come once.
pub(crate) const MAX_FLOWS: u16 = 32;

/// A destination, by one way out of the machine: two uplinks lead to it over routers of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// Where to.
    pub destination: IpAddr,
    /// By which of the configured ways out; 0 is the machine's own choice.
    pub vantage: u16,
}

impl Way {
    pub(crate) const fn is_ipv6(self) -> bool {
        self.destination.is_ipv6()
    }
}

impl From<IpAddr> for Way {
    fn from(destination: IpAddr) -> Self {
        Self {
            destination,
            vantage: 0,
        }
    }
}

/// A way, by the number that it has as long as it is remembered: small, for it stands in every key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) number: u16,
    pub(crate) is_ipv6: bool,
}

/// One TTL of one flow of one way, in one word: its way, its flow, its TTL, from the highest bits on, which is how they are
/// sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CellKey(pub(crate) u64);

impl CellKey {
    pub(crate) const fn new(way: Number, flow: u16, ttl: u8) -> Self {
        let way = (way.number as u64) << 1 | way.is_ipv6 as u64;
        Self(way << 24 | (flow as u64) << 8 | ttl as u64)
    }

    /// The place that the budget knows routers by.
    pub(crate) const fn place(self) -> (bool, u8) {
        (self.0 >> 24 & 1 == 1, self.0.to_le_bytes()[0])
    }

    pub(crate) const fn number(self) -> u64 {
        self.0 >> 25
    }

    pub(crate) const fn flow_and_ttl(self) -> u64 {
        self.0 & 0xff_ffff
    }

    pub(crate) const fn is_remembered(self) -> bool {
        (self.0 >> 8 & 0xffff) < MAX_FLOWS as u64
    }
}
