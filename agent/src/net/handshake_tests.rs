//! Handshakes with servers on the loopback: trusted and not, of both versions, and those that never end well.

use std::net::Ipv4Addr;

use rustls::version::{TLS12, TLS13};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::net::peers::{Authority, Identity};

const TIMEOUT: Duration = Duration::from_millis(500);
const LATER: i32 = 2090;

fn host() -> Host {
    Host::parse("front.example").expect("a host")
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a loopback port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Shakes hands with a server of this identity; also says what the server heard after the handshake.
async fn shake_with(
    prober: &TlsProber,
    identity: &Identity,
    version: &'static rustls::SupportedProtocolVersion,
) -> (Handshake, Vec<u8>) {
    use tokio::io::AsyncReadExt;
    let (listener, address) = listener().await;
    let acceptor = TlsAcceptor::from(Arc::new(identity.server(&[version], &[b"h2"])));
    let serving = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut heard = Vec::new();
        let mut stream = acceptor.accept(stream).await.expect("a handshake");
        // The probe hangs up without a word, which rustls calls an unexpected end.
        drop(stream.read_to_end(&mut heard).await);
        heard
    };
    let host = host();
    let shaking = prober.shake(&host, address, TIMEOUT, None);
    let (found, heard) = tokio::join!(shaking, serving);
    (found, heard)
}

#[tokio::test]
async fn a_handshake_is_finished_with_whoever_answers_and_says_who_that_is() {
    let (ours, theirs) = (Authority::new("Front CA"), Authority::new("Inspection CA"));
    let prober = TlsProber::new(ours.trusted()).expect("settings");
    for (name, identity, issuer, why, is_about_time) in [
        (
            "trusted",
            ours.issue("front.example", LATER),
            "Example, Front CA",
            "",
            false,
        ),
        (
            "inspected",
            theirs.issue("front.example", LATER),
            "Example, Inspection CA",
            "UnknownIssuer",
            false,
        ),
        (
            "another name",
            ours.issue("other.example", LATER),
            "Example, Front CA",
            "not valid for name",
            false,
        ),
        (
            "expired",
            ours.issue("front.example", 2002),
            "Example, Front CA",
            "expired",
            true,
        ),
    ] {
        for version in [&TLS12, &TLS13] {
            let (found, heard) = shake_with(&prober, &identity, version).await;
            let case = format!("{name}: {found:?}");
            assert!(
                matches!(found.connect.outcome, Outcome::Answered(_)),
                "{case}"
            );
            assert!(matches!(found.tls, Some(Outcome::Answered(_))), "{case}");
            assert!(
                heard.is_empty(),
                "{name}: nothing is sent after a handshake"
            );
            let seen = found.sighting.as_ref().expect("a sighting");
            assert_eq!(seen.issuer, issuer, "{name}");
            assert_eq!(seen.problem.is_empty(), why.is_empty(), "{case}");
            assert!(seen.problem.contains(why), "{case}");
            let distrust = found.distrust.as_ref();
            assert_eq!(
                distrust.is_some_and(|d| d.is_about_time),
                is_about_time,
                "{case}"
            );
            assert_eq!(seen.version, u16::from(version.version), "{name}");
            assert_eq!((seen.alpn.as_str(), seen.quic_version), ("h2", 0));
            assert_ne!(seen.cipher_suite, 0);
            assert_eq!(seen.certificates.len(), 2);
            let own: [u8; 32] = Sha256::digest(&identity.chain[0]).into();
            let key: [u8; 32] = Sha256::digest(&identity.public_key).into();
            assert_eq!((seen.certificates[0], seen.keys[0]), (own, key), "{name}");
        }
    }
}

#[tokio::test]
async fn without_roots_everything_is_seen_and_nothing_trusted() {
    let tls = ProbeTls::trusting(Arc::new(rustls::RootCertStore::empty()));
    let prober = TlsProber::new(tls).expect("settings");
    let identity = Authority::new("Front CA").issue("front.example", LATER);
    let (found, _) = shake_with(&prober, &identity, &TLS13).await;
    let seen = found.sighting.expect("a sighting");
    assert!(seen.problem.contains("no root certificates"), "{seen:?}");
}

/// What a server does that never shakes hands.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(windows, expect(dead_code, reason = "wine does not reset"))]
enum Bad {
    Silent,
    SpeaksAnotherLanguage,
    HangsUp,
    Resets,
}

#[tokio::test]
async fn handshakes_that_fail_are_told_apart() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let prober = TlsProber::new(Authority::new("Front CA").trusted()).expect("settings");
    for (bad, want) in [
        (Bad::Silent, Outcome::Timeout),
        (Bad::SpeaksAnotherLanguage, Outcome::TlsFailed),
        (Bad::HangsUp, Outcome::TlsFailed),
        #[cfg(not(windows))] // wine ends a connection that Windows and Linux reset
        (Bad::Resets, Outcome::Reset),
    ] {
        let (listener, address) = listener().await;
        let serving = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.peek(&mut [0]).await.expect("a ClientHello");
            match bad {
                Bad::Silent => {}
                Bad::SpeaksAnotherLanguage => {
                    let said = stream.write_all(b"220 mail.example ESMTP\r\n").await;
                    said.expect("written");
                }
                // What was not read makes the kernel reset; what was, makes it end.
                Bad::HangsUp => {
                    let mut hello = [0_u8; 4096];
                    assert_ne!(stream.read(&mut hello).await.expect("read"), 0);
                    return;
                }
                Bad::Resets => return,
            }
            std::future::pending::<()>().await;
        };
        let host = host();
        let shaking = prober.shake(&host, address, TIMEOUT, None);
        tokio::pin!(shaking, serving);
        let found = tokio::select! {
            found = &mut shaking => found,
            () = &mut serving => shaking.await,
        };
        assert_eq!(found.tls, Some(want), "{bad:?}: {found:?}");
        assert!(
            found.sighting.is_none() && !found.problem.is_empty(),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn a_shut_port_is_refused_before_tls() {
    let prober = TlsProber::new(Authority::new("Front CA").trusted()).expect("settings");
    let (listener, address) = listener().await;
    drop(listener);
    let found = prober.shake(&host(), address, TIMEOUT, None).await;
    assert!(
        matches!(found.connect.outcome, Outcome::Refused(_)),
        "{found:?}"
    );
    assert_eq!((found.tls, found.sighting), (None, None));
}
