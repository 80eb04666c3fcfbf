//! Trust at enrolment: the join string names the collector's CA by its hash, nothing else is trusted.
//!
//! The collector sends its CA in its chain. The certificate whose SHA-256 is the one in the join string becomes the only
//! root, and the leaf is verified against it, its name and its time included, by webpki as for any other connection.

use std::sync::{Arc, Mutex, PoisonError};

use firstmile_wire::join::CaHash;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::net::inspection;
use crate::net::tls::provider;

/// Trusts the one CA with this hash.
#[derive(Debug)]
struct PinnedCa {
    hash: CaHash,
    provider: Arc<CryptoProvider>,
    missing: MissingCa,
}

/// Set when a server did not show the CA: the handshake's error alone would not say so in words.
#[derive(Clone, Debug, Default)]
pub(crate) struct MissingCa(Arc<Mutex<Option<String>>>);

impl MissingCa {
    /// Who issued the certificate of a server that did not show the CA of the join string; `None` when it showed it.
    pub(crate) fn issuer(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// TLS settings of an enrolment, and where to look when its handshake fails.
///
/// # Errors
/// As rustls says; not with the ring provider.
pub(crate) fn enrolment_config(hash: CaHash) -> Result<(ClientConfig, MissingCa), Error> {
    let (provider, missing) = (provider(), MissingCa::default());
    let verifier = PinnedCa {
        hash,
        provider: Arc::clone(&provider),
        missing: missing.clone(),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((config, missing))
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(ca) = intermediates
            .iter()
            .find(|certificate| CaHash::of_der(certificate) == self.hash)
        else {
            *self
                .missing
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(inspection::issuer(end_entity));
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        };
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let webpki = WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
        webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    struct Pki {
        ca: CertificateDer<'static>,
        leaf: CertificateDer<'static>,
    }

    fn pki(name: &str) -> Pki {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("a CA");
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec![name.to_owned()])
            .expect("a name")
            .signed_by(&key, &issuer)
            .expect("a leaf");
        Pki {
            ca: issuer.der().clone(),
            leaf: leaf.der().clone(),
        }
    }

    /// Whether the chain is trusted, and whether the CA was missing in it.
    fn verify(hash: CaHash, leaf: &Pki, chain: &[CertificateDer<'_>], name: &str) -> (bool, bool) {
        let missing = MissingCa::default();
        let verifier = PinnedCa {
            hash,
            provider: provider(),
            missing: missing.clone(),
        };
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let now = u64::try_from(crate::clock::unix_ms()).expect("after 1970");
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now));
        let outcome = verifier.verify_server_cert(&leaf.leaf, chain, &name, &[], now);
        (outcome.is_ok(), missing.issuer().is_some())
    }

    #[test]
    fn only_the_collector_of_the_join_string_is_trusted() {
        let (right, wrong) = (pki("collector.example"), pki("collector.example"));
        let hash = CaHash::of_der(&right.ca);
        let (ours, theirs) = (vec![right.ca.clone()], vec![wrong.ca.clone()]);
        let both = vec![wrong.ca.clone(), right.ca.clone()];
        for (name, leaf, chain, host, want) in [
            (
                "the right one",
                &right,
                &ours,
                "collector.example",
                (true, false),
            ),
            (
                "another CA",
                &wrong,
                &theirs,
                "collector.example",
                (false, true),
            ),
            (
                "no CA in the chain",
                &right,
                &Vec::new(),
                "collector.example",
                (false, true),
            ),
            (
                "our CA shown, another's leaf",
                &wrong,
                &both,
                "collector.example",
                (false, false),
            ),
            (
                "another name",
                &right,
                &ours,
                "other.example",
                (false, false),
            ),
        ] {
            assert_eq!(verify(hash, leaf, chain, host), want, "{name}");
        }
    }

    #[test]
    fn the_hash_of_the_leaf_makes_no_root_of_it() {
        let pki = pki("collector.example");
        let leaf = CaHash::of_der(&pki.leaf);
        assert!(
            !verify(
                leaf,
                &pki,
                std::slice::from_ref(&pki.ca),
                "collector.example"
            )
            .0
        );
    }
}
