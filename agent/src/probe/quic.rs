//! What the first packets of a QUIC connection say in the clear, and when they passed: enough for a path RTT that is not
//! the implementation's own estimate, which starts too high and moves with traffic.
//!
//! Pure. Invariant: an RTT is from our first Initial to the first long-header packet that answers it by our own
//! connection id, which nobody off the path knows.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Outcome;

/// Connections watched at once: beyond it a probe is refused.
const MAX_FLIGHTS: usize = 64;

/// The Initials of one `ClientHello` go within this; what is sent later is a probe for a lost one, which comes no sooner than
/// a second after (RFC 9002 §6.2.2).
const ONE_FLIGHT: Duration = Duration::from_millis(100);

/// Versions kept of a Version Negotiation packet.
const MAX_VERSIONS: usize = 16;

/// A long header, as far as it is the same in every version (RFC 8999 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LongHeader<'a> {
    pub(crate) version: u32,
    pub(crate) destination_id: &'a [u8],
    pub(crate) source_id: &'a [u8],
    pub(crate) rest: &'a [u8],
}

impl<'a> LongHeader<'a> {
    /// Reads one; `None` for a short header, and for what is cut off.
    pub(crate) fn read(datagram: &'a [u8]) -> Option<Self> {
        let (first, rest) = datagram.split_first()?;
        if first & 0x80 == 0 {
            return None;
        }
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let (destination_id, rest) = connection_id(rest)?;
        let (source_id, rest) = connection_id(rest)?;
        Some(Self {
            version: u32::from_be_bytes(*version),
            destination_id,
            source_id,
            rest,
        })
    }

    /// The versions that the other side speaks, when this is a Version Negotiation packet (RFC 8999 §6).
    pub(crate) fn offered(&self) -> Option<Vec<u32>> {
        (self.version == 0).then(|| {
            let (versions, _) = self.rest.as_chunks::<4>();
            (versions.iter())
                .take(MAX_VERSIONS)
                .map(|version| u32::from_be_bytes(*version))
                .collect()
        })
    }
}

fn connection_id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// One connection attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    to: SocketAddr,
    /// Ours, by which answers are known; empty until the first Initial has gone.
    source_id: Vec<u8>,
    pub(crate) sent_at: Option<Instant>,
    pub(crate) answered_at: Option<Instant>,
    /// The first Initial was not answered in time, and another one sent.
    pub(crate) resent: bool,
    /// Of the first answer, 0 for a Version Negotiation packet.
    pub(crate) version: u32,
    /// What a Version Negotiation packet offers.
    pub(crate) offered: Vec<u32>,
    /// The latest that one of its packets was read; `None` where nobody can tell.
    pub(crate) delay: Option<Duration>,
    /// What an ICMP message or this machine said of a packet of ours, and when.
    pub(crate) refused: Option<(Instant, Outcome)>,
}

impl Flight {
    /// From the first Initial to the first answer; `None` too when the first Initial was lost, whatever a later one brought.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        let answered_at = self.answered_at.filter(|_| !self.resent)?;
        Some(answered_at.saturating_duration_since(self.sent_at?))
    }
}

/// The connection attempts under way, by the connection id that our first Initial is addressed to.
#[derive(Debug, Default)]
pub(crate) struct Board {
    flights: BTreeMap<[u8; Board::ID], Flight>,
}

impl Board {
    /// Length of the ids that we choose: the longest that version 1 allows (RFC 9000 §17.2).
    pub(crate) const ID: usize = 20;

    /// Watches for a connection to `to`; false when too many are watched.
    pub(crate) fn begin(&mut self, id: [u8; Self::ID], to: SocketAddr) -> bool {
        if self.flights.len() >= MAX_FLIGHTS {
            return false;
        }
        let flight = Flight {
            to,
            source_id: Vec::new(),
            sent_at: None,
            answered_at: None,
            resent: false,
            version: 0,
            offered: Vec::new(),
            delay: None,
            refused: None,
        };
        self.flights.insert(id, flight);
        true
    }

    /// What became of it; it is watched no longer.
    pub(crate) fn end(&mut self, id: [u8; Self::ID]) -> Option<Flight> {
        self.flights.remove(&id)
    }

    /// Whether somebody has said no.
    pub(crate) fn is_refused(&self, id: [u8; Self::ID]) -> bool {
        (self.flights.get(&id)).is_some_and(|flight| flight.refused.is_some())
    }

