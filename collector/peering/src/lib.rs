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
mod index;
pub mod model;
pub mod routes;
pub mod standing;
pub mod validate;
pub mod verdict;

use std::collections::BTreeMap;

use id::ResourceId;
use index::Index;
use ipnet::IpNet;
use model::Resource;
use uuid::Uuid;

/// All that an organisation registered, by the key of its id ([`ResourceId::key`]).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    by_key: BTreeMap<String, Resource>,
    index: Index,
}

impl Resources {
    /// The resource with this id.
    pub fn one(&self, id: &ResourceId) -> Option<&Resource> {
        self.by_key.get(&id.key())
    }

    /// Puts one in, in place of an older one of the same id.
    pub fn put(&mut self, resource: Resource) {
        self.remove(&resource.id);
        let key = resource.id.key();
        self.index.change(&key, &resource, true);
        self.by_key.insert(key, resource);
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &ResourceId) {
        let key = id.key();
        if let Some(old) = self.by_key.remove(&key) {
            self.index.change(&key, &old, false);
        }
    }

    /// All of them, by id.
    pub fn all(&self) -> impl Iterator<Item = &Resource> {
        self.by_key.values()
    }

    /// Customers' prefixes that overlap `prefix`.
    pub(crate) fn overlapping(&self, prefix: IpNet) -> impl Iterator<Item = &Resource> {
        let index = &self.index.prefixes;
        let keys = index.covering(prefix).chain(index.within(prefix));
        keys.filter_map(|key| self.by_key.get(key))
    }

    /// Whether a partner registered `prefix`, or what it lies in.
    pub(crate) fn is_registered(&self, prefix: IpNet) -> bool {
        self.index.registered.covering(prefix).next().is_some()
    }

    /// What partners registered under a key that they gave out.
    pub(crate) fn of_key(&self, key: Uuid) -> impl Iterator<Item = &Resource> {
        let keys = self.index.keys.get(&key);
        keys.into_iter()
            .flatten()
            .filter_map(|key| self.by_key.get(key))
    }

    /// The peerings, by id.
    pub(crate) fn peerings(&self) -> impl Iterator<Item = &Resource> {
        let keys = self.index.peerings.iter();
        keys.filter_map(|key| self.by_key.get(key))
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
        let mut all = Self::default();
        for resource in resources {
            all.put(resource);
        }
        all
    }
}
