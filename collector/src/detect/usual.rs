//! The usual path in the words of identities: what an event shows as "before".
//!
//! Rounds are counted only while nothing is suspected or claimed, so it stands still from the first round that differs.

use serde::{Deserialize, Serialize};

use crate::api::types::PathIdentity;

/// Values kept of each layer.
const VALUES_MAX: usize = 8;
/// A value with a smaller share of its layer is not part of the path.
const SHARE: f32 = 0.05;
/// What one more round leaves of the counts: some two hundred rounds are remembered.
const FADE: f32 = 0.995;

/// The usual path: decayed counts of what rounds showed, layer by layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Usual {
    as_paths: Vec<(Vec<u32>, f32)>,
    metros: Vec<(String, f32)>,
    routers: Vec<(String, f32)>,
    edges: Vec<(String, f32)>,
}

impl Usual {
    /// Takes in a round on the usual path.
    pub(super) fn admit(&mut self, identity: &PathIdentity) {
        if !identity.as_path.is_empty() {
            count(&mut self.as_paths, std::slice::from_ref(&identity.as_path));
        }
        count(&mut self.metros, &identity.ingress_metros);
        count(&mut self.routers, &identity.ingress_routers);
        count(&mut self.edges, &identity.edge_metros);
    }

    /// The usual path: the AS path seen most often, and of the other layers what is seen regularly.
    pub(super) fn identity(&self) -> PathIdentity {
        let most = self
            .as_paths
            .iter()
            .max_by(|one, other| one.1.total_cmp(&other.1));
        PathIdentity {
            as_path: most.map(|(path, _)| path.clone()).unwrap_or_default(),
            ingress_metros: regular(&self.metros),
            ingress_routers: regular(&self.routers),
            edge_metros: regular(&self.edges),
        }
    }
}

fn count<T: Clone + PartialEq>(known: &mut Vec<(T, f32)>, seen: &[T]) {
    if seen.is_empty() {
        return; // silence is no statement
    }
    for (_, count) in known.iter_mut() {
        *count *= FADE;
    }
    for value in seen {
        if let Some((_, count)) = known.iter_mut().find(|(known, _)| known == value) {
            *count += 1.0;
            continue;
        }
        if known.len() >= VALUES_MAX {
            known.sort_by(|one, other| other.1.total_cmp(&one.1));
            known.truncate(VALUES_MAX - 1);
        }
        known.push((value.clone(), 1.0));
    }
}

fn regular(known: &[(String, f32)]) -> Vec<String> {
    let most = known.iter().map(|(_, count)| *count).fold(0.0, f32::max);
    let mut values: Vec<String> = known
        .iter()
        .filter(|(_, count)| *count >= most * SHARE)
        .map(|(value, _)| value.clone())
        .collect();
    values.sort_unstable();
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(as_path: &[u32], routers: &[&str]) -> PathIdentity {
        PathIdentity {
            as_path: as_path.to_vec(),
            ingress_routers: routers.iter().map(ToString::to_string).collect(),
            ..PathIdentity::default()
        }
    }

    #[test]
    fn what_is_seen_regularly_is_the_usual_path() {
        let mut usual = Usual::default();
        for _ in 0..100 {
            usual.admit(&round(&[64_500, 64_501], &["r1", "r2"]));
        }
        usual.admit(&round(&[64_502], &["r9"]));
        usual.admit(&round(&[], &[]));
        assert_eq!(usual.identity(), round(&[64_500, 64_501], &["r1", "r2"]));
    }

    #[test]
    fn it_stays_small_whatever_comes() {
        let mut usual = Usual::default();
        for router in 0..1_000 {
            usual.admit(&round(&[router], &[&router.to_string()]));
        }
        assert!(usual.routers.len() <= VALUES_MAX && usual.as_paths.len() <= VALUES_MAX);
    }
}
