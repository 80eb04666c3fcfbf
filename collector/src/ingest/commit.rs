//! Group commit: reports that arrive together become durable together, and only then are they acknowledged.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::Counters;
use super::refusal::with_sources;
use crate::store::obstacle::Obstacle;
use crate::store::{Appended, InboxReport, Store};

/// Reports that wait for the disk; their bytes are bounded by [`super::gate`]. Two groups, so that the next one fills
/// while one is written.
pub const QUEUE: usize = 2 * GROUP;
/// Reports in one commit.
const GROUP: usize = 256;
/// How long a group waits for another report. A commit costs a sync of the disk, some milliseconds.
const QUIET: Duration = Duration::from_millis(10);
/// How long the first report of a group waits at most.
const LINGER: Duration = Duration::from_millis(50);

/// A report on its way to the disk, and who waits for it.
#[derive(Debug)]
pub struct Waiting {
    /// The report.
    pub report: InboxReport,
    /// Told what became of it.
    pub done: oneshot::Sender<Verdict>,
}

/// What became of a report that waited for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is durable; this is the watermark of its epoch.
    Durable(u64),
    /// Another report has its key.
    Conflict,
    /// It is not on disk, or nobody knows; what keeps the disk from being written, where that is known.
    Failed(Option<Obstacle>),
}

/// Commits queued reports until cancelled, then those still queued, then returns.
pub async fn commit_reports(
    mut queue: mpsc::Receiver<Waiting>,
    store: Arc<dyn Store>,
    counters: Arc<Counters>,
    appended: Arc<Notify>,
    cancel: CancellationToken,
) {
    loop {
        tokio::select! {
            () = cancel.cancelled(), if !queue.is_closed() => queue.close(), // take no more; drain
            first = queue.recv() => match first {
                Some(first) => {
                    let group = gather(first, &mut queue).await;
                    commit(group, store.as_ref(), &counters).await;
                    appended.notify_one();
                }
                None => return,
            },
        }
    }
}

/// Whatever comes within [`LINGER`] without a gap of [`QUIET`], at most [`GROUP`].
async fn gather(first: Waiting, queue: &mut mpsc::Receiver<Waiting>) -> Vec<Waiting> {
    let mut group = vec![first];
    let linger = tokio::time::sleep(LINGER);
    tokio::pin!(linger);
    while group.len() < GROUP {
        tokio::select! {
            () = &mut linger => break,
            () = tokio::time::sleep(QUIET) => break,
            next = queue.recv() => match next {
                Some(next) => group.push(next),
                None => break,
            },
        }
    }
    group
}

async fn commit(group: Vec<Waiting>, store: &dyn Store, counters: &Counters) {
    let (reports, waiters): (Vec<_>, Vec<_>) = group
        .into_iter()
        .map(|waiting| ((waiting.report.key.clone(), waiting.report), waiting.done))
        .unzip();
    let (keys, reports): (Vec<_>, Vec<_>) = reports.into_iter().unzip();
    let outcomes = match store.append(reports).await {
        Ok(outcomes) => outcomes,
        Err(failure) => {
            error!(
                error = with_sources(&failure),
                reports = keys.len(),
                "reports cannot be stored"
            );
            let verdict = Verdict::Failed(Obstacle::of(&failure));
            for waiter in waiters {
                tell(waiter, verdict);
            }
            return;
        }
    };
    let marks = match store.watermarks(&keys).await {
        Ok(marks) => marks,
        Err(failure) => {
            let error = with_sources(&failure);
            error!(error, reports = keys.len(), "watermarks cannot be read");
            Vec::new()
        }
    };
    for (place, (waiter, outcome)) in waiters.into_iter().zip(outcomes).enumerate() {
        if outcome == Appended::Conflict {
            tell(waiter, Verdict::Conflict);
            continue;
        }
        counters.count_accepted(outcome == Appended::Stored);
        let stored = marks.get(place).copied();
        tell(
            waiter,
            stored.map_or(Verdict::Failed(None), Verdict::Durable),
        );
    }
}

fn tell(waiter: oneshot::Sender<Verdict>, verdict: Verdict) {
    if waiter.send(verdict).is_err() {
        // Its connection is lost: the agent sends the report again and hears of the duplicate.
        debug!("nobody waits for an acknowledgement");
    }
}
