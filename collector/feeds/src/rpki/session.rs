//! One RTR session, without a socket (RFC 8210 §8; version 0: RFC 6810): octets in, sets of payloads and queries out.
//!
//! It asks in version 1, since drafts of version 2 do not understand one another, and takes what a validator of version 0 answers.

use std::collections::HashSet;
use std::time::Duration;

use bgpkit_parser::models::rpki::rtr::RtrPdu;
use bgpkit_parser::parser::rpki::rtr::{RtrError, parse_rtr_pdu};
use bytes::{Buf, BytesMut};
use firstmile_routing::asn::Asn;
use firstmile_routing::vrp::Vrp;
use ipnet::IpNet;

use super::{MAX_VRPS, usable};

/// Asks for everything (RFC 8210 §5.4).
pub const RESET_QUERY: [u8; 8] = [1, 2, 0, 0, 0, 0, 0, 8];
/// Longest message; error reports carry the message they complain of.
const MAX_PDU: usize = 1 << 16;
const HEADER: usize = 8;

/// What follows from octets.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this.
    Send(Vec<u8>),
    /// The set is whole: [`Session::vrps`].
    Whole,
}

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RtrSessionError {
    /// The length cannot be true.
    #[error("the validator sent a message of {0} octets: {HEADER} to {MAX_PDU} are possible")]
    Length(u32),
    /// It is no message of this protocol.
    #[error("the validator sent what is no message of RTR")]
    Pdu(#[from] RtrError),
    /// The validator complains.
    #[error("the validator says: {0}")]
    Report(String),
    /// It answers for another session than it began.
    #[error("the validator changed its session in the middle of an answer")]
    Session,
}

/// When a router asks again, and how long what it knows holds (RFC 8210 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Without a word of the validator, it is asked after this time.
    pub refresh: Duration,
    /// Without an answer, again after this one.
    pub retry: Duration,
    /// After this time without an answer the payloads are too old.
    pub expire: Duration,
}

impl Default for Timers {
    /// The suggested values (RFC 8210 §6), for validators of version 0, which say none.
    fn default() -> Self {
        Self {
            refresh: Duration::from_hours(1),
            retry: Duration::from_mins(10),
            expire: Duration::from_hours(2),
        }
    }
}

impl Timers {
    /// What a validator says, within the bounds of RFC 8210 §6.
    fn of(refresh_s: u32, retry_s: u32, expire_s: u32) -> Self {
        let seconds =
            |value: u32, low: u32, high: u32| Duration::from_secs(value.clamp(low, high).into());
        Self {
            refresh: seconds(refresh_s, 1, 86_400),
            retry: seconds(retry_s, 1, 7_200),
            expire: seconds(expire_s, 600, 172_800),
        }
    }
}

/// One session.
#[derive(Debug, Default)]
pub struct Session {
    buffer: BytesMut,
    vrps: HashSet<Vrp>,
    /// The answer that is being received: its payloads replace or change the set when it is whole.
    answer: Option<Answer>,
    current: Option<(u16, u32)>,
    asked_for_all: bool,
    refused: u64,
    timers: Timers,
}

#[derive(Debug)]
struct Answer {
    session: u16,
    replaces: bool,
    changes: Vec<(bool, Vrp)>,
}

impl Session {
    /// A session that has to begin with [`RESET_QUERY`].
    pub fn new() -> Self {
        Self {
            asked_for_all: true,
            ..Self::default()
        }
    }

    /// All payloads.
    pub fn vrps(&self) -> &HashSet<Vrp> {
        &self.vrps
    }

    /// When to ask again.
    pub fn timers(&self) -> Timers {
        self.timers
    }

    /// The question for a refresh: what changed, or everything before the first answer.
    pub fn refresh(&mut self) -> Vec<u8> {
        let session = self.current.map_or(0, |(session, _)| session);
        self.query(session)
    }

