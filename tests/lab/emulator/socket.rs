//! The raw end of a link: an `AF_PACKET` socket on the lab's side of a veth pair.
//!
//! Frames keep their virtio header, so an unfinished checksum stays marked as unfinished and segmentation is handed on:
//! TCP through the emulator is as right as TCP through the veth pair itself (packet(7), `PACKET_VNET_HDR`).

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind,
    recvmsg, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;

/// Options of packet sockets that `nix` does not name (`linux/if_packet.h`).
mod option {
    use nix::{libc, setsockopt_impl, sockopt_impl};
    const SOL_PACKET: libc::c_int = 263;
    const PACKET_VNET_HDR: libc::c_int = 15;
    const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
    sockopt_impl!(VnetHeader, SetOnly, SOL_PACKET, PACKET_VNET_HDR, bool);
    sockopt_impl!(
        IgnoreOutgoing,
        SetOnly,
        SOL_PACKET,
        PACKET_IGNORE_OUTGOING,
        bool
    );
}

/// The largest frame after segmentation offload, with its virtio header.
const LARGEST: usize = 65_536 + 64;

/// A frame and how long ago the kernel took it.
pub(crate) struct Received {
    pub(crate) frame: Vec<u8>,
    pub(crate) age: Duration,
}

/// One end of a link.
pub(crate) struct Port {
    socket: OwnedFd,
}

impl Port {
    /// Opens a port on an interface of the current namespace.
    pub(crate) fn open(interface: &str) -> anyhow::Result<Self> {
        let address = link_address(interface)?;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(
            AddressFamily::Packet,
            SockType::Raw,
            flags,
            SockProtocol::EthAll,
        )
        .context("cannot open a packet socket")?;
        setsockopt(&socket, option::VnetHeader, &true).context("cannot set PACKET_VNET_HDR")?;
        setsockopt(&socket, option::IgnoreOutgoing, &true)
            .context("cannot set PACKET_IGNORE_OUTGOING")?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true)
            .context("cannot set SO_TIMESTAMPNS")?;
        bind(socket.as_raw_fd(), &address)
            .with_context(|| format!("cannot bind to {interface}"))?;
        Ok(Self { socket })
    }

    /// Takes a frame, if one is there. `now_real` is the wall clock, by which the kernel stamps.
    pub(crate) fn receive(
        &self,
        buffer: &mut [u8],
        now_real: impl FnOnce() -> Duration,
    ) -> Result<Option<Received>, Errno> {
        let mut control = nix::cmsg_space!(TimeSpec);
        let mut slices = [IoSliceMut::new(buffer)];
        let message = recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(&mut control),
            MsgFlags::MSG_DONTWAIT,
        );
        let message = match message {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stamp = message.cmsgs()?.find_map(|control| {
            if let ControlMessageOwned::ScmTimestampns(stamp) = control {
                Some(Duration::from(stamp))
            } else {
                None
            }
        });
        let age = stamp.map_or(Duration::ZERO, |stamp| now_real().saturating_sub(stamp));
        let bytes = message.bytes;
        let frame = buffer.get(..bytes).unwrap_or_default().to_vec();
        Ok(Some(Received { frame, age }))
    }

    /// Sends a frame. An end whose link is down takes nothing: the frame vanishes.
    pub(crate) fn send(&self, frame: &[u8]) -> Result<(), Errno> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT).map(drop)
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A buffer that takes any frame.
pub(crate) fn buffer() -> Vec<u8> {
    vec![0; LARGEST]
}

fn link_address(interface: &str) -> anyhow::Result<LinkAddr> {
    let mut all = nix::ifaddrs::getifaddrs().context("cannot list the interfaces")?;
    let found = all.find_map(|entry| {
        let address = entry.address?;
        (entry.interface_name == interface)
            .then(|| address.as_link_addr().copied())
            .flatten()
    });
    found.with_context(|| format!("there is no interface {interface}"))
}
