//! For tests: authorities and certificates of servers on the loopback.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::tls::{self, ProbeTls};

/// Who signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate for a server, with the authority behind it, and the server's key.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key_der: Vec<u8>,
    pub(crate) public_key: Vec<u8>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params
            .self_signed(&key)
            .expect("a certificate")
            .der()
            .clone();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// A certificate for `host` that is valid until 1 January of `last_year`.
    pub(crate) fn issue(&self, host: &str, last_year: i32) -> Identity {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity {
            chain: vec![leaf.der().clone(), self.certificate.clone()],
            key_der: key.serialize_der(),
            public_key: key.subject_public_key_info(),
        }
    }

    /// What a probe that trusts this authority alone is set up with.
    pub(crate) fn trusted(&self) -> ProbeTls {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        ProbeTls::trusting(Arc::new(roots))
    }
}

impl Identity {
    /// Settings of a server that shows this.
    pub(crate) fn server(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&[u8]],
    ) -> ServerConfig {
        let key = PrivateKeyDer::try_from(self.key_der.clone()).expect("a key");
        let mut config = ServerConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(versions)
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), key)
            .expect("a certificate");
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config
    }
}
