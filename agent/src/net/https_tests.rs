//! HTTPS exchanges with servers on the loopback: what is timed, what is kept, and which phase a failure belongs to.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::{Host, Protocols, RequestPath, Service, TargetName};
use crate::net::peers::Authority;

const TIMEOUT: Duration = Duration::from_millis(700);
const LATER: i32 = 2090;

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

fn prober(authority: &Authority) -> HttpsProber {
    HttpsProber::new(TlsProber::new(authority.trusted()).expect("settings"))
}

fn target(port: u16) -> Target {
    Target {
        name: TargetName::parse("front").expect("a name"),
        host: Host::parse("front.example").expect("a host"),
        port,
        service: Service::Custom,
        protocols: Protocols::USUAL,
        trace: false,
        path: RequestPath::root(),
        vantages: vec![0],
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
    let Ok(read) = stream.read(&mut request).await else {
        return;
    };
    assert_ne!(
        server,
        Server::Untrusted,
        "nothing is sent to whom is not trusted"
    );
    if read == 0 {
        return;
    }
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
    let (ours, theirs) = (Authority::new("Front CA"), Authority::new("Inspection CA"));
    let signer = if server == Server::Untrusted {
        &theirs
    } else {
        &ours
    };
    let identity = signer.issue("front.example", LATER);
    let config = identity.server(rustls::ALL_VERSIONS, &[b"http/1.1"]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a loopback port");
    let port = listener.local_addr().expect("an address").port();
    let prober = prober(&ours);
    let target = target(port);
    let serving = serve(listener, server, TlsAcceptor::from(Arc::new(config)));
    let asking = prober.exchange(&target, Ipv4Addr::LOCALHOST.into(), TIMEOUT, None);
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
        matches!(exchange.connect.outcome, Outcome::Answered(_)),
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
            matches!(exchange.connect.outcome, Outcome::Answered(_)),
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
    let prober = prober(&Authority::new("Front CA"));
    let exchange = prober
        .exchange(&target(port), Ipv4Addr::LOCALHOST.into(), TIMEOUT, None)
        .await;
    assert!(
        matches!(exchange.connect.outcome, Outcome::Refused(_)),
        "{exchange:?}"
    );
    assert_eq!((exchange.tls, exchange.ttfb), (None, None));
}

/// A server that serves every connection with as many responses as it is asked for, and counts the connections.
async fn serve_all(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    response: &[u8],
    accepted: &AtomicUsize,
) {
    let mut serving = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepting = listener.accept() => {
                let (stream, _) = accepting.expect("a connection");
                accepted.fetch_add(1, Ordering::Relaxed);
                serving.push(answer_all(acceptor.accept(stream), response));
            }
            Some(()) = serving.next() => {}
        }
    }
}

async fn answer_all(accepting: tokio_rustls::Accept<TcpStream>, response: &[u8]) {
    let mut stream = accepting.await.expect("a handshake");
    let mut request = [0_u8; 1024];
    while let Ok(1..) = stream.read(&mut request).await {
        stream.write_all(response).await.expect("written");
        if response.ends_with(b"close") {
            break;
        }
    }
    drop(stream.shutdown().await);
}

#[tokio::test]
async fn the_warm_request_uses_the_same_connection_or_is_none() {
    let authority = Authority::new("Front CA");
    let identity = authority.issue("front.example", LATER);
    let prober = prober(&authority);
    let long = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n".as_slice(),
        vec![b'x'; 200_000].as_slice(),
    ]
    .concat();
    for (name, response, is_warm) in [
        ("kept", RESPONSE, true),
        ("no body", b"HTTP/1.1 204 No Content\r\n\r\n", true),
        (
            "closed",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nclose",
            false,
        ),
        ("too long to be read", long.as_slice(), false),
    ] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a loopback port");
        let target = target(listener.local_addr().expect("an address").port());
        let acceptor = TlsAcceptor::from(Arc::new(identity.server(rustls::ALL_VERSIONS, &[])));
        let accepted = AtomicUsize::new(0);
        let serving = serve_all(listener, acceptor, response, &accepted);
        let asking = async {
            for round in 1..=3 {
                let exchange = prober
                    .exchange(&target, Ipv4Addr::LOCALHOST.into(), TIMEOUT, None)
                    .await;
                assert!(
                    matches!(exchange.ttfb, Some(Outcome::Answered(_))),
                    "{name}: {exchange:?}"
                );
                let warm = matches!(exchange.warm, Some(Outcome::Answered(_)));
                assert_eq!(warm, is_warm, "{name}: {exchange:?}");
                assert_eq!(
                    accepted.load(Ordering::Relaxed),
                    round,
                    "{name}: one connection for each exchange"
                );
            }
        };
        tokio::select! {
            () = asking => {}
            () = serving => panic!("a server serves for ever"),
        }
    }
}

