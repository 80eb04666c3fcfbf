//! The worker that turns reports on disk into figures, paths and events, each exactly once.
//!
//! It asks the store for what is pending, so nothing is lost with the process: after a kill the same reports are pending
//! again, and applying is one transaction that marks them. A report that cannot be applied is set aside, counted and
//! logged; it never holds up the others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firstmile_wire::ids::{OrganisationId, ReportKey};
use firstmile_wire::nat64::Nat64Prefix;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::Counters;
use super::batch::Batch;
use super::decode::{DecodeError, decode};
use super::derive::{Known, derive};
use super::facts::{Fact, FactKind};
use super::refusal::with_sources;
use crate::api::LiveMessage;
use crate::api::types::{Handshake, HostState};
use crate::auth::identity::Identity;
use crate::detect::{Desk, PathMemory};
use crate::geo::Tables;
use crate::store::incidents::IncidentQuery;
use crate::store::{InboxReport, Scope, Store, StoreError};

/// Reports fetched at once; their frames are in memory together.
const FETCH: u32 = 64;
/// Times that the store may fail on a report, while others succeed, before it is set aside.
const MAX_ATTEMPTS: u32 = 3;
/// Incidents that were over for longer are joined by nobody.
const JOINABLE_MS: i64 = 10 * 60_000;
/// Incidents read when the collector starts: more than are ever open at once.
const INCIDENTS_READ: u32 = 4_096;
/// Pause when the store fails on everything: its disk may be full.
const PAUSE: Duration = Duration::from_secs(2);

/// Applies what is pending, woken by each commit.
pub struct Worker {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What addresses and names mean.
    pub meaning: Arc<Tables>,
    /// Counters, shared with the API.
    pub counters: Arc<Counters>,
    /// To those who watch.
    pub live: broadcast::Sender<LiveMessage>,
    /// Woken after each commit.
    pub appended: Arc<Notify>,
    /// What agents see together, by organisation; read from the store when it is first needed.
    pub desks: Mutex<BTreeMap<OrganisationId, Desk>>,
}

