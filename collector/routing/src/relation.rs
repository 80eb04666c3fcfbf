//! Who pays whom: leaks seen as a path that goes down and up again (RFC 7908 §3), and by Only-to-Customer (RFC 9234 §5).

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::asn::Asn;
use crate::path::Hop;

/// What one AS is to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Relation {
    /// The first is a provider of the second.
    #[serde(rename = "provider-of")]
    ProviderOf,
    /// They exchange their own and their customers' routes.
    #[serde(rename = "peer")]
    Peer,
}

/// Which way a route goes from one AS to the next, towards us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Up,
    Across,
    Down,
    Unknown,
}

/// The relations that are known.
#[derive(Clone, Debug, Default)]
pub struct Relations {
    pairs: BTreeMap<(Asn, Asn), Step>,
}

/// A leak: who passed the route on, from whom, to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leak {
    /// It should not have passed the route on.
    pub by: Asn,
    /// From whom it had the route.
    pub from: Asn,
    /// To whom it gave it.
    pub to: Asn,
}

impl Relations {
    /// Says what `a` is to `b`. A later word replaces an earlier one.
    pub fn add(&mut self, a: Asn, relation: Relation, b: Asn) {
        let (a_to_b, b_to_a) = match relation {
            Relation::ProviderOf => (Step::Down, Step::Up),
            Relation::Peer => (Step::Across, Step::Across),
        };
        self.pairs.insert((a, b), a_to_b);
        self.pairs.insert((b, a), b_to_a);
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Every AS that a relation names.
    pub fn asns(&self) -> impl Iterator<Item = Asn> {
        self.pairs.keys().map(|(a, _)| *a)
    }

    fn step(&self, from: &Hop, to: &Hop) -> Step {
        match (from.single(), to.single()) {
            (Some(from), Some(to)) => self
                .pairs
                .get(&(from, to))
                .copied()
                .unwrap_or(Step::Unknown),
            _ => Step::Unknown,
        }
    }

    /// The first turn upwards or across after a step down or across, walking from the origin towards us. What is unknown proves
    /// nothing, and takes nothing back. `steps` is a path without prepends.
    pub fn valley(&self, steps: &[&Hop]) -> Option<Leak> {
        if self.is_empty() {
            return None;
        }
        let mut turned = false;
        let mut before: Option<&Hop> = None;
        for pair in steps.windows(2).rev() {
            let [to, from] = pair else { continue };
            match self.step(from, to) {
                Step::Up | Step::Across if turned => {
                    return Some(Leak {
                        by: from.single()?,
                        from: before?.members().first().copied()?,
                        to: to.single()?,
                    });
                }
                Step::Across | Step::Down => turned = true,
                Step::Up | Step::Unknown => {}
            }
            before = Some(from);
        }
        None
    }

    /// The first step at which a route with Only-to-Customer was received from a customer, or from a peer that is not the AS in the
    /// attribute (RFC 9234 §5, rules 1 and 2 of the ingress procedure). Steps before the AS that set it do not count.
    pub fn otc_broken(&self, steps: &[&Hop], otc: Asn) -> Option<Leak> {
        let set_by = steps.iter().rposition(|hop| hop.single() == Some(otc));
        let relevant = set_by
            .and_then(|index| steps.get(..=index))
            .unwrap_or(steps);
        let mut before = None;
        for pair in relevant.windows(2).rev() {
            let [to, from] = pair else { continue };
            let broken = match self.step(from, to) {
                Step::Up => true,
                Step::Across => from.single() != Some(otc),
                Step::Down | Step::Unknown => false,
            };
            if broken {
                let by = from.single()?;
                return Some(Leak {
                    by,
                    from: before.unwrap_or(otc),
                    to: to.single()?,
                });
            }
            before = from.single();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::AsPath;

    /// 64500 and 64501 are peers; 64510 is a customer of both, 64511 of 64500; 64520 is a customer of 64510.
    fn relations() -> Relations {
        let mut relations = Relations::default();
        for (a, relation, b) in [
            (64_500, Relation::Peer, 64_501),
            (64_500, Relation::ProviderOf, 64_510),
            (64_501, Relation::ProviderOf, 64_510),
            (64_500, Relation::ProviderOf, 64_511),
            (64_510, Relation::ProviderOf, 64_520),
            (64_510, Relation::Peer, 64_511),
        ] {
            relations.add(Asn(a), relation, Asn(b));
        }
        relations
    }

    #[test]
    fn a_path_that_turns_up_again_is_a_leak_of_every_kind_of_rfc_7908() {
        for (name, path, by) in [
            (
                "up, across, down",
                vec![64_511, 64_500, 64_501, 64_510],
                None,
            ),
            ("up only", vec![64_500, 64_510, 64_520], None),
            (
                "type 1: provider to provider",
                vec![64_501, 64_510, 64_500],
                Some(64_510),
            ),
            ("type 2: peer to peer", vec![64_511, 64_510, 64_500], None),
            (
                "type 3: provider to peer",
                vec![64_511, 64_510, 64_500, 64_511],
                Some(64_510),
            ),
            (
                "type 4: peer to provider",
                vec![64_501, 64_510, 64_511],
                Some(64_510),
            ),
            (
                "unknown links prove nothing",
                vec![64_501, 64_505, 64_500],
                None,
            ),
            (
                "a valley with an unknown link in it",
                vec![64_501, 64_510, 64_505, 64_511, 64_500],
                Some(64_510),
            ),
            ("alone", vec![64_500], None),
            ("nothing", vec![], None),
        ] {
            let path = AsPath::of(&path);
            let leak = relations().valley(&path.without_prepends());
            // A route from a provider given to a peer goes down, then across.
            let want = if name.starts_with("type 2") {
                Some(Asn(64_510))
            } else {
                by.map(Asn)
            };
            assert_eq!(leak.map(|leak| leak.by), want, "{name}");
        }
    }

    #[test]
    fn only_to_customer_may_not_go_up_or_across() {
        for (name, path, otc, by) in [
            ("given down", vec![64_520, 64_510, 64_500], 64_500, None),
            (
                "up from a customer",
                vec![64_501, 64_510, 64_500],
                64_500,
                Some(64_510),
            ),
            (
                "across, not by who set it",
                vec![64_511, 64_510, 64_501],
                64_501,
                Some(64_510),
            ),
            (
                "across, by who set it",
                vec![64_501, 64_500, 64_511],
                64_500,
                None,
            ),
            (
                "set after the climb",
                vec![64_511, 64_500, 64_510, 64_520],
                64_500,
                None,
            ),
            ("unknown relations", vec![64_502, 64_503], 64_503, None),
            (
                "by an AS that is not in the path",
                vec![64_500, 64_510],
                64_496,
                Some(64_510),
            ),
        ] {
            let path = AsPath::of(&path);
            let leak = relations().otc_broken(&path.without_prepends(), Asn(otc));
            assert_eq!(leak.map(|leak| leak.by), by.map(Asn), "{name}");
        }
    }
}
