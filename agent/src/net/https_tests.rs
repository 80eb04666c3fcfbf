//! HTTPS exchanges with servers on the loopback: what is timed, what is kept, and which phase a failure belongs to.

use std::net::Ipv4Addr;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::{Protocols, RequestPath, Service, TargetName};

const TIMEOUT: Duration = Duration::from_millis(700);

/// What the server on the other side does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Server {
    Answers,
    /// Shows a certificate that the prober does not trust.
    Untrusted,
    /// Accepts and says nothing.
    SilentBeforeTls,
    /// Shakes hands and says nothing.
    SilentAfterTls,
    /// Shakes hands and hangs up.
    HangsUp,
    /// Keeps each phase waiting for two timeouts: each alone would be in time.
    SlowThroughout,
}

const RESPONSE: &[u8] =
    b"HTTP/1.1 403 Forbidden\r\nX-MSEdge-Ref: Ref A: 0 Ref B: AMS04EDGE0712 Ref C: 0\r\n\
    Set-Cookie: secret\r\nX-FEServer: one\r\nX-FEServer: two\r\nContent-Length: 2\r\n\r\nno";

fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["front.example".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    (cert.der().clone(), key)
}

fn target(port: u16) -> Target {
    Target {
        name: TargetName::parse("front").expect("a name"),
        host: Host::parse("front.example").expect("a host"),
        port,
        service: Service::Custom,
        protocols: Protocols::ALL,
        trace: false,
        path: RequestPath::root(),
    }
}

/// Serves one connection; keeps it open until the test ends.
async fn serve(listener: TcpListener, server: Server, acceptor: TlsAcceptor) {
    let (stream, _) = listener.accept().await.expect("a connection");
    if server == Server::SilentBeforeTls {
        std::future::pending::<()>().await;
    }
    if server == Server::SlowThroughout {
        tokio::time::sleep(TIMEOUT * 2).await;
    }
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    let mut request = [0_u8; 1024];
    let read = stream.read(&mut request).await.expect("a request");
    assert!(request[..read].starts_with(b"GET / HTTP/1.1\r\n"));
    match server {
        Server::HangsUp => {}
        Server::Answers => stream.write_all(RESPONSE).await.expect("written"),
        Server::SlowThroughout => {
            tokio::time::sleep(TIMEOUT * 2).await;
            stream.write_all(RESPONSE).await.expect("written");
        }
        Server::Untrusted | Server::SilentBeforeTls | Server::SilentAfterTls => {
            std::future::pending::<()>().await;
        }
    }
    drop(stream.shutdown().await);
}

/// One exchange with one server.
async fn exchange_with(server: Server) -> Exchange {
    let (certificate, key) = certificate();
    let mut roots = RootCertStore::empty();
    let trusted = if server == Server::Untrusted {
        self::certificate().0
    } else {
        certificate.clone()
    };
    roots.add(trusted).expect("a root");
    let config = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a loopback port");
    let port = listener.local_addr().expect("an address").port();
    let prober = HttpsProber {
        config: tls::probe_config(Arc::new(roots)).expect("settings"),
    };
    let target = target(port);
    let serving = serve(listener, server, TlsAcceptor::from(Arc::new(config)));
    let asking = prober.exchange(&target, Ipv4Addr::LOCALHOST.into(), TIMEOUT);
    tokio::pin!(serving, asking);
    tokio::select! {
        exchange = &mut asking => exchange,
        () = &mut serving => asking.await,
    }
}

#[tokio::test]
async fn an_answer_has_all_phases_and_only_the_headers_that_are_kept() {
    let exchange = exchange_with(Server::Answers).await;
    assert!(
        matches!(exchange.connect, Outcome::Answered(_)),
        "{exchange:?}"
    );
    assert!(
        matches!(exchange.tls, Some(Outcome::Answered(_))),
        "{exchange:?}"
    );
    assert!(
        matches!(exchange.ttfb, Some(Outcome::Answered(_))),
        "{exchange:?}"
    );
    assert_eq!(exchange.status, 403);
    let names: Vec<&str> = exchange
        .headers
        .iter()
        .map(|kept| kept.name.as_str())
        .collect();
    assert_eq!(names, ["x-msedge-ref", "x-feserver", "x-feserver"]);
    assert_eq!(
        crate::probe::edge::code(&exchange.headers).as_deref(),
        Some("AMS")
    );
}

#[tokio::test]
async fn a_failure_belongs_to_the_phase_where_it_happened() {
    for (server, tls, ttfb) in [
        (Server::Untrusted, Some(Outcome::TlsFailed), None),
        (Server::SilentBeforeTls, Some(Outcome::Timeout), None),
        (Server::SilentAfterTls, None, Some(Outcome::Timeout)),
        (Server::HangsUp, None, Some(Outcome::HttpFailed)),
    ] {
        let exchange = exchange_with(server).await;
        assert!(
            matches!(exchange.connect, Outcome::Answered(_)),
            "{server:?}: {exchange:?}"
        );
        match tls {
            Some(_) => assert_eq!(exchange.tls, tls, "{server:?}: {exchange:?}"),
            None => assert!(
                matches!(exchange.tls, Some(Outcome::Answered(_))),
                "{server:?}: {exchange:?}"
            ),
        }
        assert_eq!(exchange.ttfb, ttfb, "{server:?}: {exchange:?}");
        assert!(!exchange.problem.is_empty(), "{server:?}");
    }
}

#[tokio::test]
async fn one_bound_holds_for_the_whole_request() {
    let began = clock::now();
    let exchange = exchange_with(Server::SlowThroughout).await;
    let took = clock::now() - began;
    assert!(took >= TIMEOUT * ROUND_TRIPS, "{took:?}");
    assert!(
        took < TIMEOUT * 4,
        "the answer would have come after {took:?}"
    );
    assert!(
        matches!(exchange.tls, Some(Outcome::Answered(_))),
        "{exchange:?}"
    );
    assert_eq!(exchange.ttfb, Some(Outcome::Timeout), "{exchange:?}");
}

#[tokio::test]
async fn a_shut_port_is_refused_before_any_other_phase() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a loopback port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let prober = HttpsProber {
        config: tls::probe_config(Arc::new(RootCertStore::empty())).expect("settings"),
    };
    let exchange = prober
        .exchange(&target(port), Ipv4Addr::LOCALHOST.into(), TIMEOUT)
        .await;
    assert!(
        matches!(exchange.connect, Outcome::Refused(_)),
        "{exchange:?}"
    );
    assert_eq!((exchange.tls, exchange.ttfb), (None, None));
}
