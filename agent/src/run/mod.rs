//! The agent at work: probes on schedule, batches, spools, uploads, until told to stop.
//!
//! Order of start: what may refuse (configuration, identity, TLS) first, then the listeners and the spool, then probing.
//! Order of stop: probing, then the last batch to disk, then the last upload, all within [`GRACE`]. Probing depends on
//! none of the others: a fault of collector, disk or network is counted and logged, and the next probe is sent.

mod names;
pub(crate) mod plan;
mod prober;
mod probes;
mod upheaval;
mod watch;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firstmile_wire::ids::AgentId;
use firstmile_wire::v1;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::clock;
use crate::config::{AgentConfig, Proxy, ProxyError};
use crate::delay::Delays;
use crate::enroll::identity::IdentityError;
use crate::enroll::{self, Identity, OwnError};
use crate::host;
use crate::host::lock::{self, LockError, StateLock};
use crate::net::capability::{self, Advice, IcmpCapability};
use crate::net::tls::TlsError;
use crate::report::batch::wire_vantages;
use crate::report::counters::Counters;
use crate::report::pipeline::{self, Pipeline, Store};
use crate::report::status::Status;
use crate::report::status_writer::StatusWriter;
use crate::report::upload::{Shared, Uploader};
use crate::timekeeper::Timekeeper;
use prober::{Prober, Surroundings};

/// From the signal to the end, whatever hangs.
const GRACE: Duration = Duration::from_secs(5);

/// What is left of the grace for the last upload after the last batch.
const LAST_UPLOAD: Duration = Duration::from_secs(2);

/// Why the agent does not start. Once started it ends only when told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Taken(LockError),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error(transparent)]
    Own(#[from] OwnError),
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
    #[error("cannot listen for signals")]
    Signals { source: std::io::Error },
}

impl RunError {
    /// Whether the administrator has to change something before it can work.
    pub(crate) const fn is_usage(&self) -> bool {
        match self {
            Self::Identity(_) | Self::Taken(_) | Self::Proxy(_) | Self::Tls(_) => true,
            Self::Own(_) | Self::Signals { .. } => false,
        }
    }
}

/// Runs until SIGTERM or SIGINT; `delays` is what the runtime tells.
///
/// # Errors
/// See [`RunError`].
pub(crate) async fn run(config: AgentConfig, delays: Delays) -> Result<(), RunError> {
    let (identity, _alone) = identity_of(&config).await?;
    let agent = identity.agent_id;
    let capability = capability::probe();
    let proxy = config.proxy.for_url(&identity.collector)?;
    let counters = Arc::new(Counters::default());
    let tasks = TaskTracker::new();
    let [probing, batching, uploading] = std::array::from_fn(|_| CancellationToken::new());
    let mut signals = Signals::new().map_err(|source| RunError::Signals { source })?;

    let status = Arc::new(Mutex::new(first_status(
        &identity,
        proxy.as_ref(),
        capability,
    )));
    let store = Arc::new(Mutex::new(closed_store(&config, agent)));
    let (kept, status_changed) = <(Arc<Notify>, Arc<Notify>)>::default();
    let keeper = Timekeeper::default();
    let (recorder, inbox) = pipeline::channel(Arc::clone(&counters), keeper.clone());
    let status_writer = StatusWriter {
        state_dir: config.state_dir.clone(),
        store: Arc::clone(&store),
        status: Arc::clone(&status),
        counters: Arc::clone(&counters),
        changed: Arc::clone(&status_changed),
    };
    let shared = Shared {
        state_dir: config.state_dir.clone(),
        store: Arc::clone(&store),
        status: Arc::clone(&status),
        counters: Arc::clone(&counters),
        kept: Arc::clone(&kept),
        status_changed: Arc::clone(&status_changed),
        proxy,
    };
    let uploader = Uploader::new(identity, shared)?;
    let pipeline = Pipeline {
        targets: config.targets.clone(),
        vantages: wire_vantages(&config.vantages),
        host: host::facts(capability),
        boot: host::boot_id(),
        agent,
        interval: config.plan.upload_interval,
        store,
        status: Arc::clone(&status),
        counters: Arc::clone(&counters),
        kept,
        status_changed,
    };
    announce(&config, capability);
    let destinations = Arc::default();
    let surroundings = Surroundings {
        delays,
        upheavals: upheaval::spawn(&keeper, &recorder, &destinations, &tasks, &probing),
        destinations,
        keeper: keeper.clone(),
        recorder,
        counters,
        status,
    };
    tasks.spawn(uploader.run(surroundings.upheavals.clone(), uploading.clone()));
    let probers = Prober::at_vantages(&config, surroundings, &tasks, &probing)?;
    let batched = tasks.spawn(pipeline.run(inbox, keeper, batching.clone()));
    tasks.spawn(status_writer.run(uploading.clone()));
    watch::spawn_all(&probers, &config, &tasks, &probing);
    tasks.spawn(host::systemd::keep_informed(probing.clone()));

    signals.wait().await;
    stop([probing, batching, uploading], batched, &tasks).await;
    Ok(())
}

