//! When two rounds lie on one span of the path's history.
//!
//! Silence is no change: headers are seen every few minutes and an ingress may not answer in a round, so a layer that one of
//! the two does not know neither parts them nor is forgotten.

use crate::api::types::PathIdentity;

/// The identity of a span that both rounds belong to; `None` if a layer that both know differs.
///
/// # Examples
/// ```
/// use firstmile_collector::api::types::PathIdentity;
/// use firstmile_collector::detect::span::joined;
/// let metro = |edge: &[&str]| PathIdentity {
///     edge_metros: edge.iter().map(ToString::to_string).collect(),
///     ..PathIdentity::default()
/// };
/// assert_eq!(joined(&metro(&[]), &metro(&["AMS"])), Some(metro(&["AMS"])));
/// assert_eq!(joined(&metro(&["AMS"]), &metro(&["FRA"])), None);
/// ```
pub fn joined(one: &PathIdentity, other: &PathIdentity) -> Option<PathIdentity> {
    Some(PathIdentity {
        as_path: layer(&one.as_path, &other.as_path)?,
        ingress_metros: layer(&one.ingress_metros, &other.ingress_metros)?,
        ingress_routers: layer(&one.ingress_routers, &other.ingress_routers)?,
        edge_metros: layer(&one.edge_metros, &other.edge_metros)?,
    })
}

fn layer<T: Clone + PartialEq>(one: &[T], other: &[T]) -> Option<Vec<T>> {
    match (one.is_empty(), other.is_empty()) {
        (true, _) => Some(other.to_vec()),
        (false, true) => Some(one.to_vec()),
        (false, false) => (one == other).then(|| one.to_vec()),
    }
}
