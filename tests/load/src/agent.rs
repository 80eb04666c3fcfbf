//! One agent on the wire: enrolment, one kept connection, one report after the other.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use firstmile_wire::enroll::{EnrollRequest, EnrollResponse};
use firstmile_wire::ids::AgentId;
use firstmile_wire::v1::{Ack, Report};
use firstmile_wire::{CONTENT_ENCODING, CONTENT_TYPE, ENROLL_PATH, REPORTS_PATH, frame};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::host::Host;

/// Agents of one source address: a collector takes 2,048 connections of one.
const OF_ADDRESS: u32 = 1_500;

/// What all agents share.
pub(crate) struct Shared {
    address: SocketAddr,
    secret: String,
    roots: Arc<RootCertStore>,
}

impl Shared {
    pub(crate) fn of(host: &Host) -> anyhow::Result<Self> {
        let ca = CertificateDer::from_pem_slice(host.ca_pem.as_bytes()).context("a CA")?;
        let mut roots = RootCertStore::empty();
        roots.add(ca).context("a CA")?;
        Ok(Self {
            address: host.address,
            secret: host.secret.clone(),
            roots: Arc::new(roots),
        })
    }
}

/// A kept connection.
struct Line {
    requests: SendRequest<Full<Bytes>>,
    /// Moves its bytes, and ends with it.
    _driver: JoinSet<()>,
}

/// An enrolled agent.
pub(crate) struct Agent {
    pub(crate) id: AgentId,
    number: u32,
    tls: Arc<ClientConfig>,
    open: Option<Line>,
}

impl Agent {
    /// Enrols with a key of its own.
    pub(crate) async fn enroll(shared: &Shared, number: u32) -> anyhow::Result<Self> {
        let key = KeyPair::generate().context("a key")?;
        let csr = CertificateParams::default().serialize_request(&key)?;
        let request = EnrollRequest {
            secret: shared.secret.clone(),
            csr_pem: csr.pem().context("a request")?,
            hostname: format!("load-{number}"),
            agent_version: "0.1.0".to_owned(),
            tag: None,
            address: None,
        };
        let open = ClientConfig::builder()
            .with_root_certificates(Arc::clone(&shared.roots))
            .with_no_client_auth();
        let mut line = connect(shared, number, Arc::new(with_http2(open))).await?;
        let body = serde_json::to_vec(&request).context("JSON")?;
        let head = Request::post(url(ENROLL_PATH)).header("content-type", "application/json");
        let (status, body) = ask(&mut line, head, body).await?;
        if status != StatusCode::OK {
            bail!("enrolment: {status}: {}", String::from_utf8_lossy(&body));
        }
        let granted: EnrollResponse = serde_json::from_slice(&body).context("an identity")?;
        let certificate = CertificateDer::from_pem_slice(granted.certificate_pem.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?;
        let tls = ClientConfig::builder()
            .with_root_certificates(Arc::clone(&shared.roots))
            .with_client_auth_cert(vec![certificate], key)
            .context("an identity")?;
        Ok(Self {
            id: granted.agent_id,
            number,
            tls: Arc::new(with_http2(tls)),
            open: None,
        })
    }

    /// Connects unless it is.
    pub(crate) async fn connect(&mut self, shared: &Shared) -> anyhow::Result<()> {
        if self
            .open
            .as_ref()
            .is_none_or(|line| line.requests.is_closed())
        {
            self.open = Some(connect(shared, self.number, Arc::clone(&self.tls)).await?);
        }
        Ok(())
    }

    /// Sends a report and waits for its acknowledgement.
    pub(crate) async fn send(&mut self, shared: &Shared, report: &Report) -> anyhow::Result<()> {
        self.connect(shared).await?;
        let line = self.open.as_mut().context("just connected")?;
        let head = Request::post(url(REPORTS_PATH))
            .header("content-type", CONTENT_TYPE)
            .header("content-encoding", CONTENT_ENCODING);
        let (status, body) = ask(line, head, frame::encode(report)?).await?;
        if status != StatusCode::OK {
            bail!("{status}: {}", String::from_utf8_lossy(&body));
        }
        let ack = Ack::decode(body.as_ref()).context("an acknowledgement")?;
        if ack.stored < report.sequence {
            bail!("stored up to {} of {}", ack.stored, report.sequence);
        }
        Ok(())
    }
}

fn url(path: &str) -> String {
    format!("https://127.0.0.1{path}")
}

fn with_http2(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

async fn connect(shared: &Shared, number: u32, tls: Arc<ClientConfig>) -> anyhow::Result<Line> {
    let socket = TcpSocket::new_v4().context("a socket")?;
    // 250 source addresses are more than any load here needs.
    let last = u8::try_from(number / OF_ADDRESS + 2).unwrap_or(250);
    let from = SocketAddr::new(Ipv4Addr::new(127, 0, 0, last).into(), 0);
    socket.bind(from).context("a source address")?;
    let stream = socket.connect(shared.address).await.context("connects")?;
    stream.set_nodelay(true).context("a socket")?;
    let name = ServerName::try_from("127.0.0.1").context("a name")?;
    let stream = TlsConnector::from(tls).connect(name, stream).await;
    let stream = TokioIo::new(stream.context("TLS")?);
    let (requests, connection) = handshake(TokioExecutor::new(), stream).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // Its end shows in the next request.
        connection.await.ok();
    });
    Ok(Line {
        requests,
        _driver: driver,
    })
}

async fn ask(
    line: &mut Line,
    head: http::request::Builder,
    body: Vec<u8>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let request = head
        .body(Full::new(Bytes::from(body)))
        .context("a request")?;
    line.requests.ready().await.context("the connection")?;
    let answer = line
        .requests
        .send_request(request)
        .await
        .context("an answer")?;
    let status = answer.status();
    let body = answer.into_body().collect().await.context("a body")?;
    Ok((status, body.to_bytes()))
}
