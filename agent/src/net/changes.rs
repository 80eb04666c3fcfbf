//! Notices that packets leave this machine by another way than before.
//!
//! The kernel tells of every change of links, addresses and routes (rtnetlink(7), multicast groups). Much of that concerns
//! nobody here: containers that come and go, router advertisements that renew a route, a full routing table. So what it tells
//! is only a reason to look, a moment later and at most once a second: which interface, router and source address do packets
//! to each destination take now? Another way is a change; anything else is none. Where nothing is told, the look comes at
//! intervals.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use firstmile_wire::v1::NetworkChangeKind;

use super::route;
use crate::clock;
use crate::host::look;

/// Changes come in groups: a link that comes up brings addresses, and they bring routes.
const SETTLE: Duration = Duration::from_millis(300);

/// From one look to the next, however much is told.
const SPACING: Duration = Duration::from_secs(1);

/// From one look to the next where nothing is told.
const UNTOLD: Duration = Duration::from_secs(5);

/// Where packets go at the moment: one entry for each target and its few addresses.
#[derive(Debug, Default)]
pub(crate) struct Destinations(Mutex<BTreeMap<usize, Vec<IpAddr>>>);

impl Destinations {
    /// `target` is reached at these addresses from now on.
    pub(crate) fn set(&self, target: usize, addresses: Vec<IpAddr>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(target, addresses);
    }

    fn all(&self) -> Vec<IpAddr> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().flatten().copied().collect()
    }
}

/// How packets to one destination leave.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leaving {
    interface: String,
    gateway: Option<IpAddr>,
    source: IpAddr,
}

/// How packets leave for each destination; `None` where they cannot.
type Ways = BTreeMap<IpAddr, Option<Leaving>>;

/// What the kernel told of since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Heard {
    link: bool,
    address: bool,
    route: bool,
}

/// Waits for changes.
pub(crate) struct Changes {
    ears: Option<ears::Ears>,
    ways: Ways,
    looked: Instant,
}

impl Changes {
    /// Listens from now on; where the system does not let us, looks come at intervals.
    pub(crate) fn listen() -> Self {
        let ears = ears::Ears::open();
        if let Err(error) = &ears {
            tracing::debug!(%error, "changes of the network are not told, they are looked for");
        }
        Self {
            ears: ears.ok(),
            ways: Ways::new(),
            looked: clock::now(),
        }
    }

    /// The next change: its kind, and what to say. Cancel-safe: what was heard and not yet looked at is looked at later.
    pub(crate) async fn next(
        &mut self,
        destinations: &Destinations,
    ) -> (NetworkChangeKind, String) {
        loop {
            let heard = self.wait().await;
            let now = ways(&destinations.all());
            let before = std::mem::replace(&mut self.ways, now);
            self.looked = clock::now();
            if let Some(change) = judge(&before, &self.ways, heard) {
                return change;
            }
        }
    }

    async fn wait(&mut self) -> Heard {
        let soonest = self.looked + SPACING;
        let Some(ears) = &mut self.ears else {
            tokio::time::sleep_until((self.looked + UNTOLD).into()).await;
            return Heard::default();
        };
        if self.ways.is_empty() {
            // Nothing to compare with yet: the names are still being resolved.
            tokio::time::sleep_until(soonest.into()).await;
            return ears.take();
        }
        if ears.wait().await.is_err() {
            self.ears = None;
            return Heard::default();
        }
        tokio::time::sleep_until((clock::now() + SETTLE).max(soonest).into()).await;
        ears.take()
    }
}

fn ways(destinations: &[IpAddr]) -> Ways {
    let leaving = |destination: IpAddr| {
        let source = route::source_for(destination).ok()?;
        let way = look::way_to(destination, None, None);
        let (interface, gateway) =
            way.map_or_else(Default::default, |way| (way.interface.name, way.gateway));
        Some(Leaving {
            interface,
            gateway,
            source,
        })
    };
    let all = destinations.iter();
    all.map(|destination| (*destination, leaving(*destination)))
        .collect()
}

/// The first way that is another one, and what kind of change that is. A destination that is new has no way to compare.
fn judge(before: &Ways, now: &Ways, heard: Heard) -> Option<(NetworkChangeKind, String)> {
    let (destination, old, new) = now.iter().find_map(|(destination, new)| {
        let old = before.get(destination)?;
        (old != new).then_some((destination, old, new))
    })?;
    let by_link = if heard.link && !heard.route {
        NetworkChangeKind::Link
    } else {
        NetworkChangeKind::Route
    };
    let (kind, what) = match (old, new) {
        (_, None) => {
            let kind = if heard.link {
                NetworkChangeKind::Link
            } else {
                by_link
            };
            (kind, "there is no way any more".to_owned())
        }
        (None, Some(new)) => (by_link, format!("there is a way again, {}", new.told())),
        (Some(old), Some(new)) if old.interface != new.interface => {
            let kind = if heard.link {
                NetworkChangeKind::Link
            } else {
                by_link
            };
            (kind, format!("{} instead of {}", new.told(), old.interface))
        }
        (Some(old), Some(new)) if old.gateway != new.gateway => {
            (NetworkChangeKind::Route, format!("{} now", new.told()))
        }
        (Some(old), Some(new)) => (
            NetworkChangeKind::Address,
            format!("from {} instead of {}", new.source, old.source),
        ),
    };
    Some((kind, format!("to {destination}: {what}")))
}

