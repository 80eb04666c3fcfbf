//! The worker that turns reports on disk into figures, paths and events, each exactly once.
//!
//! It asks the store for what is pending, so nothing is lost with the process: after a kill the same reports are pending
//! again, and applying is one transaction that marks them. A report that cannot be applied is set aside, counted and
//! logged; it never holds up the others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use firstmile_wire::ids::{AgentId, OrganisationId, ReportKey};
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
use crate::api::types::{Handshake, HostState, Live};
use crate::auth::identity::Identity;
use crate::detect::Desk;
use crate::geo::Tables;
use crate::store::incidents::IncidentQuery;
use crate::store::obstacle::Obstacle;
use crate::store::{Before, InboxReport, Sender, Store, StoreError, StoreResult};

/// Reports fetched at once; their frames are in memory together.
const FETCH: u32 = 64;
/// How long the first report waits for company: many at once cost a fraction of one after the other.
const LINGER: Duration = Duration::from_millis(100);
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

    /// Whether a failure may lie in the report: a disk without room fails on a large one and takes a small one.
    fn may_be_the_reports(&self) -> bool {
        let (Self::Store(failure) | Self::Orphan(failure)) = self else {
            return true;
        };
        !matches!(
            Obstacle::of(failure),
            Some(Obstacle::Full | Obstacle::ReadOnly)
        )
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
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                } else {
                    self.appended.notified().await;
                    tokio::time::sleep(LINGER).await;
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
        for round in rounds_of(pending) {
            if cancel.is_cancelled() {
                return Progress::Done;
            }
            if round.len() > 1 && self.apply_together(&round).await.is_ok() {
                settled = true;
                continue;
            }
            // One of them failed: which one, and why, shows when each goes by itself.
            for report in round {
                match self.apply_together(std::slice::from_ref(&report)).await {
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
        }
        settled |= self.judge(failed, settled, attempts).await;
        if settled {
            Progress::More
        } else {
            Progress::Stuck
        }
    }

    /// A store that fails on everything, or has no room, is in trouble; one that fails on a report again and again, and on that alone, has a
    /// bad report.
    async fn judge(
        &self,
        failed: Vec<(ReportKey, ApplyError)>,
        others_settled: bool,
        attempts: &mut BTreeMap<ReportKey, u32>,
    ) -> bool {
        let mut settled = false;
        for (key, error) in failed {
            if !error.may_be_the_reports() {
                continue;
            }
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

    /// Applies reports of different agents: what is known of all is read at once, and all is written at once. A failure may
    /// leave some of them applied.
    async fn apply_together(&self, reports: &[InboxReport]) -> Result<(), ApplyError> {
        let batches = reports.iter().map(decoded);
        let batches = batches.collect::<Result<Vec<Batch>, ApplyError>>()?;
        let senders = batches.iter().map(sender_of).collect();
        let before = self.store.before(senders).await;
        let before = before.map_err(ApplyError::Store)?;
        let meaning = self.meaning.now();
        let mut desks = BTreeMap::new();
        let (mut all, mut live) = (Vec::new(), Vec::new());
        for ((report, batch), before) in reports.iter().zip(&batches).zip(before) {
            let organisation = &report.key.organisation;
            let known = self.known(batch, before).await?;
            if !desks.contains_key(organisation) {
                let desk = self.desk(organisation, report.received_unix_ms).await?;
                desks.insert(organisation.clone(), desk);
            }
            let Some(desk) = desks.get_mut(organisation) else {
                continue;
            };
            let derived = catch_unwind(AssertUnwindSafe(|| derive(batch, known, &meaning, desk)));
            let derived = derived.map_err(|_| ApplyError::Panic)?;
            all.push((report.key.clone(), derived.applied));
            live.push((organisation, derived.live));
        }
        // Reports that are not applied leave no trace: their desks are dropped, and read again.
        self.store.apply_all(all).await.map_err(ApplyError::Store)?;
        for (organisation, desk) in desks {
            self.put_desk(organisation, desk);
        }
        for (organisation, live) in live {
            self.counters.count_applied();
            self.tell(organisation, live);
        }
        Ok(())
    }

    fn tell(&self, organisation: &OrganisationId, all: Vec<Live>) {
        for live in all {
            let message = LiveMessage {
                organisation: organisation.clone(),
                live,
            };
            if self.live.send(message).is_err() {
                break; // nobody watches
            }
        }
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

    async fn known(&self, batch: &Batch, before: StoreResult<Before>) -> Result<Known, ApplyError> {
        let before = before.map_err(|failure| match failure {
            StoreError::NotFound { .. } => ApplyError::Orphan(failure),
            StoreError::Engine { .. }
            | StoreError::Damaged { .. }
            | StoreError::TooMuch { .. }
            | StoreError::Stopped
            | StoreError::Conflict { .. } => ApplyError::Store(failure),
        })?;
        let names = before.hop_names.into_iter();
        let names =
            names.filter_map(|(address, name)| Some((address.parse::<IpAddr>().ok()?, name)));
        Ok(Known {
            agent: before.agent,
            site: before.site,
            memories: before.memories,
            names: names.collect(),
            shown: before.latest_rounds,
            sightings: before.sightings,
            handshakes: self.handshakes(batch).await?,
            nat64: self.nat64(batch).await?,
        })
    }
}

fn decoded(report: &InboxReport) -> Result<Batch, ApplyError> {
    let sender = Identity {
        organisation: report.key.organisation.clone(),
        agent: report.key.agent,
    };
    Ok(decode(&report.frame, &sender, report.received_unix_ms)?)
}

fn sender_of(batch: &Batch) -> Sender {
    let flows = batch.rounds.iter().flat_map(|round| &round.flows);
    let hops = flows.flat_map(|flow| &flow.hops);
    Sender {
        organisation: batch.key.organisation.clone(),
        agent: batch.key.agent,
        paths: says_of_paths(batch),
        addresses: hops.filter_map(|hop| hop.address).collect(),
    }
}

/// Reports in rounds that follow each other: in each at most one of an agent, since the next one goes by what that one left.
fn rounds_of(pending: Vec<InboxReport>) -> Vec<Vec<InboxReport>> {
    let mut rounds: Vec<Vec<InboxReport>> = Vec::new();
    let mut turns: BTreeMap<(OrganisationId, AgentId), usize> = BTreeMap::new();
    for report in pending {
        let sender = (report.key.organisation.clone(), report.key.agent);
        let turn = turns.entry(sender).or_default();
        if rounds.len() <= *turn {
            rounds.push(Vec::new());
        }
        if let Some(round) = rounds.get_mut(*turn) {
            round.push(report);
        }
        *turn += 1;
    }
    rounds
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_report_is_given_up_for_a_disk_that_is_full_or_read_only() {
        use rusqlite::ffi::{SQLITE_CONSTRAINT, SQLITE_FULL, SQLITE_IOERR, SQLITE_READONLY};
        for (code, may) in [
            (SQLITE_FULL, false),
            (SQLITE_READONLY, false),
            (SQLITE_IOERR, true),
            (SQLITE_CONSTRAINT, true),
        ] {
            let failure = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            let error = ApplyError::Store(StoreError::Engine {
                action: "apply a report",
                source: failure.into(),
            });
            assert_eq!(error.may_be_the_reports(), may, "{error:?}");
        }
        assert!(ApplyError::Panic.may_be_the_reports());
    }
}
