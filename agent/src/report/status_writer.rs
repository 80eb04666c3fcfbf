//! Keeps `status.json` true: at once at start, after each change that matters, and every few seconds, whatever reports do.
//!
//! One task writes it, so that no two writes meet. That it is fresh is how `firstmile-agent status` knows that the agent lives.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::counters::Counters;
use super::pipeline::Store;
use super::spool::Spool;
use super::status::Status;
use crate::alarm;
use crate::clock;

/// From one write to the next.
const INTERVAL: Duration = Duration::from_secs(5);

/// Changes within this time are written together.
const LEAST: Duration = Duration::from_secs(1);

/// Writes the status.
#[derive(Clone)]
pub(crate) struct StatusWriter {
    pub(crate) state_dir: PathBuf,
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) status: Arc<Mutex<Status>>,
    pub(crate) counters: Arc<Counters>,
    /// Told of what should be seen soon.
    pub(crate) changed: Arc<Notify>,
}

impl StatusWriter {
    /// Writes until cancelled, and then once more.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        loop {
            self.write().await;
            tokio::select! {
                () = cancel.cancelled() => break,
                () = alarm::until(clock::now() + INTERVAL) => {}
                () = self.next_change() => {}
            }
        }
        self.write().await;
    }

    async fn next_change(&self) {
        alarm::until(clock::now() + LEAST).await;
        self.changed.notified().await;
    }

    /// Writes on a thread that may wait for the disk.
    async fn write(&self) {
        let writer = self.clone();
        let written = tokio::task::spawn_blocking(move || writer.write_now()).await;
        if let Ok(Err(error)) = written {
            debug!(%error, "status file not written");
        }
    }

    fn write_now(&self) -> std::io::Result<()> {
        let counters = &self.counters;
        let reports = self.reports();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reports) = reports {
            status.spool_reports = reports;
        }
        status.spool_bytes = counters.spool_bytes.value();
        status.dropped_reports = counters.spool_dropped_reports.value();
        status.skipped_probes = counters.skipped_probes.value();
        status.upload_failures = counters.upload_failures.value();
        status.rejected_reports = counters.rejected_reports.value();
        status.counters = counters.named();
        status.written_unix_ms = clock::unix_ms();
        let current = status.clone();
        drop(status);
        current.save(&self.state_dir)
    }

    /// Reports in the spool; `None` while it is in use, which may be long where the disk hangs.
    fn reports(&self) -> Option<usize> {
        let store = match self.store.try_lock() {
            Ok(store) => store,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let spool = store.spool.as_ref()?;
        self.counters.spool_bytes.set(spool.bytes());
        Some(Spool::len(spool))
    }
}

#[cfg(test)]
mod tests {
    use firstmile_wire::ids::AgentId;

    use super::*;
    use crate::config::SpoolLimits;

    fn writer(state_dir: &std::path::Path) -> StatusWriter {
        StatusWriter {
            state_dir: state_dir.to_owned(),
            store: Arc::new(Mutex::new(Store {
                directory: state_dir.join("spool"),
                agent: AgentId::random(),
                limits: SpoolLimits {
                    max_bytes: 1 << 20,
                    max_age: Duration::from_hours(1),
                },
                spool: None,
            })),
            status: Arc::default(),
            counters: Arc::default(),
            changed: Arc::default(),
        }
    }

    /// Waits until the file says what is wanted, and returns it.
    async fn seen(state_dir: &std::path::Path, wanted: impl Fn(&Status) -> bool) -> Status {
        loop {
            if let Some(status) = Status::load(state_dir).ok().filter(&wanted) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn the_status_is_there_at_start_fresh_without_reports_and_tells_of_changes_soon() {
        let directory = tempfile::tempdir().expect("a directory");
        let (writer, cancel) = (writer(directory.path()), CancellationToken::new());
        let (status, changed) = (Arc::clone(&writer.status), Arc::clone(&writer.changed));
        let counters = Arc::clone(&writer.counters);
        let running = writer.run(cancel.clone());
        let watching = async {
            let first = seen(directory.path(), |_| true).await;
            status.lock().expect("not poisoned").upload_problem = Some("why".to_owned());
            changed.notify_one();
            let asked = clock::now();
            seen(directory.path(), |status| status.upload_problem.is_some()).await;
            assert!(
                clock::now() - asked < INTERVAL,
                "a change is not waited for"
            );
            counters.rejected_reports.add(1);
            let later = seen(directory.path(), |status| status.rejected_reports == 1).await;
            assert!(later.written_unix_ms - first.written_unix_ms < 10_000);
            cancel.cancel();
        };
        tokio::join!(running, watching);
    }
}
