//! A listener that one peer cannot exhaust: bounded connections, handshakes, headers, streams; ends gracefully.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::Counters;
use super::refusal::with_sources;

/// Connections at once: the 5,000 agents of the largest installation, and half as many that reconnect.
const MAX_CONNECTIONS: usize = 8192;
/// Time for a TLS handshake: a far agent on a bad line needs some seconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for the headers of a request over HTTP/1.1.
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
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let connections = TaskTracker::new();
        let acceptor = self.tls.map(TlsAcceptor::from);
        loop {
            let place = tokio::select! {
                () = cancel.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let Ok(place) = place else { break }; // only a closed semaphore gives none, and nobody closes it
            let accepted = tokio::select! {
                () = cancel.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let connection = Connection {
                peer,
                router: self.router.clone(),
                counters: Arc::clone(&self.counters),
                anonymous_stay: self.anonymous_stay,
                cancel: cancel.clone(),
                _place: place,
            };
            connections.spawn(connection.run(stream, acceptor.clone()));
        }
        drop(self.socket);
        connections.close();
        connections.wait().await; // each ends within DRAIN
    }
}

struct Connection {
    peer: SocketAddr,
    router: Router,
    counters: Arc<Counters>,
    anonymous_stay: Option<Duration>,
    cancel: CancellationToken,
    _place: OwnedSemaphorePermit,
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
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
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
        let over = async {
            match stay {
                Some(stay) => tokio::time::sleep(stay).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = &mut connection => Ok(ended),
            () = until_first(self.cancel.cancelled(), over) => {
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
