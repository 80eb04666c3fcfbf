//! Routes kept once, however many peers have them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::path::Route;

/// Number of a route that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RouteId(u32);

/// All routes that are in use, counted.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    slots: Vec<Option<(Arc<Route>, u32)>>,
    ids: HashMap<Arc<Route>, RouteId>,
    free: Vec<u32>,
}

impl Routes {
    /// The number of an equal route, used once more.
    pub(crate) fn hold(&mut self, route: &Route) -> RouteId {
        if let Some(id) = self.ids.get(route).copied() {
            if let Some(Some((_, uses))) = self.slots.get_mut(id.0 as usize) {
                *uses += 1;
            }
            return id;
        }
        let route = Arc::new(route.clone());
        let slot = Some((Arc::clone(&route), 1));
        let id = if let Some(free) = self.free.pop() {
            if let Some(empty) = self.slots.get_mut(free as usize) {
                *empty = slot;
            }
            RouteId(free)
        } else {
            self.slots.push(slot);
            RouteId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        };
        self.ids.insert(route, id);
        id
    }

    /// One use less; the last one frees the route.
    pub(crate) fn release(&mut self, id: RouteId) {
        let Some(slot) = self.slots.get_mut(id.0 as usize) else {
            return;
        };
        if let Some((route, uses)) = slot {
            *uses -= 1;
            if *uses == 0 {
                self.ids.remove(route.as_ref());
                *slot = None;
                self.free.push(id.0);
            }
        }
    }

    /// The route of a number.
    pub(crate) fn get(&self, id: RouteId) -> Option<&Arc<Route>> {
        let slot = self.slots.get(id.0 as usize)?.as_ref()?;
        Some(&slot.0)
    }

    /// Routes in use.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            routes.get(first).map(|route| route.as_ref() == &a),
            Some(true)
        );
        routes.release(first);
        assert!(routes.get(first).is_none());
        assert_eq!(routes.len(), 1);
        assert_eq!(routes.hold(&a), first, "the place is used again");
    }
}
