//! The classes of verdicts, and how grave each is.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

macro_rules! classes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $severity:ident;)*) => {
        /// What is wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Class {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Class {
            /// Every class.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in files, tables and the API.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// How grave it is when enough peers see it.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }
        }
    };
}

classes! {
    /// The registered prefix from an origin AS that is not allowed.
    HijackExactOrigin = "hijack.exact.origin", Critical;
    /// The allowed origin behind a first hop that is not.
    HijackExactNeighbor = "hijack.exact.neighbor", Error;
    /// None of the sequences that must stand before the origin stands there.
    HijackExactPath = "hijack.exact.path", Error;
    /// A more-specific from an origin AS that is not allowed.
    HijackSubOrigin = "hijack.sub.origin", Critical;
    /// A more-specific from the allowed origin behind a first hop that is not.
    HijackSubNeighbor = "hijack.sub.neighbor", Error;
    /// A more-specific, and none of the sequences stands before the origin.
    HijackSubPath = "hijack.sub.path", Error;
    /// A more-specific with nothing else wrong.
    HijackSubUnknown = "hijack.sub.unknown", Warning;
    /// A prefix that must not be seen at all is announced.
    HijackSquat = "hijack.squat", Critical;
    /// A prefix that must stay near is seen far away.
    LeakNoExport = "leak.no_export", Error;
    /// The path goes down and up again: no provider was paid for that.
    LeakPath = "leak.path", Error;
    /// Only-to-Customer says that it must not have come this way.
    LeakOtc = "leak.otc", Error;
    /// Peers that should see the prefix have no route to it.
    VisibilityLost = "visibility.lost", Warning;
    /// The prefix is no longer seen behind an AS that has to carry it too.
    BackupLost = "backup.lost", Warning;
    /// The path breaks a rule on its form.
    PathPolicy = "path.policy", Warning;
    /// An own AS beside one that is not listed as its neighbour.
    PathNeighbor = "path.neighbor", Warning;
    /// An own AS announces what is not registered.
    AsnUnexpectedPrefix = "asn.unexpected_prefix", Warning;
    /// RPKI covers the prefix, for other origins.
    RpkiInvalidAsn = "rpki.invalid_asn", Error;
    /// RPKI covers the prefix for this origin, and not at this length.
    RpkiInvalidLength = "rpki.invalid_length", Error;
    /// RPKI says nothing of the prefix.
    RpkiNotFound = "rpki.not_found", Information;
    /// What RPKI says in favour of a registered prefix ends soon.
    RpkiExpiring = "rpki.expiring", Warning;
    /// What RPKI says of a registered prefix or an own AS has changed.
    RoaChanged = "roa.changed", Warning;
    /// Address space or AS numbers that nobody may announce.
    Bogon = "bogon", Warning;
}

impl Class {
    /// Whether it says that traffic goes astray to somebody else.
    pub fn is_hijack(self) -> bool {
        self.name().starts_with("hijack.")
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How grave: the four levels that Azure Peering Service publishes for its prefix events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To know.
    Information,
    /// To look at.
    Warning,
    /// To act on.
    Error,
    /// To act on now.
    Critical,
}

impl Severity {
    /// Its name in files, tables and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Information => "information",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// One level less.
    #[must_use]
    pub const fn lower(self) -> Self {
        match self {
            Self::Information | Self::Warning => Self::Information,
            Self::Error => Self::Warning,
            Self::Critical => Self::Error,
        }
    }
}

/// One class, or all whose names begin alike: `hijack.sub` or `hijack.sub.*` names four, `*` names all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Family(Vec<Class>);

impl Family {
    /// Reads a name; `None` if no class has it.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self(Class::ALL.to_vec()));
        }
        let stem = text.strip_suffix(".*").unwrap_or(text);
        let within = |class: &&Class| {
            class
                .name()
                .strip_prefix(stem)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let classes: Vec<Class> = Class::ALL.iter().filter(within).copied().collect();
        (!classes.is_empty()).then_some(Self(classes))
    }

    /// Whether `class` is one of them.
    pub fn holds(&self, class: Class) -> bool {
        self.0.contains(&class)
    }

    /// The classes.
    pub fn classes(&self) -> &[Class] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Family {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format_args!("{text:?} is no class of verdicts")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_its_class_and_a_stem_for_all_below_it() {
        let count = |text: &str| Family::parse(text).map(|family| family.classes().len());
        assert_eq!(count("hijack.sub.origin"), Some(1));
        assert_eq!(count("hijack.sub"), Some(4));
        assert_eq!(count("hijack.*"), Some(8));
        assert_eq!(count("rpki"), Some(4));
        assert_eq!(count("bogon"), Some(1));
        assert_eq!(count("*"), Some(Class::ALL.len()));
        assert_eq!(count("hij"), None);
        assert_eq!(count(""), None);
        assert_eq!(count("hijack.sub.origin.x"), None);
        for class in Class::ALL {
            assert_eq!(count(class.name()), Some(1), "{class}");
        }
    }
}