#[tokio::test]
async fn http_2_is_spoken_where_it_was_agreed_on() {
    let authority = Authority::new("Front CA");
    let identity = authority.issue("front.example", LATER);
    let config = identity.server(rustls::ALL_VERSIONS, &[b"h2", b"http/1.1"]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a loopback port");
    let target = target(listener.local_addr().expect("an address").port());
    let asked = Mutex::new(Vec::new());
    let answer = hyper::service::service_fn(|request: http::Request<Incoming>| {
        let mut asked = asked.lock().expect("sound");
        asked.push((request.version(), request.uri().to_string()));
        let response = Response::builder().status(404).header("x-feserver", "one");
        let body = "no".to_owned();
        std::future::ready(response.body(body))
    });
    let serving = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let stream = TokioIo::new(acceptor.accept(stream).await.expect("a handshake"));
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(builder.serve_connection(stream, answer).await);
    };
    let prober = prober(&authority);
    let asking = prober.exchange(&target, Ipv4Addr::LOCALHOST.into(), TIMEOUT, None);
    let (exchange, ()) = tokio::join!(asking, serving);
    assert_eq!(exchange.status, 404, "{exchange:?}");
    assert!(matches!(exchange.warm, Some(Outcome::Answered(_))));
    assert_eq!(exchange.headers.len(), 1);
    assert_eq!(exchange.sighting.expect("a handshake").alpn, "h2");
    let wanted = format!("https://front.example:{}/", target.port);
    let wanted = (http::Version::HTTP_2, wanted);
    assert_eq!(*asked.lock().expect("sound"), [wanted.clone(), wanted]);
}

#[tokio::test]
async fn what_was_shown_is_seen_trusted_or_not() {
    for (server, issuer, is_trusted) in [
        (Server::Answers, "Example, Front CA", true),
        (Server::Untrusted, "Example, Inspection CA", false),
    ] {
        let exchange = exchange_with(server).await;
        let seen = exchange.sighting.expect("a sighting");
        assert_eq!(seen.issuer, issuer);
        assert_eq!(seen.problem.is_empty(), is_trusted, "{seen:?}");
        assert_eq!(seen.version, 0x0304);
        assert_eq!(seen.certificates.len(), 2);
        assert_eq!(seen.alpn, "http/1.1");
        assert_ne!(seen.cipher_suite, 0);
    }
}

/// Says `start`, and then `again` without end, to a handshake or to a request.
async fn flood(listener: TcpListener, acceptor: Option<TlsAcceptor>, start: &[u8], again: &[u8]) {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let Some(acceptor) = acceptor else {
        return pour(&mut stream, start, again).await;
    };
    let mut stream = acceptor.accept(stream).await.expect("a handshake");
    let mut request = [0_u8; 1024];
    let read = stream.read(&mut request).await.expect("a request");
    assert!(read > 0, "somebody asks");
    pour(&mut stream, start, again).await;
}

async fn pour(stream: &mut (impl AsyncWriteExt + Unpin), start: &[u8], again: &[u8]) {
    let mut written = stream.write_all(start).await;
    while written.is_ok() {
        written = stream.write_all(again).await;
    }
}

/// A TLS record that begins a handshake message of 16 MB.
fn endless_hello() -> Vec<u8> {
    let mut record = vec![22, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff];
    record.resize(5 + 0x4000, 3);
    record
}

/// A peer that floods: its name, whether it shakes hands first, what it says once and again, and what becomes of TLS and TTFB,
/// an answer being one of no time.
type Flood = (
    &'static str,
    bool,
    &'static str,
    Vec<u8>,
    (Outcome, Option<Outcome>),
);

fn floods() -> [Flood; 6] {
    let header = format!("x-filler: {}\r\n", "y".repeat(4_000)).into_bytes();
    let chunk = format!("1000\r\n{}\r\n", "z".repeat(0x1000)).into_bytes();
    let garbage = vec![0xa5; 4_096];
    let again = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
    let body = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answered = Outcome::Answered(Duration::ZERO);
    let no_tls = (Outcome::TlsFailed, None);
    let then = |ttfb| (answered, Some(ttfb));
    [
        (
            "garbage for a handshake",
            false,
            "",
            garbage.clone(),
            no_tls,
        ),
        ("a message of 16 MB", false, "", endless_hello(), no_tls),
        (
            "a head without end",
            true,
            "HTTP/1.1 200 OK\r\n",
            header,
            then(Outcome::HttpFailed),
        ),
        (
            "garbage for a head",
            true,
            "",
            garbage,
            then(Outcome::HttpFailed),
        ),
        ("heads without end", true, "", again, then(Outcome::Timeout)),
        ("a body without end", true, body, chunk, then(answered)),
    ]
}

#[tokio::test]
async fn a_peer_that_floods_spoils_its_own_exchange_and_ends_it_in_time() {
    let authority = Authority::new("Front CA");
    let identity = authority.issue("front.example", LATER);
    let prober = prober(&authority);
    for (name, is_tls, start, again, (tls, ttfb)) in floods() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a loopback port");
        let target = target(listener.local_addr().expect("an address").port());
        let config = Arc::new(identity.server(rustls::ALL_VERSIONS, &[]));
        let acceptor = is_tls.then(|| TlsAcceptor::from(config));
        let began = clock::now();
        let exchange = {
            let flooding = flood(listener, acceptor, start.as_bytes(), &again);
            let asking = prober.exchange(&target, Ipv4Addr::LOCALHOST.into(), TIMEOUT, None);
            tokio::pin!(flooding, asking);
            tokio::select! {
                exchange = &mut asking => exchange,
                () = &mut flooding => asking.await,
            }
        };
        let took = clock::now() - began;
        let untimed = |outcome: Outcome| match outcome.rtt() {
            Some(_) => Outcome::Answered(Duration::ZERO),
            None => outcome,
        };
        assert_eq!(exchange.tls.map(untimed), Some(tls), "{name}: {exchange:?}");
        assert_eq!(exchange.ttfb.map(untimed), ttfb, "{name}: {exchange:?}");
        assert_eq!(exchange.warm, None, "{name}");
        assert!(took < TIMEOUT * 5, "{name}: {took:?}");
    }
}
