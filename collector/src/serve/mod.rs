//! The running collector: what starts in which order, what stops in which order.
//!
//! Start: CA, store, meaning, sockets, then the tasks from the store outwards. Stop: the listeners first, so that nothing
//! new comes in; then the commit of what was received; then the worker. What it had not applied waits on disk.

mod bind;
mod certificates;
mod error;
mod tables;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firstmile_feeds::watch::Watch as RouteWatch;

use certificates::{Certificates, dashboard_tls};
pub use error::StartError;
use tables::{Follower, read_meaning};
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};
use url::Url;

use crate::api::{self, ApiState, LiveMessage};
use crate::auth::authority::Authority;
use crate::auth::login::Logins;
use crate::auth::tls::{self, Showing};
use crate::clock;
use crate::config::notify::Channel;
use crate::config::{Config, DashboardTls};
use crate::feed::{self, Feeds};
use crate::geo::Tables;
use crate::ingest::Counters;
use crate::ingest::apply::Worker;
use crate::ingest::commit::{self, commit_reports};
use crate::ingest::listen::Listener;
use crate::ingest::locate::Locator;
use crate::ingest::plan::Plan;
use crate::ingest::refusal::with_sources;
use crate::ingest::routes::Ingest;
use crate::ingest::silence::Silence;
use crate::notify::channel::Sender;
use crate::notify::outbox::Carrier;
use crate::notify::watch::Watch;
use crate::registry::invite::Inviter;
use crate::registry::peering::PeeringRegistry;
use crate::registry::rollout::Rollout;
use crate::store::Store;
use crate::store::embedded::{self, Embedded};
use crate::systemd;

/// How often rollups are built, old data is deleted, and the server's certificate is looked at.
const MAINTAIN_EVERY: Duration = Duration::from_mins(1);
/// Live messages that a slow page may be behind before it misses some and reads everything again.
const LIVE_MESSAGES: usize = 256;
/// How long an agent without a certificate may hold a connection: enrolment is one request.
const ENROLMENT_STAY: Duration = Duration::from_mins(1);
/// Time for everything to stop, the drain of the listeners (5 s) included.
const GRACE: Duration = Duration::from_secs(9);

/// A collector that listens.
pub struct Running {
    /// Where the dashboard is.
    pub dashboard_url: String,
    /// Where agents go.
    pub ingest_address: SocketAddr,
    /// Where agents are told to go.
    pub public_url: String,
    /// What came in so far.
    pub counters: Arc<Counters>,
    /// The store, for those who run a collector inside a test.
    pub store: Arc<dyn Store>,
    /// What open pages are told.
    pub live: broadcast::Sender<LiveMessage>,
    /// The configuration it runs by.
    config: Config,
    /// What agents and open pages are told of the roll-out plan.
    rollout: watch::Sender<Rollout>,
    /// Ends the listeners, maintenance and live streams.
    outer: (CancellationToken, TaskTracker),
    /// Ends commit, then the worker.
    inner: [(CancellationToken, TaskTracker); 2],
    /// Held until everything has stopped; the system lets go of it when the process dies.
    alone: File,
}

/// Opens the CA in the configured folder, making both on the first start.
///
/// # Errors
/// [`StartError::DataDir`], [`StartError::Authority`].
pub fn open_authority(config: &Config) -> Result<Authority, StartError> {
    let path = &config.data_dir;
    fs::create_dir_all(path).map_err(|source| StartError::DataDir {
        path: path.clone(),
        source,
    })?;
    Ok(Authority::open(&config.ca_dir(), clock::unix_ms())?)
}

/// Opens the store in the configured folder.
///
/// # Errors
/// [`StartError::Store`].
pub async fn open_store(config: &Config) -> Result<Embedded, StartError> {
    let kept = config.retention;
    let retention = embedded::Retention {
        raw: kept.raw,
        rollup_1m: kept.rollup_1m,
        rollup_5m: kept.rollup_5m,
        rollup_1h: kept.rollup_1h,
        events: kept.events,
    };
    let opened = embedded::open_with(&config.data_dir, retention).await;
    opened.map_err(|source| StartError::Store {
        path: config.data_dir.clone(),
        source,
    })
}

