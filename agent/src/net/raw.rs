//! A packet socket in the runtime: raw or ICMP datagram, IPv4 or IPv6, with the TTL of what arrives and, where asked
//! for, the ICMP errors about what was sent (`IP_RECVERR`).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::error_queue;
use super::exit::Exit;

/// Largest message that is read: a quoted packet and its headers fit many times over.
const BUFFER: usize = 2048;

/// Room for the control messages: TTL, error with offender, and slack.
const CONTROL: usize = 512;

/// A message that is older than this when it is read was stamped by another clock.
const OLDEST: Duration = Duration::from_secs(3);

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
    /// How long ago it arrived, by the kernel's stamp; zero without one.
    pub(crate) age: Duration,
}

/// What became of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The destination answered: the connection stands, or was refused.
    Answered,
    /// It failed, for the reason that an ICMP error gave, or for one of this machine.
    Failed(Option<QueuedError>),
}

/// The socket. tokio knows it as a UDP socket: it only registers the descriptor, messages are read by `recvmsg` here.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    io: UdpSocket,
    ipv6: bool,
    wants_errors: bool,
    /// The address to bind to.
    local: IpAddr,
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
        exit: Exit,
    ) -> io::Result<Self> {
        let socket = open(ipv6, kind, protocol, errors, exit)?;
        Ok(Self {
            io: UdpSocket::from_std(socket.into())?,
            ipv6,
            wants_errors: errors,
            local: exit.local(ipv6),
        })
    }

    /// Lets only what `filter` accepts through. Cheaper than waking up for every packet of the host.
    pub(crate) fn attach_filter(&self, filter: &[SockFilter]) -> io::Result<()> {
        SockRef::from(&self.io).attach_filter(filter)
    }

    /// Binds to an identifier (ICMP datagram sockets), which the kernel writes into each request; returns the one in force.
    pub(crate) fn bind_identifier(&self, wanted: u16) -> io::Result<u16> {
        let any = self.local;
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

    /// Begins to connect (stream sockets) from an address and port that others use too, with this TTL. Closing resets what
    /// came of it.
    pub(crate) fn start_connecting(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        ttl: u8,
    ) -> io::Result<()> {
        let socket = SockRef::from(&self.io);
        socket.set_reuse_address(true)?;
        socket.set_linger(Some(Duration::ZERO))?;
        if self.ipv6 {
            socket.set_unicast_hops_v6(u32::from(ttl))?;
        } else {
            socket.set_ttl_v4(u32::from(ttl))?;
        }
        socket.bind(&SockAddr::from(from))?;
        match socket.connect(&SockAddr::from(to)) {
            Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => Ok(()),
            connected => connected,
        }
    }

    /// Ends an attempt to connect whose answer nobody waits for any more: address and port are free for the next one. What
    /// has come to an end by itself stays as it is.
    pub(crate) fn give_up(&self) {
        if let Err(error) = SockRef::from(&self.io).shutdown(Shutdown::Both) {
            tracing::trace!(%error, "the attempt had ended");
        }
    }

    /// Waits until a connection stands or has failed. Cancel-safe.
    pub(crate) async fn attempt(&self) -> io::Result<Attempt> {
        self.io
            .async_io(Interest::WRITABLE | Interest::ERROR, || {
                if let Ok(message) = self.take(MsgFlags::MSG_ERRQUEUE) {
                    return Ok(Attempt::Failed(message.error));
                }
                let socket = SockRef::from(&self.io);
                match socket.take_error()? {
                    Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                        Ok(Attempt::Answered)
                    }
                    Some(_) => Ok(Attempt::Failed(None)),
                    None if socket.peer_addr().is_ok() => Ok(Attempt::Answered),
                    None => Err(io::ErrorKind::WouldBlock.into()),
                }
            })
            .await
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

    fn take(&self, flags: MsgFlags) -> Result<Received, Errno> {
        take(self.io.as_raw_fd(), flags)
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
}

/// A raw socket that the runtime does not watch: nothing that comes or leaves wakes the thread. Who wants to know looks.
#[derive(Debug)]
pub(crate) struct QuietSocket(Socket);

impl QuietSocket {
    /// Opens a raw socket for `protocol`.
    ///
    /// # Errors
    /// As the operating system says; `PermissionDenied` without the capability.
    pub(crate) fn open(ipv6: bool, protocol: Protocol, exit: Exit) -> io::Result<Self> {
        open(ipv6, Type::RAW, protocol, false, exit).map(Self)
    }

    /// As [`PacketSocket::attach_filter`].
    pub(crate) fn attach_filter(&self, filter: &[SockFilter]) -> io::Result<()> {
        self.0.attach_filter(filter)
    }

    /// Sends a whole IP packet (sockets of protocol `RAW`, whose header is the sender's own).
    pub(crate) fn send_whole(&self, packet: &[u8], destination: IpAddr) -> io::Result<()> {
        let to = SockAddr::from(SocketAddr::new(destination, 0));
        self.0.send_to(packet, &to).map(drop)
    }

    /// The next message that has come; `WouldBlock` when there is none.
    pub(crate) fn look(&self) -> io::Result<Received> {
        take(self.0.as_raw_fd(), MsgFlags::empty()).map_err(io::Error::from)
    }
}

/// A socket that does not block, with the TTL and the stamp of what arrives.
fn open(
    ipv6: bool,
    kind: Type,
    protocol: Protocol,
    errors: bool,
    exit: Exit,
) -> io::Result<Socket> {
    use nix::sys::socket::{setsockopt, sockopt};
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    exit.apply(&socket, ipv6)?;
    if ipv6 {
        setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?;
    }
    if let Err(errno) = setsockopt(&socket, sockopt::ReceiveTimestampns, &true) {
        tracing::debug!(%errno, "no stamps, the time of reading stands for that of arrival");
    }
    match (errors, ipv6) {
        (true, true) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
        (true, false) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
        (false, _) => {}
    }
    Ok(socket)
}

fn take(fd: RawFd, flags: MsgFlags) -> Result<Received, Errno> {
    let mut buffer = [0_u8; BUFFER];
    let mut control = [0_u8; CONTROL];
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<SockaddrStorage>(
        fd,
        &mut slices,
        Some(&mut control),
        flags | MsgFlags::MSG_DONTWAIT,
    )?;
    let from = message.address.as_ref().and_then(error_queue::address_of);
    let from = from.map(|from| from.ip());
    let (mut ttl, mut error, mut age) = (None, None, Duration::ZERO);
    for control in message.cmsgs()? {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "other control messages were not asked for"
        )]
        match control {
            ControlMessageOwned::Ipv4Ttl(value) | ControlMessageOwned::Ipv6HopLimit(value) => {
                ttl = u8::try_from(value).ok();
            }
            ControlMessageOwned::ScmTimestampns(stamp) => age = age_of(stamp),
            ControlMessageOwned::Ipv4RecvErr(what, Some(offender)) => {
                let address = IpAddr::from(u32::from_be(offender.sin_addr.s_addr).to_be_bytes());
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
        age,
    })
}

/// How long ago a stamp of the wall clock was taken. A clock that was set in between says nothing.
fn age_of(stamp: TimeSpec) -> Duration {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).map(Duration::from);
    now.ok()
        .and_then(|now| now.checked_sub(Duration::from(stamp)))
        .filter(|age| *age < OLDEST)
        .unwrap_or_default()
}