impl Leaving {
    fn told(&self) -> String {
        match self.gateway {
            Some(gateway) => format!("by {} and {gateway}", self.interface),
            None => format!("by {}", self.interface),
        }
    }
}

/// The messages of one read: their types, with every length checked. Pure.
#[cfg_attr(
    not(any(test, target_os = "linux")),
    expect(dead_code, reason = "nothing is told")
)]
fn heard_in(mut bytes: &[u8]) -> Heard {
    let mut heard = Heard::default();
    // `struct nlmsghdr`: a length that counts itself, and a type.
    while let (Some(length), Some(kind)) = (bytes.get(..4), bytes.get(4..6)) {
        let length = <[u8; 4]>::try_from(length).map_or(0, u32::from_ne_bytes);
        match <[u8; 2]>::try_from(kind).map_or(0, u16::from_ne_bytes) {
            // RTM_NEWLINK, RTM_DELLINK; the same of addresses, and of routes.
            16 | 17 => heard.link = true,
            20 | 21 => heard.address = true,
            24 | 25 => heard.route = true,
            _ => {}
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX).max(16);
        bytes = bytes
            .get(length.saturating_add(3) & !3..)
            .unwrap_or_default();
    }
    heard
}

#[cfg(target_os = "linux")]
mod ears {
    //! The multicast groups of the routing socket.

    use std::io;
    use std::os::fd::AsRawFd;

    use nix::errno::Errno;
    use nix::sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
    };
    use tokio::io::Interest;
    use tokio::net::UdpSocket;

    use super::{Heard, heard_in};

    /// Links, then addresses and routes of IPv4, then those of IPv6 (`RTMGRP_*` of `linux/rtnetlink.h`).
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

    /// Reads at most in one turn: a routing table in motion is not followed, it is looked at again later.
    const READS: usize = 64;

    /// One read: some messages; of more, the rest is cut, and the first tell enough.
    const READ_BYTES: usize = 8 << 10;

    pub(super) struct Ears {
        /// The reactor knows its own sockets only; that this one is no UDP socket makes no difference to waiting.
        socket: UdpSocket,
        heard: Heard,
    }

    impl Ears {
        pub(super) fn open() -> io::Result<Self> {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let socket = socket(
                AddressFamily::Netlink,
                SockType::Raw,
                flags,
                SockProtocol::NetlinkRoute,
            )?;
            bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
            Ok(Self {
                socket: UdpSocket::from_std(socket.into())?,
                heard: Heard::default(),
            })
        }

        /// Waits until something is told.
        pub(super) async fn wait(&mut self) -> io::Result<()> {
            self.socket.readable().await?;
            // Cleared before reading: what comes meanwhile makes it ready again.
            let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            self.socket.try_io(Interest::READABLE, nothing).ok();
            self.read();
            Ok(())
        }

        /// Everything that was told since the last call.
        pub(super) fn take(&mut self) -> Heard {
            self.read();
            std::mem::take(&mut self.heard)
        }

        fn read(&mut self) {
            let mut bytes = [0; READ_BYTES];
            for _ in 0..READS {
                match recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                    Ok(length) => {
                        let heard = heard_in(bytes.get(..length).unwrap_or_default());
                        self.heard.link |= heard.link;
                        self.heard.address |= heard.address;
                        self.heard.route |= heard.route;
                    }
                    // More was told than fits: routes are what there can be so many of.
                    Err(Errno::ENOBUFS) => self.heard.route = true,
                    Err(Errno::EINTR) => {}
                    Err(_) => return,
                }
            }
        }
    }
}

#[cfg(windows)]
#[path = "windows/ears.rs"]
mod ears;

#[cfg(not(any(target_os = "linux", windows)))]
mod ears {
    //! Nothing is told here.

    use std::io;

    use super::Heard;

    pub(super) struct Ears;

    impl Ears {
        pub(super) fn open() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) async fn wait(&mut self) -> io::Result<()> {
            std::future::pending().await
        }

        pub(super) fn take(&mut self) -> Heard {
            Heard::default()
        }
    }
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
