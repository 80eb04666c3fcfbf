//! The certificate that the ingest listener shows: made by the own CA, made again when it nears its end or its names change.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::authority::{Authority, AuthorityError, ServerIdentity, ServerName};
use super::files::{self, Readers};

/// A certificate with less than this left is made again.
const RENEW_BEFORE_END: Duration = Duration::from_hours(24 * 30);

/// The names of a server certificate: the public host, what the administrator adds, and the loopback names for agents on
/// the same machine.
pub fn server_names(public_host: &str, extra: &[ServerName]) -> Vec<ServerName> {
    let loopback = [
        ServerName::Dns("localhost".to_owned()),
        ServerName::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ServerName::Address(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    let names: BTreeSet<ServerName> = loopback
        .into_iter()
        .chain([ServerName::of_host(public_host)])
        .chain(extra.iter().cloned())
        .collect();
    names.into_iter().collect()
}

/// Opens the server's identity in `folder`. The flag says whether a new certificate was made.
///
/// # Errors
/// [`AuthorityError`] if a file cannot be read or written, or if a certificate cannot be made.
pub fn open(
    authority: &Authority,
    folder: &Path,
    names: &[ServerName],
    now_unix_ms: i64,
) -> Result<(ServerIdentity, bool), AuthorityError> {
    let path = folder.join("server.pem");
    if let Some(identity) = usable(&path, authority, names, now_unix_ms) {
        return Ok((identity, false));
    }
    let content = authority.certify_server(names, now_unix_ms)?;
    files::replace_whole(&path, content.as_bytes(), Readers::Owner).map_err(|source| {
        AuthorityError::File {
            action: "write",
            path: path.clone(),
            source,
        }
    })?;
    parse(&content)
        .map(|identity| (identity, true))
        .map_err(|source| AuthorityError::Damaged { path, source })
}

/// The identity on disk, if it is of this CA, for these names, and has time left. Anything else is made again: a lost server
/// certificate costs nothing, because agents trust the CA.
fn usable(
    path: &Path,
    authority: &Authority,
    names: &[ServerName],
    now_unix_ms: i64,
) -> Option<ServerIdentity> {
    let identity = parse(&fs::read_to_string(path).ok()?).ok()?;
    let (leaf, ca) = (identity.chain.first()?, identity.chain.get(1)?);
    let (_, parsed) = parse_x509_certificate(leaf).ok()?;
    let left_ms = parsed
        .validity()
        .not_after
        .timestamp()
        .saturating_mul(1000)
        .saturating_sub(now_unix_ms);
    let fresh = Duration::from_millis(u64::try_from(left_ms).ok()?) > RENEW_BEFORE_END;
    (fresh && ca == authority.certificate() && names_of(&parsed) == names.iter().cloned().collect())
        .then_some(identity)
}

fn names_of(certificate: &x509_parser::certificate::X509Certificate<'_>) -> BTreeSet<ServerName> {
    let names = certificate.subject_alternative_name().ok().flatten();
    names
        .map(|names| {
            names
                .value
                .general_names
                .iter()
                .filter_map(name_of)
                .collect()
        })
        .unwrap_or_default()
}

fn name_of(name: &GeneralName<'_>) -> Option<ServerName> {
    if let GeneralName::DNSName(name) = name {
        return Some(ServerName::Dns((*name).to_owned()));
    }
    if let GeneralName::IPAddress(bytes) = name {
        let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
        return four
            .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
            .ok()
            .map(ServerName::Address);
    }
    None
}

fn parse(content: &str) -> Result<ServerIdentity, Box<dyn std::error::Error + Send + Sync>> {
    let chain =
        CertificateDer::pem_slice_iter(content.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(content.as_bytes())?;
    Ok(ServerIdentity { chain, key })
}
