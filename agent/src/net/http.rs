//! HTTP over a connection that stands already: HTTP/1.1 or HTTP/2 as was agreed on, spoken by hyper.

use std::net::IpAddr;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::config::{Host, Target};

/// Longest response that is read to its end, so that its connection can be used again: error pages and redirects are shorter.
const MAX_BODY: usize = 64 << 10;

/// Most that the head of a response may have: Microsoft's have 2 to 6 kB.
const MAX_HEAD: u32 = 64 << 10;

/// Most that an HTTP/2 server may send before it is read.
const WINDOW: u32 = 64 << 10;

/// What is agreed on for HTTP/2 (RFC 9113 §3.2).
const H2: &[u8] = b"h2";

/// Sends requests on one connection.
pub(super) enum Speaker {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

/// What moves the bytes of a connection: it is to be polled as long as something is asked or read.
pub(super) type Moving = BoxFuture<'static, ()>;

impl Speaker {
    /// Speaks what was agreed on over `stream`; nothing agreed on is HTTP/1.1.
    ///
    /// # Errors
    /// When the connection breaks at once.
    pub(super) async fn over(stream: TlsStream<TcpStream>) -> hyper::Result<(Self, Moving)> {
        let is_two = stream.get_ref().1.alpn_protocol() == Some(H2);
        let stream = TokioIo::new(stream);
        if is_two {
            let (sender, moving) = http2::Builder::new(TokioExecutor::new())
                .max_header_list_size(MAX_HEAD)
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .handshake(stream)
                .await?;
            Ok((Self::Two(sender), moving.map(drop).boxed()))
        } else {
            let (sender, moving) = http1::Builder::new()
                .max_buf_size(usize::try_from(MAX_HEAD).unwrap_or(usize::MAX))
                .handshake(stream)
                .await?;
            Ok((Self::One(sender), moving.map(drop).boxed()))
        }
    }

    /// Asks `target` for its path.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no HTTP.
    pub(super) async fn get(&mut self, target: &Target) -> Result<Response<Incoming>, Unanswered> {
        let request = self.request(target)?;
        let answer = match self {
            Self::One(sender) => sender.send_request(request).await,
            Self::Two(sender) => sender.send_request(request).await,
        };
        answer.map_err(Unanswered::from)
    }

    /// Whether the connection takes another request, once it has come to rest.
    pub(super) async fn is_ready(&mut self) -> bool {
        match self {
            Self::One(sender) => sender.ready().await.is_ok(),
            Self::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    /// HTTP/1.1 names path and host (RFC 9112 §3.2), HTTP/2 the whole (RFC 9113 §8.3.1).
    fn request(&self, target: &Target) -> Result<Request<Empty<Bytes>>, http::Error> {
        let host = match &target.host {
            Host::Address(IpAddr::V6(v6)) => format!("[{v6}]"),
            Host::Name(_) | Host::Address(IpAddr::V4(_)) => target.host.to_string(),
        };
        let authority = match target.port {
            443 => host,
            port => format!("{host}:{port}"),
        };
        let path = target.path.as_str();
        let builder = match self {
            Self::One(_) => Request::get(path).header(HOST, authority),
            Self::Two(_) => {
                let whole = Uri::builder().scheme("https").authority(authority);
                Request::get(whole.path_and_query(path).build()?)
            }
        };
        builder
            .header(ACCEPT, "*/*")
            .header(
                USER_AGENT,
                concat!("firstmile-agent/", env!("CARGO_PKG_VERSION")),
            )
            .body(Empty::new())
    }
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("the request cannot be written")]
    Unwritable(#[from] http::Error),
    #[error("the connection broke")]
    Broken(#[from] hyper::Error),
}

/// Reads a body to its end; false when it is too long or breaks off.
pub(super) async fn read_out(mut body: Incoming) -> bool {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > MAX_BODY {
            return false;
        }
    }
    true
}

/// What comes of `work` while the connection moves.
pub(super) async fn beside<T>(mut moving: Moving, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = &mut moving => {}
    }
    work.await
}
