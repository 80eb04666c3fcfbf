//! The owner takes the traffic back: routes to parts of a hijacked prefix end the hijack at a peer.

use ipnet::IpNet;

use super::{Detector, PeerId};
use crate::instance::Key;
use crate::path::{Hop, Route};
use crate::rule::Rule;

impl Detector {
    /// A benign route of the owner to one half of a hijacked prefix, or to all its parts, takes the traffic back at this peer.
    pub(super) fn supersede(&mut self, at: f64, peer: PeerId, prefix: IpNet, route: &Route) {
        if !self.is_of_the_owner(&prefix, route) {
            return;
        }
        let replaced: Vec<IpNet> = self
            .table
            .cover(&prefix)
            .filter(|(wider, held)| *wider != prefix && held.is_hijacked_at(peer))
            .map(|(wider, _)| wider)
            .filter(|wider| {
                wider.prefix_len() + 1 == prefix.prefix_len() || self.is_whole_at(peer, wider)
            })
            .collect();
        for wider in replaced {
            let Some(held) = self.table.get_mut(&wider) else {
                continue;
            };
            let wrong = held.replace_wrong(peer, &[]);
            let (gone, kept): (Vec<_>, Vec<_>) =
                wrong.into_iter().partition(|(class, _)| class.is_hijack());
            held.replace_wrong(peer, &kept);
            for (class, offender) in gone {
                let key = Key {
                    prefix: wider,
                    class,
                    offender,
                };
                self.leave(at, peer, key);
            }
        }
    }

    /// Whether a route that nothing is wrong with is registered, or a part that is left alone and comes from a named origin.
    fn is_of_the_owner(&self, prefix: &IpNet, route: &Route) -> bool {
        let Some(found) = self.registry.rules.matching(prefix) else {
            return false;
        };
        let origin = route.path.origin().and_then(Hop::single);
        let named = |rule: &&Rule| origin.is_some_and(|origin| rule.origins.names(origin));
        found.exact || found.rules.iter().any(named)
    }

    /// Whether benign routes of this peer to parts of `wider` make up the whole of it.
    fn is_whole_at(&self, peer: PeerId, wider: &IpNet) -> bool {
        /// Parts that are looked at.
        const MAX_PARTS: usize = 4096;
        let mut covered: u128 = 0;
        let mut last: Option<IpNet> = None;
        for (part, held) in self.table.children(wider).take(MAX_PARTS) {
            let inside_last = last.is_some_and(|last| last.contains(&part));
            if part != *wider && !inside_last && held.has(peer) && !held.is_hijacked_at(peer) {
                covered += 1_u128 << (wider.max_prefix_len() - part.prefix_len()).min(127);
                last = Some(part);
            }
        }
        covered >= 1_u128 << (wider.max_prefix_len() - wider.prefix_len()).min(127)
    }
}
