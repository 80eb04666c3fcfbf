//! Many datagrams in one system call (sendmmsg(2), recvmmsg(2)).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::address::{self, LONGEST, Laid};
use crate::control::{self, Control};

/// Datagrams in one call at most: the cost of a call spread over 64 is below that of the datagrams themselves.
pub const MOST: usize = 64;

/// A datagram to send.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Where to; `None` on a socket that is bound or connected to its peer.
    pub destination: Option<SocketAddr>,
}

/// Sends the first [`MOST`] of `datagrams` without waiting, in order. Gives back how many went: fewer than given when one
/// failed, and calling again from that one tells why.
///
/// # Errors
/// What the kernel says of the first datagram.
#[expect(unsafe_code, reason = "sendmmsg(2) takes pointers")]
pub fn send(socket: BorrowedFd<'_>, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
    let datagrams = datagrams.get(..MOST).unwrap_or(datagrams);
    let mut names: [Option<Laid>; MOST] = [None; MOST];
    let mut vectors = [EMPTY_VECTOR; MOST];
    let mut headers = [empty_header(); MOST];
    for (((datagram, name), vector), header) in datagrams
        .iter()
        .zip(&mut names)
        .zip(&mut vectors)
        .zip(&mut headers)
    {
        // The kernel only reads through this pointer, which C cannot say.
        *vector = libc::iovec {
            iov_base: datagram.bytes.as_ptr().cast_mut().cast(),
            iov_len: datagram.bytes.len(),
        };
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        if let Some(destination) = datagram.destination {
            let laid = name.insert(address::lay(destination));
            header.msg_hdr.msg_name = laid.bytes.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = crate::length(laid.used);
        }
    }
    let count = crate::length(datagrams.len());
    // SAFETY: the first `count` headers point to vectors, names and bytes that live, unmoved, through the call.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Where to take datagrams from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// What peers sent.
    Data,
    /// Stamps of what was sent, and ICMP errors about it.
    Errors,
}

/// Room for [`MOST`] datagrams, used again for each call.
#[derive(Debug)]
pub struct Inbox {
    rooms: Box<[Room]>,
    datagram_bytes: usize,
    filled: usize,
}

#[derive(Clone, Debug)]
struct Room {
    bytes: Box<[u8]>,
    control: [u8; control::SPACE],
    name: [u8; LONGEST],
    bytes_used: usize,
    control_used: usize,
    name_used: usize,
    truncated: bool,
}

/// A datagram that came.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Its bytes, as many as there was room for.
    pub bytes: &'a [u8],
    /// Whether it, or its control messages, had more than there was room for.
    pub truncated: bool,
    name: &'a [u8],
    control: &'a [u8],
}

impl Incoming<'_> {
    /// Who sent it; in the error queue, where it was sent to.
    pub fn address(&self) -> Option<SocketAddr> {
        address::read(self.name)
    }

    /// The address as the kernel wrote it, for families that [`Self::address`] does not know.
    pub fn raw_address(&self) -> &[u8] {
        self.name
    }

    /// The control messages beside it.
    pub fn controls(&self) -> impl Iterator<Item = Control> + '_ {
        control::read(self.control)
    }
}

impl Inbox {
    /// Makes room for datagrams of at most `datagram_bytes` bytes; of longer ones the rest is lost.
    pub fn new(datagram_bytes: usize) -> Self {
        let room = Room {
            bytes: vec![0; datagram_bytes].into_boxed_slice(),
            control: [0; control::SPACE],
            name: [0; LONGEST],
            bytes_used: 0,
            control_used: 0,
            name_used: 0,
            truncated: false,
        };
        Self {
            rooms: vec![room; MOST].into_boxed_slice(),
            datagram_bytes,
            filled: 0,
        }
    }

