//! From observations to reports on disk.
//!
//! Probes hand over and go on: the channel is bounded, and what finds no room is counted, never waited for. While the
//! disk does not take reports (full, read-only, gone) the last [`MAX_PENDING`] are held in memory.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use firstmile_wire::ids::{AgentId, BootId, Epoch};
use firstmile_wire::{frame, v1};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::batch::{Batch, Observation};
use super::counters::Counters;
use super::spool::{Spool, SpoolError};
use super::status::Status;
use crate::alarm;
use crate::clock;
use crate::config::{SpoolLimits, Target};
use crate::timekeeper::{Era, Timekeeper};

/// Observations between two turns of the pipeline: 20 targets at the fastest plan fill it in a minute.
const QUEUE: usize = 8_192;

/// Reports held in memory while the disk takes none: eight minutes of them.
const MAX_PENDING: usize = 16;

/// Reports of events are at least this far apart.
const EVENT_SPACING: Duration = Duration::from_secs(1);

/// What an event waits for others that belong to it.
const EVENT_DELAY: Duration = Duration::from_millis(200);

/// The first report of a run: whoever has just installed an agent is watching.
const FIRST_REPORT: Duration = Duration::from_secs(5);

enum Message {
    Seen(Era, Box<Observation>),
    FlushSoon,
}

/// Where probes hand over what they saw. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    sender: mpsc::Sender<Message>,
    counters: Arc<Counters>,
    keeper: Timekeeper,
}

impl Recorder {
    /// Hands over an observation; when there is no room it is dropped and counted.
    pub(crate) fn record(&self, observation: Observation) {
        let seen = Message::Seen(self.keeper.era(), Box::new(observation));
        if self.sender.try_send(seen).is_err() {
            self.counters.skipped_probes.add(1);
        }
    }

    /// Something happened that the collector should know at once. A full queue is reported soon anyway.
    pub(crate) fn flush_soon(&self) {
        drop(self.sender.try_send(Message::FlushSoon));
    }
}

/// The spool, opened as soon as the disk allows.
pub(crate) struct Store {
    pub(crate) directory: PathBuf,
    pub(crate) agent: AgentId,
    pub(crate) limits: SpoolLimits,
    pub(crate) spool: Option<Spool>,
}

impl Store {
    /// The spool, opened now if it was not.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub(crate) fn spool(&mut self) -> Result<&mut Spool, SpoolError> {
        if self.spool.is_none() {
            self.spool = Some(Spool::open(&self.directory, self.agent, self.limits)?);
        }
        self.spool.as_mut().ok_or_else(|| SpoolError::Directory {
            directory: self.directory.clone(),
            source: std::io::ErrorKind::NotFound.into(),
        })
    }
}

/// What the pipeline is made of.
pub(crate) struct Pipeline {
    pub(crate) targets: Vec<Target>,
    /// Empty where there is only the machine's own choice.
    pub(crate) vantages: Vec<v1::Vantage>,
    pub(crate) host: v1::HostFacts,
    pub(crate) boot: BootId,
    pub(crate) agent: AgentId,
    pub(crate) interval: Duration,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) status: Arc<Mutex<Status>>,
    pub(crate) counters: Arc<Counters>,
    /// Told after each report that was kept.
    pub(crate) kept: Arc<Notify>,
    /// Told of what `status` should show soon.
    pub(crate) status_changed: Arc<Notify>,
}

/// A recorder and the other end of its channel.
pub(crate) fn channel(counters: Arc<Counters>, keeper: Timekeeper) -> (Recorder, Inbox) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let recorder = Recorder {
        sender,
        counters,
        keeper,
    };
    (recorder, Inbox(receiver))
}

/// The receiving end of a [`Recorder`].
pub(crate) struct Inbox(mpsc::Receiver<Message>);

impl Pipeline {
    /// Batches and keeps until cancelled; then keeps what is left. A batch ends where an era does: its one wall anchor has to
    /// hold for everything in it.
    pub(crate) async fn run(self, mut inbox: Inbox, keeper: Timekeeper, cancel: CancellationToken) {
        let mut era = keeper.era();
        let mut batch = Batch::new(clock::anchor());
        let mut pending = VecDeque::new();
        let mut host = Some(self.host.clone());
        let mut last_flush = clock::now();
        let mut due = last_flush + self.interval.min(FIRST_REPORT);
        loop {
            let mut of_next_era = None;
            let stop = tokio::select! {
                () = cancel.cancelled() => true,
                () = alarm::until(due) => false,
                message = inbox.0.recv() => match message {
                    Some(Message::Seen(of, seen)) if of == era => { self.add(&mut batch, *seen); continue }
                    Some(Message::Seen(of, seen)) => { of_next_era = Some((of, seen)); false }
                    Some(Message::FlushSoon) => { due = event_due(due, last_flush, clock::now()); continue }
                    None => true,
                },
            };
            while of_next_era.is_none()
                && let Ok(message) = inbox.0.try_recv()
            {
                match message {
                    Message::Seen(of, seen) if of == era => self.add(&mut batch, *seen),
                    Message::Seen(of, seen) => of_next_era = Some((of, seen)),
                    Message::FlushSoon => {}
                }
            }
            let full = std::mem::replace(&mut batch, Batch::new(clock::anchor()));
            self.queue(full, host.take(), &mut pending);
            if let Some((of, seen)) = of_next_era {
                era = of;
                self.add(&mut batch, *seen);
            }
            pending = self.keep(pending).await;
            if stop {
                return;
            }
            last_flush = clock::now();
            due = last_flush + self.interval;
        }
    }

