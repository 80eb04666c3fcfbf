//! Path rounds of a target: when one may run, and what it brought.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use tracing::warn;

use super::Watch;
use crate::net::trace::{RoundResult, TraceError};
use crate::probe::path::PathMemory;
use crate::report::batch::Observation;
use crate::run::probes::{self, Probing};

/// Destinations whose path is remembered; a target that moves on forgets one of the others.
const MAX_PATHS: usize = 8;

impl Watch {
    /// A path round, unless one is under way. Its packets wait for the hop budget of the tracer.
    pub(super) fn trace(&mut self, destination: IpAddr, burst: bool) -> Option<Probing> {
        let known = self
            .paths
            .get(&destination)
            .map(PathMemory::known)
            .unwrap_or_default();
        if self.tracing.contains(&destination) {
            self.prober.counters.skipped_probes.add(1);
            return None;
        }
        self.tracing.insert(destination);
        let to = SocketAddr::new(destination, self.target.port);
        Some(probes::trace(&self.prober, to, burst, known))
    }

    pub(super) fn on_round(
        &mut self,
        destination: IpAddr,
        burst: bool,
        result: Result<RoundResult, TraceError>,
    ) -> bool {
        self.tracing.remove(&destination);
        let round = match result {
            Ok(round) => round,
            Err(error) => {
                if !std::mem::replace(&mut self.trace_refused, true) {
                    warn!(target = %self.target.name, %destination, %error, "no path round, tried again without further notice");
                }
                return false;
            }
        };
        self.trace_refused = false;
        while self.paths.len() >= MAX_PATHS && !self.paths.contains_key(&destination) {
            self.paths.pop_first();
        }
        let change = self
            .paths
            .entry(destination)
            .or_default()
            .absorb(&round.flows);
        let hops: BTreeSet<IpAddr> = round
            .flows
            .iter()
            .flat_map(|flow| flow.answers().map(|(_, hop)| hop.address))
            .collect();
        if !hops.is_empty() {
            self.prober.note_success("trace");
            self.prober
                .want_names(hops.into_iter().collect::<VecDeque<_>>());
        }
        self.prober.recorder.record(Observation::Round {
            target: self.index,
            destination,
            burst,
            round,
        });
        if change.differs {
            self.prober.recorder.flush_soon();
        }
        change.suspicious
    }
}
