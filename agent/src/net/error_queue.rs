//! ICMP messages about what a socket has sent, from its error queue (ip(7), `IP_RECVERR`). Linux only.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

use crate::probe::Outcome;

/// Room for one control message with an extended error and the address of its sender.
const CONTROL: usize = 256;

/// Start of the packet that the message is about, as far as it is quoted.
const QUOTED: usize = 128;

/// Entries read at most for one question: one connection or datagram provokes one or two.
const MOST: usize = 16;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    /// Where the packet went that the message is about; `None` on a connection.
    pub(crate) to: Option<SocketAddr>,
    pub(crate) message: Message,
    /// The payload that the message quotes, maybe none.
    pub(crate) quoted: Vec<u8>,
}

/// Type and code of an ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) ipv6: bool,
    pub(crate) kind: u8,
    pub(crate) code: u8,
}

impl Message {
    /// What it means for a connection attempt; `None`: nothing final.
    ///
    /// A port is refused by TCP with RST (RFC 9293 §3.10.7.1): "port unreachable" for a SYN is the word of a firewall, as
    /// are the "prohibited" codes (9 and 10 of RFC 1122 §3.2.2.1, 13 of RFC 1812 §5.2.7.1; RFC 4443 §3.1, whose codes 5
    /// and 6 are kinds of code 1).
    pub(crate) const fn of_connection(self) -> Option<Outcome> {
        match (self.ipv6, self.kind, self.code) {
            (false, 3, 3 | 9 | 10 | 13) | (true, 1, 1 | 4 | 5 | 6) => Some(Outcome::Filtered),
            // "Fragmentation needed" and "packet too big" are answered by smaller packets.
            (false, 3, 4) => None,
            (false, 3 | 11, _) | (true, 1 | 3, _) => Some(Outcome::Unreachable),
            _ => None,
        }
    }

    /// What it means for a datagram that left `took` ago; `None`: nothing final. A closed port is refused by the host
    /// itself with "port unreachable" (RFC 1122 §4.1.3.1; RFC 4443 §3.1).
    pub(crate) const fn of_datagram(self, took: Duration) -> Option<Outcome> {
        match (self.ipv6, self.kind, self.code) {
            (false, 3, 3) | (true, 1, 4) => Some(Outcome::Refused(took)),
            _ => self.of_connection(),
        }
    }
}

impl Queued {
    pub(crate) const fn outcome(&self) -> Option<Outcome> {
        self.message.of_connection()
    }
}

/// Takes what is queued, until an ICMP message is found; `None` when there is none.
pub(crate) fn take(socket: BorrowedFd<'_>) -> Option<Queued> {
    for _ in 0..MOST {
        match take_one(socket) {
            Taken::Nothing => return None,
            Taken::Other => {}
            Taken::Icmp(queued) => return Some(queued),
        }
    }
    None
}

enum Taken {
    Nothing,
    /// Something that is no ICMP message.
    Other,
    Icmp(Queued),
}

fn take_one(socket: BorrowedFd<'_>) -> Taken {
    let mut quoted = [0_u8; QUOTED];
    let mut control = [0_u8; CONTROL];
    let mut slices = [std::io::IoSliceMut::new(&mut quoted)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let Ok(message) =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)
    else {
        return Taken::Nothing;
    };
    let to = message.address.as_ref().and_then(address_of);
    let length = message.bytes;
    let found = message
        .cmsgs()
        .ok()
        .and_then(|mut all| all.find_map(|one| icmp(&one)));
    let Some(message) = found else {
        return Taken::Other;
    };
    Taken::Icmp(Queued {
        to,
        message,
        quoted: quoted
            .get(..length.min(QUOTED))
            .unwrap_or_default()
            .to_vec(),
    })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "other control messages were not asked for"
)]
fn icmp(control: &ControlMessageOwned) -> Option<Message> {
    let (ipv6, what) = match control {
        ControlMessageOwned::Ipv4RecvErr(what, _) => (false, what),
        ControlMessageOwned::Ipv6RecvErr(what, _) => (true, what),
        _ => return None,
    };
    let origin = if ipv6 {
        libc::SO_EE_ORIGIN_ICMP6
    } else {
        libc::SO_EE_ORIGIN_ICMP
    };
    (what.ee_origin == origin).then_some(Message {
        ipv6,
        kind: what.ee_type,
        code: what.ee_code,
    })
}

/// The address in what the kernel filled in; `None` for no address of IP.
pub(super) fn address_of(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage
        .as_sockaddr_in()
        .map(|address| SocketAddr::new(IpAddr::from(address.ip()), address.port()));
    v4.or_else(|| {
        storage
            .as_sockaddr_in6()
            .map(|address| SocketAddr::new(IpAddr::from(address.ip()), address.port()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_is_told_from_a_router() {
        for (name, ipv6, kind, code, want) in [
            ("no route to net", false, 3, 0, Some(Outcome::Unreachable)),
            ("no route to host", false, 3, 1, Some(Outcome::Unreachable)),
            ("port, for a SYN", false, 3, 3, Some(Outcome::Filtered)),
            ("too big", false, 3, 4, None),
            ("net prohibited", false, 3, 9, Some(Outcome::Filtered)),
            ("host prohibited", false, 3, 10, Some(Outcome::Filtered)),
            ("prohibited", false, 3, 13, Some(Outcome::Filtered)),
            ("loop", false, 11, 0, Some(Outcome::Unreachable)),
            ("redirect", false, 5, 0, None),
            ("no route (v6)", true, 1, 0, Some(Outcome::Unreachable)),
            ("prohibited (v6)", true, 1, 1, Some(Outcome::Filtered)),
            ("address (v6)", true, 1, 3, Some(Outcome::Unreachable)),
            ("port (v6)", true, 1, 4, Some(Outcome::Filtered)),
            ("policy (v6)", true, 1, 5, Some(Outcome::Filtered)),
            ("reject route (v6)", true, 1, 6, Some(Outcome::Filtered)),
            ("too big (v6)", true, 2, 0, None),
            ("loop (v6)", true, 3, 0, Some(Outcome::Unreachable)),
        ] {
            let message = Message { ipv6, kind, code };
            assert_eq!(message.of_connection(), want, "{name}");
        }
    }
}
