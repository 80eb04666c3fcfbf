//! Echo by the kernel's clock (crate `firstmile-echo`): one task owns the engine of each family and all that waits for it.
//!
//! It sends what has gathered at most once a [`TICK`] and reads at most once a [`TICK`]: stamps are the kernel's, so waiting
//! costs no accuracy, and a burst costs one wake-up. A single probe is sent, and its reply read, at once.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use firstmile_echo::engine::{Engine, OpenError, Setup};
use firstmile_echo::moment::Moment;
use firstmile_echo::packet::Family;
use firstmile_echo::{self as echo, Completion, Ending, Request};
use futures::future::BoxFuture;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::{EchoEngine, SurgeEngine};
use crate::alarm;
use crate::clock;
use crate::net::exit::{Exit, InterfaceName};
use crate::net::route;
use crate::probe::{Clock, Measured, Outcome};
use crate::report::counters::Counters;

/// Least time between two sends, and between two reads.
const TICK: Duration = Duration::from_millis(20);
/// Probes under way at once, for each family: 20 targets in bursts stay far below.
const CAPACITY: usize = 256;
/// Looks up from waiting once in so long, though there is no reason to.
const IDLE: Duration = Duration::from_hours(1);
/// Requests that may wait for the task; beyond it probes are local errors.
const QUEUE: usize = 256;

/// The engines of both families.
pub(crate) struct KernelEngine {
    v4: mpsc::Sender<Ask>,
    v6: mpsc::Sender<Ask>,
    renewals: watch::Sender<()>,
    /// For kernels that refuse the options.
    fallback: SurgeEngine,
}

/// What a lane is told.
struct Inbox {
    asks: mpsc::Receiver<Ask>,
    /// Told when the socket is to be opened anew.
    renewed: watch::Receiver<()>,
}

/// Why a lane's socket is closed.
enum Ended {
    /// Cancelled, or nobody asks any more.
    ForGood,
    Renewed,
}

struct Ask {
    destination: IpAddr,
    /// Nothing is sent when this engine cannot be had at all.
    reply: oneshot::Sender<Option<Measured>>,
}

impl KernelEngine {
    /// Starts the tasks; no socket is opened yet.
    pub(crate) fn start(
        timeout: Duration,
        exit: Exit,
        counters: &Arc<Counters>,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Self {
        let (renewals, renewed) = watch::channel(());
        let lane = |family| {
            let (asks, inbox) = mpsc::channel(QUEUE);
            let inbox = Inbox {
                asks: inbox,
                renewed: renewed.clone(),
            };
            let setup = Setup {
                family,
                capacity: CAPACITY,
                timeout,
                source: exit.source,
                interface: exit.interface.map(InterfaceName::bytes),
                traffic_class: exit.dscp << 2,
            };
            tasks.spawn(serve(setup, Arc::clone(counters), inbox, cancel.clone()));
            asks
        };
        Self {
            v4: lane(Family::V4),
            v6: lane(Family::V6),
            renewals,
            fallback: SurgeEngine::new(rand::random(), timeout).by(exit),
        }
    }
}

impl EchoEngine for KernelEngine {
    fn echo(&self, destination: IpAddr) -> BoxFuture<'_, Measured> {
        let lane = match destination {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            if lane.try_send(Ask { destination, reply }).is_err() {
                return Measured::kernel(Outcome::LocalError);
            }
            match answer.await {
                Ok(Some(measured)) => measured,
                Ok(None) => self.fallback.echo(destination).await,
                // The socket broke, or the agent stops.
                Err(_) => Measured::kernel(Outcome::LocalError),
            }
        })
    }

    fn renew(&self) {
        self.renewals.send_replace(());
        self.fallback.renew();
    }
}

/// Opens the engine when the first request comes, and anew after it broke or could not be opened.
async fn serve(setup: Setup, counters: Arc<Counters>, mut inbox: Inbox, cancel: CancellationToken) {
    loop {
        let first = tokio::select! {
            () = cancel.cancelled() => return,
            ask = inbox.asks.recv() => match ask {
                Some(ask) => ask,
                None => return,
            },
        };
        inbox.renewed.mark_unchanged();
        let lane = match Lane::open(setup, Arc::clone(&counters)) {
            Ok(lane) => lane,
            Err(error) => {
                // Told again with each probe: who asked may have stopped waiting.
                first.reply.send(without_engine(&error)).ok();
                continue;
            }
        };
        match lane.run(first, &mut inbox, &cancel).await {
            Ok(Ended::ForGood) => return,
            Ok(Ended::Renewed) => {}
            Err(error) => warn!(%error, "the echo socket broke; it is opened anew"),
        }
    }
}