    /// Books a datagram that is about to leave.
    pub(crate) fn on_sent(&mut self, datagram: &[u8], now: Instant) {
        let Some((header, flight)) = self.ours(datagram) else {
            return;
        };
        match flight.sent_at {
            None => {
                flight.source_id = header.source_id.to_vec();
                flight.sent_at = Some(now);
            }
            Some(first) if flight.answered_at.is_none() => {
                flight.resent |= now.saturating_duration_since(first) > ONE_FLIGHT;
            }
            Some(_) => {}
        }
    }

    /// Books a datagram that this machine would not send, and why.
    pub(crate) fn on_unsent(&mut self, datagram: &[u8], why: Outcome, now: Instant) {
        if let Some((_, flight)) = self.ours(datagram) {
            flight.refused.get_or_insert((now, why));
        }
    }

    /// Books a datagram that came, and how late it was read.
    pub(crate) fn on_received(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        now: Instant,
        delay: Option<Duration>,
    ) {
        let Some(header) = LongHeader::read(datagram) else {
            return;
        };
        let flight = self.flights.values_mut().find(|flight| {
            flight.to == from
                && !flight.source_id.is_empty()
                && flight.source_id == header.destination_id
        });
        if let Some(flight) = flight {
            flight.delay = flight.delay.max(delay);
            if flight.answered_at.is_none() {
                flight.answered_at = Some(now);
                flight.version = header.version;
                flight.offered = header.offered().unwrap_or_default();
            }
        }
    }

