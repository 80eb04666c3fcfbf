//! The front doors over QUIC (RFC 9000): a real endpoint that speaks as much HTTP/3 (RFC 9114) as a probe asks for.
//!
//! Each connection gets a control stream with empty settings, and each request the status 200; what was asked is not read.

use std::net::UdpSocket;
use std::sync::Arc;

use anyhow::Context;
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, SendStream, ServerConfig};
use tokio_util::task::TaskTracker;

/// A control stream (type 0x00) with an empty SETTINGS frame (RFC 9114 §6.2.1, §7.2.4).
const CONTROL: &[u8] = &[0x00, 0x04, 0x00];
/// A HEADERS frame whose one field line is `:status: 200`: entry 25 (0x19) of the static table (RFC 9204 §4.5, appendix A).
const STATUS_200: &[u8] = &[0x01, 0x03, 0x00, 0x00, 0xc0 | 0x19];
/// Longest request that is taken off a stream.
const MOST_REQUEST_BYTES: usize = 64 * 1024;

/// What a QUIC endpoint needs of the credentials of TLS.
pub(crate) fn configuration(mut tls: rustls::ServerConfig) -> anyhow::Result<ServerConfig> {
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls);
    let crypto = crypto.context("the TLS configuration does not do for QUIC")?;
    Ok(ServerConfig::with_crypto(Arc::new(crypto)))
}

/// Answers at a socket until `tasks` is closed. The caller is within a runtime.
pub(crate) fn serve(
    tasks: &TaskTracker,
    socket: UdpSocket,
    config: ServerConfig,
) -> anyhow::Result<()> {
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, runtime);
    let endpoint = endpoint.context("cannot make a QUIC endpoint")?;
    let tracker = tasks.clone();
    tasks.spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            if tracker.is_closed() {
                return;
            }
            tracker.spawn(converse(incoming));
        }
    });
    Ok(())
}

/// A client that leaves in the middle is no fault of the front door.
async fn converse(incoming: Incoming) {
    let Ok(connection) = incoming.await else {
        return;
    };
    // Kept open as long as the connection: a control stream that ends is an error of the connection (RFC 9114 §6.2.1).
    let Ok(_control) = introduce(&connection).await else {
        return;
    };
    while let Ok((mut answer, mut request)) = connection.accept_bi().await {
        if request.read_to_end(MOST_REQUEST_BYTES).await.is_ok()
            && answer.write_all(STATUS_200).await.is_ok()
        {
            answer.finish().ok();
        }
    }
}

async fn introduce(connection: &Connection) -> anyhow::Result<SendStream> {
    let mut control = connection.open_uni().await?;
    control.write_all(CONTROL).await?;
    Ok(control)
}