/// What a probe is that no engine could send. `None`: another engine may.
fn without_engine(error: &OpenError) -> Option<Measured> {
    match error {
        OpenError::NeitherKind { raw, .. } => Some(Measured::kernel(Outcome::of_io_error(raw))),
        OpenError::Setup { access, source, .. } => {
            info!(?access, error = %source, "the kernel cannot stamp echoes, they are stamped here");
            None
        }
    }
}

/// An open engine at work.
struct Lane {
    engine: Engine,
    /// The engine's socket, as the reactor knows it; it changes when the identifier does.
    readiness: AsyncFd<Arc<OwnedFd>>,
    rotations: u64,
    gathered: Vec<Request>,
    waiting: BTreeMap<u64, oneshot::Sender<Option<Measured>>>,
    next_token: u64,
    finished: Vec<Completion>,
    sent_at: Option<Instant>,
    read_at: Option<Instant>,
    /// Since when a packet would be read at once.
    idle_since: Option<Moment>,
    /// What of the engine's counts has been told, and to whom.
    told: echo::counters::Counters,
    counters: Arc<Counters>,
}

impl Lane {
    fn open(setup: Setup, counters: Arc<Counters>) -> Result<Self, OpenError> {
        let engine = Engine::open(setup)?;
        let (family, access) = (setup.family, engine.access());
        let readiness = watch(&engine).map_err(|source| OpenError::Setup {
            family,
            access,
            source,
        })?;
        Ok(Self {
            engine,
            readiness,
            rotations: 0,
            gathered: Vec::new(),
            waiting: BTreeMap::new(),
            next_token: 0,
            finished: Vec::new(),
            sent_at: None,
            read_at: None,
            idle_since: None,
            told: echo::counters::Counters::default(),
            counters,
        })
    }

    /// Runs until cancelled, until it is renewed, or until nobody asks any more.
    async fn run(
        mut self,
        first: Ask,
        inbox: &mut Inbox,
        cancel: &CancellationToken,
    ) -> io::Result<Ended> {
        self.take(first);
        loop {
            let now = clock::now();
            if !self.gathered.is_empty() && is_rested(self.sent_at, now) {
                self.send(now);
            }
            let may_read = is_rested(self.read_at, now);
            if may_read && self.idle_since.is_none() {
                self.idle_since = Some(Engine::now());
            }
            let wake = self.wake(now);
            tokio::select! {
                // In this order: what is asked after a renewal is not for this socket.
                biased;
                () = cancel.cancelled() => return Ok(Ended::ForGood),
                Ok(()) = inbox.renewed.changed() => return Ok(Ended::Renewed),
                ask = inbox.asks.recv(), if self.waiting.len() < CAPACITY => match ask {
                    Some(ask) => self.take(ask),
                    None => return Ok(Ended::ForGood),
                },
                ready = self.readiness.readable(), if may_read => {
                    // Cleared before reading: what comes meanwhile makes it ready again.
                    ready?.clear_ready();
                    while !self.read()? {}
                }
                () = alarm::until(wake) => {
                    if may_read {
                        self.read()?;
                    }
                }
            }
        }
    }

    fn take(&mut self, ask: Ask) {
        let token = self.next_token;
        self.next_token += 1;
        self.gathered.push(Request {
            destination: ask.destination,
            token,
        });
        self.waiting.insert(token, ask.reply);
    }

    fn send(&mut self, now: Instant) {
        let sent = self.engine.send(&self.gathered);
        // What the system has no room for is not kept for later: it would be another probe then.
        for request in self.gathered.drain(..).skip(sent) {
            if let Some(reply) = self.waiting.remove(&request.token) {
                reply.send(Some(Measured::kernel(Outcome::LocalError))).ok();
            }
        }
        self.sent_at = Some(now);
    }

    /// Reads what is there and answers who waits for it. Says whether nothing is left.
    fn read(&mut self) -> io::Result<bool> {
        let exhausted = self
            .engine
            .receive(self.idle_since.take(), &mut self.finished)?;
        for Completion {
            token,
            destination,
            ending,
        } in self.finished.drain(..)
        {
            // Who asked may have stopped waiting.
            if let Some(reply) = self.waiting.remove(&token) {
                reply.send(Some(measured(ending, destination))).ok();
            }
        }
        if self.engine.rotations() != self.rotations {
            self.rotations = self.engine.rotations();
            self.readiness = watch(&self.engine)?;
        }
        self.read_at = Some(clock::now());
        self.count();
        Ok(exhausted)
    }

