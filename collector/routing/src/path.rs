//! AS paths: from the AS that told us, to the origin AS.

use std::fmt;

use crate::asn::Asn;

/// Longest path that is kept; routers refuse much shorter ones.
pub const MAX_HOPS: usize = 1024;

/// One step of a path (RFC 4271 §4.3): an AS, or a set without order left by aggregation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Hop {
    /// One AS.
    As(Asn),
    /// An `AS_SET` of two or more members.
    Set(Box<[Asn]>),
}

impl Hop {
    /// The AS numbers of this step.
    pub fn members(&self) -> &[Asn] {
        match self {
            Self::As(asn) => std::slice::from_ref(asn),
            Self::Set(members) => members,
        }
    }

    /// The AS, unless it is a set.
    pub fn single(&self) -> Option<Asn> {
        match self {
            Self::As(asn) => Some(*asn),
            Self::Set(_) => None,
        }
    }
}

/// An AS path with all its prepends; the origin AS is last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AsPath {
    hops: Box<[Hop]>,
}

impl AsPath {
    /// A path of these hops. A set of one member is that member; an empty set is nothing.
    pub fn new(hops: impl IntoIterator<Item = Hop>) -> Self {
        let tidy = |hop| match hop {
            Hop::Set(members) if members.len() < 2 => members.first().copied().map(Hop::As),
            hop @ (Hop::As(_) | Hop::Set(_)) => Some(hop),
        };
        Self {
            hops: hops.into_iter().filter_map(tidy).take(MAX_HOPS).collect(),
        }
    }

    /// A path without sets.
    pub fn of(asns: &[u32]) -> Self {
        Self::new(asns.iter().map(|asn| Hop::As(Asn(*asn))))
    }

    /// All steps, prepends included.
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// The last step: the origin AS, or a set of which nobody knows which member it was.
    pub fn origin(&self) -> Option<&Hop> {
        self.hops.last()
    }

    /// The steps without prepends: of equal neighbours one stays.
    pub fn without_prepends(&self) -> Vec<&Hop> {
        let mut steps: Vec<&Hop> = Vec::with_capacity(self.hops.len());
        for hop in &self.hops {
            if steps.last() != Some(&hop) {
                steps.push(hop);
            }
        }
        steps
    }

    /// Whether `asn` stands in the path, in a set too.
    pub fn contains(&self, asn: Asn) -> bool {
        self.hops.iter().any(|hop| hop.members().contains(&asn))
    }

    /// The numbers joined by commas, as the expressions of rules see them.
    pub fn tokens(&self) -> String {
        let mut text = String::with_capacity(self.hops.len() * 6);
        for asn in self.hops.iter().flat_map(Hop::members) {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&asn.0.to_string());
        }
        text
    }
}

impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, hop) in self.hops.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            match hop {
                Hop::As(asn) => write!(f, "{space}{}", asn.0)?,
                Hop::Set(members) => {
                    let members: Vec<String> =
                        members.iter().map(|asn| asn.0.to_string()).collect();
                    write!(f, "{space}{{{}}}", members.join(","))?;
                }
            }
        }
        Ok(())
    }
}

/// What one peer says of one prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Route {
    /// The way to the origin.
    pub path: AsPath,
    /// Only to Customer (RFC 9234 §5), if the attribute was there.
    pub otc: Option<Asn>,
}

impl Route {
    /// A route without attributes that the rules look at.
    pub fn new(path: AsPath) -> Self {
        Self { path, otc: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prepends_are_one_step_and_a_set_of_one_is_its_member() {
        let set = |members: &[u32]| Hop::Set(members.iter().copied().map(Asn).collect());
        let path = AsPath::new([
            Hop::As(Asn(64_500)),
            Hop::As(Asn(64_501)),
            Hop::As(Asn(64_501)),
            set(&[64_502]),
            set(&[]),
            set(&[64_503, 64_504]),
        ]);
        assert_eq!(path.to_string(), "64500 64501 64501 64502 {64503,64504}");
        assert_eq!(path.tokens(), "64500,64501,64501,64502,64503,64504");
        assert_eq!(path.hops().len(), 5);
        assert_eq!(path.without_prepends().len(), 4);
        assert!(path.contains(Asn(64_504)));
        assert!(!path.contains(Asn(64_505)));
    }
}
