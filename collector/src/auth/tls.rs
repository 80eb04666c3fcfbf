//! TLS of the collector's listeners: TLS 1.3 only, HTTP/2 and HTTP/1.1 by ALPN.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::authority::{Authority, ServerIdentity};

/// Why a TLS listener cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Key, certificate or protocol do not fit together.
    #[error("the certificate and the key of the listener do not fit")]
    Rustls(#[from] rustls::Error),
    /// The verifier of client certificates cannot be made.
    #[error("client certificates cannot be verified with this CA")]
    Verifier(#[from] VerifierBuilderError),
    /// A PEM file cannot be used.
    #[error("cannot use {} as a PEM {what}", path.display())]
    Pem {
        /// What it should hold.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the parser said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The certificate that a running listener shows; it can be exchanged while connections stay up.
#[derive(Debug)]
pub struct Showing(RwLock<Arc<CertifiedKey>>);

impl Showing {
    /// Shows `identity`.
    ///
    /// # Errors
    /// [`TlsError::Rustls`] if the key does not fit the certificate.
    pub fn new(identity: ServerIdentity) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(RwLock::new(certified(identity)?))))
    }

    /// Shows `identity` from the next connection on.
    ///
    /// # Errors
    /// [`TlsError::Rustls`] if the key does not fit the certificate; the old one stays.
    pub fn exchange(&self, identity: ServerIdentity) -> Result<(), TlsError> {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified(identity)?;
        Ok(())
    }
}

impl ResolvesServerCert for Showing {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(
            &self.0.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

/// TLS of the ingest listener. A client certificate is asked for and, if given, verified; enrolment comes without one.
///
/// # Errors
/// See [`TlsError`].
pub fn ingest_config(
    authority: &Authority,
    showing: Arc<Showing>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(showing);
    config.alpn_protocols = alpn();
    Ok(Arc::new(config))
}

/// TLS of a dashboard that is reached from other machines.
///
/// # Errors
/// See [`TlsError`].
pub fn dashboard_config(showing: Arc<Showing>) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(showing);
    config.alpn_protocols = alpn();
    Ok(Arc::new(config))
}

/// Reads an administrator's own certificate chain and key.
///
/// # Errors
/// [`TlsError::Pem`] naming the file.
pub fn read_identity(certificate: &Path, key: &Path) -> Result<ServerIdentity, TlsError> {
    let chain: Vec<CertificateDer<'static>> = pem("certificate chain", certificate, |bytes| {
        CertificateDer::pem_slice_iter(bytes).collect::<Result<_, _>>()
    })?;
    if chain.is_empty() {
        let source = "there is no certificate in it".into();
        return Err(TlsError::Pem {
            what: "certificate chain",
            path: certificate.to_owned(),
            source,
        });
    }
    Ok(ServerIdentity {
        chain,
        key: pem("private key", key, PrivateKeyDer::from_pem_slice)?,
    })
}

fn pem<T>(
    what: &'static str,
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<T, rustls::pki_types::pem::Error>,
) -> Result<T, TlsError> {
    let error = |source| TlsError::Pem {
        what,
        path: path.to_owned(),
        source,
    };
    let bytes = fs::read(path).map_err(|source| error(source.into()))?;
    parse(&bytes).map_err(|source| error(source.into()))
}

fn certified(identity: ServerIdentity) -> Result<Arc<CertifiedKey>, TlsError> {
    Ok(Arc::new(CertifiedKey::from_der(
        identity.chain,
        identity.key,
        &provider(),
    )?))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn alpn() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}
