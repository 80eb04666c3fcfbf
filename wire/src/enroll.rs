//! Enrolment and renewal, as JSON: rare, small, and readable in a log or a proxy trace.

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, OrganisationId};

/// A new agent asks for an identity (POST [`crate::ENROLL_PATH`], server-authenticated TLS).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrollRequest {
    /// The join string's secret, text form.
    pub secret: String,
    /// Certificate signing request, PEM (RFC 2986); only its public key is used.
    pub csr_pem: String,
    /// Host name of the machine, shown to people until the site has a name.
    pub hostname: String,
    /// Version of the agent's program.
    pub agent_version: String,
    /// Tag that the machine was given, for a join string that leaves the site to rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The machine's own address on the way to the collector, which a router on the way may have rewritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<std::net::IpAddr>,
}

/// An agent asks for a fresh certificate before the old one ends (POST [`crate::RENEW_PATH`], mutual TLS).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewRequest {
    /// Certificate signing request, PEM; only its public key is used.
    pub csr_pem: String,
    /// Set by a machine that is a clone of the one that enrolled: it asks for an identity of its own. A collector of 0.1.0 did
    /// not know this and renews the old identity; whoever asks looks at the identity that came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone: Option<CloneRequest>,
}

/// What a clone says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CloneRequest {
    /// Host name of the machine.
    pub hostname: String,
    /// Version of the agent's program.
    pub agent_version: String,
    /// Tag that the machine was given, for the rules of the sites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The machine's own address on the way to the collector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<std::net::IpAddr>,
}

/// The identity that was granted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EnrollResponse {
    /// Identity of the agent, also in the certificate.
    pub agent_id: AgentId,
    /// Organisation of the agent, also in the certificate.
    pub organisation: OrganisationId,
    /// Client certificate, PEM.
    pub certificate_pem: String,
    /// The collector's CA certificate, PEM.
    pub ca_pem: String,
    /// Site that the join string was made for, for people.
    pub site: Option<String>,
    /// When the certificate ends, milliseconds since the Unix epoch.
    pub not_after_unix_ms: i64,
}

/// The body of every refusal by the collector: the same words for people and for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A constant word for programs, such as `join_string_used`.
    pub code: String,
    /// What was wrong and what to do, for people.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retry: bool,
}
