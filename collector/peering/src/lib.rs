//! Registered connections and prefixes: what they are, whether a prefix keeps Microsoft's rules, and the REST interface of
//! `Microsoft.Peering`, so that scripts written for it work when pointed here.
//!
//! Pure: [`desk::answer`] takes what is registered and one request, and returns the answer and what to write. The shell with
//! the store and the socket is the collector's `api::arm`.

pub mod answer;
pub mod compliance;
pub mod connection;
pub mod desk;
pub mod directory;
pub mod id;
pub mod model;
pub mod routes;
pub mod standing;
pub mod validate;
pub mod verdict;

use std::collections::BTreeMap;

use id::ResourceId;
use model::Resource;

/// All that an organisation registered, by the key of its id ([`ResourceId::key`]).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    by_key: BTreeMap<String, Resource>,
}

impl Resources {
    /// The resource with this id.
    pub fn one(&self, id: &ResourceId) -> Option<&Resource> {
        self.by_key.get(&id.key())
    }

    /// Puts one in, in place of an older one of the same id.
    pub fn put(&mut self, resource: Resource) {
        self.by_key.insert(resource.id.key(), resource);
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &ResourceId) {
        self.by_key.remove(&id.key());
    }

    /// All of them, by id.
    pub fn all(&self) -> impl Iterator<Item = &Resource> {
        self.by_key.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether nothing is registered.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

impl FromIterator<Resource> for Resources {
    fn from_iter<I: IntoIterator<Item = Resource>>(resources: I) -> Self {
        let by_key = resources.into_iter().map(|one| (one.id.key(), one));
        Self {
            by_key: by_key.collect(),
        }
    }
}