/// Stops in the order of the road of a sample, so that nothing on it is lost.
async fn stop(
    [probing, batching, uploading]: [CancellationToken; 3],
    batched: tokio::task::JoinHandle<()>,
    tasks: &TaskTracker,
) {
    info!("stopping");
    let stop = async {
        probing.cancel();
        batching.cancel();
        drop(batched.await);
        uploading.cancel();
        finish(tasks).await;
    };
    if tokio::time::timeout(GRACE, stop).await.is_err() {
        warn!(grace = ?GRACE, unfinished = tasks.len(), "tasks outlived the grace period");
    }
}

fn closed_store(config: &AgentConfig, agent: AgentId) -> Store {
    Store {
        directory: config.state_dir.join("spool"),
        agent,
        limits: config.spool,
        spool: None,
    }
}

async fn finish(tasks: &TaskTracker) {
    tasks.close();
    if tokio::time::timeout(LAST_UPLOAD, tasks.wait())
        .await
        .is_err()
    {
        info!("reports that are left stay on disk until the next start");
    }
}

/// This machine's own identity, and the lock on the directory that it is in.
async fn identity_of(config: &AgentConfig) -> Result<(Identity, Option<StateLock>), RunError> {
    let found = Identity::load(&config.state_dir)?;
    let alone = alone_in(&config.state_dir)?;
    Ok((enroll::own(found, config).await?, alone))
}

/// The lock on the state directory; `None` where a disk that takes no file keeps no report of another agent either.
fn alone_in(state_dir: &Path) -> Result<Option<StateLock>, RunError> {
    match lock::take(state_dir) {
        Ok(lock) => Ok(Some(lock)),
        Err(error @ LockError::Taken { .. }) => Err(RunError::Taken(error)),
        Err(error @ LockError::Unusable { .. }) => {
            warn!(
                error = &error as &dyn std::error::Error,
                "nothing keeps a second agent off this state directory"
            );
            Ok(None)
        }
    }
}

fn first_status(identity: &Identity, proxy: Option<&Proxy>, capability: IcmpCapability) -> Status {
    Status {
        agent_id: identity.agent_id.to_string(),
        site: identity.site.clone(),
        collector: identity.collector.to_string(),
        proxy: proxy.map(Proxy::name),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_unix_ms: clock::unix_ms(),
        icmp_capability: capability.as_str().to_owned(),
        advice: (capability == IcmpCapability::None).then(|| Advice::new().to_string()),
        certificate_ends_unix_ms: identity.not_after_unix_ms,
        ..Status::default()
    }
}

fn announce(config: &AgentConfig, capability: IcmpCapability) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        targets = config.targets.len(),
        icmp = capability.as_str(),
        state_dir = %config.state_dir.display(),
        "agent starts"
    );
    if capability == IcmpCapability::None {
        warn!(advice = %Advice::new(), "ping and paths are not permitted; TCP, HTTPS and DNS go on");
    }
}

/// The word of `status` for a kind of probe.
pub(crate) fn kind_word(protocol: v1::Protocol) -> &'static str {
    match protocol {
        v1::Protocol::Icmp => "icmp",
        v1::Protocol::Tcp => "tcp",
        v1::Protocol::Https => "https",
        v1::Protocol::Tls => "tls",
        v1::Protocol::Dns => "dns",
        v1::Protocol::Quic => "quic",
        v1::Protocol::Unspecified => "other",
    }
}

/// What asks this program to end.
#[cfg(unix)]
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// As the operating system says.
    pub(crate) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits until one of them comes.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(windows)]
pub(crate) use crate::host::windows::Signals;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_on_one_state_directory_is_wrong_usage() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = alone_in(directory.path()).expect("free");
        assert!(first.is_some());
        let refused = alone_in(directory.path()).expect_err("taken");
        assert!(refused.is_usage());
        assert!(refused.to_string().contains("another firstmile-agent"));
        assert!(
            alone_in(&directory.path().join("gone"))
                .expect("runs on")
                .is_none()
        );
    }
}
