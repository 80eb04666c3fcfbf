//! Finds registrations by prefix and by key, without a look at all of them: ten thousand prefixes are each judged beside all others.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use uuid::Uuid;

use crate::model::Resource;

/// Resources by what they hold; each is named by its key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Index {
    /// Prefixes of customers.
    pub(crate) prefixes: ByPrefix,
    /// Prefixes that partners registered.
    pub(crate) registered: ByPrefix,
    /// What partners registered, by the key that was given out.
    pub(crate) keys: BTreeMap<Uuid, BTreeSet<String>>,
    /// Peerings.
    pub(crate) peerings: BTreeSet<String>,
}

/// Resources by their prefix.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ByPrefix(BTreeMap<IpNet, BTreeSet<String>>);

impl ByPrefix {
    /// Those of prefixes that `prefix` lies in, itself too.
    pub(crate) fn covering(&self, prefix: IpNet) -> impl Iterator<Item = &String> {
        let wider = (0..=prefix.prefix_len()).filter_map(move |length| {
            let wider = IpNet::new(prefix.addr(), length).ok()?;
            self.0.get(&wider.trunc())
        });
        wider.flatten()
    }

    /// Those of parts of `prefix`, itself not.
    pub(crate) fn within(&self, prefix: IpNet) -> impl Iterator<Item = &String> {
        let after = self.0.range(prefix.trunc()..);
        let inside = after.take_while(move |(part, _)| prefix.contains(&part.network()));
        let parts = inside.filter(move |(part, _)| part.prefix_len() > prefix.prefix_len());
        parts.flat_map(|(_, keys)| keys)
    }

    fn change(&mut self, prefix: IpNet, key: &str, is_there: bool) {
        set(&mut self.0, prefix.trunc(), key, is_there);
    }
}

impl Index {
    /// A resource came, or goes.
    pub(crate) fn change(&mut self, key: &str, resource: &Resource, is_there: bool) {
        let properties = &resource.properties;
        if let Some(one) = properties.prefix() {
            self.prefixes.change(one.prefix, key, is_there);
        }
        if let Some(one) = properties.registered_prefix() {
            self.registered.change(one.prefix, key, is_there);
            set(
                &mut self.keys,
                one.peering_service_prefix_key,
                key,
                is_there,
            );
        }
        if let Some(one) = properties.registered_asn() {
            set(
                &mut self.keys,
                one.peering_service_prefix_key,
                key,
                is_there,
            );
        }
        if properties.peering().is_some() {
            if is_there {
                self.peerings.insert(key.to_owned());
            } else {
                self.peerings.remove(key);
            }
        }
    }
}

fn set<K: Ord>(map: &mut BTreeMap<K, BTreeSet<String>>, at: K, key: &str, is_there: bool) {
    if is_there {
        map.entry(at).or_default().insert(key.to_owned());
        return;
    }
    if let Some(keys) = map.get_mut(&at) {
        keys.remove(key);
        if keys.is_empty() {
            map.remove(&at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net() -> impl Strategy<Value = IpNet> {
        let of = |(bits, length): (u32, u8)| {
            let address = std::net::Ipv4Addr::from(bits << 24);
            IpNet::new(address.into(), length).unwrap().trunc()
        };
        (0_u32..256, 0_u8..=32).prop_map(of)
    }

    proptest! {
        #[test]
        fn it_finds_what_a_look_at_all_would(all in proptest::collection::vec(net(), 0..40), asked in net()) {
            let mut index = ByPrefix::default();
            for prefix in &all {
                index.change(*prefix, &prefix.to_string(), true);
            }
            let (gone, kept) = all.split_at(all.len() / 3);
            for prefix in gone {
                index.change(*prefix, &prefix.to_string(), false);
            }
            let kept: BTreeSet<String> = kept
                .iter()
                .filter(|prefix| !gone.contains(prefix))
                .filter(|prefix| prefix.contains(&asked) || asked.contains(*prefix))
                .map(ToString::to_string)
                .collect();
            let found: BTreeSet<String> = index.covering(asked).chain(index.within(asked)).cloned().collect();
            prop_assert_eq!(found, kept);
        }
    }
}
