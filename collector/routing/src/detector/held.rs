//! Who has which route to one prefix, and what is wrong with it.

use std::collections::BTreeMap;

use super::PeerId;
use crate::asn::Asn;
use crate::class::Class;
use crate::routes::RouteId;

#[derive(Debug, Default)]
pub(super) struct Held {
    /// Sorted by peer.
    pub(super) routes: Vec<(PeerId, RouteId)>,
    pub(super) wrong: BTreeMap<PeerId, Vec<(Class, Option<Asn>)>>,
}

impl Held {
    pub(super) fn put(&mut self, peer: PeerId, route: RouteId) -> Option<RouteId> {
        match self.routes.binary_search_by_key(&peer, |(peer, _)| *peer) {
            Ok(index) => {
                let old = self.routes.get_mut(index)?;
                Some(std::mem::replace(&mut old.1, route))
            }
            Err(index) => {
                // Doubling would waste half of what ten million routes take.
                if self.routes.len() == self.routes.capacity() {
                    self.routes.reserve_exact(self.routes.len() / 8 + 1);
                }
                self.routes.insert(index, (peer, route));
                None
            }
        }
    }

    pub(super) fn take(&mut self, peer: PeerId) -> Option<RouteId> {
        let index = self.routes.binary_search_by_key(&peer, |(peer, _)| *peer);
        Some(self.routes.remove(index.ok()?).1)
    }

    pub(super) fn has(&self, peer: PeerId) -> bool {
        let found = self.routes.binary_search_by_key(&peer, |(peer, _)| *peer);
        found.is_ok()
    }

    pub(super) fn is_hijacked_at(&self, peer: PeerId) -> bool {
        let wrong = self.wrong.get(&peer);
        wrong.is_some_and(|wrong| wrong.iter().any(|(class, _)| class.is_hijack()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.wrong.is_empty()
    }
}
