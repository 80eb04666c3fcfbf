//! Looks for sites that fell silent: the shell around [`crate::detect::silent`].
//!
//! What it found is in the store as open events, so a collector that starts anew goes on with them; it misses nobody before it has
//! listened for as long as a silence takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firstmile_wire::ids::{AgentId, OrganisationId};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::refusal::with_sources;
use crate::api::LiveMessage;
use crate::api::types::{Event, EventClass, Live};
use crate::detect::silent::Look;
use crate::notify::watch::windows;
use crate::registry::SiteId;
use crate::store::{EventQuery, Scope, Store, StoreError, StoreResult};

/// How often it looks: a tenth of what the shortest silence takes.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Open events read when it starts: those of every site of a large fleet.
const OPEN_MAX: u32 = 100_000;

/// Watches the sites of all organisations.
pub struct Silence {
    store: Arc<dyn Store>,
    live: broadcast::Sender<LiveMessage>,
    now_unix_ms: fn() -> i64,
    since_unix_ms: i64,
    organisations: BTreeMap<OrganisationId, Watched>,
}

/// What is known of one organisation.
struct Watched {
    open: Vec<Event>,
    closed_until_unix_ms: BTreeMap<SiteId, i64>,
}

impl Silence {
    /// Listens from now on.
    pub fn new(
        store: Arc<dyn Store>,
        live: broadcast::Sender<LiveMessage>,
        now_unix_ms: fn() -> i64,
    ) -> Self {
        Self {
            store,
            live,
            now_unix_ms,
            since_unix_ms: now_unix_ms(),
            organisations: BTreeMap::new(),
        }
    }

    /// Looks until cancelled. A look that fails is done again.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(failure) = self.look().await {
                error!(
                    error = with_sources(&failure),
                    "cannot look for silent sites; tried again"
                );
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
        let store = Arc::clone(&self.store);
        let (agents, sites) = (
            store.agents(organisation).await?,
            store.sites(organisation).await?,
        );
        let mut watched = match self.organisations.remove(organisation) {
            Some(watched) => watched,
            None => Watched {
                open: open(&*store, organisation).await?,
                closed_until_unix_ms: BTreeMap::new(),
            },
        };
        let windows = windows(&*store, organisation, now_unix_ms).await?;
        for site in &sites {
            let (id, country) = (site.id.to_string(), site.geography.country.as_deref());
            if windows.is_closed(&id, country) {
                // Until the next look at least.
                let until = now_unix_ms.saturating_add(1);
                watched.closed_until_unix_ms.insert(site.id, until);
            }
        }
        let no_providers = BTreeMap::new();
        let mut look = Look {
            organisation,
            now_unix_ms,
            since_unix_ms: self.since_unix_ms,
            agents: &agents,
            sites: &sites,
            closed_until_unix_ms: &watched.closed_until_unix_ms,
            providers: &no_providers,
            open: &watched.open,
        };
        let over = still_open(&*store, organisation, look.heard_again()).await?;
        let mut told = look.fallen_silent();
        if !told.is_empty() {
            // Whose networks they are is read only when it matters.
            let providers = providers(&*store, organisation).await?;
            look.providers = &providers;
            told = look.fallen_silent();
        }
        let ended: Vec<String> = over
            .iter()
            .map(|(event, _)| event.event_id.clone())
            .collect();
        let opened = told.clone();
        told.extend(
            over.into_iter()
                .filter_map(|(event, write)| write.then_some(event)),
        );
        if !told.is_empty() {
            store
                .put_events(organisation, told.clone(), now_unix_ms)
                .await?;
            self.say(organisation, told);
        }
        watched
            .open
            .retain(|event| !ended.contains(&event.event_id));
        watched.open.extend(opened);
        self.organisations.insert(organisation.clone(), watched);
        Ok(())
    }

    fn say(&self, organisation: &OrganisationId, told: Vec<Event>) {
        for event in told {
            info!(
                site = event.site_name,
                state = event.state,
                "a site is silent, or heard again"
            );
            let incident_id = event.incident_id.clone().unwrap_or_default();
            let event = Box::new(event);
            for live in [Live::Event { event }, Live::Incident { incident_id }] {
                let organisation = organisation.clone();
                // Nobody may be watching.
                self.live.send(LiveMessage { organisation, live }).ok();
            }
        }
    }
}

async fn open(store: &dyn Store, organisation: &OrganisationId) -> StoreResult<Vec<Event>> {
    let query = EventQuery {
        from_unix_ms: 0,
        to_unix_ms: i64::MAX,
        open: Some(true),
        agent: None,
        limit: OPEN_MAX,
    };
    let mut open = store.events(organisation, &query).await?;
    open.retain(|event| event.class == EventClass::SiteSilent);
    Ok(open)
}

/// What may have been ended by somebody else meanwhile, as when an agent is revoked, is not ended again: not to be written.
async fn still_open(
    store: &dyn Store,
    organisation: &OrganisationId,
    over: Vec<Event>,
) -> StoreResult<Vec<(Event, bool)>> {
    let mut all = Vec::new();
    for event in over {
        let write = match store.event(organisation, &event.event_id).await {
            Ok(kept) => kept.ended_unix_ms.is_none(),
            Err(StoreError::NotFound { .. }) => false,
            Err(failure) => return Err(failure),
        };
        all.push((event, write));
    }
    Ok(all)
}

/// The network that most ways of each agent lead through.
async fn providers(
    store: &dyn Store,
    organisation: &OrganisationId,
) -> StoreResult<BTreeMap<AgentId, u32>> {
    let briefs = store.path_briefs(organisation, &Scope::World).await?;
    let most = |paths: &[(String, crate::detect::PathBrief)]| {
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        for asn in paths.iter().filter_map(|(_, brief)| brief.provider_asn) {
            *counts.entry(asn).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count)
    };
    let known = briefs
        .iter()
        .filter_map(|(agent, paths)| Some((*agent, most(paths)?.0)));
    Ok(known.collect())
}
