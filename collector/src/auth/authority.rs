//! The collector's own certificate authority: one file, made on the first start, kept for ten years.
//!
//! Agents trust this CA alone, by the hash in their join string; nothing outside the installation is asked.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firstmile_wire::ids::{AgentId, OrganisationId};
use firstmile_wire::join::CaHash;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::files::{self, Readers};

/// Life of the CA: longer than any installation that is not touched.
const CA_LIFE: Duration = Duration::from_hours(24 * 3652);
/// Life of an agent's certificate: it renews at two thirds, so a machine may be off for a month.
const CLIENT_LIFE: Duration = Duration::from_hours(24 * 90);
/// Life of the server's certificate.
pub(super) const SERVER_LIFE: Duration = Duration::from_hours(24 * 365);
/// How far the clock of an agent may be behind before it refuses a fresh certificate.
const BACKDATE: Duration = Duration::from_hours(24);

/// The certificate authority of this collector.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
}

/// A client certificate as it was granted.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate, PEM.
    pub pem: String,
    /// When it ends.
    pub not_after_unix_ms: i64,
}

/// What a server needs to show itself.
#[derive(Debug)]
pub struct ServerIdentity {
    /// Leaf, then CA: agents that enrol look for the CA in the chain.
    pub chain: Vec<CertificateDer<'static>>,
    /// Private key of the leaf.
    pub key: PrivateKeyDer<'static>,
}

/// Why the CA could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file does not hold a CA.
    #[error("{} does not hold the key and the certificate of a CA; restore it from a backup", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What the parser said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A certificate could not be made.
    #[error("cannot make the {what} certificate")]
    Make {
        /// Whose certificate.
        what: &'static str,
        /// What rcgen said.
        source: rcgen::Error,
    },
    /// What an agent sent is no signing request with a key that we take.
    #[error("the signing request cannot be used")]
    Csr {
        /// What rcgen said.
        source: rcgen::Error,
    },
}

impl Authority {
    /// Opens the CA in `folder`, making it on the first start. Safe when two processes do so at once.
    ///
    /// # Errors
    /// See [`AuthorityError`]. A damaged CA is never replaced: that would lock out every agent.
    pub fn open(folder: &Path, now_unix_ms: i64) -> Result<Self, AuthorityError> {
        let path = folder.join("authority.pem");
        if !path.try_exists().map_err(file_error("look for", &path))? {
            fs::create_dir_all(folder).map_err(file_error("create", folder))?;
            let content = make_authority(now_unix_ms)?;
            files::create_whole(&path, content.as_bytes(), Readers::Owner)
                .map_err(file_error("create", &path))?;
        }
        let content = fs::read_to_string(&path).map_err(file_error("read", &path))?;
        let authority =
            Self::from_pem(&content).map_err(|source| AuthorityError::Damaged { path, source })?;
        let public = folder.join("ca.crt");
        if fs::read_to_string(&public).ok().as_deref() != Some(&authority.certificate_pem) {
            files::replace_whole(
                &public,
                authority.certificate_pem.as_bytes(),
                Readers::Everybody,
            )
            .map_err(file_error("write", &public))?;
        }
        Ok(authority)
    }

    fn from_pem(content: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let key = KeyPair::from_pem(content)?;
        let certificate = CertificateDer::from_pem_slice(content.as_bytes())?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        let certificate_pem = pem_of(&certificate);
        Ok(Self {
            issuer,
            certificate,
            certificate_pem,
        })
    }

    /// What join strings carry.
    pub fn hash(&self) -> CaHash {
        CaHash::of_der(&self.certificate)
    }

