//! JSON files that are read again when they change: RPKI payloads, and what is registered.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use firstmile_feeds::event::Event;
use firstmile_feeds::rpki::{Guard, read_json};
use firstmile_feeds::status::FeedStatus;
use firstmile_routing::vrp::Vrps;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::unix_s;
use crate::ingest::refusal::with_sources;

/// How often a file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Reads the file at the start and after each change, until cancelled.
pub(super) async fn watch_vrps(
    path: PathBuf,
    status: Arc<Mutex<FeedStatus>>,
    events: mpsc::Sender<Event>,
    cancel: CancellationToken,
) {
    let mut seen: Option<SystemTime> = None;
    let mut guard = Guard::default();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let changed = tokio::fs::metadata(&path)
            .await
            .and_then(|metadata| metadata.modified());
        let changed = match changed {
            Ok(changed) if Some(changed) == seen => continue,
            Ok(changed) => changed,
            Err(error) => {
                note(&status, |status| status.connected = false);
                warn!(file = %path.display(), %error, "cannot read the rpki file");
                continue;
            }
        };
        seen = Some(changed);
        let Some(vrps) = read(&path, &status, &mut guard).await else {
            continue;
        };
        let event = Event::Vrps {
            at: unix_s(),
            vrps: Box::new(vrps),
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// Takes the rules up as they are after each change of their file, until cancelled. One that cannot be used changes nothing.
pub(super) async fn watch_rules(
    path: PathBuf,
    events: mpsc::Sender<Event>,
    cancel: CancellationToken,
) {
    let changed = async || tokio::fs::metadata(&path).await?.modified();
    // What the start read was read a moment ago.
    let mut seen = changed().await.ok();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let found = match changed().await {
            Ok(found) if Some(found) == seen => continue,
            Ok(found) => found,
            // While an editor replaces it.
            Err(_) => continue,
        };
        seen = Some(found);
        let file = path.clone();
        let opened = tokio::task::spawn_blocking(move || super::open(&file)).await;
        let watch = match opened {
            Ok(Ok(watch)) => watch,
            Ok(Err(failure)) => {
                let error = with_sources(&failure);
                warn!(file = %path.display(), error, "the rules cannot be used: those before hold on");
                continue;
            }
            Err(_) => continue,
        };
        let rules = Box::new(watch.into_rules());
        info!(file = %path.display(), rules = rules.0.rules.len(), "rules are taken up");
        let at = unix_s();
        if events.send(Event::Rules { at, rules }).await.is_err() {
            return;
        }
    }
}

async fn read(path: &PathBuf, status: &Mutex<FeedStatus>, guard: &mut Guard) -> Option<Vrps> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text
        .inspect_err(|error| warn!(file = %path.display(), %error, "cannot read the rpki file"));
    let (vrps, unread) = read_json(&text.ok()?)
        .inspect_err(|error| warn!(file = %path.display(), %error, "the rpki file cannot be used"))
        .ok()?;
    let size = vrps.len();
    note(status, |status| {
        status.connected = true;
        status.messages += 1;
        status.last_message_at = Some(unix_s());
        status.unread += unread;
        status.sessions = u64::try_from(size).unwrap_or(u64::MAX);
    });
    if !guard.accepts(size) {
        warn!(file = %path.display(), size, "rpki lost much at once: the last good set holds");
        return None;
    }
    info!(file = %path.display(), size, "rpki is up to date");
    Some(Vrps::expiring(vrps))
}

fn note(status: &Mutex<FeedStatus>, change: impl FnOnce(&mut FeedStatus)) {
    if let Ok(mut status) = status.lock() {
        change(&mut status);
    }
}
