//! The running collector: what starts in which order, what stops in which order.
//!
//! Start: CA, store, meaning, sockets, then the tasks from the store outwards. Stop: the listeners first, so that nothing
//! new comes in; then the commit of what was received; then the worker. What it had not applied waits on disk.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};
use url::Url;

use crate::api::{self, ApiState, LiveMessage};
use crate::auth::authority::{Authority, AuthorityError, ServerName};
use crate::auth::login::{LoginError, Logins};
use crate::auth::server_identity;
use crate::auth::tls::{self, Showing, TlsError};
use crate::clock;
use crate::config::{Config, Dashboard, DashboardTls, Geo};
use crate::geo::{IpToAsError, Meaning, MmdbError};
use crate::ingest::Counters;
use crate::ingest::apply::Worker;
use crate::ingest::commit::{self, commit_reports};
use crate::ingest::listen::Listener;
use crate::ingest::locate::Locator;
use crate::ingest::refusal::with_sources;
use crate::ingest::routes::Ingest;
use crate::registry::invite::Inviter;
use crate::store::embedded::{self, Embedded};
use crate::store::{Store, StoreError};

/// How often rollups are built, old data is deleted, and the server's certificate is looked at.
const MAINTAIN_EVERY: Duration = Duration::from_mins(1);
/// Live messages that a slow page may be behind before it misses some and reads everything again.
const LIVE_MESSAGES: usize = 256;
/// How long an agent without a certificate may hold a connection: enrolment is one request.
const ENROLMENT_STAY: Duration = Duration::from_mins(1);
/// Time for everything to stop, the drain of the listeners (5 s) included.
const GRACE: Duration = Duration::from_secs(9);

/// Why the collector does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder of the data cannot be made.
    #[error("cannot create data_dir {}; make it writable for this user or name another one", path.display())]
    DataDir {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The CA cannot be used.
    #[error("the certificate authority cannot be used")]
    Authority(#[from] AuthorityError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// The store cannot be opened.
    #[error("the store in {} cannot be opened", path.display())]
    Store {
        /// In which folder.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The login cannot be read.
    #[error("the login cannot be read")]
    Login(#[from] LoginError),
    /// Other machines could reach the dashboard without a login.
    #[error(
        "dashboard.listen = {listen} can be reached by other machines and no login is set; run `firstmile-collector passwd`"
    )]
    LoginMissing {
        /// Where it would listen.
        listen: SocketAddr,
    },
    /// A table cannot be read.
    #[error("{key} = {} cannot be used; name a file of that kind", path.display())]
    Table {
        /// Which key of the configuration.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An address cannot be listened on.
    #[error("{key} = {address} cannot be listened on; is another collector running?")]
    Listen {
        /// Which key of the configuration.
        key: &'static str,
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl StartError {
    /// Whether the configuration has to be changed first (exit code 2).
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::LoginMissing { .. } | Self::Table { .. } | Self::Tls(_) => true,
            Self::DataDir { .. }
            | Self::Authority(_)
            | Self::Store { .. }
            | Self::Login(_)
            | Self::Listen { .. } => false,
        }
    }
}

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
    /// Ends the listeners, maintenance and live streams.
    outer: (CancellationToken, TaskTracker),
    /// Ends commit, then the worker.
    inner: [(CancellationToken, TaskTracker); 2],
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
    if let Some(DashboardTls::Files { certificate, key }) = &config.dashboard.tls {
        Showing::new(tls::read_identity(certificate, key)?)?;
    }
    open_logins(config).map(drop)
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
    let logins = Arc::new(open_logins(config)?);
    let store: Arc<dyn Store> = Arc::new(open_store(config).await?);
    let meaning = Arc::new(read_meaning(&config.geo)?);
    let certificates = Certificates::open(Arc::clone(&authority), config)?;
    let ingest_socket = bind("ingest.listen", config.ingest.listen).await?;
    let dashboard_socket = bind("dashboard.listen", config.dashboard.listen).await?;
    let starting = Starting {
        counters: Arc::default(),
        live: broadcast::channel(LIVE_MESSAGES).0,
        outer: Default::default(),
        inner: Default::default(),
        store,
        meaning,
        authority,
        logins,
    };
    starting.start_inner_tasks(config, certificates, ingest_socket, dashboard_socket)
}

/// What the tasks share while they are started.
struct Starting {
    counters: Arc<Counters>,
    live: broadcast::Sender<LiveMessage>,
    outer: (CancellationToken, TaskTracker),
    inner: [(CancellationToken, TaskTracker); 2],
    store: Arc<dyn Store>,
    meaning: Arc<Meaning>,
    authority: Arc<Authority>,
    logins: Arc<Logins>,
}

impl Starting {
    fn start_inner_tasks(
        self,
        config: &Config,
        certificates: Certificates,
        ingest_socket: TcpListener,
        dashboard_socket: TcpListener,
    ) -> Result<Running, StartError> {
        let (queue, waiting) = mpsc::channel(commit::QUEUE);
        let appended = Arc::new(Notify::new());
        let ingest_router = Arc::new(Ingest::new(
            Arc::clone(&self.store),
            Arc::clone(&self.authority),
            Arc::clone(&self.counters),
            queue,
            Locator::new(Arc::clone(&self.meaning)),
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
        let worker = Worker {
            store: Arc::clone(&self.store),
            meaning: Arc::clone(&self.meaning),
            counters: Arc::clone(&self.counters),
            live: self.live.clone(),
            appended: Arc::clone(&appended),
        };
        workers.spawn(worker.run(stop_worker.clone()));
        let (store, counters) = (Arc::clone(&self.store), Arc::clone(&self.counters));
        commits.spawn(commit_reports(
            waiting,
            store,
            counters,
            appended,
            stop_commit.clone(),
        ));

        let (stop, tasks) = &self.outer;
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
            outer: self.outer,
            inner: self.inner,
        })
    }

    fn api_state(&self, config: &Config, tls: bool) -> ApiState {
        let url = config.ingest.public_url.clone();
        ApiState {
            store: Arc::clone(&self.store),
            meaning: Arc::clone(&self.meaning),
            live: self.live.clone(),
            counters: Arc::clone(&self.counters),
            logins: Arc::clone(&self.logins),
            inviter: Arc::new(Inviter::new(
                Arc::clone(&self.store),
                url,
                self.authority.hash(),
            )),
            login_required: config.dashboard.is_beyond_loopback(),
            tls,
            now_unix_ms: clock::unix_ms,
            now: clock::now,
            stop: self.outer.0.clone(),
        }
    }
}

impl Running {
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
    }
}

