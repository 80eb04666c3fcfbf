//! Ids of resources: `/subscriptions/S/resourceGroups/G/providers/Microsoft.Peering/KIND/NAME[/KIND/NAME]`.
//!
//! Ids keep the case they were made with and are compared without it, as Azure Resource Manager does.

use std::fmt;
use std::str::FromStr;

/// Longest name of a resource, a group or a subscription.
const NAME_MAX: usize = 63;

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A customer's connection.
    PeeringService,
    /// A prefix of a connection.
    Prefix,
    /// A test from an agent to a destination, under a connection.
    ConnectionMonitorTest,
    /// A partner's peering with Microsoft.
    Peering,
    /// A prefix that a partner registered under a peering.
    RegisteredPrefix,
    /// A customer's AS that a partner registered under a peering.
    RegisteredAsn,
    /// An AS of the subscription.
    PeerAsn,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::PeeringService,
        Self::Prefix,
        Self::ConnectionMonitorTest,
        Self::Peering,
        Self::RegisteredPrefix,
        Self::RegisteredAsn,
        Self::PeerAsn,
    ];

    /// The segments before the names, outermost first.
    pub const fn segments(self) -> &'static [&'static str] {
        match self {
            Self::PeeringService => &["peeringServices"],
            Self::Prefix => &["peeringServices", "prefixes"],
            Self::ConnectionMonitorTest => &["peeringServices", "connectionMonitorTests"],
            Self::Peering => &["peerings"],
            Self::RegisteredPrefix => &["peerings", "registeredPrefixes"],
            Self::RegisteredAsn => &["peerings", "registeredAsns"],
            Self::PeerAsn => &["peerAsns"],
        }
    }

    /// `Microsoft.Peering/peeringServices/prefixes` and the like.
    pub fn type_name(self) -> String {
        format!("Microsoft.Peering/{}", self.segments().join("/"))
    }

    /// The kind with these segments, in any case.
    pub fn of(segments: &[&str]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| {
            let own = kind.segments();
            own.len() == segments.len()
                && own
                    .iter()
                    .zip(segments)
                    .all(|(own, given)| own.eq_ignore_ascii_case(given))
        })
    }

    /// Whether it lives in a resource group; an AS of the subscription does not.
    pub fn in_group(self) -> bool {
        self != Self::PeerAsn
    }
}

/// The id of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceId {
    /// The subscription; any name will do here.
    pub subscription: String,
    /// The resource group, empty for a kind without one.
    pub group: String,
    /// What it is.
    pub kind: Kind,
    /// Name of the outer resource, and of the inner one if the kind has two.
    pub names: Vec<String>,
}

/// Why a text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no id of a resource: {why}")]
pub struct IdError {
    text: String,
    why: &'static str,
}

impl ResourceId {
    /// What ids are compared and stored by.
    pub fn key(&self) -> String {
        self.to_string().to_lowercase()
    }

    /// Its own name, the innermost.
    pub fn name(&self) -> &str {
        self.names.last().map_or("", String::as_str)
    }

    /// The id of the resource around it, itself if there is none.
    #[must_use]
    pub fn outer(&self) -> Self {
        let kind = match self.kind {
            Kind::PeeringService | Kind::Prefix | Kind::ConnectionMonitorTest => {
                Kind::PeeringService
            }
            Kind::Peering | Kind::RegisteredPrefix | Kind::RegisteredAsn => Kind::Peering,
            Kind::PeerAsn => Kind::PeerAsn,
        };
        Self {
            kind,
            names: self.names.iter().take(1).cloned().collect(),
            ..self.clone()
        }
    }

    /// Whether it lies within another resource.
    pub fn is_inside(&self, outer: &Self) -> bool {
        self.kind != outer.kind && self.outer().key() == outer.key()
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/subscriptions/{}", self.subscription)?;
        if self.kind.in_group() {
            write!(f, "/resourceGroups/{}", self.group)?;
        }
        write!(f, "/providers/Microsoft.Peering")?;
        for (segment, name) in self.kind.segments().iter().zip(&self.names) {
            write!(f, "/{segment}/{name}")?;
        }
        Ok(())
    }
}

impl FromStr for ResourceId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = |why| IdError {
            text: text.chars().take(200).collect(),
            why,
        };
        match Path::parse(text).map_err(wrong)? {
            Path::One(id) => Ok(id),
            Path::Within { .. } => Err(wrong("it names no single resource")),
        }
    }
}

