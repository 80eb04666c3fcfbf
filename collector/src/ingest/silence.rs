//! Looks for sites that fell silent: the shell around [`crate::detect::silent`].
//!
//! What it found is in the store as open events, so a collector that starts anew goes on with them; it misses nobody before it has
//! listened for as long as agents need to come back and a silence takes, and so after whatever kept it from listening.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use firstmile_wire::ids::{AgentId, OrganisationId};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::refusal::with_sources;
use crate::api::LiveMessage;
use crate::api::types::{Event, EventClass, Live};
use crate::detect::silent::{Found, GRACE_MS, Listening, Look};
use crate::notify::watch::windows;
use crate::registry::SiteId;
use crate::store::{EventQuery, Scope, Store, StoreError, StoreResult};

/// How often it looks: a tenth of what the shortest silence takes.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// A look that begins later after the last one that succeeded finds nothing out about those who could not be heard meanwhile: two
/// looks, and what a look itself takes, so that one may fail.
const LOOK_AT_MOST: Duration = Duration::from_secs(40);
/// Open events read when it starts: those of every site of a large fleet.
const OPEN_MAX: u32 = 100_000;

/// Watches the sites of all organisations.
pub struct Silence {
    store: Arc<dyn Store>,
    live: broadcast::Sender<LiveMessage>,
    clocks: Clocks,
    organisations: BTreeMap<OrganisationId, Watched>,
}

/// Monotonic now, and the wall clock's, Unix milliseconds.
pub type Clocks = (fn() -> Instant, fn() -> i64);

/// What is known of one organisation.
struct Watched {
    listening: Listening,
    open: Arc<Vec<Event>>,
    closed_until_unix_ms: BTreeMap<SiteId, i64>,
    /// Whether it is known which sites were closed before the first look.
    looked_back: bool,
}

impl Silence {
    /// Listens from its first look on.
    pub const fn new(
        store: Arc<dyn Store>,
        live: broadcast::Sender<LiveMessage>,
        clocks: Clocks,
    ) -> Self {
        Self {
            store,
            live,
            clocks,
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
            self.look().await;
        }
    }

    /// Looks once at every organisation. One whose look fails keeps none of the others unwatched.
    pub async fn look(&mut self) {
        let organisations = match self.store.organisations().await {
            Ok(organisations) => organisations,
            Err(failure) => return cannot_look(None, &failure),
        };
        for organisation in organisations {
            if let Err(failure) = self.look_at(&organisation).await {
                cannot_look(Some(&organisation), &failure);
            }
        }
    }

    async fn look_at(&mut self, organisation: &OrganisationId) -> StoreResult<()> {
        let (now, now_unix_ms) = (self.clocks.0(), self.clocks.1());
        let mut watched = match self.organisations.remove(organisation) {
            Some(watched) => watched,
            None => Watched {
                listening: Listening::from_now(now, now_unix_ms),
                open: Arc::new(open(&*self.store, organisation).await?),
                closed_until_unix_ms: BTreeMap::new(),
                looked_back: false,
            },
        };
        let anew = watched
            .listening
            .starts_anew(now, now_unix_ms, LOOK_AT_MOST);
        if anew {
            warn!(
                organisation = organisation.as_str(),
                "the last look for silent sites that succeeded is over {} s ago, or the clock was set: all sites have their time anew",
                LOOK_AT_MOST.as_secs()
            );
        }
        let found = self.find(organisation, &mut watched, now_unix_ms).await;
        if let Ok(deaf) = found {
            watched.listening.looked(now, now_unix_ms, deaf);
        }
        self.organisations.insert(organisation.clone(), watched);
        found.map(drop)
    }

    /// Finds what changed, and tells it; says whether the collector is deaf.
    async fn find(
        &self,
        organisation: &OrganisationId,
        watched: &mut Watched,
        now_unix_ms: i64,
    ) -> StoreResult<bool> {
        let store = Arc::clone(&self.store);
        let look = gather(&*store, organisation, watched, now_unix_ms).await?;
        let (mut look, mut found) = taken(look).await?;
        if !found.fallen_silent.is_empty() {
            // Whose networks they are is read only when it matters.
            look.providers = providers(&*store, organisation).await?;
            (_, found) = taken(look).await?;
        }
        let over = still_open(&*store, organisation, found.heard_again).await?;
        let ended: BTreeSet<String> = over
            .iter()
            .map(|(event, _)| event.event_id.clone())
            .collect();
        let opened = found.fallen_silent;
        let mut told = opened.clone();
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
        if !opened.is_empty() || !ended.is_empty() {
            let open = Arc::make_mut(&mut watched.open);
            open.retain(|event| !ended.contains(&event.event_id));
            open.extend(opened);
        }
        Ok(found.deaf)
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

fn cannot_look(organisation: Option<&OrganisationId>, failure: &StoreError) {
    error!(
        organisation = organisation.map(OrganisationId::as_str),
        error = with_sources(failure),
        "cannot look for silent sites; tried again"
    );
}

/// Reads what is looked at, and notes which sites are closed.
async fn gather(
    store: &dyn Store,
    organisation: &OrganisationId,
    watched: &mut Watched,
    now_unix_ms: i64,
) -> StoreResult<Look> {
    let (agents, sites) = (
        store.agents(organisation).await?,
        store.sites(organisation).await?,
    );
    // Whoever starts has to know who opened just now: their machines are still starting too.
    let back_ms = if watched.looked_back { 0 } else { GRACE_MS };
    let mut windows = windows(store, organisation, now_unix_ms - back_ms).await?;
    windows.now_unix_ms = now_unix_ms;
    for site in &sites {
        let (id, country) = (site.id.to_string(), site.geography.country.as_deref());
        if let Some(closed) = windows.last_closed(&id, country, back_ms) {
            // Until the next look at least.
            watched
                .closed_until_unix_ms
                .insert(site.id, closed.saturating_add(1));
        }
    }
    watched.looked_back = true;
    Ok(Look {
        organisation: organisation.clone(),
        now_unix_ms,
        since_unix_ms: watched.listening.since_unix_ms(),
        agents,
        sites,
        closed_until_unix_ms: watched.closed_until_unix_ms.clone(),
        providers: BTreeMap::new(),
        open: Arc::clone(&watched.open),
    })
}

/// A look at thousands of agents is no work for a thread that serves requests.
async fn taken(look: Look) -> StoreResult<(Look, Found)> {
    let taken = tokio::task::spawn_blocking(move || {
        let found = look.take();
        (look, found)
    });
    taken.await.map_err(|failure| StoreError::Engine {
        action: "be looked through for silent sites",
        source: Box::new(failure),
    })
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
