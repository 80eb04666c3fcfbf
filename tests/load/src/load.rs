//! The load: agents enrol, then send as fast as they are acknowledged, or each in its own time.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context;
use firstmile_columns::Histogram;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::agent::{Agent, Shared};
use crate::clock;
use crate::host::Host;
use crate::reports::Reports;

/// Enrolments at once.
const ENROLLING: usize = 16;
/// A report that leaves later than this after its time is counted as late: the load itself was too slow.
const LATE: Duration = Duration::from_millis(100);
/// How far back a closed load begins: its reports cover more time than passes.
const BACK_MS: i64 = 47 * 3_600_000;

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) agents: u32,
    /// Of one report.
    pub(crate) samples: u32,
    pub(crate) pace: Pace,
    /// Before figures are taken.
    pub(crate) settle: Duration,
    /// While they are.
    pub(crate) length: Duration,
}

/// When the next report goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// When one is acknowledged; so many are on their way.
    Closed { at_once: usize },
    /// Each agent's in its own time.
    Open { every: Duration },
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Reports, in the time of the figures.
    pub(crate) acknowledged: f64,
    /// Refused or failed, ever.
    pub(crate) refused: u64,
    /// That left late.
    pub(crate) late: u64,
    pub(crate) connections: u32,
    pub(crate) wall: Duration,
    /// Of the collector.
    pub(crate) processor: Duration,
    pub(crate) rss_mb: f64,
    pub(crate) rss_before_mb: f64,
    acks: Histogram,
}

impl Told {
    /// Milliseconds from a report's time to its acknowledgement.
    pub(crate) fn ack_ms(&self, share: f64) -> Option<f64> {
        self.acks.quantile(share).map(|us| f64::from(us) / 1e3)
    }
}

/// Counts that all agents write to.
#[derive(Default)]
struct Book {
    acks: Histogram,
    refused: u64,
    late: u64,
    first_failure: Option<String>,
}

struct Run {
    shared: Shared,
    book: Mutex<Book>,
    began: Instant,
    from: Instant,
    until: Instant,
}

/// Runs a load on a collector.
pub(crate) async fn run(load: &Load, host: &Host) -> anyhow::Result<Told> {
    let rss_before_mb = host.resident_mb()?;
    let shared = Shared::of(host)?;
    let agents = enroll(&shared, load.agents).await?;
    println!("{} agents are enrolled", agents.len());
    let began = clock::now();
    let from = began + load.settle;
    let run = Arc::new(Run {
        shared,
        book: Mutex::default(),
        began,
        from,
        until: from + load.length,
    });
    let mut tasks = JoinSet::new();
    let permits = match load.pace {
        Pace::Closed { at_once } => Some(Arc::new(Semaphore::new(at_once))),
        Pace::Open { .. } => None,
    };
    for (number, agent) in (0u32..).zip(agents) {
        let (run, load, permits) = (Arc::clone(&run), load.clone(), permits.clone());
        tasks.spawn(async move {
            match load.pace {
                Pace::Closed { .. } => closed(&run, &load, agent, number, permits).await,
                Pace::Open { every } => open(&run, &load, agent, number, every).await,
            }
        });
    }
    tokio::time::sleep_until(run.from).await;
    let processor = host.processor()?;
    tokio::time::sleep_until(run.until).await;
    let processor = host.processor()?.saturating_sub(processor);
    let rss_mb = host.resident_mb()?;
    while tasks.join_next().await.is_some() {}
    let book = run.book.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = &book.first_failure {
        println!("first failure: {failure}");
    }
    Ok(Told {
        acknowledged: count(book.acks.count()),
        refused: book.refused,
        late: book.late,
        connections: load.agents,
        wall: load.length,
        processor,
        rss_mb,
        rss_before_mb,
        acks: book.acks.clone(),
    })
}

async fn enroll(shared: &Shared, agents: u32) -> anyhow::Result<Vec<Agent>> {
    let enrolled: Vec<Agent> = stream::iter(0..agents)
        .map(|number| Agent::enroll(shared, number))
        .buffer_unordered(ENROLLING)
        .try_collect()
        .await
        .context("an agent cannot enrol")?;
    Ok(enrolled)
}

/// As fast as reports are acknowledged.
async fn closed(
    run: &Run,
    load: &Load,
    mut agent: Agent,
    number: u32,
    permits: Option<Arc<Semaphore>>,
) {
    let begin = clock::unix_ms() - BACK_MS;
    let mut reports = Reports::new(agent.id, number, load.samples, begin);
    while clock::now() < run.until {
        let Some(permits) = &permits else {
            return;
        };
        let Ok(_permit) = permits.acquire().await else {
            return;
        };
        let report = reports.next();
        let sent = clock::now();
        let outcome = agent.send(&run.shared, &report).await;
        run.note(sent, &outcome);
    }
}

/// Each report in its own time: it is timed from when it was due.
async fn open(run: &Run, load: &Load, mut agent: Agent, number: u32, every: Duration) {
    let begin = clock::unix_ms();
    let mut reports = Reports::new(agent.id, number, load.samples, begin - 60_000);
    // Spread evenly over the interval.
    let mut due = run.began + every.mul_f64(f64::from(number) / f64::from(load.agents.max(1)));
    while due < run.until {
        tokio::time::sleep_until(due).await;
        if clock::now().saturating_duration_since(due) > LATE {
            let mut book = run.book.lock().unwrap_or_else(PoisonError::into_inner);
            book.late += 1;
        }
        let report = reports.next();
        let outcome = agent.send(&run.shared, &report).await;
        run.note(due, &outcome);
        due += every;
    }
}

impl Run {
    /// Notes an acknowledgement that came in the time of the figures.
    fn note(&self, since: Instant, outcome: &anyhow::Result<()>) {
        let now = clock::now();
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) if now >= self.from && now <= self.until => {
                let took = now.saturating_duration_since(since).as_micros();
                book.acks.record(u32::try_from(took).unwrap_or(u32::MAX));
            }
            Ok(()) => {}
            Err(error) => {
                book.refused += 1;
                book.first_failure
                    .get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }
}

/// Counts of a bench are far below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a bench are far below 2^53"
)]
const fn count(of: u64) -> f64 {
    of as f64
}