    /// Passes on what the engine has counted since the last call.
    fn count(&mut self) {
        let now = *self.engine.counters();
        let before = std::mem::replace(&mut self.told, now);
        let all = &self.counters;
        all.late_replies.add(now.late - before.late);
        all.duplicate_replies.add(now.duplicate - before.duplicate);
        all.truncated_replies.add(now.truncated - before.truncated);
        let wrong = |counts: &echo::counters::Counters| counts.forged + counts.elsewhere;
        all.forged_replies.add(wrong(&now) - wrong(&before));
        let strange = |counts: &echo::counters::Counters| counts.unknown + counts.damaged;
        all.unmatched_replies.add(strange(&now) - strange(&before));
        all.clock_step_samples
            .add(now.clock_stepped - before.clock_stepped);
    }

    /// When to look again though nothing came.
    fn wake(&mut self, now: Instant) -> Instant {
        let rested = |since: Option<Instant>| since.map_or(now, |since| since + TICK);
        let send = (!self.gathered.is_empty()).then(|| rested(self.sent_at));
        let read = rested(self.read_at);
        let again = (!self.waiting.is_empty() && read > now).then_some(read);
        let expiry = self.engine.next_expiry().map(|expiry| {
            let left = expiry.saturating_sub(Engine::now().monotonic);
            (now + left).max(read)
        });
        send.into_iter()
            .chain(again)
            .chain(expiry)
            .min()
            .unwrap_or(now + IDLE)
    }
}

fn is_rested(since: Option<Instant>, now: Instant) -> bool {
    since.is_none_or(|since| now >= since + TICK)
}

#[expect(
    deprecated,
    reason = "the successor is unsafe for descriptors that may be closed meanwhile; an owned one is not"
)]
fn watch(engine: &Engine) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    AsyncFd::with_interest(engine.descriptor(), Interest::READABLE)
}

fn measured(ending: Ending, destination: IpAddr) -> Measured {
    match ending {
        Ending::Answered(answer) => {
            let clock = match answer.clock {
                echo::Clock::Kernel => Clock::Kernel,
                echo::Clock::User => Clock::User,
            };
            Measured {
                outcome: Outcome::Answered(answer.rtt),
                clock,
                scheduling_delay: Some(answer.delay),
                reply_ttl: answer.hop_limit.unwrap_or(0),
            }
        }
        Ending::Timeout => Measured::kernel(Outcome::Timeout),
        Ending::Unreachable { kind, code, .. } => {
            Measured::kernel(if is_prohibited(destination, kind, code) {
                Outcome::Filtered
            } else {
                Outcome::Unreachable
            })
        }
        // It was answered, so it is not lost; it has no RTT, so it is no answer.
        Ending::Spoiled(_) => Measured::kernel(Outcome::LocalError),
        Ending::NotSent(error) => Measured::kernel(route::outcome_of(&error, destination)),
    }
}

/// Whether an ICMP error says "administratively prohibited": RFC 1122 §3.2.2.1 (codes 9, 10), RFC 1812 §5.2.7.1 (code
/// 13), RFC 4443 §3.1 (code 1, and its kinds 5 and 6).
const fn is_prohibited(destination: IpAddr, kind: u8, code: u8) -> bool {
    match destination {
        IpAddr::V4(_) => kind == 3 && matches!(code, 9 | 10 | 13),
        IpAddr::V6(_) => kind == 1 && matches!(code, 1 | 5 | 6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);

    /// Where neither kind of socket is permitted the engine says so, which is tested as well as an answer.
    #[tokio::test]
    async fn loopback_answers_by_the_kernels_clock_or_is_not_permitted() {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let engine =
            KernelEngine::start(TIMEOUT, Exit::default(), &Arc::default(), &tasks, &cancel);
        let loopback = IpAddr::from([127, 0, 0, 1]);
        // The kernel stamps a little after the first socket of the machine asks for it; until then samples say so.
        for _ in 0..50 {
            if engine.echo(loopback).await.clock == Clock::Kernel {
                break;
            }
        }
        let probes = (0..50).map(|_| engine.echo(loopback));
        let measured = futures::future::join_all(probes).await;
        // The machine's stamps are one switch for all programs: where another one's last socket closes, a probe may miss its
        // stamp, and then says so.
        let stamped = measured.iter().filter(|one| one.clock == Clock::Kernel);
        assert!(stamped.count() >= 40, "{measured:?}");
        for measured in measured {
            assert!(
                matches!(measured.outcome, Outcome::Answered(rtt) if rtt < TIMEOUT)
                    || measured.outcome == Outcome::NotPermitted,
                "{measured:?}"
            );
        }
        cancel.cancel();
        tasks.close();
        tasks.wait().await;
        let after = engine.echo(loopback).await;
        assert_eq!(after, Measured::kernel(Outcome::LocalError));
    }
}