    /// Takes what waits, at most [`MOST`] datagrams, without waiting. Gives back how many: 0 when none waits.
    ///
    /// # Errors
    /// What the kernel says. On a socket with `IP_RECVERR` that may be an ICMP error about something sent earlier; it is in
    /// the error queue too.
    #[expect(unsafe_code, reason = "recvmmsg(2) takes pointers")]
    pub fn receive(&mut self, socket: BorrowedFd<'_>, queue: Queue) -> io::Result<usize> {
        self.filled = 0;
        let mut vectors = [EMPTY_VECTOR; MOST];
        let mut headers = [empty_header(); MOST];
        for ((room, vector), header) in self.rooms.iter_mut().zip(&mut vectors).zip(&mut headers) {
            *vector = libc::iovec {
                iov_base: room.bytes.as_mut_ptr().cast(),
                iov_len: self.datagram_bytes,
            };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = room.name.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = crate::length(LONGEST);
            header.msg_hdr.msg_control = room.control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control::SPACE as _;
        }
        let errors = if queue == Queue::Errors {
            libc::MSG_ERRQUEUE
        } else {
            0
        };
        let count = crate::length(MOST);
        // SAFETY: all `count` headers point to a vector and to a room of this box, which is borrowed mutably, unmoved, through
        // the call, and each length is that of the array it stands for. No timeout is given.
        let taken = unsafe {
            let flags = (libc::MSG_DONTWAIT | errors) as _;
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                flags,
                ptr::null_mut(),
            )
        };
        let Ok(taken) = usize::try_from(taken) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock {
                Ok(0)
            } else {
                Err(error)
            };
        };
        for (room, header) in self.rooms.iter_mut().zip(&headers).take(taken) {
            room.note(header);
        }
        self.filled = taken;
        Ok(taken)
    }

    /// What the last [`Self::receive`] took.
    pub fn datagrams(&self) -> impl Iterator<Item = Incoming<'_>> {
        self.rooms.iter().take(self.filled).map(|room| Incoming {
            bytes: room.bytes.get(..room.bytes_used).unwrap_or(&room.bytes),
            truncated: room.truncated,
            name: room.name.get(..room.name_used).unwrap_or(&room.name),
            control: room
                .control
                .get(..room.control_used)
                .unwrap_or(&room.control),
        })
    }
}

impl Room {
    fn note(&mut self, header: &libc::mmsghdr) {
        self.bytes_used = usize::try_from(header.msg_len).unwrap_or(0);
        self.name_used = usize::try_from(header.msg_hdr.msg_namelen).unwrap_or(0);
        #[allow(
            clippy::useless_conversion,
            clippy::allow_attributes,
            reason = "the field's type differs between C libraries"
        )]
        let control_used = usize::try_from(header.msg_hdr.msg_controllen);
        self.control_used = control_used.unwrap_or(0);
        self.truncated = header.msg_hdr.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    }
}

const EMPTY_VECTOR: libc::iovec = libc::iovec {
    iov_base: ptr::null_mut(),
    iov_len: 0,
};

