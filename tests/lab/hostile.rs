//! A host that answers echo requests as nobody should: runs on a front door whose kernel was told to keep still.
//!
//! To each request come at once: forged replies (another cookie), cut-off ones, and one from another address; later the
//! true one, and after it a flood of copies. Every fifth request gets its true reply only when nobody waits for it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, recvfrom,
    sendto, socket,
};

use crate::{clock, netns};

/// How much later than the network the true reply comes.
pub const HELD: Duration = Duration::from_millis(30);
/// Past every timeout of the agent.
const LATE: Duration = Duration::from_secs(4);
/// Copies of each true reply.
const COPIES: u32 = 200;
/// Forged replies of each sort.
const FORGED: u32 = 20;
/// Replies under way at most.
const MOST_WAITING: usize = 10_000;
/// Bytes before the payload of an echo.
const HEADER: usize = 8;

/// Sockets of one family.
struct Voice {
    ipv6: bool,
    own: OwnedFd,
    /// Speaks from another address of this machine.
    other: OwnedFd,
}

/// A reply that waits until it is due.
struct Held {
    voice: usize,
    to: SockaddrStorage,
    reply: Vec<u8>,
    copies: u32,
}

/// Answers for `duration` in the current namespace at the addresses `own`; `others` are its addresses to lie with.
///
/// # Errors
/// When the kernel cannot be told to keep still, or a raw socket cannot be opened.
pub fn answer(own: [IpAddr; 2], others: [IpAddr; 2], duration: Duration) -> anyhow::Result<u64> {
    netns::set(&[
        ("net/ipv4/icmp_echo_ignore_all", "1"),
        ("net/ipv6/icmp/echo_ignore_all", "1"),
    ])?;
    let voices = [voice(false, own, others)?, voice(true, own, others)?];
    let mut waiting: BTreeMap<(Instant, u64), Held> = BTreeMap::new();
    let end = clock::now() + duration;
    let mut requests = 0_u64;
    while clock::now() < end {
        let mut ready = voices
            .each_ref()
            .map(|voice| PollFd::new(voice.own.as_fd(), PollFlags::POLLIN));
        poll(&mut ready, PollTimeout::from(1_u8)).context("cannot wait")?;
        for (index, voice) in voices.iter().enumerate() {
            while let Some((request, from)) = hear(voice) {
                requests += 1;
                lie(voice, &request, &from);
                let late = requests.is_multiple_of(5);
                let due = clock::now() + if late { LATE } else { HELD };
                let held = Held {
                    voice: index,
                    to: from,
                    reply: reply(voice.ipv6, &request),
                    copies: if late { 1 } else { COPIES },
                };
                if waiting.len() < MOST_WAITING {
                    waiting.insert((due, requests), held);
                }
            }
        }
        while let Some(entry) = waiting.first_entry() {
            if entry.key().0 > clock::now() {
                break;
            }
            let held = entry.remove();
            for _ in 0..held.copies {
                if let Some(voice) = voices.get(held.voice) {
                    say(&voice.own, &held.reply, &held.to);
                }
            }
        }
    }
    Ok(requests)
}

fn voice(ipv6: bool, own: [IpAddr; 2], others: [IpAddr; 2]) -> anyhow::Result<Voice> {
    let (family, protocol) = if ipv6 {
        (AddressFamily::Inet6, SockProtocol::IcmpV6)
    } else {
        (AddressFamily::Inet, SockProtocol::Icmp)
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let open = |addresses: [IpAddr; 2]| {
        let address = addresses.into_iter().find(|one| one.is_ipv6() == ipv6);
        let address = address.context("no address of the family")?;
        let socket = socket(family, SockType::Raw, flags, protocol);
        let socket = socket.context("cannot open a raw socket")?;
        let at = SockaddrStorage::from(SocketAddr::from((address, 0)));
        bind(socket.as_raw_fd(), &at).with_context(|| format!("cannot speak from {address}"))?;
        anyhow::Ok(socket)
    };
    let (own, other) = (open(own)?, open(others)?);
    Ok(Voice { ipv6, own, other })
}

/// The next echo request, from its ICMP header on, and who sent it.
fn hear(voice: &Voice) -> Option<(Vec<u8>, SockaddrStorage)> {
    let mut buffer = [0; 2_048];
    let kind = if voice.ipv6 { 128 } else { 8 };
    loop {
        let (length, from) =
            recvfrom::<SockaddrStorage>(voice.own.as_raw_fd(), &mut buffer).ok()?;
        let packet = buffer.get(..length)?;
        let header = if voice.ipv6 {
            0
        } else {
            usize::from(packet.first()? & 0xf) * 4
        };
        let message = packet.get(header..)?;
        if message.first() == Some(&kind) && message.len() > HEADER {
            return Some((message.to_vec(), from?));
        }
    }
}

/// All that must not be believed.
fn lie(voice: &Voice, request: &[u8], to: &SockaddrStorage) {
    let right = reply(voice.ipv6, request);
    let mut forged = right.clone();
    for byte in forged.iter_mut().skip(HEADER) {
        *byte ^= 0x5a;
    }
    let forged = sealed(voice.ipv6, forged);
    // One without the whole header, which no filter passes, and one that ends within the cookie.
    let stump = right.get(..HEADER / 2).unwrap_or_default().to_vec();
    let cut = right.get(..HEADER + 4).unwrap_or_default().to_vec();
    let cut = sealed(voice.ipv6, cut);
    for _ in 0..FORGED {
        say(&voice.own, &forged, to);
        say(&voice.own, &stump, to);
        say(&voice.own, &cut, to);
        say(&voice.other, &right, to);
    }
}

fn reply(ipv6: bool, request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    if let Some(kind) = reply.first_mut() {
        *kind = if ipv6 { 129 } else { 0 };
    }
    sealed(ipv6, reply)
}

/// With the right checksum (RFC 1071 §1); that of `ICMPv6` is the kernel's work.
fn sealed(ipv6: bool, mut message: Vec<u8>) -> Vec<u8> {
    if ipv6 {
        return message;
    }
    if let Some(field) = message.get_mut(2..4) {
        field.fill(0);
    }
    let (pairs, _) = message.as_chunks::<2>();
    let mut sum: u32 = pairs
        .iter()
        .map(|pair| u32::from(u16::from_be_bytes(*pair)))
        .sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    let checksum = u16::try_from(sum).map_or(0, |sum| !sum).to_be_bytes();
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&checksum);
    }
    message
}

/// A full buffer swallows: a flood has no guarantee.
fn say(socket: &OwnedFd, message: &[u8], to: &SockaddrStorage) {
    sendto(socket.as_raw_fd(), message, to, MsgFlags::MSG_DONTWAIT).ok();
}
