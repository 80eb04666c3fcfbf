//! The pure core of the traceroute: no socket, no clock, no randomness; `now` is a parameter, every received byte untrusted.
//!
//! [`trace`] runs one round of flow-pinned packets and [`mda`] one multipath discovery; [`packet`] writes what is sent,
//! [`quote`] reads what comes back; [`path`] remembers the path to a destination between rounds and [`hops`] the figures
//! of each hop; [`budget`] spreads all packets so that no router is asked more often than it answers; [`offer`] says
//! which kinds of path a platform has.

pub mod budget;
pub mod gate;
pub mod hops;
pub mod mda;
pub mod met;
pub mod offer;
pub mod packet;
pub mod path;
pub mod plan;
pub mod quote;
pub mod running;
pub mod stopping;
pub mod trace;
mod way;

use std::net::IpAddr;

/// The bytes of an address: 4 or 16.
pub fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

#[cfg(test)]
mod testing {
    //! The start of virtual time.

    /// Some instant; tests count from it.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs one instant to count from, and never reads the clock again"
    )]
    pub(crate) fn start() -> std::time::Instant {
        std::time::Instant::now()
    }
}
