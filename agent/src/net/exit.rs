//! The way out of the machine that the configuration names: an interface, a source address, a code point; one function puts
//! any socket on it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::Socket;

/// Longest name of an interface, with the zero that ends it (`IFNAMSIZ`).
const NAME_BYTES: usize = 16;

/// Name of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InterfaceName([u8; NAME_BYTES]);

impl InterfaceName {
    /// Reads a name: 1 to 15 visible characters without `/`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_good = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
        if text.is_empty() || text.len() >= NAME_BYTES || !text.bytes().all(is_good) {
            return None;
        }
        let mut name = [0; NAME_BYTES];
        for (slot, byte) in name.iter_mut().zip(text.bytes()) {
            *slot = byte;
        }
        Some(Self(name))
    }

    /// The name, ended by a zero.
    #[cfg(target_os = "linux")]
    pub(crate) const fn bytes(self) -> [u8; NAME_BYTES] {
        self.0
    }

    /// The name as text.
    pub(crate) fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0);
        let bytes = self.0.get(..end.unwrap_or(NAME_BYTES)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

/// A way out. The default is the machine's own choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) interface: Option<InterfaceName>,
    pub(crate) source: Option<IpAddr>,
    /// Differentiated services code point, 0 to 63 (RFC 2474 §3).
    pub(crate) dscp: u8,
}

impl Exit {
    /// Whether packets of this family can take it: a source address is of one family.
    pub(crate) const fn serves(self, ipv6: bool) -> bool {
        match self.source {
            Some(source) => source.is_ipv6() == ipv6,
            None => true,
        }
    }

    /// The address to bind to: the source, else any.
    pub(crate) const fn local(self, ipv6: bool) -> IpAddr {
        match self.source {
            Some(source) => source,
            None if ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }

    /// Puts a socket of a family on this way out: interface and code point. Whoever binds the socket binds it to
    /// [`Self::local`].
    ///
    /// # Errors
    /// `AddrNotAvailable` where the source is of the other family; else as the operating system says: no such interface, no
    /// right (Linux before 5.7 wants `CAP_NET_RAW`), or `Unsupported`.
    pub(crate) fn apply(self, socket: &Socket, ipv6: bool) -> io::Result<()> {
        if !self.serves(ipv6) {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if let Some(interface) = self.interface {
            bind_to(socket, interface)?;
        }
        if self.dscp != 0 {
            // The code point is the upper six bits of the octet (RFC 2474 §3).
            set_traffic_class(socket, ipv6, u32::from(self.dscp) << 2)?;
        }
        Ok(())
    }

    /// As [`Self::apply`], and binds the socket to the source address where there is one.
    ///
    /// # Errors
    /// As [`Self::apply`]; also when the address is not of this machine.
    pub(crate) fn apply_and_bind(self, socket: &Socket, ipv6: bool) -> io::Result<()> {
        self.apply(socket, ipv6)?;
        match self.source {
            Some(source) => socket.bind(&SocketAddr::new(source, 0).into()),
            None => Ok(()),
        }
    }
}

#[cfg(target_os = "linux")]
fn bind_to(socket: &Socket, interface: InterfaceName) -> io::Result<()> {
    socket.bind_device(Some(interface.as_str().as_bytes()))
}

#[cfg(not(target_os = "linux"))]
fn bind_to(_socket: &Socket, _interface: InterfaceName) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
fn set_traffic_class(socket: &Socket, ipv6: bool, octet: u32) -> io::Result<()> {
    if ipv6 {
        socket.set_tclass_v6(octet)
    } else {
        socket.set_tos_v4(octet)
    }
}

#[cfg(not(unix))]
fn set_traffic_class(_socket: &Socket, _ipv6: bool, _octet: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use socket2::{Domain, Type};

    use super::*;

    #[test]
    fn a_socket_takes_the_way_out_or_says_why_not() {
        let socket = |domain| Socket::new(domain, Type::DGRAM, None).expect("a socket");
        let v4 = socket(Domain::IPV4);
        let here = Exit {
            source: "127.0.0.1".parse().ok(),
            dscp: if cfg!(unix) { 46 } else { 0 }, // Windows sets none for a program
            ..Exit::default()
        };
        here.apply_and_bind(&v4, false)
            .expect("the loopback is ours");
        let local = v4
            .local_addr()
            .expect("bound")
            .as_socket()
            .expect("an address");
        assert_eq!(local.ip().to_string(), "127.0.0.1");
        #[cfg(unix)]
        assert_eq!(v4.tos_v4().expect("an option"), 46 << 2);
        let other = here
            .apply(&socket(Domain::IPV6), true)
            .expect_err("the other family");
        assert_eq!(other.kind(), io::ErrorKind::AddrNotAvailable);
        let none = Exit {
            interface: InterfaceName::parse("firstmile-none"),
            ..Exit::default()
        };
        assert!(none.apply(&socket(Domain::IPV4), false).is_err());
        let elsewhere = Exit {
            source: "192.0.2.1".parse().ok(),
            ..Exit::default()
        };
        // Wine binds to any address, so that this can be seen only where the system itself is asked.
        if cfg!(unix) {
            let bound = elsewhere.apply_and_bind(&socket(Domain::IPV4), false);
            assert!(bound.is_err());
        }
    }

    proptest! {
        #[test]
        fn a_name_is_read_back_as_it_was(text in "[ -~]{0,20}") {
            if let Some(name) = InterfaceName::parse(&text) {
                prop_assert_eq!(name.as_str(), text.as_str());
                prop_assert!((1..16).contains(&text.len()) && !text.contains(['/', ' ']));
            } else {
                prop_assert!(text.is_empty() || text.len() > 15 || text.contains(['/', ' ']));
            }
        }
    }
}
