//! What a TLS or QUIC handshake showed of the other side, and when that is worth reporting.
//!
//! Pure. Certificates are read by x509-parser; what it cannot read leaves the fields empty and is still hashed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use firstmile_wire::v1::Protocol;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

/// Certificates kept of one chain: real ones have two to five.
const MAX_CHAIN: usize = 8;

/// Longest name or problem that is kept, in characters.
const MAX_TEXT: usize = 256;

/// An unchanged sighting is sent again after this, so that a collector that lost its memory soon knows it again.
const REPEAT: Duration = Duration::from_hours(1);

/// Sightings remembered: every address and protocol of one target many times over.
const MAX_REMEMBERED: usize = 64;

/// One handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sighting {
    /// As on the wire, 0 when unknown.
    pub(crate) version: u16,
    /// Empty when nothing was agreed on, or it is unknown.
    pub(crate) alpn: String,
    /// As on the wire, 0 when unknown.
    pub(crate) cipher_suite: u16,
    /// SHA-256 of each certificate, the server's own first.
    pub(crate) certificates: Vec<[u8; 32]>,
    /// SHA-256 of each public key, in the same order; all zero for a certificate that cannot be read.
    pub(crate) keys: Vec<[u8; 32]>,
    pub(crate) not_before_unix_s: i64,
    pub(crate) not_after_unix_s: i64,
    /// Issuer of the server's own certificate.
    pub(crate) issuer: String,
    /// Subject of the last certificate.
    pub(crate) top: String,
    /// Empty when the chain is trusted, else why not.
    pub(crate) problem: String,
    /// QUIC version as on the wire, 0 for TLS over TCP.
    pub(crate) quic_version: u32,
}

impl Sighting {
    /// What a chain says of itself.
    pub(crate) fn of_chain(chain: &[CertificateDer<'_>]) -> Self {
        let mut sighting = Self::default();
        for (place, certificate) in chain.iter().take(MAX_CHAIN).enumerate() {
            let parsed = X509Certificate::from_der(certificate).ok();
            let parsed = parsed.as_ref().map(|(_, parsed)| parsed);
            sighting
                .certificates
                .push(Sha256::digest(certificate).into());
            sighting.keys.push(parsed.map_or([0; 32], |parsed| {
                Sha256::digest(parsed.public_key().raw).into()
            }));
            if place == 0 {
                sighting.issuer = parsed.map_or_else(
                    || "a certificate that cannot be read".to_owned(),
                    |parsed| shown(parsed.issuer(), "an issuer without a name"),
                );
                if let Some(parsed) = parsed {
                    sighting.not_before_unix_s = parsed.validity().not_before.timestamp();
                    sighting.not_after_unix_s = parsed.validity().not_after.timestamp();
                }
            }
            sighting.top = parsed.map_or_else(String::new, |parsed| shown(parsed.subject(), ""));
        }
        sighting
    }

    /// With why it is not trusted; empty when it is.
    #[must_use]
    pub(crate) fn with_problem(mut self, problem: &str) -> Self {
        self.problem = cut(problem);
        self
    }

    /// Whether the two say the same, as far as both can tell: an unknown version, cipher suite or ALPN is none of its own.
    fn is_same(&self, other: &Self) -> bool {
        let known = |left: u16, right: u16| left == right || left == 0 || right == 0;
        let without = |sighting: &Self| Self {
            version: 0,
            alpn: String::new(),
            cipher_suite: 0,
            ..sighting.clone()
        };
        let (ours, theirs) = (&self.alpn, &other.alpn);
        (ours == theirs || ours.is_empty() || theirs.is_empty())
            && known(self.version, other.version)
            && known(self.cipher_suite, other.cipher_suite)
            && without(self) == without(other)
    }
}

/// Organisation and common name, as far as there are any.
fn shown(name: &X509Name<'_>, otherwise: &str) -> String {
    let organisation = name.iter_organization().next();
    let common = name.iter_common_name().next();
    let parts: Vec<&str> = [organisation, common]
        .into_iter()
        .flatten()
        .filter_map(|part| part.as_str().ok())
        .collect();
    if parts.is_empty() {
        otherwise.to_owned()
    } else {
        cut(&parts.join(", "))
    }
}

/// One line of at most [`MAX_TEXT`] characters.
fn cut(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).take(MAX_TEXT).collect()
}

/// What was last reported of each address and protocol.
#[derive(Debug, Default)]
pub(crate) struct SightingMemory {
    sent: BTreeMap<(IpAddr, i32), (Instant, Sighting)>,
}

