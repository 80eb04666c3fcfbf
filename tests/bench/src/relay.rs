//! The 20 ms path: carries frames between two interfaces, each way after a constant delay.
//!
//! The truth is captured before the relay, so its own error enters no figure; it only has to be the same for all tools.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use firstmile_sys::batch::{self, Inbox, MOST, Outgoing, Queue};
use firstmile_sys::control::Control;
use firstmile_sys::timestamping;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;

use crate::capture::link_address;
use crate::clock;

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

const BUFFER_BYTES: usize = 32 << 20;
const LARGEST_FRAME: usize = 2_048;
/// Beyond it frames vanish, as in a real buffer.
const MOST_WAITING: usize = 65_536;
const PRIORITY: &str = "20";

struct Waiting {
    due: Duration,
    frame: Vec<u8>,
}

/// Starts to carry frames between two interfaces of the current namespace, until the process ends.
pub(crate) fn start(interfaces: [&str; 2], delay: Duration) -> anyhow::Result<()> {
    let [a, b] = interfaces.map(open);
    let (a, b) = (Arc::new(a?), Arc::new(b?));
    for (name, from, to) in [
        ("relay-out", Arc::clone(&a), Arc::clone(&b)),
        ("relay-back", b, a),
    ] {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || carry(&from, &to, delay))
            .context("cannot start the relay's thread")?;
    }
    Ok(())
}

/// Puts the calling thread before all others, so that load on the machine does not change the path.
pub(crate) fn urgent() -> anyhow::Result<()> {
    nix::sys::prctl::set_timerslack(1).context("cannot ask for exact wake-ups")?;
    let status = Command::new("chrt")
        .args([
            "--fifo",
            "--pid",
            PRIORITY,
            &nix::unistd::gettid().to_string(),
        ])
        .stdin(Stdio::null())
        .status()
        .context("cannot start chrt (package util-linux)")?;
    ensure!(
        status.success(),
        "chrt could not raise the priority of the relay"
    );
    Ok(())
}

fn carry(from: &OwnedFd, to: &OwnedFd, delay: Duration) {
    // Without priority the path is only less even, and says so by what all tools show.
    drop(urgent());
    let mut inbox = Inbox::new(LARGEST_FRAME);
    let mut waiting: VecDeque<Waiting> = VecDeque::new();
    loop {
        loop {
            match inbox.receive(from.as_fd(), Queue::Data) {
                Ok(0) => break,
                Ok(_) => take(&inbox, delay, &mut waiting),
                // The interface is gone, and the rig with it.
                Err(_) => return,
            }
            send_due(to, &mut waiting);
        }
        send_due(to, &mut waiting);
        let idle = Duration::from_millis(100);
        let wait = waiting
            .front()
            .map_or(idle, |next| next.due.saturating_sub(clock::monotonic()));
        ppoll(
            &mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)],
            Some(TimeSpec::from_duration(wait)),
            None,
        )
        .ok();
    }
}

fn take(inbox: &Inbox, delay: Duration, waiting: &mut VecDeque<Waiting>) {
    let (now, wall) = (clock::monotonic(), clock::wall());
    for datagram in inbox.datagrams() {
        let stamp = datagram.controls().find_map(|control| match control {
            Control::Stamp(at) => Some(at),
            Control::HopLimit(_) | Control::Error(_) | Control::Overflow(_) => None,
        });
        let age = stamp.map_or(Duration::ZERO, |stamp| wall.saturating_sub(stamp));
        if waiting.len() < MOST_WAITING {
            waiting.push_back(Waiting {
                due: now.saturating_sub(age) + delay,
                frame: datagram.bytes.to_vec(),
            });
        }
    }
}

fn send_due(to: &OwnedFd, waiting: &mut VecDeque<Waiting>) {
    loop {
        let now = clock::monotonic();
        let due = waiting
            .iter()
            .take(MOST)
            .take_while(|next| next.due <= now)
            .count();
        if due == 0 {
            return;
        }
        let frames: Vec<Outgoing<'_>> = waiting
            .iter()
            .take(due)
            .map(|next| Outgoing {
                bytes: &next.frame,
                destination: None,
            })
            .collect();
        // A frame that cannot be sent is lost, as on a link that is down.
        let sent = batch::send(to.as_fd(), &frames).unwrap_or(0).max(1);
        waiting.drain(..sent);
    }
}

fn open(interface: &str) -> anyhow::Result<OwnedFd> {
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
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)
        .context("cannot enlarge the relay's buffer")?;
    timestamping::enable_on_receipt(socket.as_fd()).context("cannot have frames stamped")?;
    bind(socket.as_raw_fd(), &link_address(interface)?)
        .with_context(|| format!("cannot bind to {interface}"))?;
    Ok(socket)
}
