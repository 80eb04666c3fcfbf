//! What a round asks before each packet: when may it leave?

use std::time::Instant;

/// When a packet may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Not before then.
    At(Instant),
    /// Not at all in this round: the hop has just been asked for another flow, or the budget is spent.
    Skip,
}

/// Says when packets may leave: the budget that all rounds of a process share.
pub trait Gate {
    /// One answer for each of `ttls` of `flow`, in their order.
    fn admit(&mut self, flow: u16, ttls: &[u8], now: Instant) -> Vec<Admission>;

    /// Whether a packet that was admitted may still leave, now that it is about to.
    fn confirm(&mut self, _flow: u16, _ttl: u8, _now: Instant) -> bool {
        true
    }

    /// A packet that was admitted for `at` is not sent: its turn is free again.
    fn give_back(&mut self, _flow: u16, _ttl: u8, _at: Instant) {}
}

/// The gate that is always open, for tests and benches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

impl Gate for Open {
    fn admit(&mut self, _flow: u16, ttls: &[u8], now: Instant) -> Vec<Admission> {
        vec![Admission::At(now); ttls.len()]
    }
}
