//! The front doors: TLS, HTTP and QUIC on the anycast addresses, with the header that names the metro.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::scenario::{Edge, Scenario};
use crate::{clock, netns, quic};

/// Listening sockets of one front door machine.
pub(crate) struct Door {
    server: String,
    metro: String,
    tls: TcpListener,
    plain: TcpListener,
    quic: UdpSocket,
}

/// What the front doors show to those who come: a certificate of the lab's own CA.
pub(crate) struct Credentials {
    tls: Arc<ServerConfig>,
    quic: quinn::ServerConfig,
}

impl Door {
    /// Listens in the namespace of the front door machine.
    pub(crate) fn listen(edge: &Edge) -> anyhow::Result<Self> {
        let sockets = || Ok((listen(443)?, listen(80)?, datagrams(443)?));
        let (tls, plain, quic) = netns::inside(&edge.name, sockets)?;
        Ok(Self {
            server: edge.server.clone(),
            metro: edge.metro.clone(),
            tls,
            plain,
            quic,
        })
    }

    /// Answers until `tasks` is closed; every connection for TLS is booked in `knocks`.
    pub(crate) fn serve(
        self,
        tasks: &TaskTracker,
        credentials: &Credentials,
        knocks: &Knocks,
    ) -> anyhow::Result<()> {
        let Self {
            server,
            metro,
            tls,
            plain,
            quic,
        } = self;
        quic::serve(tasks, quic, credentials.quic.clone())?;
        let head: Arc<[String; 2]> = Arc::new([server, metro]);
        let acceptor = TlsAcceptor::from(Arc::clone(&credentials.tls));
        for (listener, acceptor) in [(tls, Some(acceptor)), (plain, None)] {
            listener
                .set_nonblocking(true)
                .context("cannot make a listener asynchronous")?;
            let listener = tokio::net::TcpListener::from_std(listener)
                .context("cannot hand over a listener")?;
            let (tracker, knocks, head) = (tasks.clone(), knocks.clone(), Arc::clone(&head));
            tasks.spawn(async move {
                while let Some((stream, peer)) = next_connection(&listener, &tracker).await {
                    if acceptor.is_some() {
                        // A socket of both families shows IPv4 as IPv6.
                        knocks.book(peer.ip().to_canonical(), clock::unix_ms());
                    }
                    tracker.spawn(answer(stream, acceptor.clone(), Arc::clone(&head)));
                }
            });
        }
        Ok(())
    }
}

/// Most connections remembered of one address: a day of the lab's plan.
const MAX_KNOCKS: usize = 100_000;

/// When connections for TLS came, by who came: an independent count of what agents say they sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Knocks(Arc<Mutex<BTreeMap<IpAddr, Vec<i64>>>>);

impl Knocks {
    fn book(&self, from: IpAddr, at_unix_ms: i64) {
        let mut knocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = knocks.entry(from).or_default();
        if of_address.len() < MAX_KNOCKS {
            of_address.push(at_unix_ms);
        }
    }

    /// How many came from an address before a time.
    pub(crate) fn from(&self, address: IpAddr, before_unix_ms: i64) -> u64 {
        let knocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = knocks
            .get(&address)
            .into_iter()
            .flatten()
            .filter(|at| **at < before_unix_ms);
        before.map(|_| 1).sum()
    }
}

/// The next connection; none when `tasks` is closed.
async fn next_connection(
    listener: &tokio::net::TcpListener,
    tasks: &TaskTracker,
) -> Option<(TcpStream, SocketAddr)> {
    while !tasks.is_closed() {
        if let Ok(connection) = listener.accept().await {
            return Some(connection);
        }
        // Out of file descriptors, perhaps: some will be free in a moment.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

/// A client that leaves in the middle is no fault of the front door.
async fn answer(stream: TcpStream, acceptor: Option<TlsAcceptor>, head: Arc<[String; 2]>) {
    stream.set_nodelay(true).ok();
    let [server, metro] = head.as_ref();
    match acceptor {
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                converse(stream, server, metro).await.ok();
            }
        }
        None => converse(stream, server, metro).await.unwrap_or_default(),
    }
}

/// Makes the lab's CA and the front doors' certificate, and writes them to `ca_file` and `chain_file`.
pub(crate) fn certify(
    scenario: &Scenario,
    ca_file: &Path,
    chain_file: &Path,
) -> anyhow::Result<Credentials> {
    let ca_key = KeyPair::generate().context("cannot make the CA's key")?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name
        .push(DnType::CommonName, "firstmile lab CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_certificate = ca
        .self_signed(&ca_key)
        .context("cannot make the CA's certificate")?;
    let hosts: Vec<String> = scenario
        .front_doors
        .iter()
        .map(|door| door.host.clone())
        .collect();
    let mut leaf = CertificateParams::new(hosts).context("a front door's host is no name")?;
    leaf.distinguished_name
        .push(DnType::CommonName, "front door of the firstmile lab");
    let key = KeyPair::generate().context("cannot make the front doors' key")?;
    let issuer = Issuer::new(ca, ca_key);
    let certificate = leaf
        .signed_by(&key, &issuer)
        .context("cannot make the front doors' certificate")?;
    let write = |file: &Path, text: &str| {
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    };
    write(ca_file, &ca_certificate.pem())?;
    write(chain_file, &(certificate.pem() + &ca_certificate.pem()))?;
    let chain = vec![certificate.der().clone(), ca_certificate.der().clone()];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no TLS version")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the front doors' certificate is refused")?;
    let quic = quic::configuration(config.clone())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Credentials {
        tls: Arc::new(config),
        quic,
    })
}

fn listen(port: u16) -> anyhow::Result<TcpListener> {
    // IPv4 too, as long as the system's `bindv6only` is off, which a new namespace's is.
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    TcpListener::bind(address).with_context(|| format!("cannot listen at {address}"))
}

fn datagrams(port: u16) -> anyhow::Result<UdpSocket> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    UdpSocket::bind(address).with_context(|| format!("cannot listen at {address}"))
}

/// Answers each request of a connection, whatever it asks for.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    server: &str,
    metro: &str,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        let mut first = true;
        while line.trim_end() != "" || first {
            first = false;
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
        }
        let head = response(server, metro, rand::random(), jiff::Timestamp::now());
        stream.write_all(head.as_bytes()).await?;
        stream.flush().await?;
    }
}

fn response(server: &str, metro: &str, request: u128, now: jiff::Timestamp) -> String {
    let body = format!("front door {server} of the firstmile lab\n");
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\
         x-msedge-ref: Ref A: {request:032X} Ref B: {server} Ref C: {}\r\nx-firsthopcafeefz: {metro}\r\n\r\n{body}",
        body.len(),
        now.strftime("%Y-%m-%dT%H:%M:%SZ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_the_edge() {
        let text = response("AMS04EDGE0317", "AMS", 1, jiff::Timestamp::UNIX_EPOCH);
        let wanted = "x-msedge-ref: Ref A: 00000000000000000000000000000001 Ref B: AMS04EDGE0317 Ref C: 1970-01-01T00:00:00Z\r\n";
        assert!(text.contains(wanted), "{text}");
    }
}
