//! Other codings of each column, on the same samples: what the choice of the chunk format rests on.

use std::time::Duration;

use firstmile_columns::{Block, Chunk};

use crate::clock;
use crate::codec::count;
use crate::reference::{self, Agent};
use firstmile_figures::Figures;

const ROUNDS: usize = 60;

/// Bits that codings of one column took.
#[derive(Default)]
struct Bits {
    fixed: usize,
    rice: usize,
    steps: usize,
    grid: usize,
    dod: usize,
    beside: usize,
    bitmap: usize,
    runs: usize,
}

/// Notes what each takes, in bits a sample.
pub(crate) fn measure(agents: u32, seed: u64, figures: &mut Figures) {
    let (mut bits, mut samples, mut chunked) = (Bits::default(), 0, 0);
    let mut rice_time = Duration::ZERO;
    for number in 0..agents {
        let mut agent = Agent::new(seed, number);
        for _ in 0..8 {
            let blocks = reference::blocks(&mut agent, ROUNDS);
            for (place, block) in blocks.iter().enumerate() {
                let rtts: Vec<i64> = answered(block);
                bits.fixed += fixed(&rtts);
                let started = clock::processor();
                let coded = rice(&rtts);
                rice_time += clock::processor().saturating_sub(started);
                bits.rice += coded;
                bits.steps += fixed(&differences(&rtts)) + 24;
                times(
                    block,
                    place.checked_sub(1).and_then(|before| blocks.get(before)),
                    &mut bits,
                );
                let lost = block.outcomes().iter().filter(|code| **code != 1).count();
                bits.bitmap += if lost == 0 { 0 } else { block.len() + lost * 4 };
                bits.runs += if lost == 0 { 0 } else { 16 + lost * 24 };
                samples += block.len();
            }
            let blocks: Vec<&Block> = blocks.iter().collect();
            chunked += Chunk::default()
                .encode(&blocks)
                .map_or(0, |bytes| bytes.len())
                * 8;
        }
    }
    let of_sample = |bits: usize| count(bits) / count(samples);
    figures.note("coding_bits_chunk_all_columns", of_sample(chunked));
    figures.note("coding_bits_rtt_fixed_unpatched", of_sample(bits.fixed));
    figures.note("coding_bits_rtt_rice", of_sample(bits.rice));
    figures.note("coding_bits_rtt_steps_unpatched", of_sample(bits.steps));
    figures.note("coding_bits_time_steps", of_sample(bits.grid));
    figures.note("coding_bits_time_delta_of_delta", of_sample(bits.dod));
    figures.note("coding_bits_time_beside", of_sample(bits.beside));
    figures.note("coding_bits_outcome_bitmap", of_sample(bits.bitmap));
    figures.note("coding_bits_outcome_runs", of_sample(bits.runs));
    figures.note(
        "rice_encode_samples_per_cpu_s",
        count(samples) / rice_time.as_secs_f64(),
    );
}

fn answered(block: &Block) -> Vec<i64> {
    let rtts = block.rtts_us().iter().zip(block.outcomes());
    rtts.filter(|(_, code)| **code == 1)
        .map(|(rtt, _)| i64::from(*rtt))
        .collect()
}

/// All in the width that the widest needs.
fn fixed(values: &[i64]) -> usize {
    let (least, most) = (values.iter().min(), values.iter().max());
    let range = least.zip(most).map_or(0, |(least, most)| most - least);
    values.len() * width(range.cast_unsigned()) + 32
}

/// Rice's code of the distance from the middle, with the best of its parameters, really written.
fn rice(values: &[i64]) -> usize {
    let mut sorted = values.to_vec();
    let middle = sorted.len() / 2;
    let Some(median) = (!sorted.is_empty()).then(|| *sorted.select_nth_unstable(middle).1) else {
        return 0;
    };
    let folded: Vec<u64> = values
        .iter()
        .map(|value| ((value - median) << 1 ^ ((value - median) >> 63)).cast_unsigned())
        .collect();
    let mean = folded.iter().sum::<u64>() / folded.len() as u64;
    let least = width(mean).saturating_sub(2);
    let sizes = (least..least + 3).map(|low| {
        let high: u64 = folded.iter().map(|value| (value >> low) + 1).sum();
        folded.len() * low + usize::try_from(high).unwrap_or(usize::MAX / 2)
    });
    sizes.min().unwrap_or(0) + 32
}

fn times(block: &Block, before: Option<&Block>, bits: &mut Bits) {
    let at = block.at_unix_ms();
    let steps = differences(at);
    bits.grid += fixed(&steps);
    bits.dod += differences(&steps)
        .iter()
        .map(|twice| match width(twice.unsigned_abs()) {
            0 => 1,
            1..=6 => 9,
            7..=8 => 12,
            _ => 36,
        })
        .sum::<usize>();
    let Some(before) = before else {
        bits.beside += fixed(&steps);
        return;
    };
    let apart: Vec<i64> = at
        .iter()
        .zip(before.at_unix_ms())
        .map(|(a, b)| a - b)
        .collect();
    bits.beside += fixed(&apart);
}

fn differences(values: &[i64]) -> Vec<i64> {
    values
        .iter()
        .zip(values.iter().skip(1))
        .map(|(a, b)| b - a)
        .collect()
}

const fn width(value: u64) -> usize {
    64 - value.leading_zeros() as usize
}
