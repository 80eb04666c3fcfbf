//! Places of a listener: bounded over all, and for each address, so that no single peer takes them all.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at once: the 5,000 agents of the largest installation, and half as many that reconnect.
const MAX_CONNECTIONS: usize = 8192;
/// Of one address, or one /64 of IPv6: a quarter. A large site comes through one NAT, and all its agents at once.
const MAX_OF_ADDRESS: u32 = 2048;

/// Gives places away.
#[derive(Clone, Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    taken: Arc<Mutex<BTreeMap<IpAddr, u32>>>,
}

/// A place for a connection whose peer is not known yet.
#[derive(Debug)]
pub(super) struct Place {
    permit: OwnedSemaphorePermit,
    taken: Arc<Mutex<BTreeMap<IpAddr, u32>>>,
}

/// A place that is taken, given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    _permit: OwnedSemaphorePermit,
    taken: Arc<Mutex<BTreeMap<IpAddr, u32>>>,
    of: IpAddr,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            free: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            taken: Arc::default(),
        }
    }
}

impl Places {
    /// Waits for a free place.
    pub(super) async fn free(&self) -> Place {
        let free = Arc::clone(&self.free);
        Place {
            permit: free
                .acquire_owned()
                .await
                .expect("the semaphore is never closed"),
            taken: Arc::clone(&self.taken),
        }
    }
}

impl Place {
    /// Takes it for `peer`. `None`: its address has as many as it may have.
    pub(super) fn take(self, peer: IpAddr) -> Option<Seat> {
        let of = address(peer);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(of).or_default();
        if *count >= MAX_OF_ADDRESS {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Seat {
            _permit: self.permit,
            taken: self.taken,
            of,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.of);
            }
        }
    }
}

/// Whoever has one address of a /64 has all of them (RFC 4291 §2.5.4).
fn address(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[tokio::test]
    async fn one_address_cannot_take_all_places() {
        for (name, one, same, other) in [
            ("IPv4", "192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("mapped", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            (
                "one /64",
                "2001:db8::1",
                "2001:db8::ffff:0:2",
                "2001:db8:0:1::1",
            ),
        ] {
            let places = Places::default();
            let mut seats = Vec::new();
            for _ in 0..MAX_OF_ADDRESS {
                seats.push(places.free().await.take(ip(one)).expect("a seat"));
            }
            assert!(places.free().await.take(ip(same)).is_none(), "{name}");
            assert!(places.free().await.take(ip(other)).is_some(), "{name}");
            seats.pop();
            assert!(
                places.free().await.take(ip(same)).is_some(),
                "{name}: given back"
            );
            drop(seats);
            assert!(
                places.taken.lock().expect("no panic").is_empty(),
                "{name}: forgotten"
            );
            assert_eq!(places.free.available_permits(), MAX_CONNECTIONS, "{name}");
        }
    }
}