#[expect(
    unsafe_code,
    reason = "the struct has private padding on some C libraries, so it cannot be written out"
)]
fn empty_header() -> libc::mmsghdr {
    // SAFETY: a header is numbers and pointers, for which all-zero bytes are a value: nothing to send, nowhere to write.
    unsafe { std::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::Duration;

    use super::*;
    use crate::control::Origin;
    use crate::timestamping;

    fn pair() -> (UdpSocket, UdpSocket) {
        let sockets = ["127.0.0.1:0"; 2].map(|any| UdpSocket::bind(any).unwrap());
        sockets.into()
    }

    fn receive_all(socket: &UdpSocket, queue: Queue, want: usize) -> Vec<(Vec<u8>, Vec<Control>)> {
        let mut inbox = Inbox::new(16);
        let mut found = Vec::new();
        while found.len() < want {
            assert!(
                inbox.receive(socket.as_fd(), queue).unwrap() > 0,
                "{} of {want} came",
                found.len()
            );
            found.extend(
                inbox
                    .datagrams()
                    .map(|datagram| (datagram.bytes.to_vec(), datagram.controls().collect())),
            );
        }
        assert_eq!(inbox.receive(socket.as_fd(), queue).unwrap(), 0);
        found
    }

    /// A pair whose datagrams are stamped on arrival. The kernel switches that on, for all programs at once, a little after
    /// the first socket asks for it, and off when the last such socket closes: keep the pair while stamps are needed.
    fn stamped_pair() -> (UdpSocket, UdpSocket) {
        let (near, far) = pair();
        timestamping::enable(far.as_fd()).unwrap();
        let mut inbox = Inbox::new(16);
        for _ in 0..1_000_000 {
            near.send_to(b"?", far.local_addr().unwrap()).unwrap();
            inbox.receive(far.as_fd(), Queue::Data).unwrap();
            let stamped = inbox.datagrams().any(|datagram| {
                datagram
                    .controls()
                    .any(|control| matches!(control, Control::Stamp(_)))
            });
            if stamped {
                return (near, far);
            }
            std::thread::yield_now();
        }
        panic!("the kernel stamps nothing that arrives");
    }

    #[test]
    fn a_batch_arrives_in_order_and_both_ways_are_stamped() {
        let _stamping = stamped_pair();
        let (near, far) = pair();
        for socket in [&near, &far] {
            timestamping::enable(socket.as_fd()).unwrap();
        }
        let texts: Vec<String> = (0..MOST + 6)
            .map(|index| format!("datagram {index}"))
            .collect();
        let destination = Some(far.local_addr().unwrap());
        let batch: Vec<Outgoing<'_>> = texts
            .iter()
            .map(|text| Outgoing {
                bytes: text.as_bytes(),
                destination,
            })
            .collect();
        assert_eq!(send(near.as_fd(), &batch).unwrap(), MOST);
        assert_eq!(send(near.as_fd(), &batch[MOST..]).unwrap(), 6);

        let received = receive_all(&far, Queue::Data, texts.len());
        for (text, (bytes, controls)) in texts.iter().zip(&received) {
            assert_eq!(text.as_bytes(), bytes);
            assert!(
                matches!(controls.as_slice(), [Control::Stamp(_)]),
                "{controls:?}"
            );
        }
        let stamps = receive_all(&near, Queue::Errors, texts.len());
        for (key, ((_, sent), (_, came))) in (0u32..).zip(stamps.iter().zip(&received)) {
            let stamp = sent.iter().find_map(|control| {
                if let Control::Stamp(at) = control {
                    Some(*at)
                } else {
                    None
                }
            });
            let told = sent.iter().find_map(|control| {
                if let Control::Error(error) = control {
                    Some(*error)
                } else {
                    None
                }
            });
            let told = told.unwrap();
            assert_eq!((told.origin, told.data), (Origin::Stamp, key));
            let [Control::Stamp(came)] = came.as_slice() else {
                unreachable!()
            };
            assert!(stamp.unwrap() <= *came && *came < stamp.unwrap() + Duration::from_secs(1));
        }
    }

    #[test]
    fn keys_start_again_when_asked() {
        let (near, far) = pair();
        timestamping::enable(near.as_fd()).unwrap();
        let one = [Outgoing {
            bytes: b"x",
            destination: Some(far.local_addr().unwrap()),
        }];
        send(near.as_fd(), &one).unwrap();
        timestamping::restart_keys(near.as_fd()).unwrap();
        send(near.as_fd(), &one).unwrap();
        let keys: Vec<u32> = receive_all(&near, Queue::Errors, 2)
            .iter()
            .flat_map(|(_, controls)| controls)
            .filter_map(|control| {
                if let Control::Error(error) = control {
                    Some(error.data)
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(keys, [0, 0]);
    }

    #[test]
    fn a_long_datagram_is_cut_and_says_so() {
        let (near, far) = pair();
        near.send_to(&[7; 40], far.local_addr().unwrap()).unwrap();
        let mut inbox = Inbox::new(16);
        assert_eq!(inbox.receive(far.as_fd(), Queue::Data).unwrap(), 1);
        let datagram = inbox.datagrams().next().unwrap();
        assert_eq!(
            (datagram.bytes, datagram.truncated),
            ([7; 16].as_slice(), true)
        );
        assert_eq!(datagram.address(), Some(near.local_addr().unwrap()));
    }

    #[test]
    fn an_empty_batch_sends_nothing() {
        assert_eq!(send(pair().0.as_fd(), &[]).unwrap(), 0);
    }
}
