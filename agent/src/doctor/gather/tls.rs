//! A TLS handshake that looks at the certificate whoever has signed it, and says whether it would have been trusted.
//!
//! Nothing is sent over the connection: trust is only looked at, never given.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use crate::config::Host;
use crate::doctor::facts::Tls;
use crate::net::https::innermost;
use crate::net::tls::provider;

/// What was seen.
type Seen = Arc<Mutex<Option<Tls>>>;

/// Shakes hands with `host` at `to`.
pub(super) async fn witness(host: &Host, to: SocketAddr, roots: Arc<RootCertStore>) -> Tls {
    let seen = Seen::default();
    let failed = |error: &dyn std::error::Error| Tls::Failed(innermost(error));
    let config = match config(roots, &seen) {
        Ok(config) => config,
        Err(error) => return failed(&error),
    };
    let name = match ServerName::try_from(host.to_string()) {
        Ok(name) => name,
        Err(error) => return failed(&error),
    };
    let shaken = match TcpStream::connect(to).await {
        Ok(stream) => TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map(drop),
        Err(error) => Err(error),
    };
    let shown = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (shown, shaken) {
        (Some(shown), _) => shown,
        (None, Err(error)) => failed(&error),
        (None, Ok(())) => Tls::Failed("the server showed no certificate".to_owned()),
    }
}

fn config(roots: Arc<RootCertStore>, seen: &Seen) -> Result<ClientConfig, Error> {
    let provider = provider();
    let trust = if roots.is_empty() {
        None
    } else {
        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .ok()
    };
    let witness = Witness {
        trust,
        schemes: provider
            .signature_verification_algorithms
            .supported_schemes(),
        seen: Arc::clone(seen),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(witness))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Accepts any certificate and writes down what it was.
#[derive(Debug)]
struct Witness {
    trust: Option<Arc<WebPkiServerVerifier>>,
    schemes: Vec<SignatureScheme>,
    seen: Seen,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let error = self.trust.as_ref().map(|trust| {
            trust
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .err()
        });
        let distrust = match &error {
            None => Some("the system has no root certificates".to_owned()),
            Some(error) => error.as_ref().map(ToString::to_string),
        };
        let shown = Tls::Shown {
            issuer: issuer(end_entity),
            distrust,
            is_out_of_time: error.flatten().is_some_and(|error| is_about_time(&error)),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

const fn is_about_time(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        )
    )
}

/// Organisation and common name of the issuer, as far as it has them.
fn issuer(certificate: &CertificateDer<'_>) -> String {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return "a certificate that cannot be read".to_owned();
    };
    let name: &X509Name<'_> = parsed.issuer();
    let organisation = name.iter_organization().next();
    let common = name.iter_common_name().next();
    let parts: Vec<&str> = [organisation, common]
        .into_iter()
        .flatten()
        .filter_map(|part| part.as_str().ok())
        .collect();
    if parts.is_empty() {
        "an issuer without a name".to_owned()
    } else {
        parts.join(", ")
    }
}
