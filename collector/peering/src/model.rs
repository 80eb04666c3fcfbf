//! What is registered: resources with the properties that `Microsoft.Peering` gives them (API version 2025-05-01).
//!
//! Properties that are read-only there (states, messages, keys of prefixes) are worked out when asked for and not stored, but
//! for the keys, which are made once. Enumerations are open: a word that is not known is kept as it came.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::id::{Kind, ResourceId};

/// One resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Its id, in the case it was made with.
    pub id: ResourceId,
    /// What surrounds the properties.
    pub envelope: Envelope,
    /// What it says.
    pub properties: Properties,
}

/// What a tracked resource carries beside its properties.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Where the resource itself is said to live; means nothing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Words of the customer's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Map<String, Value>>,
    /// The offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sku: Option<Value>,
    /// `Direct` or `Exchange`, of a peering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// The properties, by kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Properties {
    /// A customer's connection.
    Service(Service),
    /// A prefix of a connection.
    Prefix(ServicePrefix),
    /// A test under a connection.
    Test(MonitorTest),
    /// A partner's peering.
    Peering(Box<Peering>),
    /// A prefix that a partner registered.
    RegisteredPrefix(RegisteredPrefix),
    /// A customer's AS that a partner registered.
    RegisteredAsn(RegisteredAsn),
    /// An AS of the subscription.
    PeerAsn(PeerAsn),
}

/// A customer's connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// State or country of the customer.
    pub peering_service_location: Option<String>,
    /// Name of the partner.
    pub peering_service_provider: Option<String>,
    /// Metro that is preferred.
    pub provider_primary_peering_location: Option<String>,
    /// Metro for when the primary fails; none: the plain internet.
    pub provider_backup_peering_location: Option<String>,
}

impl Service {
    /// The backup metro, `None` where the customer has none: absent, empty, or the word `None`.
    pub fn backup(&self) -> Option<&str> {
        self.provider_backup_peering_location
            .as_deref()
            .filter(|metro| !metro.is_empty() && !metro.eq_ignore_ascii_case("none"))
    }
}

/// A prefix of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePrefix {
    /// The prefix, without host bits.
    #[serde(deserialize_with = "exact_prefix")]
    pub prefix: IpNet,
    /// The key that the partner got when it registered the prefix, or the customer's AS.
    #[serde(default)]
    pub peering_service_prefix_key: Option<String>,
}

/// A test from an agent to a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MonitorTest {
    /// Id or host name of the agent.
    pub source_agent: Option<String>,
    /// Host name or address.
    pub destination: Option<String>,
    /// Port.
    pub destination_port: Option<u16>,
    /// Seconds between tests.
    pub test_frequency_in_sec: Option<u32>,
}

/// A partner's peering with Microsoft.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Peering {
    /// A direct peering.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct: Option<Direct>,
    /// An exchange peering, kept as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Value>,
    /// Metro of the peering.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peering_location: Option<String>,
    /// Probes that Microsoft sends, kept as they came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connectivity_probes: Option<Value>,
}

/// A direct peering.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Direct {
    /// Its links.
    pub connections: Vec<Connection>,
    /// Whether Peering Service may use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub use_for_peering_service: Option<bool>,
    /// The partner's AS, by the id of its resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_asn: Option<SubResource>,
    /// What else was said.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A link of a peering.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    /// The BGP session over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bgp_session: Option<BgpSession>,
    /// What else was said.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A BGP session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BgpSession {
    /// The partner's address.
    #[serde(
        rename = "peerSessionIPv4Address",
        skip_serializing_if = "Option::is_none"
    )]
    pub peer_v4: Option<IpAddr>,
    /// The partner's address.
    #[serde(
        rename = "peerSessionIPv6Address",
        skip_serializing_if = "Option::is_none"
    )]
    pub peer_v6: Option<IpAddr>,
    /// Microsoft's address: two sessions with different ones end at two routers.
    #[serde(
        rename = "microsoftSessionIPv4Address",
        skip_serializing_if = "Option::is_none"
    )]
    pub microsoft_v4: Option<IpAddr>,
    /// Microsoft's address.
    #[serde(
        rename = "microsoftSessionIPv6Address",
        skip_serializing_if = "Option::is_none"
    )]
    pub microsoft_v6: Option<IpAddr>,
    /// What else was said.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A reference to another resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubResource {
    /// Its id.
    pub id: String,
}

/// A prefix that a partner registered under a peering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredPrefix {
    /// The prefix, without host bits.
    #[serde(deserialize_with = "exact_prefix")]
    pub prefix: IpNet,
    /// The key that its customer needs. What a request says of it is not taken.
    #[serde(default)]
    pub peering_service_prefix_key: Uuid,
}

/// A customer's AS that a partner registered under a peering: one key for all of its prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredAsn {
    /// The AS.
    pub asn: u32,
    /// The key that its customer needs. What a request says of it is not taken.
    #[serde(default)]
    pub peering_service_prefix_key: Uuid,
}

