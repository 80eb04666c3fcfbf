//! The CA over restarts, what it certifies, and who its certificates say they are.

use proptest::prelude::*;
use rcgen::DnValue;
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;

use super::*;
use crate::auth::identity::{Identity, IdentityError};
use crate::auth::server_identity;

const NOW_MS: i64 = 1_750_000_000_000;
const DAY_MS: i64 = 24 * 3_600_000;

fn authority() -> (tempfile::TempDir, Authority) {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::open(folder.path(), NOW_MS).expect("opens");
    (folder, authority)
}

fn organisation() -> OrganisationId {
    OrganisationId::default_organisation()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

fn csr_of(params: &CertificateParams) -> String {
    let key = KeyPair::generate().expect("a key");
    let request = params.serialize_request(&key).expect("a request");
    request.pem().expect("PEM")
}

fn verify(authority: &Authority, certificate: &CertificateDer<'_>, at_ms: i64) -> bool {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate().clone()).expect("a root");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
        .build()
        .expect("a verifier");
    let at = Duration::from_millis(u64::try_from(at_ms).expect("after 1970"));
    let at = UnixTime::since_unix_epoch(at);
    verifier.verify_client_cert(certificate, &[], at).is_ok()
}

#[test]
fn the_ca_survives_a_restart_and_is_never_replaced() {
    let (folder, first) = authority();
    let again = Authority::open(folder.path(), NOW_MS + DAY_MS).expect("opens");
    assert_eq!(first.hash(), again.hash());
    assert_eq!(CaHash::of_der(&der(first.certificate_pem())), first.hash());
    let file = folder.path().join("authority.pem");
    fs::write(&file, "damaged").expect("writes");
    let outcome = Authority::open(folder.path(), NOW_MS);
    assert!(matches!(outcome, Err(AuthorityError::Damaged { .. })));
    assert_eq!(fs::read(&file).expect("reads"), b"damaged");
}

#[cfg(unix)]
#[test]
fn the_key_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, _) = authority();
    let metadata = fs::metadata(folder.path().join("authority.pem")).expect("metadata");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_client_certificate_names_its_agent_and_ends_after_90_days() {
    let (_folder, authority) = authority();
    let agent = AgentId::random();
    let csr = csr_of(&CertificateParams::default());
    let granted = authority
        .certify_agent(&csr, &organisation(), agent, NOW_MS)
        .expect("certifies");
    let certificate = der(&granted.pem);
    let identity = Identity::of_certificate(&certificate).expect("an identity");
    assert_eq!(
        identity,
        Identity {
            organisation: organisation(),
            agent
        }
    );
    assert_eq!(granted.not_after_unix_ms, NOW_MS + 90 * DAY_MS);
    assert!(
        verify(&authority, &certificate, NOW_MS - DAY_MS / 2),
        "an agent's clock may be behind"
    );
    assert!(verify(
        &authority,
        &certificate,
        granted.not_after_unix_ms - 1000
    ));
    assert!(!verify(
        &authority,
        &certificate,
        granted.not_after_unix_ms + 1000
    ));
    let (_other_folder, other) = self::authority();
    assert!(!verify(&other, &certificate, NOW_MS), "another CA");
}

#[test]
fn only_the_key_of_a_signing_request_is_used() {
    let (_folder, authority) = authority();
    let agent = AgentId::random();
    let mut greedy = CertificateParams::new(["localhost".to_owned()]).expect("names");
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.distinguished_name.push(
        DnType::CommonName,
        DnValue::Utf8String(AgentId::random().to_string()),
    );
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let granted = authority
        .certify_agent(&csr_of(&greedy), &organisation(), agent, NOW_MS)
        .expect("certifies");
    let certificate = der(&granted.pem);
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).expect("X.509");
    assert!(!parsed.is_ca());
    let usage = parsed
        .extended_key_usage()
        .expect("parses")
        .expect("present");
    assert!(usage.value.client_auth && !usage.value.server_auth);
    assert_eq!(
        Identity::of_certificate(&certificate)
            .expect("an identity")
            .agent,
        agent
    );
}

