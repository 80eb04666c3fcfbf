//! HTTPS at the targets of the whole agent: one certificate for all, an answer without content for every request.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::rig;

/// A connection that says nothing is dropped after so long; TCP probes hang up at once.
const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\nserver: bench\r\n\r\n";

/// Answers at every target until the process ends. Gives back the certificate to trust, as PEM.
pub(crate) fn open(targets: &[Ipv4Addr]) -> anyhow::Result<String> {
    let names = targets.iter().map(ToString::to_string).collect::<Vec<_>>();
    let key = KeyPair::generate().context("cannot make a key")?;
    let parameters = CertificateParams::new(names).context("cannot name the targets")?;
    let certificate = parameters
        .self_signed(&key)
        .context("cannot sign a certificate")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no TLS version")?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .context("rustls refuses the certificate")?;
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), rig::PORT);
    let listener = rig::far(|| TcpListener::bind(any).context("cannot listen at the targets"))?;
    let config = Arc::new(config);
    std::thread::Builder::new()
        .name("door".to_owned())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                // Without a thread the client sees a hang-up, as at a busy server.
                std::thread::Builder::new()
                    .spawn(move || serve(stream, config).ok())
                    .ok();
            }
        })
        .context("cannot start the door's thread")?;
    Ok(certificate.pem())
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut tls = StreamOwned::new(ServerConnection::new(config)?, stream);
    let mut request = Vec::new();
    let mut piece = [0; 4_096];
    while !request.ends_with(b"\r\n\r\n") && request.len() < 65_536 {
        let read = tls.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
    tls.write_all(ANSWER)?;
    tls.conn.send_close_notify();
    tls.flush()?;
    Ok(())
}
