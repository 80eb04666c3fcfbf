//! Looks at the machine's place in the network: one route, one link, one neighbour at a time, over a routing socket that is
//! open for the moment of asking only.

pub(crate) mod interface;
#[cfg(target_os = "linux")]
mod message;

use std::net::IpAddr;

pub(crate) use interface::Interface;

/// Whether this system is asked; elsewhere nothing is known of interfaces, gateways, tunnels and networks.
pub(crate) const IS_ASKED: bool = cfg!(target_os = "linux");

/// The way that packets take to one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) interface: Interface,
    pub(crate) gateway: Option<IpAddr>,
    /// The gateway's address on the link, where it is known.
    pub(crate) gateway_link: Option<Vec<u8>>,
}

/// Finds out how packets leave for `destination`; `None` when they cannot, or where this system is not asked.
#[cfg(target_os = "linux")]
pub(crate) fn way_to(
    destination: IpAddr,
    source: Option<IpAddr>,
    out_of: Option<&str>,
) -> Option<Way> {
    linux::way_to(destination, source, out_of)
}

/// Finds out how packets leave for `destination`; `None` when they cannot, or where this system is not asked.
#[cfg(not(target_os = "linux"))]
pub(crate) fn way_to(
    _destination: IpAddr,
    _source: Option<IpAddr>,
    _out_of: Option<&str>,
) -> Option<Way> {
    None
}

/// Interfaces that lead out of the machine and are no tunnels: at most 16 names, in the order of their indexes.
pub(crate) fn hardware() -> Vec<String> {
    #[cfg(target_os = "linux")]
    return linux::hardware();
    #[cfg(not(target_os = "linux"))]
    Vec::new()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, Read, Write};
    use std::net::IpAddr;
    use std::time::Duration;

    use nix::libc::{AF_NETLINK, NETLINK_ROUTE};
    use nix::net::if_::{if_nameindex, if_nametoindex};
    use socket2::{Domain, Protocol, Socket, Type};

    use super::interface::{self, Interface};
    use super::{Way, message};
    use firstmile_wire::v1::InterfaceKind;

    /// The longest answer, to a question for a link, has some 2 kB.
    const ANSWER: usize = 16 << 10;

    /// The kernel answers within the call; this is for a kernel that does not.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// Interfaces that are looked at for hardware.
    const MOST: usize = 16;

    /// A routing socket.
    struct Asker {
        socket: Socket,
        answer: Vec<u8>,
    }

    impl Asker {
        fn open() -> io::Result<Self> {
            let socket = Socket::new(
                Domain::from(AF_NETLINK),
                Type::RAW,
                Some(Protocol::from(NETLINK_ROUTE)),
            )?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(Self {
                socket,
                answer: vec![0; ANSWER],
            })
        }

        fn ask(&mut self, question: &[u8]) -> Option<&[u8]> {
            self.socket.write_all(question).ok()?;
            let length = self.socket.read(&mut self.answer).ok()?;
            self.answer.get(..length)
        }

        fn interface(&mut self, index: u32) -> Option<Interface> {
            let link = message::read_link(self.ask(&message::ask_link(index))?)?;
            Some(interface::of_link(link, index))
        }
    }

    pub(super) fn way_to(
        destination: IpAddr,
        source: Option<IpAddr>,
        out_of: Option<&str>,
    ) -> Option<Way> {
        let out_of = match out_of {
            Some(name) => Some(if_nametoindex(name).ok()?),
            None => None,
        };
        let mut asker = Asker::open().ok()?;
        let question = message::ask_route(destination, source, out_of);
        let route = message::read_route(asker.ask(&question)?)?;
        let interface = asker.interface(route.interface)?;
        let gateway_link = route.gateway.and_then(|gateway| {
            let question = message::ask_neighbour(route.interface, gateway);
            message::read_neighbour(asker.ask(&question)?)
        });
        Some(Way {
            interface,
            gateway: route.gateway,
            gateway_link,
        })
    }

    pub(super) fn hardware() -> Vec<String> {
        let (Ok(names), Ok(mut asker)) = (if_nameindex(), Asker::open()) else {
            return Vec::new();
        };
        let is_hardware = |interface: &Interface| {
            !matches!(
                interface.kind,
                InterfaceKind::Tunnel | InterfaceKind::Loopback
            )
        };
        names
            .iter()
            .take(MOST)
            .filter_map(|found| asker.interface(found.index()))
            .filter(is_hardware)
            .map(|interface| interface.name)
            .collect()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use firstmile_wire::v1::InterfaceKind;

    use super::*;

    #[test]
    fn the_loopback_is_looked_at_like_any_other() {
        let way = way_to("127.0.0.1".parse().expect("an address"), None, None);
        // A route of type "local" is no way out.
        assert_eq!(way, None);
        assert!(!hardware().contains(&"lo".to_owned()));
    }

    #[test]
    fn a_kind_is_told_for_every_interface_here() {
        for name in hardware() {
            let way = way_to("192.0.2.1".parse().expect("an address"), None, Some(&name));
            if let Some(way) = way {
                assert_eq!(way.interface.name, name);
                assert_ne!(way.interface.kind, InterfaceKind::Unspecified);
            }
        }
    }
}
