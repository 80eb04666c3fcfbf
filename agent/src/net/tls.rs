//! TLS settings of probes and of the upload: rustls with ring, one root store shared by all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tracing::warn;

use super::inspection::NamingVerifier;
use crate::clock;

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

/// What all probes that speak TLS share: one provider, one root store, one verifier.
#[derive(Clone, Debug)]
pub(crate) struct ProbeTls {
    provider: Arc<CryptoProvider>,
    /// `None`: the system has no root certificates, so nothing is trusted.
    trust: Option<Arc<WebPkiServerVerifier>>,
}

/// Why a chain is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Distrust {
    pub(crate) why: String,
    /// Only because of the time: not yet, or no longer, valid.
    pub(crate) is_about_time: bool,
}

impl ProbeTls {
    /// Trusts the system's roots and those of `extra`.
    ///
    /// # Errors
    /// [`TlsError`] when a file of `extra` cannot be used.
    pub(crate) fn new(extra: &[PathBuf]) -> Result<Self, TlsError> {
        Ok(Self::trusting(probe_roots(extra)?))
    }

    /// Trusts these roots.
    pub(crate) fn trusting(roots: Arc<RootCertStore>) -> Self {
        let provider = provider();
        let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
        Self {
            provider,
            // An empty store is the one thing that the builder refuses without revocation lists.
            trust: builder.build().ok(),
        }
    }

    /// Settings of a handshake that ends well whoever has signed the chain: trust is looked at with [`Self::distrust`], and
    /// nothing is sent where there is none. That the other side holds the key of what it shows is verified.
    ///
    /// # Errors
    /// [`TlsError::Settings`] when rustls refuses.
    pub(crate) fn looking(&self, alpn: &[&[u8]]) -> Result<ClientConfig, TlsError> {
        let verifier = Arc::new(Onlooker {
            provider: Arc::clone(&self.provider),
        });
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Settings { source })?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        // Each handshake is measured whole.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// Why this chain is not trusted for `name` now; `None` when it is.
    pub(crate) fn distrust(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Option<Distrust> {
        let plain = |why: &str| {
            Some(Distrust {
                why: why.to_owned(),
                is_about_time: false,
            })
        };
        let Some((own, others)) = chain.split_first() else {
            return plain("no certificate was shown");
        };
        let Some(trust) = &self.trust else {
            return plain("the system has no root certificates");
        };
        let now = UnixTime::since_unix_epoch(Duration::from_millis(
            u64::try_from(clock::unix_ms()).unwrap_or(0),
        ));
        let error = trust
            .verify_server_cert(own, others, name, &[], now)
            .err()?;
        Some(Distrust {
            why: error.to_string(),
            is_about_time: is_about_time(&error),
        })
    }
}

/// What to do where TLS failed because the other side's certificate is not valid now: that is more often this machine's clock.
pub(crate) fn clock_in_doubt(
    error: &(dyn std::error::Error + 'static),
    now_unix_ms: i64,
) -> Option<String> {
    cause(error).filter(|cause| is_about_time(cause))?;
    let now = jiff::Timestamp::from_millisecond(now_unix_ms)
        .map_or_else(|_| now_unix_ms.to_string(), |at| at.to_string());
    let set = if cfg!(windows) {
        "w32tm /resync"
    } else {
        "timedatectl set-ntp true"
    };
    Some(format!(
        "the collector's certificate is not valid at {now}, which is what the clock of this machine says; if that is wrong, set it: {set}"
    ))
}

/// What rustls said, somewhere below an error. `io::Error` hides the error that it wraps from `source`.
pub(crate) fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

const fn is_about_time(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        )
    )
}

/// Accepts any certificate whose key the other side proves to hold.
#[derive(Debug)]
struct Onlooker {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Settings that trust nobody: for pages that are fetched without TLS.
///
/// # Errors
/// [`TlsError::Settings`] when rustls refuses.
pub(crate) fn no_trust() -> Result<ClientConfig, TlsError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Settings { source })?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
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
