//! TLS settings of probes and of the upload: rustls with ring, one root store shared by all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tracing::warn;

use super::inspection::NamingVerifier;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("extra_roots = [{:?}]: cannot read certificates there; name a PEM file", file.display().to_string())]
    Roots {
        file: PathBuf,
        source: rustls::pki_types::pem::Error,
    },
    #[error("extra_roots = [{:?}]: holds no certificate that can be trusted; name a PEM file", file.display().to_string())]
    Empty { file: PathBuf },
    #[error("the {what} is damaged; enrol again")]
    Pem {
        what: &'static str,
        source: rustls::pki_types::pem::Error,
    },
    #[error("rustls refuses these settings")]
    Settings { source: rustls::Error },
}

impl TlsError {
    /// Whether a file that the configuration names is at fault.
    pub(crate) const fn is_of_config(&self) -> bool {
        match self {
            Self::Roots { .. } | Self::Empty { .. } => true,
            Self::Pem { .. } | Self::Settings { .. } => false,
        }
    }
}

/// The one cryptography provider.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The system's roots and those of `extra`. A system without roots is no error: every TLS probe then says so itself.
pub(crate) fn probe_roots(extra: &[PathBuf]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        warn!(
            errors = native.errors.len(),
            "the system has no root certificates: HTTPS probes will fail at TLS"
        );
    }
    for file in extra {
        let (added, _) = roots.add_parsable_certificates(certificates(file)?);
        if added == 0 {
            return Err(TlsError::Empty { file: file.clone() });
        }
    }
    Ok(Arc::new(roots))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|source| TlsError::Roots {
            file: file.to_owned(),
            source,
        })
}

/// Settings of an HTTPS probe, before a session store is put in.
pub(crate) fn probe_config(roots: Arc<RootCertStore>) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Settings { source })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Settings of the upload: only the collector's CA is trusted, TLS 1.3, with our certificate.
pub(crate) fn collector_config(
    ca_pem: &str,
    certificate_pem: &str,
    key_pem: &str,
) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for ca in pem_certificates(ca_pem, "CA certificate")? {
        roots
            .add(ca)
            .map_err(|source| TlsError::Settings { source })?;
    }
    let chain = pem_certificates(certificate_pem, "client certificate")?;
    let key =
        PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|source| TlsError::Pem {
            what: "private key",
            source,
        })?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|source| TlsError::Settings { source })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(
            NamingVerifier::new(roots).map_err(|source| TlsError::Settings { source })?,
        ))
        .with_client_auth_cert(chain, key)
        .map_err(|source| TlsError::Settings { source })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn pem_certificates(
    pem: &str,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem { what, source })
}
