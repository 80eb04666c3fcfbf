//! One socket that sends echo requests and hears the replies to them, with one identifier.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use firstmile_sys::timestamping;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::counters::Counters;
use crate::engine::{Access, OpenError, Setup};
use crate::filter;

use crate::keys::Keys;
use crate::packet::{self, Echo, Family, Malformed};

/// Asked of the kernel; it grants at most `net.core.rmem_max`. Replies and stamps wait here until they are read.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Channel {
    socket: Arc<OwnedFd>,
    pub(crate) access: Access,
    pub(crate) identifier: u16,
    pub(crate) keys: Keys,
    /// Datagrams that found no room, as the kernel last told.
    overflow: u32,
}

impl Channel {
    /// Opens a datagram socket, which hears its own replies only, or else a raw one.
    pub(crate) fn open(wanted: &Setup, keys: usize) -> Result<Self, OpenError> {
        let family = wanted.family;
        let (socket, access) = match new_socket(family, Type::DGRAM) {
            Ok(socket) => (socket, Access::Datagram),
            Err(datagram) => match new_socket(family, Type::RAW) {
                Ok(socket) => (socket, Access::Raw),
                Err(raw) => {
                    return Err(OpenError::NeitherKind {
                        family,
                        datagram,
                        raw,
                    });
                }
            },
        };
        let setup = |source: io::Error| OpenError::Setup {
            family,
            access,
            source,
        };
        let identifier = prepare(&socket, wanted, access).map_err(setup)?;
        Ok(Self {
            socket: Arc::new(socket.into()),
            access,
            identifier,
            keys: Keys::new(keys),
            overflow: 0,
        })
    }

    /// The socket, for whoever waits for it.
    pub(crate) fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.socket)
    }

    /// Reads a reply of ours.
    pub(crate) fn read_reply(&self, family: Family, bytes: &[u8]) -> Result<Echo, Malformed> {
        let echo = match (family, self.access) {
            (Family::V4, Access::Raw) => packet::read_raw_v4_reply(bytes)?,
            (Family::V4 | Family::V6, Access::Datagram | Access::Raw) => {
                packet::read_reply(family, bytes)?
            }
        };
        if echo.identifier == self.identifier {
            Ok(echo)
        } else {
            Err(Malformed::AnotherKind)
        }
    }

    /// Notes how many packets the kernel says it had no room for.
    pub(crate) fn note_overflow(&mut self, count: u32, counters: &mut Counters) {
        counters.overflowed += u64::from(count.wrapping_sub(self.overflow));
        self.overflow = count;
    }

    /// Counts sends from 0 again, together with the kernel.
    pub(crate) fn restart_keys(&mut self) {
        self.keys.restart();
        // It was set before; should it fail now, stamps find no probe, and samples say that they have none.
        drop(timestamping::restart_keys(self.socket.as_fd()));
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn new_socket(family: Family, kind: Type) -> io::Result<Socket> {
    let (domain, protocol) = match family {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    Socket::new(domain, kind, Some(protocol))
}

/// Puts the socket on its way out of the machine.
fn leave_by(socket: &Socket, wanted: &Setup) -> io::Result<()> {
    if let Some(name) = wanted.interface {
        let end = name.iter().position(|byte| *byte == 0);
        socket.bind_device(name.get(..end.unwrap_or(name.len())))?;
    }
    match (wanted.traffic_class, wanted.family) {
        (0, _) => Ok(()),
        (octet, Family::V4) => socket.set_tos_v4(u32::from(octet)),
        (octet, Family::V6) => socket.set_tclass_v6(u32::from(octet)),
    }
}

/// Sets all options and gives back the identifier: the kernel's choice on a datagram socket, a random one on a raw one.
fn prepare(socket: &Socket, wanted: &Setup, access: Access) -> io::Result<u16> {
    let Setup { family, source, .. } = *wanted;
    leave_by(socket, wanted)?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    timestamping::enable(socket.as_fd())?;
    setsockopt(socket, sockopt::RxqOvfl, &1)?;
    match family {
        Family::V4 => {
            setsockopt(socket, sockopt::Ipv4RecvErr, &true)?;
            setsockopt(socket, sockopt::Ipv4RecvTtl, &true)?;
        }
        Family::V6 => {
            setsockopt(socket, sockopt::Ipv6RecvErr, &true)?;
            setsockopt(socket, sockopt::Ipv6RecvHopLimit, &true)?;
        }
    }
    let any = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    if access == Access::Raw {
        let identifier = rand::random();
        socket.attach_filter(&filter::replies_to(family, identifier))?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        return Ok(identifier);
    }
    socket.bind(&SocketAddr::new(source.unwrap_or(any), 0).into())?;
    let bound = socket.local_addr()?.as_socket();
    bound
        .map(|address| address.port())
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}
