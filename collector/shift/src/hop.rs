//! What one address means, behind a trait: the live collector and the judge know it from different tables.

use std::net::IpAddr;
use std::num::NonZeroU32;

/// What is known of an address. Keys are hashes: equal keys are the same thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of one address, not the states of a machine"
)]
pub struct Hop {
    /// Origin AS, `None` where no table knows it.
    pub asn: Option<u32>,
    /// The router that the address belongs to; the address itself where nothing better is known.
    pub router: u32,
    /// Metro of the router, if its name says one.
    pub metro: Option<NonZeroU32>,
    /// Whether it is in Microsoft's network, by AS or by name.
    pub microsoft: bool,
    /// Whether a name says so: names are surer than prefixes.
    pub named: bool,
    /// Whether its name makes it a router of the backbone, which lies behind the ingress.
    pub backbone: bool,
    /// Whether a name or an alias set says which router it is.
    pub resolved: bool,
    /// Whether the address is of private use, so that it has no AS.
    pub private: bool,
}

/// Everything that turns addresses into networks, routers and places.
pub trait Meaning {
    /// What an address means.
    fn hop(&self, address: IpAddr) -> Hop;
    /// Changes whenever a table was replaced, so that what was derived from the old one is derived again.
    fn generation(&self) -> u32;
    /// The router for people: its name, or the address.
    fn router_name(&self, address: IpAddr) -> String;
    /// The metro for people.
    fn metro_name(&self, address: IpAddr) -> Option<String>;
}

/// A short hash of a name (FNV-1a, 32 bits): sets of a handful of values are compared by it.
pub fn key_of(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// The key of a place's name, never zero.
pub fn place_key(name: &str) -> NonZeroU32 {
    NonZeroU32::new(key_of(name.as_bytes())).unwrap_or(NonZeroU32::MIN)
}

/// The key of an address as a router of its own.
pub fn address_key(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(v4) => key_of(&v4.octets()),
        IpAddr::V6(v6) => key_of(&v6.octets()),
    }
}

/// One hop that answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Who answered.
    pub address: IpAddr,
    /// What that means.
    pub hop: Hop,
    /// How long it took, in microseconds.
    pub rtt_us: Option<u32>,
}
