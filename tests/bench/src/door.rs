//! The front doors of the whole agent's targets: TLS with HTTP/2, and QUIC, one certificate for all. Every request gets an
//! answer without content.

use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Empty;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, EndpointConfig, TokioRuntime};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::rig;

/// Connections at one time; further ones wait.
const MOST_CONNECTIONS: usize = 256;

/// What the doors show.
struct Credentials {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

/// Answers at every address of the far side until the process ends. Gives back the certificate to trust, as PEM.
pub(crate) fn open(names: Vec<String>) -> anyhow::Result<String> {
    let key = KeyPair::generate().context("cannot make a key")?;
    let parameters = CertificateParams::new(names).context("cannot name the targets")?;
    let certificate = parameters
        .self_signed(&key)
        .context("cannot sign a certificate")?;
    let credentials = Credentials {
        certificate: certificate.der().clone(),
        key: key.serialize_der(),
    };
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, rig::PORT));
    let (listener, datagrams) = rig::far(|| {
        let listener = TcpListener::bind(any).context("cannot listen at the targets")?;
        let datagrams = UdpSocket::bind(any).context("cannot receive at the targets")?;
        listener
            .set_nonblocking(true)
            .context("no asynchronous listener")?;
        Ok((listener, datagrams))
    })?;
    let acceptor = TlsAcceptor::from(Arc::new(credentials.configuration(b"h2")?));
    let quic = QuicServerConfig::try_from(credentials.configuration(b"h3")?)
        .context("the TLS settings do not do for QUIC")?;
    let quic = quinn::ServerConfig::with_crypto(Arc::new(quic));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime for the doors")?;
    let serve = async move { tokio::join!(tcp(listener, acceptor), udp(datagrams, quic)).0 };
    std::thread::Builder::new()
        .name("door".to_owned())
        .spawn(move || runtime.block_on(serve))
        .context("cannot start the doors' thread")?;
    Ok(certificate.pem())
}

impl Credentials {
    fn configuration(&self, protocol: &[u8]) -> anyhow::Result<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivatePkcs8KeyDer::from(self.key.clone());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("no TLS version")?
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key.into())
            .context("rustls refuses the certificate")?;
        config.alpn_protocols = vec![protocol.to_vec()];
        Ok(config)
    }
}

async fn tcp(listener: TcpListener, acceptor: TlsAcceptor) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener).context("no listener")?;
    let mut open = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.context("the doors cannot accept")?;
        open.spawn(converse(stream, acceptor.clone()));
        make_room(&mut open).await;
    }
}

/// Forgets connections that have ended, and waits for one to end where there are too many.
async fn make_room(open: &mut JoinSet<()>) {
    while open.try_join_next().is_some() {}
    if open.len() >= MOST_CONNECTIONS {
        open.join_next().await;
    }
}

/// A client that leaves in the middle is no fault of the door.
async fn converse(stream: TcpStream, acceptor: TlsAcceptor) {
    stream.set_nodelay(true).ok();
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let answer = service_fn(|_| async {
        let mut response = Response::new(Empty::<Bytes>::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok::<_, Infallible>(response)
    });
    Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), answer)
        .await
        .ok();
}

/// Handshakes; a connection stays until the client closes it or is silent for long.
async fn udp(socket: UdpSocket, config: quinn::ServerConfig) -> anyhow::Result<()> {
    let runtime = Arc::new(TokioRuntime);
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime)
        .context("no QUIC endpoint")?;
    let mut open = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        open.spawn(async move {
            if let Ok(connection) = incoming.await {
                connection.closed().await;
            }
        });
        make_room(&mut open).await;
    }
    Ok(())
}