    fn add(&self, batch: &mut Batch, observation: Observation) {
        if !batch.add(observation) {
            self.counters.skipped_probes.add(1);
        }
    }

    fn queue(&self, batch: Batch, host: Option<v1::HostFacts>, pending: &mut VecDeque<v1::Report>) {
        if batch.is_empty() && host.is_none() {
            return;
        }
        let mut report = batch.into_report(&self.targets);
        report.agent_id = self.agent.to_bytes();
        report.boot_id = self.boot.to_bytes();
        env!("CARGO_PKG_VERSION").clone_into(&mut report.agent_version);
        report.host = host;
        report.vantages.clone_from(&self.vantages);
        pending.push_back(report);
        while pending.len() > MAX_PENDING {
            pending.pop_front();
            self.counters.spool_dropped_reports.add(1);
        }
    }

    /// Writes what is pending, on a thread that may wait for the disk; returns what could not be written.
    async fn keep(&self, pending: VecDeque<v1::Report>) -> VecDeque<v1::Report> {
        let (store, counters) = (Arc::clone(&self.store), Arc::clone(&self.counters));
        let status = Arc::clone(&self.status);
        let (kept, changed) = (Arc::clone(&self.kept), Arc::clone(&self.status_changed));
        let written = tokio::task::spawn_blocking(move || {
            let mut pending = pending;
            let outcome = keep_all(&store, &counters, &mut pending);
            note(&status, &outcome);
            // What the report was gathered in is free now.
            #[cfg(target_os = "linux")]
            firstmile_sys::allocator::give_back();
            kept.notify_one();
            changed.notify_one();
            pending
        });
        written.await.unwrap_or_default()
    }
}

/// An event brings the next report forward, but keeps its distance from the last one.
fn event_due(due: Instant, last_flush: Instant, now: Instant) -> Instant {
    due.min((now + EVENT_DELAY).max(last_flush + EVENT_SPACING))
}

fn keep_all(
    store: &Mutex<Store>,
    counters: &Counters,
    pending: &mut VecDeque<v1::Report>,
) -> Result<(), SpoolError> {
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    let spool = store.spool()?;
    counters.spool_dropped_reports.add(spool.take_unusable());
    let now = clock::unix_ms();
    while let Some(report) = pending.front_mut() {
        let epoch: Epoch = spool.epoch();
        report.epoch = epoch.to_bytes();
        report.sequence = spool.take_sequence()?;
        report.counters = Some(counters.to_wire());
        match frame::encode(report) {
            Ok(bytes) => spool.append(report.sequence, &bytes, now)?,
            Err(error) => {
                warn!(%error, "report dropped");
                counters.spool_dropped_reports.add(1);
            }
        }
        pending.pop_front();
    }
    counters
        .spool_dropped_reports
        .add(spool.enforce_limits(now));
    counters.spool_bytes.set(spool.bytes());
    Ok(())
}

/// Notes the disk's troubles, and logs them when they begin and when they end, not each time.
fn note(status: &Mutex<Status>, outcome: &Result<(), SpoolError>) {
    let problem = outcome.as_ref().err().map(|error| {
        let cause = std::error::Error::source(error)
            .map(ToString::to_string)
            .unwrap_or_default();
        format!("{error}: {cause}")
    });
    let mut status = status.lock().unwrap_or_else(PoisonError::into_inner);
    match (&status.spool_problem, &problem) {
        (None, Some(problem)) => {
            warn!(%problem, "cannot keep reports on disk, holding the last ones in memory");
        }
        (Some(_), None) => info!("reports are kept on disk again"),
        (None, None) | (Some(_), Some(_)) => {}
    }
    status.spool_problem = problem;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_bring_a_report_forward_but_keep_their_distance() {
        let start = clock::now();
        let due = start + Duration::from_secs(30);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(event_due(due, start, at(5_000)), at(5_200));
        assert_eq!(event_due(due, start, at(100)), at(1_000));
        assert_eq!(event_due(due, start, at(29_900)), due);
    }

    fn report() -> v1::Report {
        v1::Report {
            version: firstmile_wire::VERSION,
            ..v1::Report::default()
        }
    }

    #[test]
    fn a_disk_that_takes_nothing_loses_nothing_that_is_pending() {
        let directory = tempfile::tempdir().expect("a directory");
        let blocked = directory.path().join("spool");
        std::fs::write(&blocked, b"in the way").expect("a file");
        let limits = SpoolLimits {
            max_bytes: 1 << 20,
            max_age: Duration::from_hours(1),
        };
        let store = Mutex::new(Store {
            directory: blocked.clone(),
            agent: AgentId::random(),
            limits,
            spool: None,
        });
        let counters = Counters::default();
        let mut pending = VecDeque::from([report(), report()]);
        assert!(keep_all(&store, &counters, &mut pending).is_err());
        assert_eq!(pending.len(), 2);
        std::fs::remove_file(&blocked).expect("out of the way");
        assert!(keep_all(&store, &counters, &mut pending).is_ok());
        assert!(pending.is_empty());
        let mut store = store.lock().expect("not poisoned");
        let first = store.spool().expect("open").read(1).expect("kept");
        assert_eq!(frame::decode(&first).expect("decodes").sequence, 1);
    }
}
