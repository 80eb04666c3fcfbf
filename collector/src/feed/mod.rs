//! Routing at work: feeds into one queue, the detector on a thread of its own, verdicts into the store at once.

mod files;
mod statuses;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use firstmile_feeds::bmp::station::{Access, Station};
use firstmile_feeds::event::{Event, FeedId};
use firstmile_feeds::mrt::{self, Tally};
use firstmile_feeds::ris_live::RisLive;
use firstmile_feeds::rpki::rtr::Rtr;
use firstmile_feeds::status::FeedStatus;
use firstmile_feeds::watch::Watch;
use firstmile_routing::judge::{RulesError, RulesFile};
use firstmile_routing::verdict::Verdict;
use firstmile_wire::ids::OrganisationId;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::clock;
use crate::config::routing::Routing;
use crate::ingest::refusal::with_sources;
use crate::store::Store;
pub use statuses::Feeds;

/// Events that wait for the detector. RIS Live drops what does not fit, BMP waits.
const QUEUE: usize = 16_384;
/// Verdicts that wait for the store.
const VERDICTS: usize = 4_096;
/// Verdicts that one transaction writes.
const GATHER: usize = 512;
/// BMP sessions at once.
const MAX_SESSIONS: usize = 1_024;

/// Why routing cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RoutingError {
    /// The file cannot be read.
    #[error("it cannot be read")]
    Read(#[from] std::io::Error),
    /// It cannot be used.
    #[error("what it says cannot be used")]
    Rules(#[from] RulesError),
}

/// Reads the rules; connects to nobody.
///
/// # Errors
/// [`RoutingError`].
pub fn open(rules: &std::path::Path) -> Result<Watch, RoutingError> {
    let (detector, _) = RulesFile::read(&std::fs::read_to_string(rules)?)?.build()?;
    Ok(Watch::new(detector))
}

/// Starts everything that `[routing]` names.
pub fn start(
    config: &Routing,
    watch: Watch,
    bmp: Option<TcpListener>,
    store: Arc<dyn Store>,
    feeds: &Feeds,
    (cancel, tasks): (&CancellationToken, &TaskTracker),
) {
    let (events, waiting) = mpsc::channel(QUEUE);
    let (verdicts, told) = mpsc::channel(VERDICTS);
    let registered: Vec<IpNet> = widest(&watch);
    let tables = Tables {
        paths: config.tables.clone(),
        status: feeds.add("tables", None, false, clock::unix_ms()),
    };
    let started = CancellationToken::new();
    let guard = started.clone();
    tasks.spawn_blocking(move || {
        detect(watch, &tables, waiting, &verdicts, &started);
    });
    tasks.spawn(keep(store, told));
    let now = clock::unix_ms();
    if let (Some(listener), Some(address)) = (bmp, config.bmp_listen) {
        let station = Station {
            feed: FeedId(1),
            access: Access {
                routers: config.bmp_routers.clone(),
                max_sessions: MAX_SESSIONS,
            },
            status: feeds.add(&format!("bmp {address}"), None, true, now),
            clock: unix_s,
        };
        tasks.spawn(station.serve(listener, events.clone(), tasks.clone(), cancel.clone()));
    }
    if let Some(url) = &config.ris_live {
        let client = RisLive {
            feed: FeedId(2),
            url: url.clone(),
            prefixes: registered,
            canary: config.ris_canary,
            status: feeds.add("ris live", config.ris_canary, true, now),
            clock: unix_s,
        };
        tasks.spawn(client.run(events.clone(), cancel.clone()));
    }
    if let Some(server) = &config.rtr {
        let client = Rtr {
            server: server.clone(),
            status: feeds.add(&format!("rtr {server}"), None, false, now),
            clock: unix_s,
        };
        tasks.spawn(client.run(events.clone(), cancel.clone()));
    }
    if let Some(path) = &config.vrp_file {
        let status = feeds.add("vrp file", None, false, now);
        tasks.spawn(files::watch_vrps(
            path.clone(),
            status,
            events.clone(),
            cancel.clone(),
        ));
    }
    // Without a feed the queue would close at once, and the detector end; it holds what the tables said until the stop.
    let cancel = cancel.clone();
    tasks.spawn(async move {
        cancel.cancelled().await;
        guard.cancel();
        drop(events);
    });
}

struct Tables {
    paths: Vec<PathBuf>,
    status: Arc<Mutex<FeedStatus>>,
}

/// The detector at work, until the last feed has ended.
fn detect(
    mut watch: Watch,
    tables: &Tables,
    mut waiting: mpsc::Receiver<Event>,
    verdicts: &mpsc::Sender<Verdict>,
    stopping: &CancellationToken,
) {
    read_tables(&mut watch, tables, verdicts, stopping);
    while let Some(event) = waiting.blocking_recv() {
        for verdict in watch.apply(event) {
            if verdicts.blocking_send(verdict).is_err() {
                return;
            }
        }
    }
}

fn read_tables(
    watch: &mut Watch,
    tables: &Tables,
    verdicts: &mpsc::Sender<Verdict>,
    stopping: &CancellationToken,
) {
    let mut tally = Tally::default();
    for path in &tables.paths {
        let files = mrt::files(path).unwrap_or_else(|_| vec![path.clone()]);
        for file in files {
            if stopping.is_cancelled() {
                return;
            }
            match mrt::open(&file) {
                Ok(reader) => mrt::replay(reader, FeedId(0), watch, &mut tally, |verdict| {
                    if verdicts.blocking_send(verdict).is_err() {
                        stopping.cancel();
                    }
                }),
                Err(error) => {
                    warn!(file = %file.display(), %error, "cannot read a table of routes");
                }
            }
        }
    }
    if let Ok(mut status) = tables.status.lock() {
        status.connected = true;
        status.announced = tally.announced;
        status.withdrawn = tally.withdrawn;
        status.unread = tally.unread;
    }
    if !tables.paths.is_empty() {
        info!(
            announced = tally.announced,
            unread = tally.unread,
            "routes were read from tables"
        );
    }
}

/// Writes verdicts as they come, all that wait in one transaction; after the stop, those that are left.
async fn keep(store: Arc<dyn Store>, mut told: mpsc::Receiver<Verdict>) {
    let organisation = OrganisationId::default_organisation();
    if let Err(failure) = store
        .end_open_verdicts(&organisation, clock::unix_ms())
        .await
    {
        error!(
            error = with_sources(&failure),
            "verdicts of routing cannot be ended"
        );
    }
    loop {
        let mut batch = Vec::new();
        if told.recv_many(&mut batch, GATHER).await == 0 {
            return;
        }
        for verdict in &batch {
            info!(
                phase = ?verdict.phase,
                class = %verdict.class,
                prefix = %verdict.prefix,
                offender = verdict.offender.map(|asn| asn.0),
                severity = verdict.severity.name(),
                peers = verdict.peers,
                "routing verdict"
            );
        }
        let written = store.put_verdicts(&organisation, batch, clock::unix_ms());
        if let Err(failure) = written.await {
            error!(
                error = with_sources(&failure),
                "verdicts of routing cannot be stored"
            );
        }
    }
}

/// The registered prefixes that no other one covers.
fn widest(watch: &Watch) -> Vec<IpNet> {
    let rules = &watch.detector().registry().rules;
    let mut widest: Vec<IpNet> = Vec::new();
    for rule in rules.iter().filter(|rule| !rule.ignore) {
        if !widest.iter().any(|wider| wider.contains(&rule.prefix)) {
            widest.push(rule.prefix);
        }
    }
    widest
}

fn unix_s() -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds since 1970 are exact in an f64 for 285,000 years"
    )]
    let ms = clock::unix_ms() as f64;
    ms / 1000.0
}
