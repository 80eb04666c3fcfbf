//! Routing at work: feeds into one queue, the detector on a thread of its own, verdicts into the store at once.

mod counting;
mod files;
mod keep;
mod standings;
mod statuses;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firstmile_feeds::bmp::station::{Access, Station};
use firstmile_feeds::event::{Event, FeedId};
use firstmile_feeds::mrt::{self, Tally};
use firstmile_feeds::ris_live::RisLive;
use firstmile_feeds::rpki::rtr::Rtr;
use firstmile_feeds::status::FeedStatus;
use firstmile_feeds::watch::Watch;
use firstmile_routing::judge::{RulesError, RulesFile};
use firstmile_routing::verdict::Verdict;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::api::LiveMessage;
use crate::clock;
use crate::config::routing::Routing;
use crate::registry::peering::PeeringRegistry;
use crate::store::Store;
use crate::store::route_counts::Month;
use counting::{Counted, Schedule};
pub use statuses::Feeds;

/// Events that wait for the detector. RIS Live drops what does not fit, BMP waits.
const QUEUE: usize = 16_384;
/// The detector hears of time so often: an allowance ends although no route comes.
const TICK: Duration = Duration::from_secs(1);
/// Verdicts that wait for the store.
const VERDICTS: usize = 4_096;
/// Counts of routes that wait for the store.
const COUNTS: usize = 4;
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
    live: broadcast::Sender<LiveMessage>,
    (feeds, registry): (Arc<Feeds>, Arc<PeeringRegistry>),
    (cancel, tasks): (&CancellationToken, &TaskTracker),
) {
    let (events, waiting) = mpsc::channel(QUEUE);
    let (verdicts, told) = mpsc::channel(VERDICTS);
    let (counts, counted) = mpsc::channel(COUNTS);
    let registered: Vec<IpNet> = widest(&watch);
    let tables = Tables {
        paths: config.tables.clone(),
        status: feeds.add("tables", None, false, clock::unix_ms()),
    };
    let prefixes = Arc::clone(&registry);
    let started = CancellationToken::new();
    let guard = started.clone();
    tasks.spawn_blocking(move || {
        let detecting = Detecting {
            verdicts,
            counts,
            registry,
            stopping: started,
        };
        detecting.run(watch, &tables, waiting);
    });
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
    watch_files(config, &feeds, &events, cancel, tasks);
    tasks.spawn(tick(events.clone(), cancel.clone()));
    tasks.spawn(standings::watch(
        Arc::clone(&store),
        prefixes,
        cancel.clone(),
    ));
    tasks.spawn(counting::keep(Arc::clone(&store), counted));
    tasks.spawn(keep::keep(store, told, live, feeds, cancel.clone()));
    // Without a feed the queue would close at once, and the detector end; it holds what the tables said until the stop.
    let cancel = cancel.clone();
    tasks.spawn(async move {
        cancel.cancelled().await;
        guard.cancel();
        drop(events);
    });
}

/// Files that are read again when they change.
fn watch_files(
    config: &Routing,
    feeds: &Feeds,
    events: &mpsc::Sender<Event>,
    cancel: &CancellationToken,
    tasks: &TaskTracker,
) {
    if let Some(path) = &config.vrp_file {
        let status = feeds.add("vrp file", None, false, clock::unix_ms());
        tasks.spawn(files::watch_vrps(
            path.clone(),
            status,
            events.clone(),
            cancel.clone(),
        ));
    }
    if let Some(path) = &config.rules {
        tasks.spawn(files::watch_rules(
            path.clone(),
            events.clone(),
            cancel.clone(),
        ));
    }
}

/// Tells the detector that time goes on, until cancelled.
async fn tick(events: mpsc::Sender<Event>, cancel: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // A full queue tells the time by itself.
        let tick = Event::Tick { at: unix_s() };
        if let Err(mpsc::error::TrySendError::Closed(_)) = events.try_send(tick) {
            return;
        }
    }
}

struct Tables {
    paths: Vec<PathBuf>,
    status: Arc<Mutex<FeedStatus>>,
}

/// The detector at work.
struct Detecting {
    verdicts: mpsc::Sender<Verdict>,
    counts: mpsc::Sender<Counted>,
    registry: Arc<PeeringRegistry>,
    stopping: CancellationToken,
}

impl Detecting {
    /// Runs until the last feed has ended.
    fn run(&self, mut watch: Watch, tables: &Tables, mut waiting: mpsc::Receiver<Event>) {
        read_tables(&mut watch, tables, &self.verdicts, &self.stopping);
        // What the tables say did not come or go.
        watch.count();
        let mut schedule = Schedule::new(unix_s());
        while let Some(event) = waiting.blocking_recv() {
            if let Event::Tick { at } = event
                && let Some(month) = schedule.due(at)
            {
                self.hand_on(month, &mut watch);
            }
            self.registry.hear(&event, unix_s());
            for verdict in watch.apply(event) {
                if self.verdicts.blocking_send(verdict).is_err() {
                    return;
                }
            }
        }
        self.hand_on(schedule.month(), &mut watch);
    }

    fn hand_on(&self, month: Month, watch: &mut Watch) {
        // Verdicts do not wait for counts: those of a store that is too slow are added to the next ones.
        if let Ok(permit) = self.counts.try_reserve() {
            let counts = watch.take_counts();
            permit.send(Counted { month, counts });
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

/// The registered prefixes that no other one covers.
fn widest(watch: &Watch) -> Vec<IpNet> {
    let rules = &watch.detector().registry().rules;
    let wanted = rules.iter().filter(|rule| !rule.ignore);
    let mut widest: Vec<IpNet> = wanted.map(|rule| rule.prefix).collect();
    // A prefix comes before its parts, and nothing but its parts between.
    widest.sort_unstable();
    widest.dedup_by(|part, wider| wider.contains(&*part));
    widest
}

fn unix_s() -> f64 {
    clock::seconds(clock::unix_ms())
}
