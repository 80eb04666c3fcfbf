//! Verdicts into the store at once, and open pages told of their incidents.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use firstmile_routing::verdict::Verdict;
use firstmile_wire::ids::OrganisationId;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::api::LiveMessage;
use crate::api::types::Live;
use crate::clock;
use crate::feed::Feeds;
use crate::ingest::refusal::with_sources;
use crate::store::Store;

/// Verdicts that one transaction writes.
const GATHER: usize = 512;
/// What could not be written is written again after this time.
const AGAIN: Duration = Duration::from_secs(1);
/// After a start, what was open before and was not said again for so long is no longer so: tables are read and sessions are up by then.
const SETTLE: Duration = Duration::from_mins(8);
/// If every feed stays up for so long after that: one that came a moment ago has not said everything yet.
const STAYS: Duration = Duration::from_mins(2);

/// Whether feeds have said all that they see: they were up at two looks, `STAYS` apart, and none began anew between them.
#[derive(Debug, Default)]
struct Settling {
    /// How often feeds had begun anew at the last look, if all were up.
    before: Option<u64>,
}

impl Settling {
    /// Takes in a look ([`Feeds::are_up`]), and says after which time to look again; `None`: they have settled.
    fn look(&mut self, are_up: Option<u64>) -> Option<Duration> {
        let before = std::mem::replace(&mut self.before, are_up);
        match are_up {
            Some(_) if before == are_up => None,
            Some(_) => Some(STAYS),
            None => Some(SETTLE),
        }
    }
}

/// Writes verdicts as they come, all that wait in one transaction; after the stop, those that are left.
pub(super) async fn keep(
    store: Arc<dyn Store>,
    mut told: mpsc::Receiver<Verdict>,
    live: broadcast::Sender<LiveMessage>,
    feeds: Arc<Feeds>,
    cancel: CancellationToken,
) {
    let organisation = OrganisationId::default_organisation();
    let started_unix_ms = clock::unix_ms();
    let mut settled = std::pin::pin!(tokio::time::sleep(SETTLE));
    let mut is_settled = false;
    let mut settling = Settling::default();
    loop {
        let mut batch = Vec::new();
        let received = tokio::select! {
            received = told.recv_many(&mut batch, GATHER) => received,
            () = &mut settled, if !is_settled && !cancel.is_cancelled() => {
                // A feed that is away says nothing again: what it showed may well go on.
                if let Some(again) = settling.look(feeds.are_up()) {
                    settled.set(tokio::time::sleep(again));
                    continue;
                }
                is_settled = true;
                end_unconfirmed(&*store, &organisation, started_unix_ms).await;
                continue;
            }
        };
        if received == 0 {
            return;
        }
        write(&*store, &organisation, batch, &live, &cancel).await;
    }
}

async fn end_unconfirmed(store: &dyn Store, organisation: &OrganisationId, since_unix_ms: i64) {
    let ended = store.end_unconfirmed_verdicts(organisation, since_unix_ms, clock::unix_ms());
    if let Err(failure) = ended.await {
        error!(
            error = with_sources(&failure),
            "verdicts of routing cannot be ended"
        );
    }
}

async fn write(
    store: &dyn Store,
    organisation: &OrganisationId,
    batch: Vec<Verdict>,
    live: &broadcast::Sender<LiveMessage>,
    cancel: &CancellationToken,
) {
    for verdict in &batch {
        info!(
            phase = ?verdict.phase,
            class = %verdict.class,
            prefix = %verdict.prefix,
            offender = verdict.offender.map(|asn| asn.0),
            severity = verdict.severity.name(),
            peers = verdict.peers,
            "routing verdict"
        );
    }
    let mut is_failing = false;
    loop {
        let written = store.put_verdicts(organisation, batch.clone(), clock::unix_ms());
        match written.await {
            Ok(incidents) => return tell(organisation, incidents, live),
            // The detector told it and will not tell it again: it waits, and the queue, the detector and the routers behind it.
            Err(failure) if !is_failing => {
                is_failing = true;
                error!(
                    error = with_sources(&failure),
                    "verdicts of routing cannot be stored; tried again each second"
                );
            }
            Err(_) => {}
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// Open pages ask anew; without one nobody listens.
fn tell(
    organisation: &OrganisationId,
    incidents: BTreeSet<String>,
    live: &broadcast::Sender<LiveMessage>,
) {
    for incident_id in incidents {
        let message = LiveMessage {
            organisation: organisation.clone(),
            live: Live::Incident { incident_id },
        };
        if live.send(message).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_have_settled_when_none_began_anew_between_two_looks() {
        let mut settling = Settling::default();
        for (name, look, again) in [
            ("one is away", None, Some(SETTLE)),
            ("all are up, since when?", Some(3), Some(STAYS)),
            ("one went and came back between", Some(4), Some(STAYS)),
            ("one is away again", None, Some(SETTLE)),
            ("as before it went, but it went", Some(4), Some(STAYS)),
            ("they stayed", Some(4), None),
        ] {
            assert_eq!(settling.look(look), again, "{name}");
        }
    }
}
