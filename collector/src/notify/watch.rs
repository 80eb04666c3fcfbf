//! Reads incidents and fills the outbox: the shell around [`super::core::plan`].
//!
//! What changed is read by its number, so nothing is missed and nothing is read twice while the collector runs; after a start, what is
//! open or ended of late is read anew. What was told is in the store, in the same transaction as the messages: a collector that dies
//! at any instruction tells neither twice nor never.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use firstmile_wire::ids::OrganisationId;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::core::incident::{Affected, Incident};
use super::core::model::Level;
use super::core::mute::{Window, Windows};
use super::core::notice::Cost;
use super::core::plan::{Settings, Told, plan};
use crate::api::types;
use crate::ingest::refusal::with_sources;
use crate::store::incidents::IncidentQuery;
use crate::store::notifying::Telling;
use crate::store::{Store, StoreError, StoreResult};

/// How often it looks: what is told at once is told within it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Incidents that changed, read at once.
const BATCH: u32 = 200;
/// Incidents that may still make messages; beyond it the oldest are watched no more, and counted.
const WATCHED_MAX: usize = 4_096;
/// After a start, incidents that ended so long ago are looked at: their end may not have been told.
const LOOK_BACK_MS: i64 = 24 * 3_600_000;
/// An incident that ended so long ago and was told of to its end makes no more messages.
const SETTLED_MS: i64 = 60 * 60_000;

/// Watches the incidents of all organisations.
pub struct Watch {
    store: Arc<dyn Store>,
    settings: Settings,
    now_unix_ms: fn() -> i64,
    organisations: BTreeMap<OrganisationId, Watched>,
}

/// What of one organisation may still make messages.
#[derive(Default)]
struct Watched {
    /// Number of the last change that was read; `None` before the first look.
    last_change: Option<u64>,
    incidents: BTreeMap<String, (Incident, Option<Told>)>,
}

impl Watch {
    /// Watches what a store keeps.
    pub fn new(store: Arc<dyn Store>, settings: Settings, now_unix_ms: fn() -> i64) -> Self {
        Self {
            store,
            settings,
            now_unix_ms,
            organisations: BTreeMap::new(),
        }
    }

    /// Looks each second until cancelled. A look that fails is done again: nothing is lost by it.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = ticks.tick() => {}
            }
            match self.look().await {
                Ok(()) => failing = false,
                // Once, not each second.
                Err(failure) if !failing => {
                    failing = true;
                    error!(
                        error = with_sources(&failure),
                        "notifications cannot be planned; tried again each second"
                    );
                }
                Err(_) => {}
            }
        }
    }

    /// Looks once at every organisation.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn look(&mut self) -> StoreResult<()> {
        for organisation in self.store.organisations().await? {
            self.look_at(&organisation).await?;
        }
        Ok(())
    }

    async fn look_at(&mut self, organisation: &OrganisationId) -> StoreResult<()> {
        let now_unix_ms = (self.now_unix_ms)();
        let watched = self.organisations.entry(organisation.clone()).or_default();
        watched
            .read_changes(&*self.store, organisation, now_unix_ms)
            .await?;
        if watched.incidents.is_empty() {
            return Ok(());
        }
        let windows = windows(&*self.store, organisation, now_unix_ms).await?;
        let mut tellings = Vec::new();
        for (id, (incident, told)) in &watched.incidents {
            let (messages, next) = plan(
                incident,
                told.as_ref(),
                &self.settings,
                &windows,
                now_unix_ms,
            );
            if told.as_ref() != Some(&next) || !messages.is_empty() {
                tellings.push(Telling {
                    incident_id: id.clone(),
                    told: next,
                    messages,
                });
            }
        }
        if !tellings.is_empty() {
            let store = &self.store;
            store
                .tell(organisation, now_unix_ms, tellings.clone())
                .await?;
        }
        for telling in tellings {
            if let Some((_, told)) = watched.incidents.get_mut(&telling.incident_id) {
                *told = Some(telling.told);
            }
        }
        watched.forget(now_unix_ms);
        Ok(())
    }
}

impl Watched {
    async fn read_changes(
        &mut self,
        store: &dyn Store,
        organisation: &OrganisationId,
        now_unix_ms: i64,
    ) -> StoreResult<()> {
        let mut fresh = Vec::new();
        let mut last = if let Some(last) = self.last_change {
            last
        } else {
            // The number first: what changes while the rest is read is read again.
            let last = store.last_incident_change(organisation).await?;
            fresh = lately(store, organisation, now_unix_ms).await?;
            last
        };
        loop {
            let changes = store.incident_changes(organisation, last, BATCH).await?;
            let full = changes.len() >= BATCH as usize;
            for (number, incident) in changes {
                last = last.max(number);
                fresh.push(incident);
            }
            if !full {
                break;
            }
        }
        let fresh: Vec<Incident> = fresh.iter().map(read).collect();
        let unknown: Vec<String> = fresh
            .iter()
            .map(|incident| incident.id.clone())
            .filter(|id| !self.incidents.contains_key(id))
            .collect();
        let mut told = store.told(organisation, unknown).await?;
        for incident in fresh {
            let known = self.incidents.remove(&incident.id);
            let told = known.map_or_else(|| told.remove(&incident.id), |known| known.1);
            self.incidents.insert(incident.id.clone(), (incident, told));
        }
        self.last_change = Some(last);
        Ok(())
    }

