//! The BMP station: listens, lets known routers in, reads each session in a task of its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::session::{Session, SessionCounters};
use crate::event::{Event, FeedId};
use crate::status::FeedStatus;

/// Octets read at once.
const READ: usize = 1 << 16;
/// A router that says nothing for so long, not even statistics, is asked for nothing: half-open connections must not hold their place.
const IDLE: Duration = Duration::from_hours(1);

/// Whom the station lets in.
#[derive(Clone, Debug)]
pub struct Access {
    /// Routers, by address; BMP has no authentication.
    pub routers: Vec<IpNet>,
    /// Sessions at once.
    pub max_sessions: usize,
}

/// The station.
#[derive(Clone, Debug)]
pub struct Station {
    /// Which feed it is.
    pub feed: FeedId,
    /// Whom it lets in.
    pub access: Access,
    /// How it is doing.
    pub status: Arc<Mutex<FeedStatus>>,
    /// The clock, in Unix seconds.
    pub clock: fn() -> f64,
}

impl Station {
    /// Serves until cancelled. Events wait for their turn in the queue: TCP holds the routers back.
    pub async fn serve(
        self,
        listener: TcpListener,
        events: mpsc::Sender<Event>,
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) {
        let sessions = Arc::new(Semaphore::new(self.access.max_sessions));
        self.update(|status| status.connected = true);
        loop {
            let accepted = tokio::select! {
                () = cancel.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "cannot accept a bmp session");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(permit) = self.admit(from, &sessions) else {
                continue;
            };
            let (station, events, cancel) = (self.clone(), events.clone(), cancel.clone());
            tasks.spawn(async move {
                station.session(stream, from, events, cancel).await;
                drop(permit);
            });
        }
    }

    fn admit(
        &self,
        from: SocketAddr,
        sessions: &Arc<Semaphore>,
    ) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let address = from.ip().to_canonical();
        if !self
            .access
            .routers
            .iter()
            .any(|known| known.contains(&address))
        {
            warn!(router = %address, "refused a bmp session: the router is not on the list");
            return None;
        }
        let permit = Arc::clone(sessions).try_acquire_owned().ok();
        if permit.is_none() {
            warn!(router = %address, "refused a bmp session: too many are open");
        }
        permit
    }

    async fn session(
        &self,
        mut stream: TcpStream,
        from: SocketAddr,
        events: mpsc::Sender<Event>,
        cancel: CancellationToken,
    ) {
        let router: IpAddr = from.ip().to_canonical();
        info!(%router, "bmp session opened");
        self.update(|status| {
            status.sessions += 1;
            status.sessions_begun += 1;
        });
        let mut session = Session::new(self.feed, router);
        let mut told = SessionCounters::default();
        let mut buffer = vec![0; READ];
        loop {
            let read = tokio::select! {
                // A collector that stops has seen no route go.
                () = cancel.cancelled() => return,
                read = tokio::time::timeout(IDLE, stream.read(&mut buffer)) => read,
            };
            let octets = match read {
                Ok(Ok(0)) => break,
                Ok(Ok(read)) => buffer.get(..read).unwrap_or_default(),
                Ok(Err(error)) => {
                    warn!(%router, %error, "bmp session broke");
                    break;
                }
                Err(_) => {
                    warn!(%router, "bmp session was silent for too long");
                    break;
                }
            };
            let now = (self.clock)();
            let mut batch = Vec::new();
            let outcome = session.push(octets, now, &mut batch);
            self.count(now, &mut told, session.counters());
            for event in batch {
                if events.send(event).await.is_err() {
                    return;
                }
            }
            if let Err(error) = outcome {
                warn!(%router, %error, "bmp session ended");
                self.update(|status| status.unread += 1);
                break;
            }
        }
        self.update(|status| {
            status.sessions -= 1;
            status.gaps += 1;
        });
        if events.send(session.closed((self.clock)())).await.is_ok() {
            info!(%router, "bmp session closed");
        }
    }

    fn count(&self, now: f64, told: &mut SessionCounters, counters: SessionCounters) {
        self.update(|status| {
            status.last_message_at = Some(now);
            status.messages += counters.messages - told.messages;
            status.announced += counters.announced - told.announced;
            status.withdrawn += counters.withdrawn - told.withdrawn;
            status.unread += counters.unread - told.unread;
            status.dropped += counters.refused - told.refused;
        });
        *told = counters;
    }

    fn update(&self, change: impl FnOnce(&mut FeedStatus)) {
        if let Ok(mut status) = self.status.lock() {
            change(&mut status);
        }
    }
}