#[test]
fn what_is_no_signing_request_is_refused() {
    let (_folder, authority) = authority();
    let good = csr_of(&CertificateParams::default());
    for (name, csr) in [
        ("empty", String::new()),
        ("text", "hello".to_owned()),
        ("cut", good.chars().take(120).collect()),
        ("a certificate", authority.certificate_pem().to_owned()),
    ] {
        let outcome = authority.certify_agent(&csr, &organisation(), AgentId::random(), NOW_MS);
        assert!(matches!(outcome, Err(AuthorityError::Csr { .. })), "{name}");
    }
}

#[test]
fn a_certificate_whose_parts_disagree_names_nobody() {
    let (_folder, authority) = authority();
    let agent = AgentId::random();
    let key = KeyPair::generate().expect("a key");
    let sign = |params: &CertificateParams| {
        let certificate = params.signed_by(&key, &authority.issuer).expect("signs");
        Identity::of_certificate(certificate.der())
    };
    let good = client_params(&organisation(), agent).expect("parameters");
    assert!(sign(&good).is_ok());
    let mut other_uri = good.clone();
    let uri = format!("urn:uuid:{}", AgentId::random())
        .try_into()
        .expect("ASCII");
    other_uri.subject_alt_names = vec![SanType::URI(uri)];
    assert_eq!(
        sign(&other_uri),
        Err(IdentityError::Part {
            part: "alternative name"
        })
    );
    let mut nameless = good.clone();
    nameless.distinguished_name.remove(DnType::CommonName);
    assert_eq!(
        sign(&nameless),
        Err(IdentityError::Part {
            part: "common name"
        })
    );
    let mut homeless = good;
    homeless
        .distinguished_name
        .push(DnType::OrganizationName, "Not A Word");
    assert_eq!(
        sign(&homeless),
        Err(IdentityError::Part {
            part: "organisation"
        })
    );
    assert_eq!(Identity::of_certificate(&[]), Err(IdentityError::NotX509));
}

#[test]
fn the_server_certificate_is_kept_until_it_has_to_change() {
    let (folder, authority) = authority();
    let names = server_identity::server_names("collector.example", &[]);
    let open = |authority, names: &[ServerName], now_ms| {
        server_identity::open(authority, folder.path(), names, now_ms).expect("opens")
    };
    let (first, made) = open(&authority, &names, NOW_MS);
    assert!(made && first.chain.len() == 2 && first.chain.last() == Some(authority.certificate()));
    assert!(!open(&authority, &names, NOW_MS + 300 * DAY_MS).1, "kept");
    assert!(
        open(&authority, &names, NOW_MS + 340 * DAY_MS).1,
        "near its end"
    );
    let more = [
        ServerName::of_host("[2001:db8::1]"),
        ServerName::of_host("Other.Example"),
    ];
    let names = server_identity::server_names("192.0.2.1", &more);
    assert!(
        open(&authority, &names, NOW_MS + 340 * DAY_MS).1,
        "other names"
    );
    assert!(
        !open(&authority, &names, NOW_MS + 340 * DAY_MS).1,
        "the same names"
    );
    let (_other_folder, other) = self::authority();
    assert!(open(&other, &names, NOW_MS + 340 * DAY_MS).1, "another CA");
    fs::write(folder.path().join("server.pem"), "damaged").expect("writes");
    assert!(open(&authority, &names, NOW_MS).1, "damaged");
}

proptest! {
    #[test]
    fn no_bytes_are_an_identity_by_accident(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Identity::of_certificate(&bytes).is_err());
    }

    #[test]
    fn every_agent_is_read_back(id in any::<u128>(), organisation in "[a-z0-9-]{1,63}") {
        let (agent, organisation) = (AgentId(uuid::Uuid::from_u128(id)), OrganisationId::try_from(organisation));
        let organisation = organisation.expect("a word");
        let key = KeyPair::generate().expect("a key");
        let params = client_params(&organisation, agent).expect("parameters");
        let certificate = params.self_signed(&key).expect("signs");
        let identity = Identity::of_certificate(certificate.der()).expect("an identity");
        prop_assert_eq!(identity, Identity { organisation, agent });
    }
}