    /// Books an ICMP message about a datagram to `to`, of which it may quote the start.
    #[cfg_attr(
        all(windows, not(test)),
        expect(dead_code, reason = "Windows tells a UDP socket of no ICMP error")
    )]
    pub(crate) fn on_refused(
        &mut self,
        to: SocketAddr,
        quoted: &[u8],
        why: impl Fn(Duration) -> Outcome,
        now: Instant,
    ) {
        let quoted = LongHeader::read(quoted).map(|header| header.destination_id);
        for (id, flight) in &mut self.flights {
            // A quotation that is too short to tell stands for every connection to that address.
            let is_meant = quoted.is_none_or(|quoted| quoted == id.as_slice());
            if let Some(sent_at) = flight.sent_at
                && flight.to == to
                && flight.answered_at.is_none()
                && is_meant
            {
                let outcome = why(now.saturating_duration_since(sent_at));
                flight.refused.get_or_insert((now, outcome));
            }
        }
    }

    fn ours<'a>(&mut self, datagram: &'a [u8]) -> Option<(LongHeader<'a>, &mut Flight)> {
        let header = LongHeader::read(datagram)?;
        let id = <[u8; Self::ID]>::try_from(header.destination_id).ok()?;
        Some((header, self.flights.get_mut(&id)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: [u8; Board::ID] = [7; Board::ID];

    fn packet(version: u32, destination: &[u8], source: &[u8], rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xc0];
        bytes.extend(version.to_be_bytes());
        for id in [destination, source] {
            bytes.push(u8::try_from(id.len()).expect("short"));
            bytes.extend(id);
        }
        bytes.extend(rest);
        bytes
    }

    fn to() -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 1], 443))
    }

    #[test]
    fn an_rtt_is_from_our_first_initial_to_the_first_answer_to_our_id() {
        let start = crate::clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let other = SocketAddr::from(([203, 0, 113, 2], 443));
        let mut board = Board::default();
        assert!(board.begin(ID, to()));
        board.on_received(&packet(1, b"", b"s", b""), to(), at(0), None);
        board.on_sent(&packet(1, &ID, b"mine", b"hello"), at(1));
        board.on_sent(&packet(1, &ID, b"mine", b"again"), at(5));
        board.on_received(&packet(1, b"other", b"s", b""), to(), at(6), None);
        board.on_received(&packet(1, b"mine", b"s", b""), other, at(7), None);
        board.on_received(b"\x40short header", to(), at(8), None);
        board.on_received(&packet(1, b"mine", b"s", b""), to(), at(21), None);
        board.on_received(&packet(0, b"mine", b"s", b""), to(), at(30), None);
        let flight = board.end(ID).expect("watched");
        assert_eq!(flight.rtt(), Some(Duration::from_millis(20)));
        assert_eq!((flight.version, flight.refused), (1, None));
        assert_eq!(board.end(ID), None);
    }

    #[test]
    fn an_answer_to_a_second_initial_is_no_rtt() {
        for (name, again_ms, answer_ms, is_lost) in [
            ("one `ClientHello` in two packets", 1, 21, false),
            ("sent again before the answer", 1000, 1020, true),
            ("sent again after the answer", 1000, 900, false),
        ] {
            let start = crate::clock::now();
            let at = |ms| start + Duration::from_millis(ms);
            let (mut board, sent) = (Board::default(), packet(1, &ID, b"mine", b""));
            board.begin(ID, to());
            board.on_sent(&sent, start);
            let mut events = [(again_ms, true), (answer_ms, false)];
            events.sort_unstable();
            for (ms, is_sent) in events {
                if is_sent {
                    board.on_sent(&sent, at(ms));
                } else {
                    board.on_received(&packet(1, b"mine", b"s", b""), to(), at(ms), None);
                }
            }
            let flight = board.end(ID).expect("watched");
            assert_eq!(flight.answered_at, Some(at(answer_ms)), "{name}");
            let rtt = (!is_lost).then_some(Duration::from_millis(answer_ms));
            assert_eq!(flight.rtt(), rtt, "{name}");
        }
    }

    #[test]
    fn versions_on_offer_are_kept() {
        let start = crate::clock::now();
        let mut board = Board::default();
        board.begin(ID, to());
        board.on_sent(&packet(1, &ID, b"mine", b""), start);
        let versions = [0x6b33_43cf_u32.to_be_bytes(), 0xff00_001d_u32.to_be_bytes()].concat();
        board.on_received(&packet(0, b"mine", &ID, &versions), to(), start, None);
        let flight = board.end(ID).expect("watched");
        assert_eq!(flight.version, 0);
        assert_eq!(flight.offered, [0x6b33_43cf, 0xff00_001d]);
    }

    #[test]
    fn a_refusal_is_of_the_connection_that_it_quotes() {
        let start = crate::clock::now();
        let later = start + Duration::from_millis(3);
        for (name, quoted, hits) in [
            ("ours", packet(1, &ID, b"mine", b""), true),
            ("cut off", Vec::new(), true),
            ("another", packet(1, &[8; 20], b"mine", b""), false),
        ] {
            let mut board = Board::default();
            board.begin(ID, to());
            board.on_sent(&packet(1, &ID, b"mine", b""), start);
            board.on_refused(to(), &quoted, Outcome::Refused, later);
            assert_eq!(board.is_refused(ID), hits, "{name}");
            let refused = board.end(ID).expect("watched").refused;
            let want = hits.then_some((later, Outcome::Refused(Duration::from_millis(3))));
            assert_eq!(refused, want, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), other in prop::collection::vec(any::<u8>(), 0..100)) {
            let now = crate::clock::now();
            let mut board = Board::default();
            board.begin(ID, to());
            board.on_sent(&bytes, now);
            board.on_received(&other, to(), now, None);
            board.on_refused(to(), &other, Outcome::Refused, now);
            if let Some(header) = LongHeader::read(&bytes) {
                let read = 7 + header.destination_id.len() + header.source_id.len() + header.rest.len();
                prop_assert_eq!(read, bytes.len());
                prop_assert!(header.offered().unwrap_or_default().len() <= MAX_VERSIONS);
            }
        }

        #[test]
        fn what_is_written_is_read(version: u32, destination in prop::collection::vec(any::<u8>(), 0..=255), source in prop::collection::vec(any::<u8>(), 0..=255), rest in prop::collection::vec(any::<u8>(), 0..20)) {
            let bytes = packet(version, &destination, &source, &rest);
            let want = LongHeader { version, destination_id: &destination, source_id: &source, rest: &rest };
            prop_assert_eq!(LongHeader::read(&bytes), Some(want));
            let header_length = bytes.len() - rest.len();
            for cut in 0..header_length {
                prop_assert_eq!(LongHeader::read(&bytes[..cut]), None);
            }
        }

        #[test]
        fn the_board_is_bounded(ids in prop::collection::vec(any::<[u8; 20]>(), 0..200)) {
            let mut board = Board::default();
            let begun = ids.iter().filter(|id| board.begin(**id, to())).count();
            prop_assert!(begun <= MAX_FLIGHTS && board.flights.len() <= MAX_FLIGHTS);
        }
    }
}