/// The certificate that the own listeners show, and what it takes to make it again.
struct Certificates {
    authority: Arc<Authority>,
    folder: PathBuf,
    names: Vec<ServerName>,
    showing: Arc<Showing>,
}

impl Certificates {
    fn open(authority: Arc<Authority>, config: &Config) -> Result<Self, StartError> {
        let host = config.ingest.public_url.host_str().unwrap_or("localhost");
        let listening = [config.ingest.listen.ip(), config.dashboard.listen.ip()];
        let listening = listening
            .into_iter()
            .filter(|address| !address.is_unspecified());
        let extra = config.ingest.extra_names.iter().cloned();
        let extra: Vec<ServerName> = extra.chain(listening.map(ServerName::Address)).collect();
        let names = server_identity::server_names(host, &extra);
        let folder = config.ca_dir();
        let (identity, made) =
            server_identity::open(&authority, &folder, &names, clock::unix_ms())?;
        if made {
            info!(names = ?names, "server certificate made");
        }
        Ok(Self {
            showing: Showing::new(identity)?,
            authority,
            folder,
            names,
        })
    }

    fn refresh(&self) -> Result<(), StartError> {
        let (identity, made) =
            server_identity::open(&self.authority, &self.folder, &self.names, clock::unix_ms())?;
        if made {
            self.showing.exchange(identity)?;
            info!("server certificate renewed");
        }
        Ok(())
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

fn read_meaning(geo: &Geo) -> Result<Meaning, StartError> {
    let mut meaning = Meaning::builtin();
    for path in &geo.ip_to_as {
        let bad = table_error("geo.ip_to_as", path);
        let text = fs::read_to_string(path).map_err(|source| bad(source.into()))?;
        meaning = meaning
            .with_ip_to_as_csv(&text)
            .map_err(|source: IpToAsError| bad(source.into()))?;
    }
    if let Some(path) = &geo.asn_mmdb {
        let bad = table_error("geo.asn_mmdb", path);
        let bytes = fs::read(path).map_err(|source| bad(source.into()))?;
        meaning = meaning
            .with_asn_mmdb(bytes)
            .map_err(|source: MmdbError| bad(source.into()))?;
    }
    if let Some(path) = &geo.country_mmdb {
        let bad = table_error("geo.country_mmdb", path);
        let bytes = fs::read(path).map_err(|source| bad(source.into()))?;
        meaning = meaning
            .with_country_mmdb(bytes)
            .map_err(|source: MmdbError| bad(source.into()))?;
    } else if let Some(bytes) = api::embedded::country_table() {
        let bad = table_error("the built-in country table", Path::new("country.mmdb"));
        meaning = meaning
            .with_country_mmdb(bytes)
            .map_err(|source: MmdbError| bad(source.into()))?;
    } else {
        warn!("no country table: sites without a declared country stay unknown");
    }
    if let Some(asns) = &geo.microsoft_asns {
        meaning = meaning.with_microsoft_asns(asns);
    }
    Ok(meaning)
}

fn table_error<'a>(
    key: &'static str,
    path: &'a Path,
) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> StartError + 'a {
    move |source| StartError::Table {
        key,
        path: path.to_owned(),
        source,
    }
}

fn dashboard_tls(
    dashboard: &Dashboard,
    showing: &Arc<Showing>,
) -> Result<Option<Arc<rustls::ServerConfig>>, StartError> {
    let showing = match &dashboard.tls {
        None => return Ok(None),
        Some(DashboardTls::OwnCa) => Arc::clone(showing),
        Some(DashboardTls::Files { certificate, key }) => {
            Showing::new(tls::read_identity(certificate, key)?)?
        }
    };
    Ok(Some(tls::dashboard_config(showing)?))
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen {
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