/// An AS of the subscription.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerAsn {
    /// The AS.
    pub peer_asn: u32,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_name: Option<String>,
    /// Whom to call, kept as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_contact_detail: Option<Value>,
}

impl Properties {
    /// Reads properties of a kind, from a request or from the store.
    ///
    /// # Errors
    /// What does not fit, as `serde_json` says it.
    pub fn read(kind: Kind, value: Value) -> Result<Self, serde_json::Error> {
        Ok(match kind {
            Kind::PeeringService => Self::Service(serde_json::from_value(value)?),
            Kind::Prefix => Self::Prefix(serde_json::from_value(value)?),
            Kind::ConnectionMonitorTest => Self::Test(serde_json::from_value(value)?),
            Kind::Peering => Self::Peering(serde_json::from_value(value)?),
            Kind::RegisteredPrefix => Self::RegisteredPrefix(serde_json::from_value(value)?),
            Kind::RegisteredAsn => Self::RegisteredAsn(serde_json::from_value(value)?),
            Kind::PeerAsn => Self::PeerAsn(serde_json::from_value(value)?),
        })
    }

    /// The properties as they are stored and, but for what is worked out, shown.
    ///
    /// # Errors
    /// None that can happen: plain data has a JSON form.
    pub fn write(&self) -> Result<Value, serde_json::Error> {
        match self {
            Self::Service(properties) => serde_json::to_value(properties),
            Self::Prefix(properties) => serde_json::to_value(properties),
            Self::Test(properties) => serde_json::to_value(properties),
            Self::Peering(properties) => serde_json::to_value(properties),
            Self::RegisteredPrefix(properties) => serde_json::to_value(properties),
            Self::RegisteredAsn(properties) => serde_json::to_value(properties),
            Self::PeerAsn(properties) => serde_json::to_value(properties),
        }
    }

    /// The connection, if it is one.
    pub fn service(&self) -> Option<&Service> {
        if let Self::Service(found) = self {
            Some(found)
        } else {
            None
        }
    }

    /// The connection's prefix, if it is one.
    pub fn prefix(&self) -> Option<&ServicePrefix> {
        if let Self::Prefix(found) = self {
            Some(found)
        } else {
            None
        }
    }

    /// The test, if it is one.
    pub fn test(&self) -> Option<&MonitorTest> {
        if let Self::Test(found) = self {
            Some(found)
        } else {
            None
        }
    }

    /// The peering, if it is one.
    pub fn peering(&self) -> Option<&Peering> {
        if let Self::Peering(found) = self {
            Some(found)
        } else {
            None
        }
    }

    /// The registered prefix, if it is one.
    pub fn registered_prefix(&self) -> Option<&RegisteredPrefix> {
        if let Self::RegisteredPrefix(found) = self {
            Some(found)
        } else {
            None
        }
    }

    /// The registered AS, if it is one.
    pub fn registered_asn(&self) -> Option<&RegisteredAsn> {
        if let Self::RegisteredAsn(found) = self {
            Some(found)
        } else {
            None
        }
    }

    /// The AS of the subscription, if it is one.
    pub fn peer_asn(&self) -> Option<&PeerAsn> {
        if let Self::PeerAsn(found) = self {
            Some(found)
        } else {
            None
        }
    }
}

/// What the store keeps of a resource, as one JSON text.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    id: String,
    #[serde(flatten)]
    envelope: Envelope,
    properties: Value,
}

/// Why a stored resource cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// It is not what this version writes.
    #[error("a stored resource cannot be read")]
    Json(#[from] serde_json::Error),
    /// Its id is none.
    #[error("a stored resource has no usable id")]
    Id(#[from] crate::id::IdError),
}

impl Resource {
    /// One JSON text for the store.
    ///
    /// # Errors
    /// None that can happen: plain data has a JSON form.
    pub fn to_stored(&self) -> Result<String, StoredError> {
        Ok(serde_json::to_string(&Stored {
            id: self.id.to_string(),
            envelope: self.envelope.clone(),
            properties: self.properties.write()?,
        })?)
    }

    /// The resource of a stored text.
    ///
    /// # Errors
    /// [`StoredError`] for a text that this program did not write.
    pub fn from_stored(text: &str) -> Result<Self, StoredError> {
        let stored: Stored = serde_json::from_str(text)?;
        let id: ResourceId = stored.id.parse()?;
        let properties = Properties::read(id.kind, stored.properties)?;
        Ok(Self {
            id,
            envelope: stored.envelope,
            properties,
        })
    }
}

/// A prefix whose bits after its length are zero: `192.0.2.1/24` is a typing error, not a prefix.
fn exact_prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpNet, D::Error> {
    let text = String::deserialize(deserializer)?;
    let prefix: IpNet = text.trim().parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "prefix_syntax: {text:?} is no prefix; write it as 192.0.2.0/24"
        ))
    })?;
    if prefix.trunc() == prefix {
        Ok(prefix)
    } else {
        let meant = prefix.trunc();
        Err(serde::de::Error::custom(format!(
            "prefix_syntax: {text:?} has bits set after its length; did you mean {meant}?"
        )))
    }
}
