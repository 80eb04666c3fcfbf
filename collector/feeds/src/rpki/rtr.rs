//! The RTR client: connects to a validator, and again when it is away.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use firstmile_routing::vrp::Vrps;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Guard;
use super::session::{RESET_QUERY, RtrSessionError, Session, Step};
use crate::event::Event;
use crate::status::FeedStatus;

const CONNECT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_mins(1);
/// A question is answered within this time, and each part of a long answer follows the last within it.
const ANSWER: Duration = Duration::from_mins(2);
const READ: usize = 1 << 16;

/// The client.
#[derive(Clone, Debug)]
pub struct Rtr {
    /// The validator's address and port.
    pub server: String,
    /// How it is doing.
    pub status: Arc<Mutex<FeedStatus>>,
    /// The clock, in Unix seconds.
    pub clock: fn() -> f64,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum RtrClientError {
    #[error("cannot reach the validator")]
    Unreachable(#[source] std::io::Error),
    #[error("the validator did not answer in time")]
    Slow,
    #[error("the connection broke")]
    Broken(#[source] std::io::Error),
    #[error("the validator closed the connection")]
    Closed,
    #[error("what the validator sent cannot be used")]
    Session(#[from] RtrSessionError),
    #[error("the collector stops")]
    Stopping,
}

impl Rtr {
    /// Runs until cancelled. Each connection begins with a question for everything: session numbers of validators that restart are
    /// not to be trusted. While the validator is away the last good set holds, beyond the time that RFC 8210 §6 lets a router use it: nothing
    /// is dropped by it here, and an old answer beats none. The feed is then in alarm.
    pub async fn run(self, events: mpsc::Sender<Event>, cancel: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        let mut guard = Guard::default();
        loop {
            let heard = self.messages();
            let outcome = tokio::select! {
                () = cancel.cancelled() => return,
                outcome = self.connection(&mut guard, &events) => outcome,
            };
            if let Err(error) = outcome {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                warn!(server = %self.server, %error, cause, "rpki is away");
            }
            self.update(|status| {
                status.connected = false;
                status.gaps += 1;
            });
            if self.messages() > heard {
                pause = FIRST_PAUSE;
            }
            let jitter: f64 = rand::random_range(0.5..1.5);
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(pause.mul_f64(jitter)) => {}
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    async fn connection(
        &self,
        guard: &mut Guard,
        events: &mpsc::Sender<Event>,
    ) -> Result<(), RtrClientError> {
        let mut stream = tokio::time::timeout(CONNECT, TcpStream::connect(&self.server))
            .await
            .map_err(|_| RtrClientError::Slow)?
            .map_err(RtrClientError::Unreachable)?;
        stream
            .write_all(&RESET_QUERY)
            .await
            .map_err(RtrClientError::Broken)?;
        let mut session = Session::new();
        let mut buffer = vec![0; READ];
        // The router asks, the validator may be silent for as long as nothing changes (RFC 8210 §6).
        let mut patience = ANSWER;
        let mut waits_for_answer = true;
        loop {
            let read = tokio::time::timeout(patience, stream.read(&mut buffer)).await;
            let read = match read {
                Ok(read) => read.map_err(RtrClientError::Broken)?,
                Err(_) if waits_for_answer => return Err(RtrClientError::Slow),
                Err(_) => {
                    let question = session.refresh();
                    stream
                        .write_all(&question)
                        .await
                        .map_err(RtrClientError::Broken)?;
                    (waits_for_answer, patience) = (true, ANSWER);
                    continue;
                }
            };
            if read == 0 {
                return Err(RtrClientError::Closed);
            }
            for step in session.push(buffer.get(..read).unwrap_or_default())? {
                match step {
                    Step::Send(octets) => {
                        stream
                            .write_all(&octets)
                            .await
                            .map_err(RtrClientError::Broken)?;
                        (waits_for_answer, patience) = (true, ANSWER);
                    }
                    Step::Whole => {
                        self.whole(&session, guard, events).await?;
                        (waits_for_answer, patience) = (false, session.timers().refresh);
                    }
                }
            }
        }
    }

    async fn whole(
        &self,
        session: &Session,
        guard: &mut Guard,
        events: &mpsc::Sender<Event>,
    ) -> Result<(), RtrClientError> {
        let now = (self.clock)();
        let size = session.vrps().len();
        self.update(|status| {
            status.connected = true;
            status.messages += 1;
            status.last_message_at = Some(now);
            status.sessions = u64::try_from(size).unwrap_or(u64::MAX);
            status.dropped = session.refused();
            status.expires_at = Some(now + session.timers().expire.as_secs_f64());
        });
        if !guard.accepts(size) {
            warn!(server = %self.server, size, "rpki lost much at once: the last good set holds");
            return Ok(());
        }
        info!(server = %self.server, size, "rpki is up to date");
        let vrps = Box::new(Vrps::new(session.vrps().iter().copied()));
        let event = Event::Vrps { at: now, vrps };
        events
            .send(event)
            .await
            .map_err(|_| RtrClientError::Stopping)
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
