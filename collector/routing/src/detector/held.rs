//! Who has which route to one prefix, and what is wrong with it.

use std::collections::BTreeMap;

use super::{PathId, PeerId};
use crate::asn::Asn;
use crate::class::Class;
use crate::routes::RouteId;

/// What was found wrong at one peer.
pub(super) type Wrong = Vec<(Class, Option<Asn>)>;

#[derive(Debug, Default)]
pub(super) struct Held {
    /// Sorted by peer: the one route, or the one without a path identifier.
    routes: Vec<(PeerId, RouteId)>,
    /// What few prefixes have: something wrong, or sessions with several paths.
    rest: Option<Box<Rest>>,
}

#[derive(Debug, Default)]
struct Rest {
    /// Sorted by peer: which of the kinds.
    wrong: Vec<(PeerId, usize)>,
    /// What may be wrong, once each: a thousand peers say the same.
    kinds: Vec<Wrong>,
    paths: BTreeMap<(PeerId, PathId), RouteId>,
}

impl Rest {
    /// Where a peer at which something is wrong is, or belongs.
    fn place(&self, peer: PeerId) -> Result<usize, usize> {
        if self.wrong.last().is_some_and(|(last, _)| *last < peer) {
            return Err(self.wrong.len());
        }
        self.wrong.binary_search_by_key(&peer, |(peer, _)| *peer)
    }

    fn of(&self, peer: PeerId) -> Option<&Wrong> {
        let (_, kind) = self.wrong.get(self.place(peer).ok()?)?;
        self.kinds.get(*kind)
    }

    fn kind(&mut self, wrong: &[(Class, Option<Asn>)]) -> usize {
        /// Kinds that nobody has any more are dropped when there are so many.
        const MANY: usize = 64;
        if let Some(known) = self.kinds.iter().position(|kind| kind == wrong) {
            return known;
        }
        if self.kinds.len() >= MANY {
            let mut kept: Vec<Wrong> = Vec::new();
            for (_, kind) in &mut self.wrong {
                let old = self.kinds.get(*kind).cloned().unwrap_or_default();
                *kind = kept.iter().position(|one| *one == old).unwrap_or_else(|| {
                    kept.push(old);
                    kept.len() - 1
                });
            }
            self.kinds = kept;
        }
        self.kinds.push(wrong.to_vec());
        self.kinds.len() - 1
    }
}

impl Held {
    pub(super) fn put(&mut self, peer: PeerId, path: PathId, route: RouteId) -> Option<RouteId> {
        if path != PathId::NONE {
            let rest = self.rest.get_or_insert_default();
            return rest.paths.insert((peer, path), route);
        }
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

    /// Takes one path of a peer out.
    pub(super) fn take(&mut self, peer: PeerId, path: PathId) -> Option<RouteId> {
        if path != PathId::NONE {
            let rest = self.rest.as_mut()?;
            let old = rest.paths.remove(&(peer, path));
            self.tidy();
            return old;
        }
        let index = self.routes.binary_search_by_key(&peer, |(peer, _)| *peer);
        Some(self.routes.remove(index.ok()?).1)
    }

    /// Takes all paths of a peer out.
    pub(super) fn take_all(&mut self, peer: PeerId) -> Vec<RouteId> {
        let mut taken: Vec<RouteId> = self.take(peer, PathId::NONE).into_iter().collect();
        let paths: Vec<PathId> = self.paths_of(peer).map(|(path, _)| path).collect();
        taken.extend(paths.into_iter().filter_map(|path| self.take(peer, path)));
        taken
    }

    pub(super) fn has(&self, peer: PeerId) -> bool {
        let found = self.routes.binary_search_by_key(&peer, |(peer, _)| *peer);
        found.is_ok() || self.paths_of(peer).next().is_some()
    }

    /// Whether a peer has more than one route, or one with a path identifier.
    pub(super) fn has_paths(&self, peer: PeerId) -> bool {
        self.paths_of(peer).next().is_some()
    }

    fn paths_of(&self, peer: PeerId) -> impl Iterator<Item = (PathId, RouteId)> {
        let all = (peer, PathId(0))..=(peer, PathId(u32::MAX));
        let rest = self.rest.iter();
        rest.flat_map(move |rest| rest.paths.range(all.clone()))
            .map(|((_, path), route)| (*path, *route))
    }

    /// All routes of a peer.
    pub(super) fn routes_of(&self, peer: PeerId) -> Vec<RouteId> {
        let one = self.routes.binary_search_by_key(&peer, |(peer, _)| *peer);
        let one = one.ok().and_then(|index| self.routes.get(index));
        one.map(|(_, route)| *route)
            .into_iter()
            .chain(self.paths_of(peer).map(|(_, route)| route))
            .collect()
    }

    /// All routes with their peers; a peer with several paths comes several times.
    pub(super) fn all(&self) -> impl Iterator<Item = (PeerId, RouteId)> {
        let rest = self.rest.iter().flat_map(|rest| &rest.paths);
        let paths = rest.map(|((peer, _), route)| (*peer, *route));
        self.routes.iter().copied().chain(paths)
    }

    /// How many peers have a route.
    pub(super) fn route_peers(&self) -> usize {
        let mut peers: Vec<PeerId> = self.all().map(|(peer, _)| peer).collect();
        peers.sort_unstable();
        peers.dedup();
        peers.len()
    }

    /// Peers that have a route, or at which something is wrong, once each.
    pub(super) fn peers(&self) -> Vec<PeerId> {
        let wrong = self.rest.iter().flat_map(|rest| &rest.wrong);
        let wrong = wrong.map(|(peer, _)| *peer);
        let mut peers: Vec<PeerId> = self.all().map(|(peer, _)| peer).chain(wrong).collect();
        peers.sort_unstable();
        peers.dedup();
        peers
    }

    pub(super) fn is_wrong_at(&self, peer: PeerId) -> bool {
        let rest = self.rest.as_ref();
        rest.is_some_and(|rest| rest.place(peer).is_ok())
    }

    /// Replaces what is wrong at a peer, and says what was.
    pub(super) fn replace_wrong(&mut self, peer: PeerId, wrong: &[(Class, Option<Asn>)]) -> Wrong {
        if wrong.is_empty() && self.rest.is_none() {
            return Wrong::new();
        }
        let rest = self.rest.get_or_insert_default();
        let before = rest.of(peer).cloned().unwrap_or_default();
        match (rest.place(peer), wrong.is_empty()) {
            (Ok(at), true) => {
                rest.wrong.remove(at);
            }
            (Err(_), true) => {}
            (place, false) => {
                let kind = rest.kind(wrong);
                match place {
                    Ok(at) => {
                        if let Some(known) = rest.wrong.get_mut(at) {
                            known.1 = kind;
                        }
                    }
                    Err(at) => rest.wrong.insert(at, (peer, kind)),
                }
            }
        }
        self.tidy();
        before
    }

    pub(super) fn is_hijacked_at(&self, peer: PeerId) -> bool {
        let wrong = self.rest.as_ref().and_then(|rest| rest.of(peer));
        wrong.is_some_and(|wrong| wrong.iter().any(|(class, _)| class.is_hijack()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.rest.is_none()
    }

    fn tidy(&mut self) {
        let is_void = |rest: &Rest| rest.wrong.is_empty() && rest.paths.is_empty();
        if self.rest.as_deref().is_some_and(is_void) {
            self.rest = None;
        }
    }
}
