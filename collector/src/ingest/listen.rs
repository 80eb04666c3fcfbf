//! A listener that one peer cannot exhaust: bounded connections over all and of each address (`places`), handshakes,
//! headers and streams; a connection that asks for nothing is closed. Ends gracefully.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::Counters;
use super::places::{Places, Seat};
use super::refusal::with_sources;

/// Time for a TLS handshake: a far agent on a bad line needs some seconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the first request of a connection, and for the headers of any over HTTP/1.1.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of headers.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// Requests at once on one HTTP/2 connection: a page with its files.
const MAX_STREAMS: u32 = 32;
/// A quiet connection is asked whether it still lives, so that a dead peer does not hold a place.
const KEEP_ALIVE: Duration = Duration::from_mins(1);
/// Time that the open requests of a connection have to end once it is to close.
const DRAIN: Duration = Duration::from_secs(5);
/// Pause after a failed accept: it fails when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The client certificate chain that TLS has verified, leaf first; absent when none was shown.
#[derive(Clone, Debug)]
pub struct PeerCertificates(pub Arc<Vec<CertificateDer<'static>>>);

/// A listener and what it serves.
pub struct Listener {
    /// The bound socket.
    pub socket: TcpListener,
    /// TLS, or plain HTTP (on loopback only; the configuration sees to it).
    pub tls: Option<Arc<ServerConfig>>,
    /// What is served. Each request carries [`ConnectInfo`] and, with a client certificate, [`PeerCertificates`].
    pub router: Router,
    /// Where failed handshakes are counted.
    pub counters: Arc<Counters>,
    /// How long a connection without a client certificate may stay; `None`: as long as it likes.
    pub anonymous_stay: Option<Duration>,
}

impl Listener {
    /// Serves until cancelled, then lets open requests end, then returns.
    pub async fn serve(self, cancel: CancellationToken) {
        let places = Places::default();
        let connections = TaskTracker::new();
        let acceptor = self.tls.clone().map(TlsAcceptor::from);
        loop {
            let place = tokio::select! {
                () = cancel.cancelled() => break,
                place = places.free() => place,
            };
            let accepted = tokio::select! {
                () = cancel.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                // A socket of both families shows IPv4 as IPv6.
                Ok((stream, peer)) => (
                    stream,
                    SocketAddr::new(peer.ip().to_canonical(), peer.port()),
                ),
                Err(error) => {
                    warn!(%error, "connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(seat) = place.take(peer.ip()) else {
                self.note_crowd(peer);
                continue;
            };
            let connection = Connection {
                peer,
                router: self.router.clone(),
                counters: Arc::clone(&self.counters),
                anonymous_stay: self.anonymous_stay,
                cancel: cancel.clone(),
                _seat: seat,
            };
            connections.spawn(connection.run(stream, acceptor.clone()));
        }
        drop(self.socket);
        connections.close();
        connections.wait().await; // each ends within DRAIN
    }

    fn note_crowd(&self, peer: SocketAddr) {
        let count = self.counters.count_refused("too_many_connections");
        if count.is_power_of_two() || count.is_multiple_of(1000) {
            warn!(%peer, count, "connection closed, its address has too many");
        }
    }
}

struct Connection {
    peer: SocketAddr,
    router: Router,
    counters: Arc<Counters>,
    anonymous_stay: Option<Duration>,
    cancel: CancellationToken,
    _seat: Seat,
}

impl Connection {
    async fn run(self, stream: TcpStream, acceptor: Option<TlsAcceptor>) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, peer = %self.peer, "connection ended at once");
            return;
        }
        let Some(acceptor) = acceptor else {
            self.serve(stream, None).await;
            return;
        };
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
        let handshake = tokio::select! {
            () = self.cancel.cancelled() => return,
            handshake = handshake => handshake,
        };
        match handshake {
            Ok(Ok(stream)) => {
                let chain = stream.get_ref().1.peer_certificates();
                let chain = chain.map(|chain| {
                    PeerCertificates(Arc::new(
                        chain.iter().map(|one| one.clone().into_owned()).collect(),
                    ))
                });
                self.serve(stream, chain).await;
            }
            Ok(Err(error)) => self.note_failed_handshake(&with_sources(&error)),
            Err(_) => self.note_failed_handshake("timed out"),
        }
    }

    /// Among them: an agent that trusts another CA, or one whose certificate another CA made.
    fn note_failed_handshake(&self, error: &str) {
        let count = self.counters.count_refused("handshake_failed");
        if count.is_power_of_two() || count.is_multiple_of(1000) {
            warn!(peer = %self.peer, error, count, "tls handshake failed");
        }
    }

    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        chain: Option<PeerCertificates>,
    ) {
        let (router, peer) = (self.router, self.peer);
        let stay = self.anonymous_stay.filter(|_| chain.is_none());
        let asked = Arc::new(AtomicBool::new(false));
        let first_request = Arc::clone(&asked);
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            first_request.store(true, Ordering::Relaxed);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            if let Some(chain) = &chain {
                request.extensions_mut().insert(chain.clone());
            }
            let answer = router.clone().oneshot(request);
            async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
        });
        let builder = protocols();
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        // The protocol's detection has no timeout of its own: it waits for a first byte as long as it takes.
        let silent = async {
            tokio::time::sleep(HEADER_TIMEOUT).await;
            if asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            debug!(%peer, "connection asked for nothing");
        };
        let over = async {
            match stay {
                Some(stay) => tokio::time::sleep(stay).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = &mut connection => Ok(ended),
            () = until_first(self.cancel.cancelled(), until_first(silent, over)) => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(DRAIN, connection).await
            }
        };
        if let Ok(Err(error)) = ended {
            debug!(error = with_sources(error.as_ref()), %peer, "connection ended with an error");
        }
    }
}

async fn until_first(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    tokio::select! {
        () = one => {}
        () = other => {}
    }
}

fn protocols() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(64 << 10)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(HANDSHAKE_TIMEOUT);
    builder
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Virtual time: whatever waits for nothing but a timeout is over at once.
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_for_nothing_is_closed() {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = socket.local_addr().expect("an address");
        let cancel = CancellationToken::new();
        let listener = Listener {
            socket,
            tls: None,
            router: Router::new().route("/", get(|| async { "here" })),
            counters: Arc::default(),
            anonymous_stay: None,
        };
        let tasks = TaskTracker::new();
        tasks.spawn(listener.serve(cancel.clone()));
        for (name, said, answered) in [
            ("nothing", "", false),
            ("one letter", "P", false),
            ("half of a preface", "PRI * HTTP/2.0\r\n", false),
            (
                "half of the headers",
                "GET / HTTP/1.1\r\nhost: a\r\n",
                false,
            ),
            ("a request", "GET / HTTP/1.1\r\nhost: a\r\n\r\n", true),
        ] {
            let mut client = TcpStream::connect(address).await.expect("connects");
            client.write_all(said.as_bytes()).await.expect("writes");
            let mut heard = Vec::new();
            let closed = client.read_to_end(&mut heard);
            let closed = tokio::time::timeout(3 * HEADER_TIMEOUT, closed).await;
            assert!(closed.is_ok(), "{name}: closed in time");
            let heard = String::from_utf8_lossy(&heard);
            assert_eq!(heard.ends_with("here"), answered, "{name}: {heard}");
        }
        cancel.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