    /// Lets go of what can make no more messages. It comes back when it changes.
    fn forget(&mut self, now_unix_ms: i64) {
        self.incidents.retain(|_, (incident, told)| {
            let rests = incident
                .ended_unix_ms
                .is_some_and(|ended| now_unix_ms - ended > SETTLED_MS);
            let nobody_waits = told.as_ref().is_some_and(|told| told.channels.is_empty());
            incident.open || !(rests && nobody_waits)
        });
        let excess = self.incidents.len().saturating_sub(WATCHED_MAX);
        if excess == 0 {
            return;
        }
        let mut order: Vec<(u8, i64, String)> = self
            .incidents
            .iter()
            .map(|(id, (incident, told))| {
                let worth = worth(incident, told.as_ref(), now_unix_ms);
                (worth, incident.decided_unix_ms, id.clone())
            })
            .collect();
        order.sort_unstable();
        for (_, _, id) in order.into_iter().take(excess) {
            self.incidents.remove(&id);
            warn!(
                incident = id,
                "too many incidents are watched; this one comes back when it changes"
            );
        }
    }
}

/// What is lost when an incident is watched no more until it changes: nothing of one that is over or that nobody wanted, reminders of one
/// that was told, and the start of one that waits for its hold-down.
fn worth(incident: &Incident, told: Option<&Told>, now_unix_ms: i64) -> u8 {
    let is_told = told.is_some_and(|told| !told.channels.is_empty());
    let waited = now_unix_ms - incident.decided_unix_ms > SETTLED_MS;
    match (incident.open, is_told) {
        (false, false) => 0,
        (true, false) if waited => 1,
        (true, true) => 2,
        (true, false) => 3,
        (false, true) => 4, // its end is due
    }
}

/// What is open, ended of late, or ended at any time without its end being told.
async fn lately(
    store: &dyn Store,
    organisation: &OrganisationId,
    now_unix_ms: i64,
) -> StoreResult<Vec<types::Incident>> {
    let query = |open: bool| IncidentQuery {
        from_unix_ms: now_unix_ms - LOOK_BACK_MS,
        to_unix_ms: i64::MAX,
        open: Some(open),
        agent: None,
        limit: u32::try_from(WATCHED_MAX).unwrap_or(u32::MAX),
    };
    let mut found = store.incidents(organisation, &query(true)).await?;
    found.extend(store.incidents(organisation, &query(false)).await?);
    let known: BTreeSet<String> = found.iter().map(|one| one.incident_id.clone()).collect();
    for id in store.unfinished(organisation).await? {
        if known.contains(&id) {
            continue;
        }
        match store.incident(organisation, &id).await {
            Ok(incident) => found.push(incident),
            Err(StoreError::NotFound { .. }) => {} // its events are not kept any more
            Err(failure) => return Err(failure),
        }
    }
    Ok(found)
}

/// The change windows of an organisation that are not over, with the zones of its sites.
///
/// # Errors
/// Those of the store.
pub async fn windows(
    store: &dyn Store,
    organisation: &OrganisationId,
    now_unix_ms: i64,
) -> StoreResult<Windows> {
    let mut windows = Windows {
        now_unix_ms,
        ..Windows::default()
    };
    for kept in store.windows(organisation).await? {
        match Window::of(&kept.wish, zone) {
            Ok(window) if window.is_past(now_unix_ms) => {}
            Ok(window) => windows.windows.push(window),
            Err(error) => warn!(window = kept.id, %error, "a change window cannot be used"),
        }
    }
    if !windows.windows.is_empty() {
        for (site, name) in store.site_zones(organisation).await? {
            if let Some(zone) = zone(&name) {
                windows.zones.insert(site, zone);
            }
        }
    }
    Ok(windows)
}

/// A time zone of this machine, by its IANA name.
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// An incident of the API as notifications read it.
fn read(incident: &types::Incident) -> Incident {
    let asn = |text: &String| text.strip_prefix("AS").and_then(|rest| rest.parse().ok());
    Incident {
        id: incident.incident_id.clone(),
        class: incident.class.as_str().to_owned(),
        open: incident.ended_unix_ms.is_none(),
        from: incident.from.clone(),
        to: incident.to.clone(),
        to_asn: incident.to.as_ref().and_then(asn),
        provider_asn: incident.provider_asn,
        prefix: incident.prefix.clone(),
        severity: incident.severity.as_deref().and_then(Level::parse),
        affected: incident.events.iter().map(affected).collect(),
        onset_from_unix_ms: incident.onset_from_unix_ms,
        onset_to_unix_ms: incident.onset_to_unix_ms,
        decided_unix_ms: incident.decided_unix_ms,
        ended_unix_ms: incident.ended_unix_ms,
        ending: incident.ending.clone(),
        confidence_ratio: incident.confidence,
        reasons: reasons(incident),
        cost: incident.rtt_cost.map(|cost| Cost {
            delta_us: cost.change_us,
            low_us: Some(cost.change_low_us),
            high_us: Some(cost.change_high_us),
        }),
        reopenings: incident.moves,
        late: incident.late,
        summary: incident.text.clone(),
    }
}

/// Why, and what agents say to it.
fn reasons(incident: &types::Incident) -> Vec<String> {
    let mut reasons = incident.reasons.clone();
    if let Some(cause) = &incident.cause {
        reasons.insert(0, format!("cause: {cause}"));
    }
    if let Some(check) = &incident.cross_check {
        let signs = check.signs.join("; ");
        reasons.push(format!(
            "agents: {} ({signs})",
            check.grade.replace('_', " ")
        ));
    }
    reasons
}

fn affected(event: &types::IncidentEvent) -> Affected {
    Affected {
        agent: event.agent_id.clone(),
        site: event.site_id.clone().unwrap_or_default(),
        site_name: event.site_name.clone(),
        geography: event.country.clone(),
        target: event.target.clone(),
    }
}
