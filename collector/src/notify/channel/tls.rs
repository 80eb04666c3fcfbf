//! TLS to receivers: the authorities of the machine, and one that the administrator names.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::error::OpenError;

/// What a client trusts.
pub(super) fn config(ca: Option<&Path>) -> Result<ClientConfig, OpenError> {
    let mut roots = RootCertStore::empty();
    // What the machine has that cannot be read is no reason to trust less of the rest.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca {
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|source| OpenError::Certificates {
                    path: path.to_owned(),
                    source: source.into(),
                })?;
        }
    }
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|source| OpenError::Setup {
            what: "TLS",
            source: source.into(),
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// The certificates of a PEM file, one at least.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, OpenError> {
    let unusable = |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Certificates {
        path: path.to_owned(),
        source,
    };
    let pem = std::fs::read(path).map_err(|source| OpenError::Read {
        path: path.to_owned(),
        source,
    })?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|source| unusable(source.into()))?;
    if all.is_empty() {
        return Err(unusable("it holds none".into()));
    }
    Ok(all)
}
