//! The truth: when the kernel saw each packet on the prober's own interface.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use firstmile_sys::batch::{Inbox, Queue};
use firstmile_sys::control::Control;
use firstmile_sys::timestamping;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, bind, setsockopt, socket, sockopt,
};

use crate::clock;
use crate::frame::{self, Packet};

/// Frames wait here while the capture sleeps: at 100 bytes and their overhead, some 30,000.
const BUFFER_BYTES: usize = 32 << 20;
/// The capture looks only so often, so as not to wake with each packet; and often enough that the kernel gets its buffers
/// back warm: at 100 ms the stamps of all tools scattered up to 20 µs more.
const PAUSE_MS: u16 = 5;

/// A running capture.
pub(crate) struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Truth>>,
}

/// When each packet passed, by the wall clock: requests and replies, SYNs and SYN-ACKs.
#[derive(Default)]
pub(crate) struct Truth {
    echoes: BTreeMap<u16, Pair>,
    handshakes: BTreeMap<u16, Pair>,
    /// Packets sent, by protocol and flow.
    probes: BTreeMap<(u8, u16), u32>,
}

#[derive(Default)]
struct Pair {
    out: Option<Duration>,
    back: Option<Duration>,
    /// More than one packet of a kind: which one the figure is of, nobody knows.
    ambiguous: bool,
}

impl Capture {
    /// Starts to capture on an interface of the current namespace.
    pub(crate) fn start(interface: &str) -> anyhow::Result<Self> {
        let socket = open(interface)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || collect(&socket, &stopped))
            .context("cannot start the capture's thread")?;
        Ok(Self { stop, thread })
    }

    /// Ends the capture and gives back what passed.
    pub(crate) fn finish(self) -> anyhow::Result<Truth> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .unwrap_or_else(|_| bail!("the capture panicked"))
    }
}

impl Truth {
    /// The true RTT of the echo with this sequence number. One tool at a time is captured, so the number is enough.
    pub(crate) fn echo(&self, seq: u16) -> Option<Duration> {
        self.echoes.get(&seq)?.rtt()
    }

    /// The true RTT of the handshake from this port.
    pub(crate) fn handshake(&self, port: u16) -> Option<Duration> {
        self.handshakes.get(&port)?.rtt()
    }

    /// Packets that a prober sent.
    pub(crate) fn probes(&self) -> u32 {
        self.probes.values().sum()
    }

    /// Of the flow that sent most of them, how many it sent.
    pub(crate) fn most_probes_of_a_flow(&self) -> u32 {
        self.probes.values().copied().max().unwrap_or(0)
    }

    fn book(&mut self, packet: Packet, at: Duration) {
        let (pair, is_back) = match packet {
            Packet::Request { seq, .. } => (self.echoes.entry(seq).or_default(), false),
            Packet::Reply { seq, .. } => (self.echoes.entry(seq).or_default(), true),
            Packet::Syn { port } => (self.handshakes.entry(port).or_default(), false),
            Packet::SynAck { port } => (self.handshakes.entry(port).or_default(), true),
        };
        let place = if is_back {
            &mut pair.back
        } else {
            &mut pair.out
        };
        pair.ambiguous |= place.replace(at).is_some();
    }
}

impl Pair {
    fn rtt(&self) -> Option<Duration> {
        self.back?
            .checked_sub(self.out?)
            .filter(|_| !self.ambiguous)
    }
}

fn collect(socket: &OwnedFd, stop: &AtomicBool) -> anyhow::Result<Truth> {
    let mut truth = Truth::default();
    let mut inbox = Inbox::new(128);
    loop {
        let last = stop.load(Ordering::Relaxed);
        while inbox
            .receive(socket.as_fd(), Queue::Data)
            .context("the capture broke")?
            > 0
        {
            for datagram in inbox.datagrams() {
                let stamp = datagram.controls().find_map(|control| match control {
                    Control::Stamp(at) => Some(at),
                    Control::HopLimit(_) | Control::Error(_) | Control::Overflow(_) => None,
                });
                if let Some(flow) = frame::probe(datagram.bytes) {
                    *truth.probes.entry(flow).or_default() += 1;
                }
                if let Some((packet, at)) = frame::read(datagram.bytes).zip(stamp) {
                    truth.book(packet, at);
                }
            }
        }
        if last {
            return Ok(truth);
        }
        clock::pass(PAUSE_MS);
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
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)
        .context("cannot enlarge the capture's buffer")?;
    timestamping::enable_on_receipt(socket.as_fd()).context("cannot have the capture stamped")?;
    bind(socket.as_raw_fd(), &link_address(interface)?)
        .with_context(|| format!("cannot bind to {interface}"))?;
    Ok(socket)
}

/// The link-layer address of an interface of the current namespace.
pub(crate) fn link_address(interface: &str) -> anyhow::Result<LinkAddr> {
    let mut all = nix::ifaddrs::getifaddrs().context("cannot list the interfaces")?;
    let found = all.find_map(|entry| {
        let address = entry.address?;
        (entry.interface_name == interface)
            .then(|| address.as_link_addr().copied())
            .flatten()
    });
    found.with_context(|| format!("there is no interface {interface}"))
}