impl SightingMemory {
    /// Whether a sighting is to be reported: it differs from the last one, or that is an hour old. It then counts as reported.
    pub(crate) fn is_news(
        &mut self,
        destination: IpAddr,
        protocol: Protocol,
        sighting: &Sighting,
        now: Instant,
    ) -> bool {
        let key = (destination, i32::from(protocol));
        if let Some((at, last)) = self.sent.get(&key)
            && last.is_same(sighting)
            && now.saturating_duration_since(*at) < REPEAT
        {
            return false;
        }
        self.sent.insert(key, (now, sighting.clone()));
        if self.sent.len() > MAX_REMEMBERED
            && let Some(oldest) = self
                .sent
                .iter()
                .min_by_key(|(_, (at, _))| *at)
                .map(|(key, _)| *key)
        {
            self.sent.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    /// A leaf for `front.example` of an authority of this name, with the authority behind it.
    fn chain(authority: &str) -> Vec<CertificateDer<'static>> {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name
            .push(DnType::OrganizationName, "Example");
        ca.distinguished_name.push(DnType::CommonName, authority);
        let ca_key = KeyPair::generate().expect("a key");
        let top = ca.self_signed(&ca_key).expect("a certificate");
        let leaf = CertificateParams::new(vec!["front.example".to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::new(ca, ca_key);
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        vec![leaf.der().clone(), top.der().clone()]
    }

    #[test]
    fn a_chain_says_who_signed_it_and_for_how_long() {
        let chain = chain("Inspection CA");
        let seen = Sighting::of_chain(&chain);
        assert_eq!(seen.issuer, "Example, Inspection CA");
        assert_eq!(seen.top, "Example, Inspection CA");
        assert_eq!((seen.certificates.len(), seen.keys.len()), (2, 2));
        assert_ne!(seen.keys[0], seen.keys[1]);
        let digest: [u8; 32] = Sha256::digest(&chain[0]).into();
        assert_eq!(seen.certificates[0], digest);
        assert!(seen.not_before_unix_s < seen.not_after_unix_s);
    }

    #[test]
    fn a_renewed_certificate_keeps_its_key_hash_when_the_key_stays() {
        let key = KeyPair::generate().expect("a key");
        let own = |day: u8| {
            let mut params = CertificateParams::new(vec!["front.example".to_owned()]).expect("ok");
            params.not_after = rcgen::date_time_ymd(2031, 1, day);
            let certificate = params.self_signed(&key).expect("a certificate");
            Sighting::of_chain(&[certificate.der().clone()])
        };
        let (before, after) = (own(1), own(2));
        assert_eq!(before.keys, after.keys);
        assert_ne!(before.certificates, after.certificates);
    }

    #[test]
    fn a_sighting_is_sent_when_it_differs_and_once_an_hour() {
        let mut memory = SightingMemory::default();
        let start = crate::clock::now();
        let to = IpAddr::from([203, 0, 113, 1]);
        let other = IpAddr::from([203, 0, 113, 2]);
        let seen = |text: &str| Sighting::default().with_problem(text);
        let cipher = |cipher_suite| Sighting {
            cipher_suite,
            ..seen("inspected")
        };
        for (name, at_s, to, protocol, sighting, news) in [
            ("first", 0, to, Protocol::Tls, seen(""), true),
            ("the same", 60, to, Protocol::Tls, seen(""), false),
            ("another address", 61, other, Protocol::Tls, seen(""), true),
            ("another protocol", 62, to, Protocol::Quic, seen(""), true),
            (
                "another issuer",
                120,
                to,
                Protocol::Tls,
                seen("inspected"),
                true,
            ),
            (
                "the same again",
                130,
                to,
                Protocol::Tls,
                seen("inspected"),
                false,
            ),
            (
                "with the cipher it did not tell",
                140,
                to,
                Protocol::Tls,
                cipher(0x1301),
                false,
            ),
            (
                "an hour later",
                120 + 3600,
                to,
                Protocol::Tls,
                cipher(0x1301),
                true,
            ),
            (
                "another cipher",
                3800,
                to,
                Protocol::Tls,
                cipher(0x1302),
                true,
            ),
        ] {
            let now = start + Duration::from_secs(at_s);
            assert_eq!(memory.is_news(to, protocol, &sighting, now), news, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_hashed_and_described_in_bounds(chain in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let chain: Vec<CertificateDer<'_>> = chain.into_iter().map(CertificateDer::from).collect();
            let seen = Sighting::of_chain(&chain);
            prop_assert_eq!(seen.certificates.len(), chain.len().min(MAX_CHAIN));
            prop_assert_eq!(seen.keys.len(), seen.certificates.len());
            prop_assert!(seen.issuer.chars().count() <= MAX_TEXT);
        }

        #[test]
        fn a_damaged_certificate_is_read_without_panic(at in 0usize..400, bit in 0u8..8) {
            let mut bytes = chain("Example CA")[0].to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let seen = Sighting::of_chain(&[CertificateDer::from(bytes)]);
            prop_assert_eq!(seen.certificates.len(), 1);
        }

        #[test]
        fn the_memory_is_bounded(addresses in prop::collection::vec(any::<u32>(), 0..200)) {
            let mut memory = SightingMemory::default();
            let now = crate::clock::now();
            for address in addresses {
                memory.is_news(IpAddr::from(address.to_be_bytes()), Protocol::Tls, &Sighting::default(), now);
            }
            prop_assert!(memory.sent.len() <= MAX_REMEMBERED);
        }
    }
}
