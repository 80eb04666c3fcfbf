//! What the configuration's plan means for one target and for one path round.
//!
//! Pure. `rehearse` runs the same.

use std::time::Duration;

use crate::config::{Host, Plan, Target};
use crate::probe::trace::{DEFAULT_ALPHA, Known, Stream, TracePlan, all_flows};
use crate::schedule::Periods;
use crate::schedule::rounds::RoundPlan;

/// Longest wait for a hop: no router on earth is farther, and a round has to end before the next one of a burst.
const HOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Wait for silent hops once the destination has answered.
const HOP_GRACE: Duration = Duration::from_millis(400);

/// How often a target gets each kind of probe.
pub(crate) fn periods(target: &Target, plan: &Plan) -> Periods {
    Periods {
        resolve: matches!(target.host, Host::Name(_)).then_some(plan.dns_interval),
        echo: target.protocols.icmp.then_some(plan.pulse_interval),
        connect: target.protocols.tcp.then_some(plan.pulse_interval),
        https: target.protocols.https.then_some(plan.https_interval),
        tls: target.protocols.tls.then_some(plan.tls_interval),
        quic: target.protocols.quic.then_some(plan.quic_interval),
        evidence: target.trace.then_some(plan.evidence_interval),
        rounds: target.trace.then_some(RoundPlan {
            full: plan.full_interval,
            tail: plan.tail_interval,
            refresh: plan.refresh_interval,
            learning_rounds: plan.learning_rounds,
            burst_interval: plan.burst_interval,
            burst_rounds: plan.burst_rounds,
        }),
    }
}

/// Flows of a round that is evidence: two tell whether the packets are balanced, which is all that is asked of them.
pub(crate) const EVIDENCE_FLOWS: u16 = 2;

/// How a round runs whose packets are evidence beside those that count: of the path it knows only how far it reaches.
pub(crate) fn evidence_plan(plan: &Plan, known: &Known) -> TracePlan {
    let known = Known {
        destination_ttl: known.destination_ttl,
        last_ttl: known.last_ttl,
        ..Known::default()
    };
    round_plan(plan, Stream::Full, all_flows(EVIDENCE_FLOWS), known)
}

/// How a round of the plan runs.
pub(crate) fn round_plan(plan: &Plan, stream: Stream, flows: Vec<u16>, known: Known) -> TracePlan {
    TracePlan {
        stream,
        flows,
        spacing: plan.flow_spacing,
        timeout: plan.probe_timeout.min(HOP_TIMEOUT),
        grace: HOP_GRACE,
        alpha: DEFAULT_ALPHA,
        known,
    }
}
