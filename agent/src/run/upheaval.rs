//! What turns everything upside down: the machine slept, its clock was set, its network became another one.
//!
//! One task looks once a second whether time did more than pass, and tells the collector and the targets. It also sees that the
//! program starved: it then looks late. Another listens for changes of the network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use firstmile_wire::v1::{GapReason, NetworkChangeKind};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::alarm;
use crate::clock;
use crate::net::changes::{Changes, Destinations};
use crate::net::dns;
use crate::report::batch::{Gap, Observation};
use crate::report::pipeline::Recorder;
use crate::schedule::upset::{Reading, Upset};
use crate::timekeeper::Timekeeper;

/// From one look to the next.
const TICK: Duration = Duration::from_secs(1);

/// A look that is later than this is a gap: a pulse or two may be missing.
const STARVED: Duration = Duration::from_secs(5);

/// All that has happened so far; who is told compares it with what it was told before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Upheaval {
    /// Time asleep, in all.
    pub(super) asleep: Duration,
    /// Changes of the network.
    pub(super) networks: u64,
}

/// Starts the watches; what they see is told to the receiver.
pub(super) fn spawn(
    keeper: &Timekeeper,
    recorder: &Recorder,
    destinations: &Arc<Destinations>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) -> watch::Receiver<Upheaval> {
    let (told, upheavals) = watch::channel(Upheaval::default());
    tasks.spawn(watch_time(
        keeper.clone(),
        told.clone(),
        recorder.clone(),
        cancel.clone(),
    ));
    tasks.spawn(watch_network(
        Arc::clone(destinations),
        told,
        recorder.clone(),
        cancel.clone(),
    ));
    upheavals
}

/// Watches the ways out of the machine until cancelled.
async fn watch_network(
    destinations: Arc<Destinations>,
    told: watch::Sender<Upheaval>,
    recorder: Recorder,
    cancel: CancellationToken,
) {
    let mut changes = Changes::listen();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            (kind, detail) = changes.next(&destinations) => on_network(kind, detail, &told, &recorder),
        }
    }
}

/// Watches time until cancelled.
async fn watch_time(
    keeper: Timekeeper,
    told: watch::Sender<Upheaval>,
    recorder: Recorder,
    cancel: CancellationToken,
) {
    let mut looked = clock::read_all();
    let mut resolver = Resolver::look();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = alarm::until(looked.at + TICK) => {}
        }
        for (now, upset) in keeper.take_upsets() {
            tell(&now, &upset, &told, &recorder);
        }
        let now = clock::read_all();
        if let Some(gap) = starved(&looked, &now) {
            warn!(for_s = gap.span.as_secs(), "the agent did not get to run");
            recorder.record(Observation::Gap(gap));
        }
        looked = now;
        if let Some(detail) = resolver.changed() {
            on_network(NetworkChangeKind::Resolver, detail, &told, &recorder);
        }
    }
}

fn on_network(
    kind: NetworkChangeKind,
    detail: String,
    told: &watch::Sender<Upheaval>,
    recorder: &Recorder,
) {
    info!(
        change = detail,
        "the network is another one; everything is measured anew"
    );
    recorder.record(Observation::NetworkChange {
        at: clock::now(),
        kind,
        detail,
    });
    recorder.flush_soon();
    told.send_modify(|all| all.networks += 1);
}

/// The system's resolvers. They are read at each look: on Linux from a small file, elsewhere from the system.
#[derive(Debug, PartialEq, Eq)]
struct Resolver {
    servers: Vec<SocketAddr>,
}

impl Resolver {
    fn look() -> Self {
        Self {
            servers: dns::system_servers(),
        }
    }

    fn changed(&mut self) -> Option<String> {
        self.change_to(dns::system_servers())
    }

    /// What to say when other servers are named than before. None at all is a file or a network that is being changed.
    fn change_to(&mut self, servers: Vec<SocketAddr>) -> Option<String> {
        if servers.is_empty() || servers == self.servers {
            return None;
        }
        self.servers = servers;
        let named: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        Some(format!("the system names {}", named.join(", ")))
    }
}

fn tell(now: &Reading, upset: &Upset, told: &watch::Sender<Upheaval>, recorder: &Recorder) {
    let gap = |reason, step_ms| {
        Observation::Gap(Gap {
            until: now.at,
            span: upset.span,
            reason,
            step_ms,
        })
    };
    if let Some(asleep) = upset.asleep {
        info!(
            for_s = asleep.as_secs(),
            "the machine slept; everything is measured anew"
        );
        recorder.record(gap(GapReason::Suspended, 0));
        told.send_modify(|all| all.asleep += asleep);
    }
    if let Some(step_ms) = upset.step_ms {
        info!(step_ms, "the wall clock was set");
        recorder.record(gap(GapReason::ClockStep, step_ms));
    }
    recorder.flush_soon();
}

/// The gap that a late look shows: the time in which the program was awake but did not run.
fn starved(before: &Reading, now: &Reading) -> Option<Gap> {
    let awake = now.awake.saturating_sub(before.awake);
    let late = awake.saturating_sub(TICK);
    (late > STARVED).then_some(Gap {
        until: now.at,
        span: late,
        reason: GapReason::Starved,
        step_ms: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_resolvers_are_a_change_and_none_for_a_moment_is_not() {
        let server = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (first, second) = (server("192.0.2.53:53"), server("198.51.100.53:53"));
        let mut resolver = Resolver {
            servers: vec![first],
        };
        assert_eq!(resolver.change_to(vec![first]), None);
        assert_eq!(resolver.change_to(Vec::new()), None);
        assert_eq!(
            resolver.change_to(vec![first]),
            None,
            "the same ones are back"
        );
        let said = resolver.change_to(vec![second, first]).expect("a change");
        assert!(said.contains("198.51.100.53:53, 192.0.2.53:53"), "{said}");
        assert_eq!(resolver.change_to(vec![second, first]), None);
    }

    #[test]
    fn a_late_look_is_a_gap_and_a_sleep_is_none() {
        let before = clock::read_all();
        let after = |awake: Duration, boot: Duration| Reading {
            at: before.at + awake,
            awake: before.awake + awake,
            boot: before.boot + boot,
            ..before
        };
        let second = Duration::from_secs(1);
        for (name, awake, boot, want) in [
            ("on time", second, second, None),
            ("a little late", 6 * second, 6 * second, None),
            ("starved", 21 * second, 21 * second, Some(20 * second)),
            ("asleep", second, Duration::from_hours(8), None),
        ] {
            let gap = starved(&before, &after(awake, boot));
            assert_eq!(gap.map(|gap| gap.span), want, "{name}");
        }
    }
}