/// Checks what a start would refuse besides the configuration itself: the files it names, and the login it needs.
///
/// # Errors
/// [`StartError::Table`], [`StartError::Tls`], [`StartError::Login`], [`StartError::LoginMissing`].
pub fn check(config: &Config) -> Result<(), StartError> {
    read_meaning(&config.geo)?;
    open_channels(config)?;
    open_routing(config)?;
    if let Some(DashboardTls::Files { certificate, key }) = &config.dashboard.tls {
        Showing::new(tls::read_identity(certificate, key)?)?;
    }
    open_logins(config).map(drop)
}

/// Reads what the channels of notifications need; connects to nobody.
fn open_channels(config: &Config) -> Result<BTreeMap<String, Sender>, StartError> {
    let open = |(name, channel): (&String, &Channel)| match Sender::open(channel) {
        Ok(sender) => Ok((name.clone(), sender)),
        Err(source) => Err(StartError::Channel {
            name: name.clone(),
            source,
        }),
    };
    config.notify.channels.iter().map(open).collect()
}

/// Reads what is registered; connects to nobody.
fn open_routing(config: &Config) -> Result<Option<RouteWatch>, StartError> {
    let open = |path: &PathBuf| {
        feed::open(path).map_err(|source| StartError::Routing {
            path: path.clone(),
            source,
        })
    };
    config.routing.rules.as_ref().map(open).transpose()
}

fn open_logins(config: &Config) -> Result<Logins, StartError> {
    let logins = Logins::open(&config.data_dir)?;
    if config.dashboard.is_beyond_loopback() && !logins.is_set() {
        let listen = config.dashboard.listen;
        return Err(StartError::LoginMissing { listen });
    }
    Ok(logins)
}

/// Starts the collector; returns once it listens.
///
/// # Errors
/// See [`StartError`].
pub async fn start(config: &Config) -> Result<Running, StartError> {
    let authority = Arc::new(open_authority(config)?);
    let alone = take(&config.data_dir)?;
    let logins = Arc::new(open_logins(config)?);
    let store: Arc<dyn Store> = Arc::new(open_store(config).await?);
    let follower = Follower::open(&config.geo)?;
    let channels = open_channels(config)?;
    let routes = open_routing(config)?;
    let certificates = Certificates::open(Arc::clone(&authority), config)?;
    let ingest_socket = bind("ingest.listen", config.ingest.listen)?;
    let dashboard_socket = bind("dashboard.listen", config.dashboard.listen)?;
    let bmp_socket = config
        .routing
        .bmp_listen
        .map(|address| bind("routing.bmp_listen", address));
    let bmp_socket = bmp_socket.transpose()?;
    let mut starting = Starting {
        alone,
        counters: Arc::default(),
        live: broadcast::channel(LIVE_MESSAGES).0,
        rollout: watch::Sender::new(config.rollout.clone()),
        outer: Default::default(),
        inner: Default::default(),
        store,
        meaning: follower.tables(),
        authority,
        logins,
        channels,
        feeds: Arc::default(),
        registry: Arc::new(PeeringRegistry::with_partners(&config.partners)),
    };
    starting.start_notifying(config);
    if let Some(watch) = routes {
        let (stop, tasks) = &starting.outer;
        let store = Arc::clone(&starting.store);
        feed::start(
            &config.routing,
            watch,
            bmp_socket,
            store,
            starting.live.clone(),
            (Arc::clone(&starting.feeds), Arc::clone(&starting.registry)),
            (stop, tasks),
        );
    }
    let running =
        starting.start_inner_tasks(config, certificates, ingest_socket, dashboard_socket)?;
    let (stop, tasks) = &running.outer;
    tasks.spawn(systemd::keep_informed(stop.clone()));
    tasks.spawn(follower.run(stop.clone()));
    Ok(running)
}

