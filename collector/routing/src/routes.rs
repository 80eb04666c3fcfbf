//! Routes kept once, however many peers have them.
//!
//! Full tables of ten peers are millions of distinct routes: each is a few words in one long row, not objects of its own.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::asn::Asn;
use crate::path::{AsPath, Hop, Route};

/// Number of a route that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RouteId(u32);

/// First word of a route: what follows.
const HAS_OTC: u32 = 1;
/// Steps come with the number of their members; without it each is one AS.
const HAS_SETS: u32 = 2;

/// Where a route stands in the row, and how many have it. A place that nobody uses waits for a route of its length.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: u32,
    length: u32,
    uses: u32,
}

/// All routes that are in use, counted.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    words: Vec<u32>,
    places: Vec<Place>,
    ids: HashTable<u32>,
    hasher: RandomState,
    /// Places that nobody uses, by length.
    free: BTreeMap<u32, Vec<u32>>,
    scratch: Vec<u32>,
}

impl Routes {
    /// The number of an equal route, used once more.
    pub(crate) fn hold(&mut self, route: &Route) -> RouteId {
        let mut wanted = std::mem::take(&mut self.scratch);
        write(route, &mut wanted);
        let id = self.hold_words(&wanted);
        self.scratch = wanted;
        RouteId(id)
    }

    fn hold_words(&mut self, wanted: &[u32]) -> u32 {
        let hash = self.hasher.hash_one(wanted);
        let (places, words) = (&self.places, &self.words);
        let same = |id: &u32| words_of(places, words, *id) == Some(wanted);
        if let Some(id) = self.ids.find(hash, same).copied() {
            if let Some(place) = self.places.get_mut(id as usize) {
                place.uses += 1;
            }
            return id;
        }
        let id = self.place(wanted);
        let (places, words, hasher) = (&self.places, &self.words, &self.hasher);
        self.ids.insert_unique(hash, id, |id| {
            hasher.hash_one(words_of(places, words, *id).unwrap_or_default())
        });
        id
    }

    /// Puts a new route where an old one of its length was, or at the end.
    fn place(&mut self, wanted: &[u32]) -> u32 {
        let length = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
        let free = self.free.get_mut(&length).and_then(Vec::pop);
        if let Some(id) = free
            && let Some(place) = self.places.get_mut(id as usize)
        {
            place.uses = 1;
            let from = place.at as usize;
            if let Some(words) = self.words.get_mut(from..from + wanted.len()) {
                words.copy_from_slice(wanted);
            }
            return id;
        }
        grow(&mut self.words, wanted.len());
        grow(&mut self.places, 1);
        self.places.push(Place {
            at: u32::try_from(self.words.len()).unwrap_or(u32::MAX),
            length,
            uses: 1,
        });
        self.words.extend_from_slice(wanted);
        u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
    }

    /// One use less; the last one frees the route.
    pub(crate) fn release(&mut self, id: RouteId) {
        let Some(place) = self.places.get_mut(id.0 as usize) else {
            return;
        };
        place.uses = place.uses.saturating_sub(1);
        if place.uses > 0 {
            return;
        }
        let length = place.length;
        let words = words_of(&self.places, &self.words, id.0).unwrap_or_default();
        let hash = self.hasher.hash_one(words);
        if let Ok(found) = self.ids.find_entry(hash, |known| *known == id.0) {
            found.remove();
            self.free.entry(length).or_default().push(id.0);
        }
    }

    /// The route of a number, written out.
    pub(crate) fn get(&self, id: RouteId) -> Option<Route> {
        let place = self.places.get(id.0 as usize)?;
        if place.uses == 0 {
            return None;
        }
        read(words_of(&self.places, &self.words, id.0)?)
    }

    /// Routes in use.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }
}

/// Doubling would waste half of what millions of routes take.
fn grow<T>(row: &mut Vec<T>, by: usize) {
    if row.capacity() - row.len() < by {
        row.reserve_exact(by + 64 + row.len() / 8);
    }
}

fn words_of<'a>(places: &[Place], words: &'a [u32], id: u32) -> Option<&'a [u32]> {
    let place = places.get(id as usize)?;
    let from = place.at as usize;
    words.get(from..from + place.length as usize)
}

fn write(route: &Route, into: &mut Vec<u32>) {
    into.clear();
    let hops = route.path.hops();
    let has_sets = hops.iter().any(|hop| hop.single().is_none());
    let bit = |is: bool, bit: u32| if is { bit } else { 0 };
    into.push(bit(route.otc.is_some(), HAS_OTC) | bit(has_sets, HAS_SETS));
    into.extend(route.otc.map(|asn| asn.0));
    for hop in hops {
        let members = hop.members();
        if has_sets {
            into.push(u32::try_from(members.len()).unwrap_or(u32::MAX));
        }
        into.extend(members.iter().map(|asn| asn.0));
    }
}

fn read(words: &[u32]) -> Option<Route> {
    let (first, mut rest) = words.split_first()?;
    let mut otc = None;
    if first & HAS_OTC != 0 {
        let (asn, after) = rest.split_first()?;
        (otc, rest) = (Some(Asn(*asn)), after);
    }
    let path = if first & HAS_SETS == 0 {
        AsPath::new(rest.iter().map(|asn| Hop::As(Asn(*asn))))
    } else {
        let mut hops = Vec::new();
        while let Some((count, after)) = rest.split_first() {
            let (members, after) = after.split_at_checked(*count as usize)?;
            hops.push(Hop::Set(members.iter().copied().map(Asn).collect()));
            rest = after;
        }
        AsPath::new(hops)
    };
    Some(Route { path, otc })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::path::AsPath;

    #[test]
    fn equal_routes_are_one_until_nobody_has_them() {
        let mut routes = Routes::default();
        let (a, b) = (
            Route::new(AsPath::of(&[64_496])),
            Route::new(AsPath::of(&[64_497])),
        );
        let first = routes.hold(&a);
        assert_eq!(routes.hold(&a), first);
        let second = routes.hold(&b);
        assert_ne!(first, second);
        routes.release(first);
        assert_eq!(routes.get(first).as_ref(), Some(&a));
        routes.release(first);
        assert!(routes.get(first).is_none());
        assert_eq!(routes.len(), 1);
        assert_eq!(routes.hold(&a), first, "the place is used again");
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(hops in vec(hop(), 0..12), otc in option::of(any::<u32>())) {
            let route = Route { path: AsPath::new(hops), otc: otc.map(Asn) };
            let mut routes = Routes::default();
            let other = routes.hold(&Route::new(AsPath::of(&[64_496])));
            let id = routes.hold(&route);
            prop_assert_eq!(routes.get(id), Some(route.clone()));
            routes.release(other);
            prop_assert_eq!(routes.get(id), Some(route.clone()));
            prop_assert_eq!(routes.hold(&route), id);
        }
    }

    fn hop() -> impl Strategy<Value = Hop> {
        prop_oneof![
            any::<u32>().prop_map(|asn| Hop::As(Asn(asn))),
            vec(any::<u32>(), 0..5).prop_map(|set| Hop::Set(set.into_iter().map(Asn).collect())),
        ]
    }
}
