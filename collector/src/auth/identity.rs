//! Who a client certificate speaks for. The chain was verified by TLS before this is asked.

use firstmile_wire::ids::{AgentId, OrganisationId};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// An agent as its certificate names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Organisation (O of the subject).
    pub organisation: OrganisationId,
    /// Agent (CN of the subject, and the URI of the alternative name).
    pub agent: AgentId,
}

/// Why a certificate of our own CA names no agent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdentityError {
    /// It does not parse.
    #[error("the client certificate is not X.509")]
    NotX509,
    /// A part is missing, double, or of another form.
    #[error("the client certificate has no usable {part}")]
    Part {
        /// Which part.
        part: &'static str,
    },
}

impl Identity {
    /// Reads a certificate in DER form.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn of_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let (_, certificate) = parse_x509_certificate(der).map_err(|_| IdentityError::NotX509)?;
        let subject = certificate.subject();
        let agent: AgentId = sole(subject.iter_common_name())
            .and_then(|text| text.parse().ok())
            .ok_or(IdentityError::Part {
                part: "common name",
            })?;
        let organisation = sole(subject.iter_organization())
            .and_then(|text| OrganisationId::try_from(text.to_owned()).ok())
            .ok_or(IdentityError::Part {
                part: "organisation",
            })?;
        if uri_of(&certificate) != Some(format!("urn:uuid:{agent}").as_str()) {
            return Err(IdentityError::Part {
                part: "alternative name",
            });
        }
        Ok(Self {
            organisation,
            agent,
        })
    }
}

fn sole<'a>(
    mut attributes: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>,
) -> Option<&'a str> {
    let first = attributes.next()?;
    if attributes.next().is_some() {
        return None;
    }
    first.as_str().ok()
}

fn uri_of<'a>(certificate: &'a X509Certificate<'a>) -> Option<&'a str> {
    let names = certificate.subject_alternative_name().ok()??;
    names
        .value
        .general_names
        .iter()
        .find_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            GeneralName::OtherName(..)
            | GeneralName::RFC822Name(_)
            | GeneralName::DNSName(_)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::IPAddress(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::Invalid(..) => None,
        })
}