/// What the tasks share while they are started.
struct Starting {
    alone: File,
    counters: Arc<Counters>,
    live: broadcast::Sender<LiveMessage>,
    rollout: watch::Sender<Rollout>,
    outer: (CancellationToken, TaskTracker),
    inner: [(CancellationToken, TaskTracker); 2],
    store: Arc<dyn Store>,
    meaning: Arc<Tables>,
    authority: Arc<Authority>,
    logins: Arc<Logins>,
    channels: BTreeMap<String, Sender>,
    feeds: Arc<Feeds>,
    registry: Arc<PeeringRegistry>,
}

impl Starting {
    fn worker(&self, appended: &Arc<Notify>) -> Worker {
        Worker {
            store: Arc::clone(&self.store),
            meaning: Arc::clone(&self.meaning),
            counters: Arc::clone(&self.counters),
            live: self.live.clone(),
            appended: Arc::clone(appended),
            desks: Mutex::default(),
        }
    }

    fn start_inner_tasks(
        self,
        config: &Config,
        certificates: Certificates,
        ingest_socket: TcpListener,
        dashboard_socket: TcpListener,
    ) -> Result<Running, StartError> {
        let (queue, waiting) = mpsc::channel(commit::QUEUE);
        let appended = Arc::new(Notify::new());
        let table = Arc::clone(&self.meaning);
        let ingest_router = Arc::new(Ingest::new(
            Arc::clone(&self.store),
            Arc::clone(&self.authority),
            Arc::clone(&self.counters),
            queue,
            Locator::new(move |address| table.now().country(address)),
            Plan::new(self.rollout.subscribe(), clock::now),
        ))
        .router();
        let ingest_tls = tls::ingest_config(&self.authority, Arc::clone(&certificates.showing))?;
        let dashboard_tls = dashboard_tls(&config.dashboard, &certificates.showing)?;
        let ingest_address = local(&ingest_socket, config.ingest.listen);
        let dashboard_address = local(&dashboard_socket, config.dashboard.listen);
        let dashboard_url = dashboard_url(
            dashboard_address,
            dashboard_tls.is_some(),
            &config.ingest.public_url,
        );

        let [(stop_commit, commits), (stop_worker, workers)] = &self.inner;
        workers.spawn(self.worker(&appended).run(stop_worker.clone()));
        let (store, counters) = (Arc::clone(&self.store), Arc::clone(&self.counters));
        commits.spawn(commit_reports(
            waiting,
            store,
            counters,
            appended,
            stop_commit.clone(),
        ));

        let (stop, tasks) = &self.outer;
        let clocks = (clock::now as _, clock::unix_ms as _);
        let silence = Silence::new(Arc::clone(&self.store), self.live.clone(), clocks);
        tasks.spawn(silence.run(stop.clone()));
        tasks.spawn(maintain(
            Arc::clone(&self.store),
            certificates,
            stop.clone(),
        ));
        let ingest = Listener {
            socket: ingest_socket,
            tls: Some(ingest_tls),
            router: ingest_router,
            counters: Arc::clone(&self.counters),
            anonymous_stay: Some(ENROLMENT_STAY),
        };
        tasks.spawn(ingest.serve(stop.clone()));
        let dashboard = Listener {
            socket: dashboard_socket,
            router: api::router(self.api_state(config, dashboard_tls.is_some())),
            tls: dashboard_tls,
            counters: Arc::clone(&self.counters),
            anonymous_stay: None,
        };
        tasks.spawn(dashboard.serve(stop.clone()));
        Ok(Running {
            dashboard_url,
            ingest_address,
            public_url: config.ingest.public_url.to_string(),
            counters: self.counters,
            store: self.store,
            live: self.live,
            config: config.clone(),
            rollout: self.rollout,
            outer: self.outer,
            inner: self.inner,
            alone: self.alone,
        })
    }

    /// Without channels incidents are recorded and nobody is told; what waits for a channel that is gone stays in the outbox.
    fn start_notifying(&mut self, config: &Config) {
        let (stop, tasks) = &self.outer;
        let channels = std::mem::take(&mut self.channels);
        if channels.is_empty() {
            return;
        }
        let settings = config.notify.settings.clone();
        let watch = Watch::new(Arc::clone(&self.store), settings, clock::unix_ms);
        tasks.spawn(watch.run(stop.clone()));
        for (channel, sender) in channels {
            let carrier = Carrier {
                channel,
                sender,
                store: Arc::clone(&self.store),
                keep: config.notify.keep,
                now_unix_ms: clock::unix_ms,
            };
            tasks.spawn(carrier.run(stop.clone()));
        }
    }

