//! Identities: organisation, agent, epoch, and the key that makes a report idempotent.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh random identity (RFC 9562 §5.4).
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }

            /// Reads the 16 bytes of the wire form.
            ///
            /// # Errors
            /// [`IdError::Length`] unless there are exactly 16 bytes.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, IdError> {
                Uuid::from_slice(bytes)
                    .map(Self)
                    .map_err(|_| IdError::Length { what: stringify!($name), got: bytes.len() })
            }

            /// The 16 bytes of the wire form.
            pub fn to_bytes(self) -> Vec<u8> {
                self.0.as_bytes().to_vec()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::parse_str(text).map(Self).map_err(|_| IdError::Text {
                    what: stringify!($name),
                    got: text.chars().take(64).collect(),
                })
            }
        }
    };
}

uuid_newtype!(
    /// An agent, for as long as its certificate is renewed.
    AgentId
);
uuid_newtype!(
    /// One life of an agent's spool: a reinstalled or restored agent starts another.
    Epoch
);
uuid_newtype!(
    /// One boot of the machine: monotonic times of different boots cannot be compared.
    BootId
);

/// An organisation: the tenant that owns agents, sites, samples. A short lower-case word.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OrganisationId(String);

impl OrganisationId {
    /// The organisation of an installation that never named one.
    pub fn default_organisation() -> Self {
        Self("default".to_owned())
    }

    /// The word itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for OrganisationId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        let good = (1..=63).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if good {
            Ok(Self(text))
        } else {
            Err(IdError::Organisation {
                got: text.chars().take(64).collect(),
            })
        }
    }
}

impl From<OrganisationId> for String {
    fn from(id: OrganisationId) -> Self {
        id.0
    }
}

impl fmt::Display for OrganisationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes a report itself: two reports with one key are the same report, whatever road they came by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReportKey {
    /// Owner, from the client certificate.
    pub organisation: OrganisationId,
    /// Sender, from the client certificate.
    pub agent: AgentId,
    /// Life of the sender's spool.
    pub epoch: Epoch,
    /// Place in that life, from 1.
    pub sequence: u64,
}

/// Why a text or some bytes are no identity.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    /// The wire form has another length.
    #[error("{what} needs 16 bytes, got {got}")]
    Length {
        /// Which identity.
        what: &'static str,
        /// Bytes received.
        got: usize,
    },
    /// The text form is no UUID.
    #[error("{what} needs a UUID such as 6f9619ff-8b86-4011-b42d-00c04fc964ff, got {got:?}")]
    Text {
        /// Which identity.
        what: &'static str,
        /// The text, cut at 64 characters.
        got: String,
    },
    /// The word is empty, too long, or has other characters.
    #[error("an organisation is 1 to 63 of a-z, 0-9 and '-', got {got:?}")]
    Organisation {
        /// The text, cut at 64 characters.
        got: String,
    },
}
