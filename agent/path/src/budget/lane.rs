//! The budget as a round of one destination sees it.

use std::time::Instant;

use super::HopBudget;
use crate::gate::{Admission, Gate};
use crate::plan::Stream;
use crate::way::{CellKey, MAX_FLOWS, Number, Way};

/// How a packet stands to those of other rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// A burst's: before all others.
    Burst,
    /// It waits for its turn.
    Patient,
    /// It goes without what a burst needs.
    Yielding,
}

/// The gate of the rounds to one destination.
#[derive(Debug)]
pub struct Lane<'a> {
    budget: &'a mut HopBudget,
    destination: Way,
    haste: Haste,
    is_beside: bool,
}

impl<'a> Lane<'a> {
    pub(super) const fn new(budget: &'a mut HopBudget, destination: Way) -> Self {
        Self {
            budget,
            destination,
            haste: Haste::Patient,
            is_beside: false,
        }
    }

    /// The gate of a round of this stream.
    #[must_use]
    pub const fn of(self, stream: Stream) -> Self {
        let haste = match stream {
            Stream::Burst(_) => Haste::Burst,
            Stream::Full | Stream::Tail(_) => Haste::Yielding,
            Stream::Refresh => Haste::Patient,
        };
        Self { haste, ..self }
    }

    /// The gate of a round of other packets than those that the budget predicts routers from: it may meet every router that is
    /// known at its TTLs, and what it meets predicts nothing.
    #[must_use]
    pub const fn beside(self, is_beside: bool) -> Self {
        Self { is_beside, ..self }
    }

    const fn key(&self, way: Number, flow: u16, ttl: u8) -> CellKey {
        CellKey::new(way, beside(flow, self.is_beside), ttl)
    }
}

/// The number by which the budget knows a flow. Those of rounds beside ([`Lane::beside`]) are none that it remembers.
pub const fn beside(flow: u16, is_beside: bool) -> u16 {
    if is_beside {
        flow.saturating_add(MAX_FLOWS)
    } else {
        flow
    }
}

impl Gate for Lane<'_> {
    fn admit(&mut self, flow: u16, ttls: &[u8], now: Instant) -> Vec<Admission> {
        let way = self.budget.remember(self.destination, now);
        ttls.iter()
            .map(|ttl| {
                let key = self.key(way, flow, *ttl);
                self.budget.admit(key, self.haste, now)
            })
            .collect()
    }

    fn confirm(&mut self, flow: u16, ttl: u8, now: Instant) -> bool {
        let way = self.budget.remember(self.destination, now);
        let key = self.key(way, flow, ttl);
        self.budget.confirm(key, self.haste, now)
    }

    fn give_back(&mut self, flow: u16, ttl: u8, at: Instant) {
        let way = self.budget.remember(self.destination, at);
        let key = self.key(way, flow, ttl);
        self.budget.give_back(key, at);
    }
}
