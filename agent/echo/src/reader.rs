//! Takes packets from a socket and books what they mean.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use firstmile_sys::batch::{self, Inbox, Queue};
use firstmile_sys::control::{Control, ExtendedError, Origin};

use crate::channel::Channel;
use crate::clock;
use crate::flights::{Flights, Refusal, Reply};
use crate::packet::{self, Family};

/// Batches read in one go: 16,384 packets. A target that floods back cannot hold us longer.
const BATCHES: usize = 256;

/// Takes packets from sockets and books them.
pub(crate) struct Reader<'a> {
    pub(crate) flights: &'a mut Flights,
    pub(crate) inbox: &'a mut Inbox,
    pub(crate) family: Family,
    pub(crate) idle_since: Duration,
}

impl Reader<'_> {
    /// Reads replies, then stamps: the stamp of every reply read is there by then. Says whether nothing is left.
    pub(crate) fn read_all(&mut self, channel: &mut Channel) -> io::Result<bool> {
        let mut failed = false;
        let mut exhausted = false;
        for _ in 0..BATCHES {
            match self.inbox.receive(channel.as_fd(), Queue::Data) {
                Ok(0) => {
                    exhausted = true;
                    break;
                }
                Ok(_) => failed = false,
                // An ICMP error about a probe makes one call fail; it is in the error queue.
                Err(_) if !failed => {
                    failed = true;
                    self.read_errors(channel);
                    continue;
                }
                Err(error) => return Err(error),
            }
            self.book_replies(channel);
        }
        self.read_errors(channel);
        Ok(exhausted)
    }

    fn book_replies(&mut self, channel: &mut Channel) {
        let now = clock::read();
        for datagram in self.inbox.datagrams() {
            let (mut stamp, mut hop_limit) = (None, None);
            for control in datagram.controls() {
                match control {
                    Control::Stamp(at) => stamp = Some(at),
                    Control::HopLimit(left) => hop_limit = Some(left),
                    Control::Overflow(count) => {
                        channel.note_overflow(count, self.flights.counters_mut());
                    }
                    Control::Error(_) => {}
                }
            }
            match (
                channel.read_reply(self.family, datagram.bytes),
                datagram.address(),
            ) {
                (Ok(echo), Some(source)) => {
                    let reply = Reply {
                        source: source.ip(),
                        seq: echo.seq,
                        cookie: echo.cookie,
                        stamp,
                        hop_limit,
                    };
                    self.flights.on_reply(&reply, self.idle_since, now);
                }
                (Ok(_), None) => self.flights.counters_mut().foreign += 1,
                (Err(malformed), _) => self.flights.counters_mut().book(malformed),
            }
        }
    }

    /// Reads the error queue; what cannot be read now is read next time.
    pub(crate) fn read_errors(&mut self, channel: &mut Channel) {
        for _ in 0..BATCHES {
            let Ok(count @ 1..) = self.inbox.receive(channel.as_fd(), Queue::Errors) else {
                return;
            };
            for datagram in self.inbox.datagrams() {
                let (mut stamp, mut error) = (None, None);
                for control in datagram.controls() {
                    match control {
                        Control::Stamp(at) => stamp = Some(at),
                        Control::Error(told) => error = Some(told),
                        Control::HopLimit(_) | Control::Overflow(_) => {}
                    }
                }
                let Some(error) = error else { continue };
                match error.origin {
                    Origin::Stamp => {
                        if let Some((seq, stamp)) = channel.keys.stamped(error.data).zip(stamp) {
                            self.flights.on_transmitted(seq, stamp);
                        }
                    }
                    Origin::Icmp | Origin::Icmp6 => {
                        let destination = datagram.address().map(|address| address.ip());
                        book_icmp(
                            self.flights,
                            self.family,
                            channel.identifier,
                            destination,
                            datagram.bytes,
                            &error,
                        );
                    }
                    Origin::Local | Origin::Other => {}
                }
            }
            if count < batch::MOST {
                return;
            }
        }
    }
}

fn book_icmp(
    flights: &mut Flights,
    family: Family,
    identifier: u16,
    destination: Option<IpAddr>,
    quoted: &[u8],
    error: &ExtendedError,
) {
    let echo = packet::read_quoted_request(family, quoted)
        .ok()
        .filter(|echo| echo.identifier == identifier);
    let (Some(echo), Some(destination)) = (echo, destination) else {
        flights.counters_mut().foreign += 1;
        return;
    };
    if family.is_fatal(error.kind) {
        flights.on_refusal(&Refusal {
            destination,
            seq: echo.seq,
            cookie: echo.cookie,
            by: error.offender,
            kind: error.kind,
            code: error.code,
        });
    }
}
