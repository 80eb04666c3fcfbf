//! Control messages beside a datagram (cmsg(3)): stamps, hop limits, errors. Read byte by byte, without `unsafe`.
//!
//! Stamps come as 64-bit pairs on every machine where the kernel has the `_NEW` options (Linux 5.1); the older form, whose
//! width is that of a C `long`, is read as well.

use std::net::IpAddr;
use std::time::Duration;

use crate::address::{self, take};

/// Room for every control message that this crate asks for, of one datagram.
pub const SPACE: usize = 256;

/// Bytes of a C `long` and `size_t`: what control messages are aligned to.
const WORD: usize = size_of::<usize>();
/// `size_t` length, `int` level, `int` kind, padded to a word.
const HEADER: usize = (WORD + 8).next_multiple_of(WORD);

// asm-generic/socket.h; libc names only some of them, and not on every target.
pub(crate) const SO_TIMESTAMPNS_OLD: i32 = 35;
pub(crate) const SO_TIMESTAMPING_OLD: i32 = 37;
pub(crate) const SO_TIMESTAMPNS_NEW: i32 = 64;
pub(crate) const SO_TIMESTAMPING_NEW: i32 = 65;
const SO_RXQ_OVFL: i32 = 40;

/// One control message that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Software stamp of the kernel: wall clock, since the Unix epoch.
    Stamp(Duration),
    /// TTL or hop limit with which the datagram came.
    HopLimit(u8),
    /// Why this message is in the error queue.
    Error(ExtendedError),
    /// Datagrams that the receive buffer had no room for, since the socket was opened.
    Overflow(u32),
}

/// `struct sock_extended_err` and the address after it (ip(7), `IP_RECVERR`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// The error number.
    pub errno: u32,
    /// Who says so.
    pub origin: Origin,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// For stamps: at which point it was taken.
    pub info: u32,
    /// For stamps: the key of the datagram.
    pub data: u32,
    /// The node that sent the ICMP error.
    pub offender: Option<IpAddr>,
}

/// Who put a message into the error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This machine.
    Local,
    /// An ICMP error.
    Icmp,
    /// An ICMP error of IPv6.
    Icmp6,
    /// A stamp of a datagram that was sent.
    Stamp,
    /// Something else.
    Other,
}

/// Reads the control messages in `bytes`; what is unknown or malformed is passed over.
pub fn read(bytes: &[u8]) -> impl Iterator<Item = Control> + '_ {
    Walk { rest: bytes }.filter_map(|(level, kind, data)| known(level, kind, data))
}

struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Walk<'a> {
    type Item = (i32, i32, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from_ne_bytes(take(self.rest, 0)?);
        let level = i32::from_ne_bytes(take(self.rest, WORD)?);
        let kind = i32::from_ne_bytes(take(self.rest, WORD + 4)?);
        let data = self.rest.get(HEADER..length)?;
        // The last message need not be padded.
        self.rest = length
            .checked_next_multiple_of(WORD)
            .and_then(|next| self.rest.get(next..))
            .unwrap_or_default();
        Some((level, kind, data))
    }
}

fn known(level: i32, kind: i32, data: &[u8]) -> Option<Control> {
    match (level, kind) {
        (libc::SOL_SOCKET, SO_TIMESTAMPING_NEW | SO_TIMESTAMPNS_NEW) => {
            stamp_of_64_bits(data).map(Control::Stamp)
        }
        (libc::SOL_SOCKET, SO_TIMESTAMPING_OLD | SO_TIMESTAMPNS_OLD) => {
            stamp_of_words(data).map(Control::Stamp)
        }
        (libc::SOL_SOCKET, SO_RXQ_OVFL) => {
            Some(Control::Overflow(u32::from_ne_bytes(take(data, 0)?)))
        }
        (libc::SOL_IP, libc::IP_TTL) | (libc::SOL_IPV6, libc::IPV6_HOPLIMIT) => {
            u8::try_from(i32::from_ne_bytes(take(data, 0)?))
                .ok()
                .map(Control::HopLimit)
        }
        (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR) => {
            extended_error(data).map(Control::Error)
        }
        _ => None,
    }
}

/// The first pair is the software stamp. A zero one means that there is none (a hardware stamp alone).
fn stamp_of_64_bits(data: &[u8]) -> Option<Duration> {
    stamp(
        i64::from_ne_bytes(take(data, 0)?),
        i64::from_ne_bytes(take(data, 8)?),
    )
}