    /// Payloads that were refused: too many, or lengths that their prefixes do not have.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes octets in, in whatever pieces they come.
    ///
    /// # Errors
    /// [`RtrSessionError`]: nothing more can be read from this connection.
    pub fn push(&mut self, octets: &[u8]) -> Result<Vec<Step>, RtrSessionError> {
        self.buffer.extend_from_slice(octets);
        let mut steps = Vec::new();
        while let Some((header, _)) = self.buffer.split_first_chunk::<HEADER>() {
            let [_, _, _, _, a, b, c, d] = *header;
            let said = u32::from_be_bytes([a, b, c, d]);
            let length = usize::try_from(said).unwrap_or(usize::MAX);
            if !(HEADER..=MAX_PDU).contains(&length) {
                return Err(RtrSessionError::Length(said));
            }
            if self.buffer.len() < length {
                break;
            }
            let parsed = parse_rtr_pdu(self.buffer.get(..length).unwrap_or_default());
            self.buffer.advance(length);
            match parsed {
                Ok((pdu, _)) => steps.extend(self.pdu(pdu)?),
                // One bad payload does not take the others with it.
                Err(RtrError::InvalidPrefixLength { .. }) => self.refused += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(steps)
    }

    fn pdu(&mut self, pdu: RtrPdu) -> Result<Option<Step>, RtrSessionError> {
        match pdu {
            RtrPdu::SerialNotify(notify) => Ok(Some(Step::Send(self.query(notify.session_id)))),
            RtrPdu::CacheResponse(response) => {
                let same = self
                    .current
                    .is_some_and(|(session, _)| session == response.session_id);
                self.answer = Some(Answer {
                    session: response.session_id,
                    replaces: self.asked_for_all || !same,
                    changes: Vec::new(),
                });
                Ok(None)
            }
            RtrPdu::IPv4Prefix(v4) => {
                let net = IpNet::new(v4.prefix.into(), v4.prefix_length).ok();
                self.payload(v4.flags, net, v4.max_length, Asn(v4.asn.to_u32()));
                Ok(None)
            }
            RtrPdu::IPv6Prefix(v6) => {
                let net = IpNet::new(v6.prefix.into(), v6.prefix_length).ok();
                self.payload(v6.flags, net, v6.max_length, Asn(v6.asn.to_u32()));
                Ok(None)
            }
            RtrPdu::EndOfData(end) => {
                if let (Some(refresh), Some(retry), Some(expire)) = (
                    end.refresh_interval,
                    end.retry_interval,
                    end.expire_interval,
                ) {
                    self.timers = Timers::of(refresh, retry, expire);
                }
                self.end(end.session_id, end.serial_number).map(Some)
            }
            RtrPdu::CacheReset(_) => {
                self.asked_for_all = true;
                Ok(Some(Step::Send(RESET_QUERY.to_vec())))
            }
            RtrPdu::ErrorReport(report) => Err(RtrSessionError::Report(report.error_text)),
            // Router keys are not looked at; queries come from routers.
            RtrPdu::RouterKey(_) | RtrPdu::SerialQuery(_) | RtrPdu::ResetQuery(_) => Ok(None),
        }
    }

    /// A question for what changed, or for everything if the session is another one (RFC 8210 §5.2, §5.3).
    fn query(&mut self, session: u16) -> Vec<u8> {
        match self.current {
            Some((current, serial)) if current == session => {
                self.asked_for_all = false;
                let mut query = vec![1, 1];
                query.extend(session.to_be_bytes());
                query.extend(12_u32.to_be_bytes());
                query.extend(serial.to_be_bytes());
                query
            }
            Some(_) | None => {
                self.asked_for_all = true;
                RESET_QUERY.to_vec()
            }
        }
    }

    fn payload(&mut self, flags: u8, net: Option<IpNet>, max_length: u8, asn: Asn) {
        let Some(answer) = &mut self.answer else {
            self.refused += 1;
            return;
        };
        let vrp = net.and_then(|net| usable(net.trunc(), max_length, asn));
        match vrp {
            Some(vrp) if answer.changes.len() < MAX_VRPS => {
                answer.changes.push((flags & 1 == 1, vrp));
            }
            Some(_) | None => self.refused += 1,
        }
    }

    fn end(&mut self, session: u16, serial: u32) -> Result<Step, RtrSessionError> {
        let answer = self
            .answer
            .take()
            .filter(|answer| answer.session == session);
        let answer = answer.ok_or(RtrSessionError::Session)?;
        if answer.replaces {
            self.vrps.clear();
        }
        for (announced, vrp) in answer.changes {
            if !announced {
                self.vrps.remove(&vrp);
            } else if self.vrps.len() < MAX_VRPS {
                self.vrps.insert(vrp);
            }
        }
        self.current = Some((session, serial));
        Ok(Step::Whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pdu(kind: u8, session: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).expect("short");
        let mut pdu = vec![1, kind];
        pdu.extend(session.to_be_bytes());
        pdu.extend(length.to_be_bytes());
        pdu.extend(body);
        pdu
    }

    fn v4(announce: bool, last: u8, max_length: u8, asn: u32) -> Vec<u8> {
        let mut body = vec![u8::from(announce), 24, max_length, 0, 198, 51, last, 0];
        body.extend(asn.to_be_bytes());
        pdu(4, 0, &body)
    }

    fn end(session: u16, serial: u32) -> Vec<u8> {
        let mut body = serial.to_be_bytes().to_vec();
        body.extend([0; 12]);
        pdu(7, session, &body)
    }

    #[test]
    fn a_set_is_replaced_then_changed_then_replaced_by_a_new_session() {
        let mut session = Session::new();
        let first: Vec<u8> = [
            pdu(3, 7, &[]),
            v4(true, 100, 24, 64_496),
            v4(true, 101, 24, 64_497),
            end(7, 1),
        ]
        .concat();
        // In pieces of three octets.
        let steps: Vec<Step> = first
            .chunks(3)
            .flat_map(|piece| session.push(piece).expect("well formed"))
            .collect();
        assert_eq!(steps, [Step::Whole]);
        assert_eq!(session.vrps().len(), 2);
        let notify = session
            .push(&pdu(0, 7, &2_u32.to_be_bytes()))
            .expect("well formed");
        assert_eq!(
            notify,
            [Step::Send(vec![1, 1, 0, 7, 0, 0, 0, 12, 0, 0, 0, 1])]
        );
        let change = [
            pdu(3, 7, &[]),
            v4(false, 100, 24, 64_496),
            v4(true, 102, 24, 64_498),
            end(7, 2),
        ]
        .concat();
        assert_eq!(session.push(&change).expect("well formed"), [Step::Whole]);
        assert_eq!(session.vrps().len(), 2);
        // The validator restarted: another session.
        let notify = session
            .push(&pdu(0, 8, &1_u32.to_be_bytes()))
            .expect("well formed");
        assert_eq!(notify, [Step::Send(RESET_QUERY.to_vec())]);
        let again = [pdu(3, 8, &[]), v4(true, 103, 24, 64_499), end(8, 1)].concat();
        assert_eq!(session.push(&again).expect("well formed"), [Step::Whole]);
        assert_eq!(session.vrps().len(), 1);
        // It forgot what it said.
        assert_eq!(
            session.push(&pdu(8, 0, &[])).expect("well formed"),
            [Step::Send(RESET_QUERY.to_vec())]
        );
    }

    #[test]
    fn the_validator_says_when_it_is_asked_again() {
        let mut session = Session::new();
        assert_eq!(session.refresh(), RESET_QUERY, "nothing is known yet");
        assert_eq!(session.timers(), Timers::default());
        let end = |refresh: u32, retry: u32, expire: u32| {
            let numbers = [1, refresh, retry, expire].map(u32::to_be_bytes);
            pdu(7, 7, &numbers.concat())
        };
        let whole = |end: Vec<u8>| [pdu(3, 7, &[]), end].concat();
        for (said, want) in [
            ([900, 300, 7_200], [900, 300, 7_200]),
            ([0, 0, 0], [1, 1, 600]),
            ([u32::MAX; 3], [86_400, 7_200, 172_800]),
        ] {
            let [refresh, retry, expire] = said;
            session
                .push(&whole(end(refresh, retry, expire)))
                .expect("well formed");
            let Timers {
                refresh,
                retry,
                expire,
            } = session.timers();
            assert_eq!([refresh, retry, expire].map(|one| one.as_secs()), want);
        }
        assert_eq!(session.refresh(), [1, 1, 0, 7, 0, 0, 0, 12, 0, 0, 0, 1]);
    }

    #[test]
    fn lies_end_the_session_and_nonsense_is_counted() {
        let mut session = Session::new();
        assert!(matches!(
            session.push(&[1, 4, 0, 0, 0xff, 0, 0, 0]),
            Err(RtrSessionError::Length(_))
        ));
        let mut session = Session::new();
        let nonsense = [
            pdu(3, 7, &[]),
            v4(true, 100, 23, 64_496),
            v4(true, 100, 33, 64_496),
            end(7, 1),
        ]
        .concat();
        assert_eq!(session.push(&nonsense).expect("well formed"), [Step::Whole]);
        assert_eq!((session.vrps().len(), session.refused()), (0, 2));
        assert!(matches!(
            session.push(&end(7, 1)),
            Err(RtrSessionError::Session)
        ));
        assert!(Session::new().push(&pdu(77, 0, &[])).is_err());
    }
}
