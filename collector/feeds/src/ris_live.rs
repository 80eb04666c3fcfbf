//! RIS Live over WebSocket: subscribes to what is registered, reconnects with jitter, says when it was away.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use firstmile_routing::detector::PathId;
use firstmile_routing::ris::{self, Message, Update};
use futures::{SinkExt, StreamExt};
use ipnet::IpNet;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use crate::event::{Event, FeedId, Peer, Routes};
use crate::status::FeedStatus;

/// Subscriptions by prefix up to here; beyond, everything is taken and filtered here.
pub const MAX_SUBSCRIPTIONS: usize = 100;
/// First pause before the next attempt, doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_mins(1);
/// Connecting, with TLS and the upgrade.
const CONNECT: Duration = Duration::from_secs(20);
/// Pings keep the connection known to be alive.
const PING: Duration = Duration::from_secs(30);
/// Nothing at all, not even an answer to a ping.
const DEAD: Duration = Duration::from_secs(90);

/// The client.
#[derive(Clone, Debug)]
pub struct RisLive {
    /// Which feed it is.
    pub feed: FeedId,
    /// Where, `ws` or `wss`.
    pub url: Url,
    /// What is registered, widest prefixes; empty or more than [`MAX_SUBSCRIPTIONS`]: everything.
    pub prefixes: Vec<IpNet>,
    /// A prefix that is announced and withdrawn all the time, by which a dead feed is noticed.
    pub canary: Option<IpNet>,
    /// How it is doing.
    pub status: Arc<Mutex<FeedStatus>>,
    /// The clock, in Unix seconds.
    pub clock: fn() -> f64,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum RisLiveError {
    #[error("{0} has no host")]
    NoHost(Url),
    #[error("cannot reach {to}")]
    Unreachable { to: String, source: std::io::Error },
    #[error("{0} did not answer in time")]
    Slow(String),
    #[error("the certificates of this machine cannot be read")]
    Certificates,
    #[error("the connection broke")]
    WebSocket(#[from] Box<tokio_tungstenite::tungstenite::Error>),
    #[error("the server closed the connection")]
    Closed,
    #[error("nothing came for {DEAD:?}")]
    Dead,
    #[error("messages come faster than they are judged")]
    Behind,
}

impl RisLive {
    /// Runs until cancelled.
    pub async fn run(self, events: mpsc::Sender<Event>, cancel: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            let heard = self.messages();
            let outcome = tokio::select! {
                () = cancel.cancelled() => return,
                outcome = self.connection(&events) => outcome,
            };
            if let Err(error) = outcome {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                warn!(url = %self.url, %error, cause, "ris live is away");
            }
            self.update(|status| {
                status.connected = false;
                status.gaps += 1;
            });
            // What the peers said may have changed meanwhile: it no longer counts until it is said again.
            let away = Event::OutOfSight {
                feed: self.feed,
                at: (self.clock)(),
                router: None,
            };
            if self.messages() > heard {
                pause = FIRST_PAUSE;
                if events.send(away).await.is_err() {
                    return;
                }
            }
            let jitter: f64 = rand::random_range(0.5..1.5);
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(pause.mul_f64(jitter)) => {}
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn connection(&self, events: &mpsc::Sender<Event>) -> Result<(), RisLiveError> {
        let to = self
            .url
            .host_str()
            .ok_or_else(|| RisLiveError::NoHost(self.url.clone()))?;
        let port = self.url.port_or_known_default().unwrap_or(443);
        let slow = |_| RisLiveError::Slow(to.to_owned());
        let unreachable = |source| RisLiveError::Unreachable {
            to: format!("{to}:{port}"),
            source,
        };
        let bare = to.trim_start_matches('[').trim_end_matches(']');
        let stream = tokio::time::timeout(CONNECT, TcpStream::connect((bare, port)))
            .await
            .map_err(slow)?
            .map_err(unreachable)?;
        if self.url.scheme() == "ws" {
            return self.talk(stream, events).await;
        }
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| RisLiveError::NoHost(self.url.clone()))?;
        let stream = tokio::time::timeout(CONNECT, tls()?.connect(name, stream))
            .await
            .map_err(slow)?
            .map_err(unreachable)?;
        self.talk(stream, events).await
    }

    async fn talk<S>(&self, stream: S, events: &mpsc::Sender<Event>) -> Result<(), RisLiveError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let limits = WebSocketConfig::default()
            .max_message_size(Some(ris::MAX_MESSAGE))
            .max_frame_size(Some(ris::MAX_MESSAGE));
        let upgrade =
            tokio_tungstenite::client_async_with_config(self.url.as_str(), stream, Some(limits));
        let (mut socket, _) = tokio::time::timeout(CONNECT, upgrade)
            .await
            .map_err(|_| RisLiveError::Slow(self.url.to_string()))?
            .map_err(Box::new)?;
        for subscription in subscriptions(&self.prefixes, self.canary) {
            socket
                .send(Frame::text(subscription))
                .await
                .map_err(Box::new)?;
        }
        info!(url = %self.url, "ris live is connected");
        self.update(|status| status.connected = true);
        let mut ping = tokio::time::interval(PING);
        let mut quiet = 0;
        loop {
            let frame = tokio::select! {
                frame = socket.next() => frame.ok_or(RisLiveError::Closed)?.map_err(Box::new)?,
                _ = ping.tick() => {
                    quiet += 1;
                    if PING * quiet > DEAD {
                        return Err(RisLiveError::Dead);
                    }
                    socket.send(Frame::text(r#"{"type":"ping"}"#)).await.map_err(Box::new)?;
                    continue;
                }
            };
            quiet = 0;
            match frame {
                Frame::Text(text) => self.message(text.as_str(), events)?,
                Frame::Close(_) => return Err(RisLiveError::Closed),
                Frame::Binary(_) => self.update(|status| status.unread += 1),
                Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_) => {}
            }
        }
    }

    /// Reads one message. The queue never holds the socket up: a slow reader is cut off by the server. One that finds no room ends the
    /// connection, since a lost withdrawal would be a hijack that never ends: what peers said is then out of sight.
    fn message(&self, text: &str, events: &mpsc::Sender<Event>) -> Result<(), RisLiveError> {
        let now = (self.clock)();
        self.update(|status| {
            status.messages += 1;
            status.last_message_at = Some(now);
        });
        let event = match ris::decode(text) {
            Ok(Message::Update(update)) => {
                self.count(now, &update);
                Some(routes(self.feed, now, *update))
            }
            Ok(Message::PeerState {
                at,
                peer,
                up: false,
            }) => Some(Event::PeerDown {
                feed: self.feed,
                at: at.unwrap_or(now),
                peer: route_collector_peer(peer),
                lost: false,
            }),
            Ok(Message::Error(said)) => {
                warn!(%said, "ris live complains");
                None
            }
            Ok(Message::PeerState { .. } | Message::Other) => None,
            Err(_) => {
                self.update(|status| status.unread += 1);
                None
            }
        };
        if let Some(event) = event
            && events.try_send(event).is_err()
        {
            self.update(|status| status.dropped += 1);
            return Err(RisLiveError::Behind);
        }
        Ok(())
    }

    fn count(&self, now: f64, update: &Update) {
        let counted = |prefixes: &[IpNet]| u64::try_from(prefixes.len()).unwrap_or(u64::MAX);
        let canary = |prefix: &IpNet| Some(*prefix) == self.canary;
        let canary = update.announced.iter().chain(&update.withdrawn).any(canary);
        self.update(|status| {
            status.announced += counted(&update.announced);
            status.withdrawn += counted(&update.withdrawn);
            status.unread += u64::from(!update.unread.is_empty());
            if canary {
                status.canary_at = Some(now);
            }
        });
    }

    fn messages(&self) -> u64 {
        self.status.lock().map_or(0, |status| status.messages)
    }

    fn update(&self, change: impl FnOnce(&mut FeedStatus)) {
        if let Ok(mut status) = self.status.lock() {
            change(&mut status);
        }
    }
}

/// The event of an update.
pub fn routes(feed: FeedId, now: f64, update: Update) -> Event {
    Event::Routes(Box::new(Routes {
        feed,
        at: update.at.unwrap_or(now),
        peer: route_collector_peer(update.peer),
        path: PathId::NONE,
        withdrawn: update.withdrawn,
        announced: update.announced,
        route: update.route,
        communities: None,
    }))
}

fn route_collector_peer(peer: ris::Peer) -> Peer {
    Peer::RouteCollector {
        host: peer.host,
        name: peer.name,
    }
}

fn subscriptions(prefixes: &[IpNet], canary: Option<IpNet>) -> Vec<String> {
    let one = |prefix: Option<IpNet>, more: bool| {
        let mut data = json!({
            "type": "UPDATE",
            "socketOptions": {"includeRaw": true, "acknowledge": false},
        });
        if let (Some(prefix), Some(data)) = (prefix, data.as_object_mut()) {
            data.insert("prefix".to_owned(), json!(prefix));
            data.insert("moreSpecific".to_owned(), json!(more));
        }
        json!({"type": "ris_subscribe", "data": data}).to_string()
    };
    if prefixes.is_empty() || prefixes.len() > MAX_SUBSCRIPTIONS {
        return vec![one(None, true)];
    }
    let mut all: Vec<String> = prefixes
        .iter()
        .map(|prefix| one(Some(*prefix), true))
        .collect();
    all.extend(canary.map(|canary| one(Some(canary), false)));
    all
}

fn tls() -> Result<TlsConnector, RisLiveError> {
    let mut roots = rustls::RootCertStore::empty();
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(RisLiveError::Certificates);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| RisLiveError::Certificates)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
