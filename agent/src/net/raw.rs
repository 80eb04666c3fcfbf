//! A packet socket in the runtime: raw or ICMP datagram, IPv4 or IPv6, with the TTL of what arrives and, where asked
//! for, the ICMP errors about what was sent (`IP_RECVERR`).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Largest message that is read: a quoted packet and its headers fit many times over.
const BUFFER: usize = 2048;

/// Room for the control messages: TTL, error with offender, and slack.
const CONTROL: usize = 512;

/// Pending errors that are taken before the runtime gets its turn.
const PENDING_ERRORS: usize = 64;

/// An ICMP error from the socket's error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueuedError {
    pub(crate) offender: IpAddr,
    /// ICMP type and code, `type * 256 + code`.
    pub(crate) icmp: u16,
}

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) from: Option<IpAddr>,
    pub(crate) ttl: Option<u8>,
    pub(crate) error: Option<QueuedError>,
}

/// The socket. tokio knows it as a UDP socket: it only registers the descriptor, messages are read by `recvmsg` here.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    io: UdpSocket,
    ipv6: bool,
    wants_errors: bool,
}

impl PacketSocket {
    /// Opens a socket for `protocol`; with `errors`, ICMP errors about what is sent are queued and received too.
    ///
    /// # Errors
    /// As the operating system says; `PermissionDenied` without the capability.
    pub(crate) fn open(
        ipv6: bool,
        kind: Type,
        protocol: Protocol,
        errors: bool,
    ) -> io::Result<Self> {
        use nix::sys::socket::{setsockopt, sockopt};
        let socket = Socket::new(
            if ipv6 { Domain::IPV6 } else { Domain::IPV4 },
            kind,
            Some(protocol),
        )?;
        socket.set_nonblocking(true)?;
        if ipv6 {
            setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
        }
        match (errors, ipv6) {
            (true, true) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
            (true, false) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
            (false, _) => {}
        }
        Ok(Self {
            io: UdpSocket::from_std(socket.into())?,
            ipv6,
            wants_errors: errors,
        })
    }

    /// Lets only what `filter` accepts through. Cheaper than waking up for every packet of the host.
    pub(crate) fn attach_filter(&self, filter: &[SockFilter]) -> io::Result<()> {
        SockRef::from(&self.io).attach_filter(filter)
    }

    /// Binds to an identifier (ICMP datagram sockets), which the kernel writes into each request; returns the one in force.
    pub(crate) fn bind_identifier(&self, wanted: u16) -> io::Result<u16> {
        let any: IpAddr = if self.ipv6 {
            [0_u16; 8].into()
        } else {
            [0_u8; 4].into()
        };
        let socket = SockRef::from(&self.io);
        if socket
            .bind(&SockAddr::from(SocketAddr::new(any, wanted)))
            .is_err()
        {
            socket.bind(&SockAddr::from(SocketAddr::new(any, 0)))?;
        }
        Ok(socket
            .local_addr()?
            .as_socket()
            .map_or(wanted, |address| address.port()))
    }

    /// Sends a packet with this TTL, without waiting. A pending error of an earlier packet is not this one's.
    pub(crate) fn send(&self, packet: &[u8], destination: IpAddr, ttl: u8) -> io::Result<()> {
        let socket = SockRef::from(&self.io);
        if self.ipv6 {
            socket.set_unicast_hops_v6(u32::from(ttl))?;
        } else {
            socket.set_ttl_v4(u32::from(ttl))?;
        }
        let to = SockAddr::from(SocketAddr::new(destination, 0));
        match socket.send_to(packet, &to) {
            Err(_) if self.wants_errors => socket.send_to(packet, &to).map(drop),
            sent => sent.map(drop),
        }
    }

    /// Waits for the next message. Cancel-safe.
    pub(crate) async fn receive(&self) -> io::Result<Received> {
        let interest = if self.wants_errors {
            Interest::READABLE | Interest::ERROR
        } else {
            Interest::READABLE
        };
        self.io.async_io(interest, || self.take_next()).await
    }

    /// The next message of either queue; `WouldBlock` when both are empty.
    fn take_next(&self) -> io::Result<Received> {
        for _ in 0..PENDING_ERRORS {
            let from_queue = if self.wants_errors {
                self.take(MsgFlags::MSG_ERRQUEUE)
            } else {
                Err(Errno::EAGAIN)
            };
            match from_queue.or_else(|_| self.take(MsgFlags::empty())) {
                Ok(received) => return Ok(received),
                Err(Errno::EAGAIN) => return Err(io::ErrorKind::WouldBlock.into()),
                // A pending error is taken by reading it, and says nothing that the queue does not.
                Err(errno) if self.wants_errors => tracing::trace!(%errno, "pending error taken"),
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn take(&self, flags: MsgFlags) -> Result<Received, Errno> {
        let mut buffer = [0_u8; BUFFER];
        let mut control = [0_u8; CONTROL];
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let fd = self.io.as_raw_fd();
        let message = recvmsg::<SockaddrStorage>(
            fd,
            &mut slices,
            Some(&mut control),
            flags | MsgFlags::MSG_DONTWAIT,
        )?;
        let from = message.address.as_ref().and_then(address_of);
        let (mut ttl, mut error) = (None, None);
        for control in message.cmsgs()? {
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "other control messages were not asked for"
            )]
            match control {
                ControlMessageOwned::Ipv4Ttl(value) | ControlMessageOwned::Ipv6HopLimit(value) => {
                    ttl = u8::try_from(value).ok();
                }
                ControlMessageOwned::Ipv4RecvErr(what, Some(offender)) => {
                    let address =
                        IpAddr::from(u32::from_be(offender.sin_addr.s_addr).to_be_bytes());
                    error = Some(QueuedError {
                        offender: address,
                        icmp: u16::from_be_bytes([what.ee_type, what.ee_code]),
                    });
                }
                ControlMessageOwned::Ipv6RecvErr(what, Some(offender)) => {
                    let address = IpAddr::from(offender.sin6_addr.s6_addr);
                    error = Some(QueuedError {
                        offender: address,
                        icmp: u16::from_be_bytes([what.ee_type, what.ee_code]),
                    });
                }
                _ => {}
            }
        }
        let length = message.bytes;
        let bytes = buffer
            .get(..length.min(BUFFER))
            .unwrap_or_default()
            .to_vec();
        Ok(Received {
            bytes,
            from,
            ttl,
            error,
        })
    }
}

fn address_of(storage: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = storage
        .as_sockaddr_in()
        .map(|address| IpAddr::from(address.ip()));
    v4.or_else(|| {
        storage
            .as_sockaddr_in6()
            .map(|address| IpAddr::from(address.ip()))
    })
}