fn stamp_of_words(data: &[u8]) -> Option<Duration> {
    let (seconds, nanos) = (
        isize::from_ne_bytes(take(data, 0)?),
        isize::from_ne_bytes(take(data, WORD)?),
    );
    stamp(i64::try_from(seconds).ok()?, i64::try_from(nanos).ok()?)
}

fn stamp(seconds: i64, nanos: i64) -> Option<Duration> {
    let nanos = u32::try_from(nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    let stamp = Duration::new(u64::try_from(seconds).ok()?, nanos);
    (!stamp.is_zero()).then_some(stamp)
}

fn extended_error(data: &[u8]) -> Option<ExtendedError> {
    let [origin, kind, code, _padding]: [u8; 4] = take(data, 4)?;
    Some(ExtendedError {
        errno: u32::from_ne_bytes(take(data, 0)?),
        origin: match origin {
            libc::SO_EE_ORIGIN_LOCAL => Origin::Local,
            libc::SO_EE_ORIGIN_ICMP => Origin::Icmp,
            libc::SO_EE_ORIGIN_ICMP6 => Origin::Icmp6,
            // linux/errqueue.h, SO_EE_ORIGIN_TIMESTAMPING
            4 => Origin::Stamp,
            _ => Origin::Other,
        },
        kind,
        code,
        info: u32::from_ne_bytes(take(data, 8)?),
        data: u32::from_ne_bytes(take(data, 12)?),
        offender: data
            .get(16..)
            .and_then(address::read)
            .map(|address| address.ip()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (HEADER + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(WORD), 0);
        bytes
    }

    fn pair(seconds: i64, nanos: i64) -> Vec<u8> {
        [seconds.to_ne_bytes(), nanos.to_ne_bytes()].concat()
    }

    #[test]
    fn a_chain_is_read_to_its_end() {
        let mut error = 42u32.to_ne_bytes().to_vec();
        error.extend([4, 0, 0, 0]);
        error.extend(0u32.to_ne_bytes());
        error.extend(7u32.to_ne_bytes());
        let chain = [
            message(
                libc::SOL_SOCKET,
                SO_TIMESTAMPING_NEW,
                &[pair(5, 6), pair(0, 0), pair(0, 0)].concat(),
            ),
            message(libc::SOL_IP, libc::IP_TTL, &63i32.to_ne_bytes()),
            message(99, 99, b"unknown"),
            message(libc::SOL_IPV6, libc::IPV6_RECVERR, &error),
        ]
        .concat();
        let read: Vec<Control> = read(&chain).collect();
        let stamped = ExtendedError {
            errno: 42,
            origin: Origin::Stamp,
            kind: 0,
            code: 0,
            info: 0,
            data: 7,
            offender: None,
        };
        assert_eq!(
            read,
            [
                Control::Stamp(Duration::new(5, 6)),
                Control::HopLimit(63),
                Control::Error(stamped)
            ]
        );
    }

    #[test]
    fn absent_and_impossible_stamps_are_none() {
        for (name, seconds, nanos) in [
            ("zero", 0, 0),
            ("negative", -1, 0),
            ("too many nanoseconds", 1, 1_000_000_000),
        ] {
            let bytes = message(libc::SOL_SOCKET, SO_TIMESTAMPING_NEW, &pair(seconds, nanos));
            assert_eq!(read(&bytes).next(), None, "{name}");
        }
    }

    #[test]
    fn a_length_that_lies_ends_the_walk() {
        for length in [0, 1, HEADER - 1, HEADER + 5, usize::MAX] {
            let mut bytes = message(libc::SOL_IP, libc::IP_TTL, &[63, 0, 0, 0]);
            bytes.truncate(HEADER + 4);
            bytes[..WORD].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(read(&bytes).count(), 0, "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..SPACE)) {
            prop_assert!(read(&bytes).count() <= bytes.len() / HEADER + 1);
        }

        #[test]
        fn any_known_message_is_read_without_panic(
            level in prop::sample::select(vec![libc::SOL_SOCKET, libc::SOL_IP, libc::SOL_IPV6]),
            kind in prop::sample::select(vec![2, 11, 25, 35, 37, 40, 52, 64, 65]),
            data in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            prop_assert!(read(&message(level, kind, &data)).count() <= 1);
        }
    }
}
