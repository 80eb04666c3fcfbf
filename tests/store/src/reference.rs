//! The reference stream: one day of samples, made by rule from a seed.
//!
//! 1,000 agents of 6 series each (2 edges by ICMP, TCP and HTTPS), a sample of each every 30 s: 17,280,000 in a day. RTTs are
//! lognormal (sigma 0.06 to 0.32, drawn for each series) around a base of the (metro, edge) pair, swell by 2 to 25 % over the
//! day, and 1 % of them are 2 to 10 times as long; 0.3 % are lost; 0.2 % of HTTPS samples are marked untrusted. A round of an
//! agent's six probes is late by an exponential time of 2 ms in the mean, and the six follow each other at fixed distances.

use std::f64::consts::{E, PI, TAU};

use firstmile_columns::{Block, Row};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Series of one agent.
const SERIES: u32 = 6;
/// Between two rounds of an agent.
const PERIOD_MS: i64 = 30_000;
/// First instant: a midnight, UTC.
pub(crate) const START_UNIX_MS: i64 = 1_793_491_200_000;
/// Metros that agents live in, the first ones larger, and edges.
const METROS: u32 = 60;
const EDGES: u32 = 40;

const LOST_RATIO: f64 = 0.003;
const SPIKE_RATIO: f64 = 0.01;
const UNTRUSTED_RATIO: f64 = 0.002;
const LATE_MEAN_MS: f64 = 2.0;
const DELAY_MEAN_US: f64 = 60.0;

const ANSWERED: u8 = 1;
const TIMEOUT: u8 = 2;
const UNTRUSTED: u32 = 1;

/// One agent, and how far its day has come.
pub(crate) struct Agent {
    /// Where it lives: one of 60.
    pub(crate) metro: u32,
    rng: SmallRng,
    series: Vec<Series>,
    due_unix_ms: i64,
}

struct Series {
    number: u32,
    base_us: f64,
    sigma: f64,
    swell: f64,
    is_https: bool,
}

impl Agent {
    /// Agent `number` of the stream of `seed`.
    pub(crate) fn new(seed: u64, number: u32) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ (u64::from(number) << 20) ^ 0x9e37_79b9);
        // Of two draws the smaller: the first metros have most agents.
        let metro = rng.random_range(0..METROS).min(rng.random_range(0..METROS));
        let series = (0..SERIES).map(|place| {
            let edge = (metro * 7 + place / 3 * 11) % EDGES;
            let mut pair = SmallRng::seed_from_u64(seed ^ u64::from(metro * EDGES + edge));
            Series {
                number: number * SERIES + place,
                base_us: 20_000.0 * pair.random_range(0.0f64..2.08).exp(),
                sigma: rng.random_range(0.06..0.32),
                swell: rng.random_range(0.02..0.25),
                is_https: place % 3 == 2,
            }
        });
        let series = series.collect();
        Self {
            metro,
            due_unix_ms: START_UNIX_MS + rng.random_range(0..PERIOD_MS),
            rng,
            series,
        }
    }

    /// The samples of the agent's next round: (series, sample, scheduling delay in microseconds).
    pub(crate) fn round(&mut self) -> Vec<(u32, Row, u32)> {
        let late = exponential(&mut self.rng, LATE_MEAN_MS);
        let at = self.due_unix_ms + whole(late).into_signed();
        let of_day = fraction(self.due_unix_ms);
        self.due_unix_ms += PERIOD_MS;
        let rng = &mut self.rng;
        let rows = (0i64..).zip(&self.series).map(|(place, series)| {
            let row = series.row(rng, at + place * 150, of_day);
            (series.number, row, whole(exponential(rng, DELAY_MEAN_US)).0)
        });
        rows.collect()
    }

    /// What the agent's samples cannot be written in less than, in bits each.
    pub(crate) fn floor_bits(&self) -> f64 {
        let coin = |p: f64| -(p * p.log2() + (1.0 - p) * (1.0 - p).log2());
        let late = (E * LATE_MEAN_MS).log2() / f64::from(SERIES);
        let rtts = self.series.iter().map(|series| {
            // The swell moves the scale; its mean logarithm is near that of the mean.
            let median = series.base_us * (1.0 + series.swell / 2.0);
            let usual = (median * series.sigma * (TAU * E).sqrt()).log2();
            // 2 to 10 times the usual, spread by its sigma at each place: near to even over 8 medians.
            let spike = (median * 8.0).log2();
            let untrusted = if series.is_https {
                coin(UNTRUSTED_RATIO)
            } else {
                0.0
            };
            (1.0 - LOST_RATIO)
                * ((1.0 - SPIKE_RATIO) * usual + SPIKE_RATIO * spike + coin(SPIKE_RATIO))
                + coin(LOST_RATIO)
                + untrusted
        });
        rtts.sum::<f64>() / f64::from(SERIES) + late
    }
}

impl Series {
    fn row(&self, rng: &mut SmallRng, at_unix_ms: i64, of_day: f64) -> Row {
        let spread = (self.sigma * normal(rng)).exp();
        let swell = 1.0 + self.swell * (1.0 + (TAU * of_day).sin()) / 2.0;
        let spike = if rng.random_bool(SPIKE_RATIO) {
            rng.random_range(2.0..10.0)
        } else {
            1.0
        };
        let is_lost = rng.random_bool(LOST_RATIO);
        let untrusted = self.is_https && rng.random_bool(UNTRUSTED_RATIO);
        Row {
            at_unix_ms,
            outcome: if is_lost { TIMEOUT } else { ANSWERED },
            rtt_us: if is_lost {
                0
            } else {
                whole(self.base_us * swell * spread * spike).0
            },
            marks: if untrusted { UNTRUSTED } else { 0 },
            reply_ttl: 0,
        }
    }
}

/// A whole number of a unit.
struct Whole(u32);

impl Whole {
    fn into_signed(self) -> i64 {
        i64::from(self.0)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times of the stream are positive and far below 2^32 of their unit"
)]
fn whole(value: f64) -> Whole {
    Whole(value.round() as u32)
}

/// How much of the day has passed.
#[expect(
    clippy::cast_precision_loss,
    reason = "a day's milliseconds are far below 2^53"
)]
fn fraction(at_unix_ms: i64) -> f64 {
    (at_unix_ms - START_UNIX_MS) as f64 / 86_400_000.0
}

fn exponential(rng: &mut SmallRng, mean: f64) -> f64 {
    -mean * (1.0 - rng.random_range(0.0f64..1.0)).ln()
}

/// Box and Muller's; the second value is thrown away.
fn normal(rng: &mut SmallRng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random_range(0.0f64..1.0)).ln()).sqrt();
    radius * (2.0 * PI * rng.random_range(0.0f64..1.0)).cos()
}

/// The next `rounds` of an agent as blocks, one for each series.
pub(crate) fn blocks(agent: &mut Agent, rounds: usize) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for _ in 0..rounds {
        for (place, (series, row, delay)) in agent.round().into_iter().enumerate() {
            if blocks.len() <= place {
                blocks.push(Block::new(series));
            }
            if let Some(block) = blocks.get_mut(place) {
                block.push(row, delay);
            }
        }
    }
    blocks
}
