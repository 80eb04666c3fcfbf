//! What agents send: five targets by TCP and ICMP, RTTs that scatter around a base of the pair, swell and are lost now and then.

use std::f64::consts::TAU;

use firstmile_wire::ids::{AgentId, Epoch};
use firstmile_wire::v1::{Outcome, Phase, Protocol, Report, Series, Target};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Targets of the default plan.
const TARGETS: u8 = 5;
/// Between two probes of a series.
const STEP_MS: i64 = 5_000;
const LOST_RATIO: f64 = 0.003;
const SPIKE_RATIO: f64 = 0.01;

/// The reports of one agent, one after the other.
pub(crate) struct Reports {
    agent: AgentId,
    epoch: Epoch,
    sequence: u64,
    at_unix_ms: i64,
    /// Probes of each series in a report.
    probes: i64,
    bases_us: Vec<f64>,
    rng: SmallRng,
}

impl Reports {
    /// For reports of so many samples, beginning at a time.
    pub(crate) fn new(agent: AgentId, number: u32, samples: u32, at_unix_ms: i64) -> Self {
        let mut rng = SmallRng::seed_from_u64(u64::from(number));
        let series = i64::from(TARGETS) * 2;
        let base = |_| 8_000.0 * rng.random_range(0.0f64..2.5).exp();
        let bases_us = (0..series).map(base).collect();
        Self {
            agent,
            epoch: Epoch::random(),
            sequence: 0,
            at_unix_ms,
            probes: (i64::from(samples) / series).max(1),
            bases_us,
            rng,
        }
    }

    /// How much time one report covers.
    pub(crate) const fn span_ms(&self) -> i64 {
        self.probes * STEP_MS
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Report {
        self.sequence += 1;
        let anchor = self.at_unix_ms;
        self.at_unix_ms += self.span_ms();
        let protocols = [(Protocol::Tcp, 0), (Protocol::Icmp, 1)];
        let mut series = Vec::new();
        for target in 0..TARGETS {
            for (protocol, place) in protocols {
                series.push(self.series(target, protocol, usize::from(target) * 2 + place));
            }
        }
        let targets = (0..TARGETS).map(|target| Target {
            name: format!("target-{target}"),
            host: format!("target-{target}.example"),
            port: 443,
            service: "custom".to_owned(),
        });
        Report {
            version: firstmile_wire::VERSION,
            agent_id: self.agent.to_bytes(),
            epoch: self.epoch.to_bytes(),
            sequence: self.sequence,
            wall_anchor_unix_ms: anchor,
            agent_version: "0.1.0".to_owned(),
            targets: targets.collect(),
            series,
            ..Report::default()
        }
    }

    fn series(&mut self, target: u8, protocol: Protocol, place: usize) -> Series {
        let base = self.bases_us.get(place).copied().unwrap_or(10_000.0);
        let (mut rtts, mut outcomes, mut deltas) = (Vec::new(), Vec::new(), Vec::new());
        for probe in 0..self.probes {
            let late = self.rng.random_range(0..4);
            deltas.push(if probe == 0 { late } else { STEP_MS });
            let lost = self.rng.random_bool(LOST_RATIO);
            let outcome = if lost {
                Outcome::Timeout
            } else {
                Outcome::Answered
            };
            outcomes.push(outcome as i32);
            rtts.push(if lost { 0 } else { self.rtt_us(base) });
        }
        Series {
            target: u32::from(target),
            destination: vec![192, 0, 2, 1 + target],
            protocol: protocol as i32,
            phase: Phase::Rtt as i32,
            at_delta_ms: deltas,
            rtt_us: rtts,
            outcome: outcomes,
            ..Series::default()
        }
    }

    /// Lognormal around the base, now and then several times as long.
    fn rtt_us(&mut self, base: f64) -> u32 {
        let rng = &mut self.rng;
        let radius = (-2.0 * (1.0 - rng.random_range(0.0f64..1.0)).ln()).sqrt();
        let normal = radius * (TAU * rng.random_range(0.0f64..1.0)).cos();
        let spike = if rng.random_bool(SPIKE_RATIO) {
            rng.random_range(2.0..10.0)
        } else {
            1.0
        };
        whole(base * (0.1 * normal).exp() * spike)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "RTTs of the load are positive and below a minute"
)]
fn whole(us: f64) -> u32 {
    us.round() as u32
}
