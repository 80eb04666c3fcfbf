//! Watches how registered prefixes stand on live sessions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firstmile_peering::desk::World;
use firstmile_wire::ids::OrganisationId;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::clock;
use crate::ingest::refusal::with_sources;
use crate::registry::peering::PeeringRegistry;
use crate::store::Store;

/// How often changes are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Looks without a change of routes: something may have been registered, and a session may have become whole.
const QUIET_LOOKS: u32 = 15;
/// Looks again whenever routes changed, until cancelled.
pub(super) async fn watch(
    store: Arc<dyn Store>,
    registry: Arc<PeeringRegistry>,
    cancel: CancellationToken,
) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut seen, mut quiet) = (0, QUIET_LOOKS);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let changes = registry.changes();
        quiet += 1;
        if changes == seen && quiet < QUIET_LOOKS {
            continue;
        }
        (seen, quiet) = (changes, 0);
        let organisation = OrganisationId::default_organisation();
        let resources = match store.resources(&organisation).await {
            Ok(resources) => resources,
            Err(failure) => {
                error!(
                    error = with_sources(&failure),
                    "registered prefixes cannot be looked at"
                );
                continue;
            }
        };
        let registry = Arc::clone(&registry);
        let look = move || {
            let now_unix_ms = clock::unix_ms();
            let sessions = registry.sessions(&resources, now_unix_ms);
            let at = jiff::Timestamp::from_millisecond(now_unix_ms);
            let at = at.map_or_else(|_| String::new(), |at| at.to_string());
            let (events, tests) = (BTreeMap::new(), BTreeMap::new());
            let world = World {
                resources: &resources,
                directory: &registry.directory,
                sessions: &sessions,
                events: &events,
                tests: &tests,
            };
            registry.with_standings(|standings| standings.look(&organisation, &world, &at));
        };
        if tokio::task::spawn_blocking(look).await.is_err() {
            error!("a look at registered prefixes failed");
        }
    }
}