/// Why a report was not applied.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    /// It was readable when it was acknowledged: a version that reads less has been installed, or the disk is damaged.
    #[error("the stored report cannot be decoded")]
    Decode(#[from] DecodeError),
    /// A fault of ours.
    #[error("deriving from the report panicked")]
    Panic,
    /// The agent or its site is gone.
    #[error("the report's agent or site is gone")]
    Orphan(#[source] StoreError),
    /// The store failed, perhaps on this report alone.
    #[error("the store failed")]
    Store(#[source] StoreError),
}

impl ApplyError {
    /// Whether the next attempt would end the same way.
    const fn is_certain(&self) -> bool {
        match self {
            Self::Decode(_) | Self::Panic | Self::Orphan(_) => true,
            Self::Store(_) => false,
        }
    }
}

impl Worker {
    /// Applies until cancelled. The report in hand is finished; what is still pending waits on disk for the next start.
    pub async fn run(self, cancel: CancellationToken) {
        let mut attempts: BTreeMap<ReportKey, u32> = BTreeMap::new();
        while !cancel.is_cancelled() {
            let pause = match self.apply_pending(&mut attempts, &cancel).await {
                Progress::More => continue,
                Progress::Done => None,
                Progress::Stuck => Some(PAUSE),
            };
            let rest = async {
                match pause {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => self.appended.notified().await,
                }
            };
            tokio::select! {
                () = cancel.cancelled() => {}
                () = rest => {}
            }
        }
    }

    async fn apply_pending(
        &self,
        attempts: &mut BTreeMap<ReportKey, u32>,
        cancel: &CancellationToken,
    ) -> Progress {
        let pending = match self.store.pending(FETCH).await {
            Ok(pending) => pending,
            Err(failure) => {
                error!(
                    error = with_sources(&failure),
                    "pending reports cannot be read"
                );
                return Progress::Stuck;
            }
        };
        if pending.is_empty() {
            attempts.clear();
            return Progress::Done;
        }
        let (mut settled, mut failed) = (false, Vec::new());
        for report in pending {
            if cancel.is_cancelled() {
                return Progress::Done;
            }
            match self.apply_one(&report).await {
                Ok(()) => settled = true,
                Err(error) if error.is_certain() => {
                    settled |= self.set_aside(&report.key, &error).await;
                }
                Err(error) => {
                    warn!(agent = %report.key.agent, error = with_sources(&error), "report cannot be applied now");
                    failed.push((report.key, error));
                }
            }
        }
        settled |= self.judge(failed, settled, attempts).await;
        if settled {
            Progress::More
        } else {
            Progress::Stuck
        }
    }

    /// A store that fails on everything is in trouble; one that fails on a report again and again, and on that alone, has a
    /// bad report.
    async fn judge(
        &self,
        failed: Vec<(ReportKey, ApplyError)>,
        others_settled: bool,
        attempts: &mut BTreeMap<ReportKey, u32>,
    ) -> bool {
        let mut settled = false;
        for (key, error) in failed {
            let count = attempts.entry(key.clone()).or_default();
            *count += u32::from(others_settled || self.is_writable(&key).await);
            if *count >= MAX_ATTEMPTS {
                attempts.remove(&key);
                settled |= self.set_aside(&key, &error).await;
            }
        }
        settled
    }

    /// Whether the store takes anything at all.
    async fn is_writable(&self, key: &ReportKey) -> bool {
        let line = "retried a report that could not be applied";
        self.store
            .audit(
                &key.organisation,
                crate::clock::unix_ms(),
                "collector",
                line,
            )
            .await
            .is_ok()
    }

    async fn set_aside(&self, key: &ReportKey, error: &ApplyError) -> bool {
        let reason = with_sources(error);
        error!(agent = %key.agent, epoch = %key.epoch, sequence = key.sequence, reason, "report set aside");
        match self.store.set_aside(key, &reason).await {
            Ok(()) => {
                self.counters.count_set_aside();
                true
            }
            Err(failure) => {
                error!(error = with_sources(&failure), "report cannot be set aside");
                false
            }
        }
    }

    async fn apply_one(&self, report: &InboxReport) -> Result<(), ApplyError> {
        let sender = Identity {
            organisation: report.key.organisation.clone(),
            agent: report.key.agent,
        };
        let batch = decode(&report.frame, &sender, report.received_unix_ms)?;
        let known = self.known(&batch).await?;
        let mut desk = self
            .desk(&sender.organisation, report.received_unix_ms)
            .await?;
        let meaning = self.meaning.now();
        let derived = catch_unwind(AssertUnwindSafe(|| {
            derive(&batch, known, &meaning, &mut desk)
        }));
        let derived = derived.map_err(|_| ApplyError::Panic)?;
        // A report that is not applied leaves no trace: its desk is dropped, and read again.
        self.store
            .apply(&report.key, derived.applied)
            .await
            .map_err(ApplyError::Store)?;
        self.put_desk(sender.organisation, desk);
        self.counters.count_applied();
        for live in derived.live {
            let message = LiveMessage {
                organisation: report.key.organisation.clone(),
                live,
            };
            if self.live.send(message).is_err() {
                break; // nobody watches
            }
        }
        Ok(())
    }

    /// Takes what agents of an organisation see together; [`Worker::put_desk`] gives it back.
    async fn desk(
        &self,
        organisation: &OrganisationId,
        now_unix_ms: i64,
    ) -> Result<Desk, ApplyError> {
        let kept = self.lock_desks().remove(organisation);
        if let Some(desk) = kept {
            return Ok(desk);
        }
        let query = IncidentQuery {
            from_unix_ms: now_unix_ms.saturating_sub(JOINABLE_MS),
            to_unix_ms: i64::MAX,
            limit: INCIDENTS_READ,
            ..IncidentQuery::default()
        };
        let incidents = self.store.incidents(organisation, &query).await;
        Ok(Desk::restored(&incidents.map_err(ApplyError::Store)?))
    }

    fn put_desk(&self, organisation: OrganisationId, desk: Desk) {
        self.lock_desks().insert(organisation, desk);
    }

    fn lock_desks(&self) -> MutexGuard<'_, BTreeMap<OrganisationId, Desk>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The NAT64 at an agent's site, as it last told.
    async fn nat64(&self, batch: &Batch) -> Result<Option<Nat64Prefix>, ApplyError> {
        if batch.rounds.is_empty() {
            return Ok(None);
        }
        let told: Vec<(String, HostState)> = self.facts(batch, FactKind::Host).await?;
        let host = told.into_iter().next();
        Ok(host.and_then(|(_, host)| host.nat64_prefix?.parse().ok()))
    }

    /// The newest handshakes before this report, where it tells of others.
    async fn handshakes(&self, batch: &Batch) -> Result<BTreeMap<String, Handshake>, ApplyError> {
        if batch.facts.handshakes.is_empty() {
            return Ok(BTreeMap::new());
        }
        let known = self.facts(batch, FactKind::Handshake).await?;
        Ok(known.into_iter().collect())
    }

    /// What the sender of a report told before it, by key, newest first. What cannot be read is of a later program.
    async fn facts<T: DeserializeOwned>(
        &self,
        batch: &Batch,
        kind: FactKind,
    ) -> Result<Vec<(String, T)>, ApplyError> {
        let (organisation, agent) = (&batch.key.organisation, batch.key.agent);
        let told = self
            .store
            .facts(organisation, agent, kind)
            .await
            .map_err(ApplyError::Store)?;
        let read = |fact: Fact| Some((fact.key, serde_json::from_str(&fact.form).ok()?));
        Ok(told.into_iter().filter_map(read).collect())
    }

    async fn known(&self, batch: &Batch) -> Result<Known, ApplyError> {
        let (organisation, agent) = (&batch.key.organisation, batch.key.agent);
        let orphan = |failure| match failure {
            StoreError::NotFound { .. } => ApplyError::Orphan(failure),
            StoreError::Engine { .. }
            | StoreError::Damaged { .. }
            | StoreError::TooMuch { .. }
            | StoreError::Stopped
            | StoreError::Conflict { .. } => ApplyError::Store(failure),
        };
        let agent = self
            .store
            .agent(organisation, agent)
            .await
            .map_err(orphan)?;
        let site = self
            .store
            .site(organisation, agent.site)
            .await
            .map_err(orphan)?;
        let (mut memories, mut sightings, mut names) =
            (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let mut shown = Vec::new();
        if says_of_paths(batch) {
            shown = self
                .store
                .latest_rounds(organisation, agent.id)
                .await
                .map_err(ApplyError::Store)?;
            memories = self
                .store
                .path_memories(organisation, agent.id)
                .await
                .map_err(ApplyError::Store)?;
            sightings = self
                .store
                .sightings(organisation, &Scope::Agent(agent.id))
                .await
                .map_err(ApplyError::Store)?
                .remove(&agent.id)
                .unwrap_or_default();
            let addresses = hop_addresses(batch, &memories);
            let known = self
                .store
                .hop_names(organisation, &addresses)
                .await
                .map_err(ApplyError::Store)?;
            let parsed = known
                .into_iter()
                .filter_map(|(address, name)| Some((address.parse::<IpAddr>().ok()?, name)));
            names = parsed.collect();
        }
        Ok(Known {
            agent,
            site,
            memories,
            names,
            shown,
            sightings,
            handshakes: self.handshakes(batch).await?,
            nat64: self.nat64(batch).await?,
        })
    }
}

enum Progress {
    More,
    Done,
    Stuck,
}

/// Rounds, pulses and gaps are what the path comparison takes in.
fn says_of_paths(batch: &Batch) -> bool {
    !(batch.rounds.is_empty() && batch.samples.is_empty() && batch.facts.changes.is_empty())
}

/// Addresses whose names are needed: of this report's rounds, and of the paths that they are compared with.
fn hop_addresses(batch: &Batch, memories: &BTreeMap<String, PathMemory>) -> Vec<String> {
    let hops = batch
        .rounds
        .iter()
        .flat_map(|round| &round.flows)
        .flat_map(|flow| &flow.hops);
    let remembered = memories.values().flat_map(PathMemory::addresses);
    let addresses: BTreeSet<IpAddr> = hops
        .filter_map(|hop| hop.address)
        .chain(remembered)
        .collect();
    addresses
        .into_iter()
        .map(|address| address.to_string())
        .collect()
}
