//! Echo requests and replies, byte by byte (RFC 792; RFC 4443 §4). Pure; every byte read is untrusted.

/// Bytes of a request: the header and what ping sends after it by default.
pub const REQUEST_BYTES: usize = HEADER + 56;
const HEADER: usize = 8;

/// Random bytes that open the payload: who does not know them did not see the request.
pub type Cookie = [u8; 8];

/// The two versions of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4, ICMP.
    V4,
    /// IPv6, `ICMPv6`.
    V6,
}

impl Family {
    const fn request_kind(self) -> u8 {
        match self {
            Self::V4 => 8,
            Self::V6 => 128,
        }
    }

    /// The ICMP type of an echo reply.
    pub const fn reply_kind(self) -> u8 {
        match self {
            Self::V4 => 0,
            Self::V6 => 129,
        }
    }

    /// Whether an ICMP error of this type says that a packet did not arrive: unreachable, or out of hops.
    pub const fn is_fatal(self, kind: u8) -> bool {
        match self {
            Self::V4 => matches!(kind, 3 | 11),
            Self::V6 => matches!(kind, 1 | 3),
        }
    }
}

/// What names a probe on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Whose probe it is.
    pub identifier: u16,
    /// Which one.
    pub seq: u16,
    /// The first bytes of its payload, if it has that many.
    pub cookie: Option<Cookie>,
}

/// Why bytes are no echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than its own headers.
    Truncated,
    /// Another ICMP type or code.
    AnotherKind,
    /// The checksum is wrong.
    Damaged,
}

/// Writes a request. For IPv6 the kernel fills in the checksum, which covers addresses that we need not know.
pub fn request(family: Family, identifier: u16, seq: u16, cookie: Cookie) -> [u8; REQUEST_BYTES] {
    let mut bytes = [0; REQUEST_BYTES];
    put(&mut bytes, 0, &[family.request_kind()]);
    put(&mut bytes, 4, &identifier.to_be_bytes());
    put(&mut bytes, 6, &seq.to_be_bytes());
    put(&mut bytes, HEADER, &cookie);
    if family == Family::V4 {
        let sum = checksum(&bytes);
        put(&mut bytes, 2, &sum.to_be_bytes());
    }
    bytes
}

/// Reads a reply from its ICMP header on.
///
/// # Errors
/// When it is no echo reply.
pub fn read_reply(family: Family, bytes: &[u8]) -> Result<Echo, Malformed> {
    read(family.reply_kind(), bytes)
}

/// Reads a reply that came on a raw IPv4 socket: with its IP header, and with a checksum that nobody looked at.
///
/// # Errors
/// When it is no sound echo reply.
pub fn read_raw_v4_reply(packet: &[u8]) -> Result<Echo, Malformed> {
    let version_and_length = packet.first().ok_or(Malformed::Truncated)?;
    // RFC 791 §3.1: the low half is the header's length in words of 4 bytes, at least 5.
    let header = usize::from(version_and_length & 0xf).max(5) * 4;
    let bytes = packet.get(header..).ok_or(Malformed::Truncated)?;
    let echo = read_reply(Family::V4, bytes)?;
    if checksum(bytes) == 0 {
        Ok(echo)
    } else {
        Err(Malformed::Damaged)
    }
}

/// Reads our own request as an ICMP error quotes it, maybe only its header.
///
/// # Errors
/// When it is no echo request.
pub fn read_quoted_request(family: Family, bytes: &[u8]) -> Result<Echo, Malformed> {
    read(family.request_kind(), bytes)
}

fn read(kind: u8, bytes: &[u8]) -> Result<Echo, Malformed> {
    let (header, payload) = bytes
        .split_first_chunk::<HEADER>()
        .ok_or(Malformed::Truncated)?;
    let [found, code, _, _, id_high, id_low, seq_high, seq_low] = *header;
    if found != kind || code != 0 {
        return Err(Malformed::AnotherKind);
    }
    Ok(Echo {
        identifier: u16::from_be_bytes([id_high, id_low]),
        seq: u16::from_be_bytes([seq_high, seq_low]),
        cookie: payload.first_chunk().copied(),
    })
}

/// The checksum of the internet (RFC 1071 §1); over bytes that hold their own it is 0.
fn checksum(bytes: &[u8]) -> u16 {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let whole: u32 = pairs
        .iter()
        .map(|pair| u32::from(u16::from_be_bytes(*pair)))
        .sum();
    let mut sum = whole + odd.first().map_or(0, |last| u32::from(*last) << 8);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    let place = bytes
        .get_mut(at..at + value.len())
        .expect("the layout fits the request");
    place.copy_from_slice(value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply_to(family: Family, request: &[u8]) -> Vec<u8> {
        let mut reply = request.to_vec();
        reply[0] = family.reply_kind();
        reply[2..4].fill(0);
        let sum = checksum(&reply);
        reply[2..4].copy_from_slice(&sum.to_be_bytes());
        reply
    }

    /// With an IP header of 24 bytes: one word of options.
    fn raw(reply: &[u8]) -> Vec<u8> {
        [[0x46; 24].as_slice(), reply].concat()
    }

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // RFC 1071 §3: the sum of these is 0xddf2.
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
        assert_eq!(checksum(&[0x01]), !0x0100);
    }

    #[test]
    fn what_is_no_reply_is_refused_with_the_reason() {
        let request = request(Family::V4, 7, 9, [1; 8]);
        let reply = reply_to(Family::V4, &request);
        let mut damaged = raw(&reply);
        damaged[40] ^= 1;
        for (name, read, want) in [
            (
                "a request",
                read_reply(Family::V4, &request),
                Malformed::AnotherKind,
            ),
            (
                "of the other family",
                read_reply(Family::V6, &reply),
                Malformed::AnotherKind,
            ),
            (
                "half a header",
                read_reply(Family::V4, &reply[..7]),
                Malformed::Truncated,
            ),
            ("nothing", read_raw_v4_reply(&[]), Malformed::Truncated),
            (
                "an IP header alone",
                read_raw_v4_reply(&raw(&[])),
                Malformed::Truncated,
            ),
            ("damaged", read_raw_v4_reply(&damaged), Malformed::Damaged),
        ] {
            assert_eq!(read, Err(want), "{name}");
        }
        assert_eq!(read_reply(Family::V4, &reply[..15]).unwrap().cookie, None);
    }

    proptest! {
        #[test]
        fn a_request_comes_back_as_it_went(identifier: u16, seq: u16, cookie: Cookie, v6: bool) {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let want = Ok(Echo { identifier, seq, cookie: Some(cookie) });
            let request = request(family, identifier, seq, cookie);
            let reply = reply_to(family, &request);
            prop_assert_eq!(read_quoted_request(family, &request), want);
            prop_assert_eq!(read_reply(family, &reply), want);
            if family == Family::V4 {
                prop_assert_eq!(checksum(&request), 0);
                prop_assert_eq!(read_raw_v4_reply(&raw(&reply)), want);
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            for family in [Family::V4, Family::V6] {
                prop_assert!(read_reply(family, &bytes).is_err() || bytes.len() >= HEADER);
                prop_assert!(read_quoted_request(family, &bytes).is_err() || bytes.len() >= HEADER);
            }
            prop_assert!(read_raw_v4_reply(&bytes).is_err() || bytes.len() >= 20 + HEADER);
        }
    }
}
