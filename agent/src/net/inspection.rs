//! Whether something on the way to the collector opens TLS: the collector has a certificate authority of its own, so
//! whoever else signs is either another collector or a box that looks inside.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::tls::provider;

/// The certificate is of another authority than the collector's, and whose that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnknownIssuer {
    issuer: String,
}

impl fmt::Display for UnknownIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it is issued by {:?}, not by the certificate authority that this agent enrolled at; \
             if that is a product that opens TLS, exempt the collector's host and port from inspection",
            self.issuer
        )
    }
}

impl std::error::Error for UnknownIssuer {}

impl UnknownIssuer {
    /// Finds it in what rustls says.
    pub(crate) fn of(error: &Error) -> Option<&Self> {
        let Error::InvalidCertificate(CertificateError::Other(OtherError(other))) = error else {
            return None;
        };
        other.downcast_ref()
    }
}

/// Trusts what webpki trusts, and names the issuer of what it does not.
#[derive(Debug)]
pub(crate) struct NamingVerifier(Arc<WebPkiServerVerifier>);

impl NamingVerifier {
    /// Trusts `roots` alone.
    ///
    /// # Errors
    /// When there is no root.
    pub(crate) fn new(roots: RootCertStore) -> Result<Self, Error> {
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map(Self)
            .map_err(|error| Error::General(error.to_string()))
    }
}

impl ServerCertVerifier for NamingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => {
                let issuer = issuer(end_entity);
                let other = OtherError(Arc::new(UnknownIssuer { issuer }));
                Err(Error::InvalidCertificate(CertificateError::Other(other)))
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Organisation and common name of the issuer, as far as it has them; no control characters.
pub(crate) fn issuer(certificate: &CertificateDer<'_>) -> String {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return "a certificate that cannot be read".to_owned();
    };
    let name = parsed.issuer();
    let organisation = name.iter_organization().next();
    let common = name.iter_common_name().next();
    let parts: Vec<&str> = [organisation, common]
        .into_iter()
        .flatten()
        .filter_map(|part| part.as_str().ok())
        .collect();
    if parts.is_empty() {
        return "an issuer without a name".to_owned();
    }
    let plain = |c: &char| !c.is_control();
    parts.join(", ").chars().filter(plain).take(200).collect()
}