    /// The CA's certificate.
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The CA's certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Certifies the public key of a signing request; every other wish in the request is ignored.
    ///
    /// # Errors
    /// [`AuthorityError::Csr`] if the request is none or its signature is wrong, [`AuthorityError::Make`] if signing fails.
    pub fn certify_agent(
        &self,
        csr_pem: &str,
        organisation: &OrganisationId,
        agent: AgentId,
        now_unix_ms: i64,
    ) -> Result<ClientCertificate, AuthorityError> {
        let csr = CertificateSigningRequestParams::from_pem(csr_pem)
            .map_err(|source| AuthorityError::Csr { source })?;
        let make = |source| AuthorityError::Make {
            what: "agent's",
            source,
        };
        let mut params = client_params(organisation, agent).map_err(make)?;
        limit_life(&mut params, now_unix_ms, CLIENT_LIFE);
        let certificate = params
            .signed_by(&csr.public_key, &self.issuer)
            .map_err(make)?;
        Ok(ClientCertificate {
            pem: certificate.pem(),
            not_after_unix_ms: plus(now_unix_ms, CLIENT_LIFE),
        })
    }

    /// Makes a key and a certificate for the server under these names. Returns the PEM of key, leaf and CA.
    pub(super) fn certify_server(
        &self,
        names: &[ServerName],
        now_unix_ms: i64,
    ) -> Result<String, AuthorityError> {
        let make = |source| AuthorityError::Make {
            what: "server's",
            source,
        };
        let key = KeyPair::generate().map_err(make)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named("firstmile collector");
        params.subject_alt_names = names
            .iter()
            .map(ServerName::to_san)
            .collect::<Result<_, _>>()
            .map_err(make)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        limit_life(&mut params, now_unix_ms, SERVER_LIFE);
        let leaf = params.signed_by(&key, &self.issuer).map_err(make)?;
        Ok(format!(
            "{}{}{}",
            key.serialize_pem(),
            leaf.pem(),
            self.certificate_pem
        ))
    }
}

/// A name or an address that the server is reached by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerName {
    /// A DNS name, lower case.
    Dns(String),
    /// A literal address.
    Address(IpAddr),
}

impl ServerName {
    /// Reads a host: an address if it parses as one (IPv6 also in brackets), else a name.
    pub fn of_host(host: &str) -> Self {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse()
            .map_or_else(|_| Self::Dns(host.to_ascii_lowercase()), Self::Address)
    }

    fn to_san(&self) -> Result<SanType, rcgen::Error> {
        match self {
            Self::Dns(name) => name.as_str().try_into().map(SanType::DnsName),
            Self::Address(address) => Ok(SanType::IpAddress(*address)),
        }
    }
}

fn make_authority(now_unix_ms: i64) -> Result<String, AuthorityError> {
    let make = |source| AuthorityError::Make {
        what: "CA's",
        source,
    };
    let key = KeyPair::generate().map_err(make)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = named("firstmile collector CA");
    // It signs end entities only (RFC 5280 §4.2.1.9).
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    limit_life(&mut params, now_unix_ms, CA_LIFE);
    let certificate = params.self_signed(&key).map_err(make)?;
    Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
}

fn client_params(
    organisation: &OrganisationId,
    agent: AgentId,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&agent.to_string());
    params
        .distinguished_name
        .push(DnType::OrganizationName, organisation.as_str());
    params.subject_alt_names = vec![SanType::URI(format!("urn:uuid:{agent}").try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn limit_life(params: &mut CertificateParams, now_unix_ms: i64, life: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = Duration::from_millis(u64::try_from(now_unix_ms).unwrap_or(0));
    params.not_before = epoch + now.saturating_sub(BACKDATE);
    params.not_after = epoch + now + life;
    // 16 random bytes with the top bit clear: positive, and within 20 octets (RFC 5280 §4.1.2.2).
    let mut serial = rand::random::<[u8; 16]>();
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
}

fn plus(now_unix_ms: i64, life: Duration) -> i64 {
    now_unix_ms.saturating_add(i64::try_from(life.as_millis()).unwrap_or(i64::MAX))
}

fn pem_of(certificate: &CertificateDer<'_>) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for (index, letter) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}

fn file_error<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> AuthorityError + 'a {
    move |source| AuthorityError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
#[path = "authority_tests.rs"]
mod tests;