/// What a request's path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// One resource.
    One(ResourceId),
    /// Anything else: a list, an action, a directory.
    Within {
        /// The subscription, empty for `/providers/Microsoft.Peering/…`.
        subscription: String,
        /// The resource group, if named.
        group: Option<String>,
        /// What follows the provider.
        rest: Vec<String>,
    },
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// Why it is none of this interface's.
    pub fn parse(path: &str) -> Result<Self, &'static str> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (subscription, tail) = match segments.as_slice() {
            [word, name, tail @ ..] if word.eq_ignore_ascii_case("subscriptions") => (*name, tail),
            tail => ("", tail),
        };
        let (group, tail) = match tail {
            [word, name, tail @ ..] if word.eq_ignore_ascii_case("resourceGroups") => {
                (Some(*name), tail)
            }
            tail => (None, tail),
        };
        let rest = match tail {
            [word, provider, rest @ ..]
                if word.eq_ignore_ascii_case("providers")
                    && provider.eq_ignore_ascii_case("Microsoft.Peering") =>
            {
                rest
            }
            _ => return Err("it does not lead to /providers/Microsoft.Peering/"),
        };
        let around = [Some(subscription).filter(|name| !name.is_empty()), group];
        let mut names = around.into_iter().flatten();
        if !names.all(is_name) || !rest.iter().all(|name| is_name(name)) {
            return Err("its names must be 1 to 63 letters, digits, '_', '.' or '-'");
        }
        Ok(Self::of(subscription, group, rest))
    }

    fn of(subscription: &str, group: Option<&str>, rest: &[&str]) -> Self {
        let segments: Vec<&str> = rest.iter().copied().step_by(2).collect();
        let kind = Kind::of(&segments).filter(|kind| {
            rest.len().is_multiple_of(2)
                && kind.in_group() == group.is_some()
                && !subscription.is_empty()
        });
        match kind {
            Some(kind) => Self::One(ResourceId {
                subscription: subscription.to_owned(),
                group: group.unwrap_or_default().to_owned(),
                kind,
                names: rest
                    .iter()
                    .skip(1)
                    .step_by(2)
                    .map(ToString::to_string)
                    .collect(),
            }),
            None => Self::Within {
                subscription: subscription.to_owned(),
                group: group.map(str::to_owned),
                rest: rest.iter().map(ToString::to_string).collect(),
            },
        }
    }
}

/// `[A-Za-z0-9_.-]{1,63}`, the rule for names of peerings.
fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_in_any_case_and_written_as_it_was_made() {
        let id: ResourceId = "/Subscriptions/s-1/resourcegroups/Net/providers/microsoft.peering/PEERINGSERVICES/Pune/prefixes/lan"
            .parse()
            .expect("an id");
        assert_eq!(id.kind, Kind::Prefix);
        assert_eq!(id.name(), "lan");
        assert_eq!(
            id.to_string(),
            "/subscriptions/s-1/resourceGroups/Net/providers/Microsoft.Peering/peeringServices/Pune/prefixes/lan"
        );
        assert!(id.is_inside(&id.outer()));
        assert!(!id.outer().is_inside(&id.outer()));
        assert_eq!(id.outer().kind, Kind::PeeringService);
    }

    #[test]
    fn what_names_no_single_resource_is_told_apart() {
        for (name, path, one) in [
            (
                "an AS without a group",
                "/subscriptions/s/providers/Microsoft.Peering/peerAsns/a",
                true,
            ),
            (
                "an AS in a group",
                "/subscriptions/s/resourceGroups/g/providers/Microsoft.Peering/peerAsns/a",
                false,
            ),
            (
                "a connection without a group",
                "/subscriptions/s/providers/Microsoft.Peering/peeringServices/a",
                false,
            ),
            (
                "a list",
                "/subscriptions/s/providers/Microsoft.Peering/peeringServices",
                false,
            ),
            (
                "an action",
                "/subscriptions/s/resourceGroups/g/providers/Microsoft.Peering/peerings/p/registeredPrefixes/x/validate",
                false,
            ),
            (
                "no subscription",
                "/providers/Microsoft.Peering/operations",
                false,
            ),
        ] {
            let path = Path::parse(path).expect(name);
            assert_eq!(matches!(path, Path::One(_)), one, "{name}: {path:?}");
        }
        for path in [
            "/subscriptions/s/providers/Microsoft.Network/x",
            "/",
            "/subscriptions/a b/providers/Microsoft.Peering/peerAsns/a",
            "/subscriptions/s/providers/Microsoft.Peering/peerAsns//a",
        ] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }
}