    fn api_state(&self, config: &Config, tls: bool) -> ApiState {
        let url = config.ingest.public_url.clone();
        ApiState {
            store: Arc::clone(&self.store),
            meaning: Arc::clone(&self.meaning),
            live: self.live.clone(),
            counters: Arc::clone(&self.counters),
            logins: Arc::clone(&self.logins),
            registry: Arc::clone(&self.registry),
            feeds: Arc::clone(&self.feeds),
            inviter: Arc::new(Inviter::new(
                Arc::clone(&self.store),
                url,
                self.authority.hash(),
            )),
            login_required: config.dashboard.is_beyond_loopback(),
            tls,
            hint_lab: config.hint_lab,
            rollout: self.rollout.subscribe(),
            now_unix_ms: clock::unix_ms,
            now: clock::now,
            stop: self.outer.0.clone(),
        }
    }
}

impl Running {
    /// Takes up the roll-out plan as the configuration's file has it now. A file that a start would refuse changes nothing, and
    /// the other settings are those of the start.
    pub fn reload(&mut self) {
        let fresh = match self.config.load_again() {
            Ok(fresh) => fresh,
            Err(failure) => {
                error!(
                    error = with_sources(&failure),
                    "configuration is not taken up, the roll-out plan stays as it was"
                );
                return;
            }
        };
        let is_news = self.config.rollout != fresh.rollout;
        let stages = fresh.rollout.stages();
        self.rollout.send_replace(fresh.rollout.clone());
        info!(is_news, stages, "roll-out plan read again");
        self.config.rollout = fresh.rollout.clone();
        self.config.was_read = fresh.was_read;
        if self.config != fresh {
            warn!("other settings changed as well: they are taken up by a restart");
        }
    }

    /// Stops in order, within a grace of nine seconds.
    pub async fn stop(self) {
        let order = [self.outer].into_iter().chain(self.inner);
        let all = async {
            for (cancel, tasks) in order {
                cancel.cancel();
                tasks.close();
                tasks.wait().await;
            }
        };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            warn!(grace = ?GRACE, "tasks outlived the grace period");
        }
        drop(self.alone);
    }
}

async fn maintain(store: Arc<dyn Store>, certificates: Certificates, cancel: CancellationToken) {
    let mut ticks = tokio::time::interval(MAINTAIN_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(failure) = store.maintain(clock::unix_ms()).await {
            error!(error = with_sources(&failure), "store cannot be maintained");
        }
        if let Err(failure) = certificates.refresh() {
            error!(
                error = with_sources(&failure),
                "server certificate cannot be renewed"
            );
        }
    }
}

/// Takes the folder for this process alone. Commands beside a running collector write single rows, and need no lock.
fn take(data_dir: &Path) -> Result<File, StartError> {
    let path = data_dir.join("serve.lock");
    let opened = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = opened.map_err(|source| StartError::DataDir {
        path: path.clone(),
        source,
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(source) => Err(StartError::Taken {
            path: data_dir.to_owned(),
            source,
        }),
    }
}

fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    bind::bind(address).map_err(|source| StartError::Listen {
        key,
        address,
        source,
    })
}

/// The bound address: port 0 has become a real one.
fn local(socket: &TcpListener, configured: SocketAddr) -> SocketAddr {
    socket.local_addr().unwrap_or(configured)
}

/// Where people find the dashboard: under the public name where it listens on all addresses.
fn dashboard_url(address: SocketAddr, tls: bool, public: &Url) -> String {
    let scheme = if tls { "https" } else { "http" };
    match public.host_str() {
        Some(host) if address.ip().is_unspecified() => {
            format!("{scheme}://{host}:{}", address.port())
        }
        _ => format!("{scheme}://{address}"),
    }
}
