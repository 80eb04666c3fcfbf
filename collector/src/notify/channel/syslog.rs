//! The channel by syslog: UDP (RFC 5426), TCP with the length before each message (RFC 6587 §3.4.1), TLS (RFC 5425).
//!
//! One connection a message: notifications are rare, and a connection that rested for days is gone more often than not. Syslog has no
//! acknowledgement: "sent" means that the system took it, and over TCP and TLS that the receiver closed its side without an error.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio_rustls::TlsConnector;

use super::error::{OpenError, SendError};
use super::tls;
use crate::config::notify::{Syslog, SyslogTransport};
use crate::notify::core::notice::Notice;
use crate::notify::core::render;

/// After our end of the stream, a receiver that refuses says so within this.
const FAREWELL: Duration = Duration::from_secs(2);

/// Sends to one server.
pub(super) struct Logger {
    config: Syslog,
    host_name: String,
    tls: Option<TlsConnector>,
    receiver: String,
}

impl std::fmt::Debug for Logger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Logger").field(&self.receiver).finish()
    }
}

impl Logger {
    pub(super) fn open(config: &Syslog, ca: Option<&Path>) -> Result<Self, OpenError> {
        let tls = match config.transport {
            SyslogTransport::Tls => Some(TlsConnector::from(Arc::new(tls::config(ca)?))),
            SyslogTransport::Udp | SyslogTransport::Tcp => None,
        };
        Ok(Self {
            config: config.clone(),
            host_name: crate::config::host_name().unwrap_or_default(),
            tls,
            receiver: format!("{}:{}", config.host, config.port),
        })
    }

    pub(super) fn receiver(&self) -> &str {
        &self.receiver
    }

    pub(super) async fn send(&self, notice: &Notice) -> Result<String, SendError> {
        let line = render::syslog::line(notice, &self.host_name, self.config.facility);
        let sent = match self.config.transport {
            SyslogTransport::Udp => self.by_datagram(&line).await,
            SyslogTransport::Tcp | SyslogTransport::Tls => self.by_stream(&line).await,
        };
        match sent {
            Ok(()) => Ok(format!("sent to {}", self.receiver)),
            Err(source) => Err(SendError::Unreachable {
                what: "send syslog to",
                to: self.receiver.clone(),
                fix: "look whether it listens, and at host, port and transport of the channel",
                source: source.into(),
            }),
        }
    }

    async fn by_datagram(&self, line: &str) -> io::Result<()> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in lookup_host((self.config.host.as_str(), self.config.port)).await? {
            let any = match address {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            let socket = UdpSocket::bind(any).await?;
            match socket.send_to(line.as_bytes(), address).await {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn by_stream(&self, line: &str) -> io::Result<()> {
        let stream = TcpStream::connect((self.config.host.as_str(), self.config.port)).await?;
        let frame = format!("{} {line}", line.len());
        match &self.tls {
            None => write(stream, &frame).await,
            Some(tls) => {
                let name = ServerName::try_from(self.config.host.clone())
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                write(tls.connect(name, stream).await?, &frame).await
            }
        }
    }
}

/// Writes a frame and closes our side; then listens for a reset, which is all that a receiver can say.
async fn write(
    mut stream: impl AsyncWrite + tokio::io::AsyncRead + Unpin,
    frame: &str,
) -> io::Result<()> {
    stream.write_all(frame.as_bytes()).await?;
    stream.flush().await?;
    stream.shutdown().await?;
    let mut rest = [0; 64];
    match tokio::time::timeout(FAREWELL, stream.read(&mut rest)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}
