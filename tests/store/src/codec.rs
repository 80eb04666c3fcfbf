//! Chunks alone: bytes a sample, and samples a second of processor time, writing and reading.

use anyhow::Context;
use firstmile_columns::{Block, Chunk, ChunkReader};

use crate::clock;
use crate::reference::{self, Agent};
use firstmile_figures::Figures;

/// Rounds of one chunk: 60 of 6 series are 360 samples, half an hour of an agent of the stream.
const ROUNDS: usize = 60;
/// Agents whose blocks lie ready at once.
const TOGETHER: u32 = 100;

/// Writes and reads the day of `agents`.
pub(crate) fn measure(
    agents: u32,
    hours: usize,
    seed: u64,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let (mut samples, mut bytes) = (0usize, 0usize);
    let (mut writing, mut reading) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
    let (mut chunk, mut reader) = (Chunk::default(), ChunkReader::new());
    let mut floor = 0.0;
    for first in (0..agents).step_by(TOGETHER as usize) {
        let of_them = first..agents.min(first + TOGETHER);
        let mut them: Vec<Agent> = of_them.map(|number| Agent::new(seed, number)).collect();
        floor += them.iter().map(Agent::floor_bits).sum::<f64>();
        for _ in 0..hours * 2 {
            let ready: Vec<Vec<Block>> = them
                .iter_mut()
                .map(|agent| reference::blocks(agent, ROUNDS))
                .collect();
            let started = clock::processor();
            let mut chunks = Vec::with_capacity(ready.len());
            for blocks in &ready {
                let blocks: Vec<&Block> = blocks.iter().collect();
                chunks.push(chunk.encode(&blocks).context("a chunk of 360 samples")?);
            }
            writing += clock::processor().saturating_sub(started);
            let started = clock::processor();
            let (mut read, mut sum) = (0, 0u64);
            for bytes in &chunks {
                let show = |block: &Block| {
                    read += block.len();
                    sum += block
                        .rtts_us()
                        .iter()
                        .map(|rtt| u64::from(*rtt))
                        .sum::<u64>();
                };
                reader
                    .read(bytes, |_| true, show)
                    .context("a chunk just written")?;
            }
            reading += clock::processor().saturating_sub(started);
            std::hint::black_box(sum);
            bytes += chunks.iter().map(Vec::len).sum::<usize>();
            samples += read;
        }
    }
    let (samples, bytes) = (count(samples), count(bytes));
    figures.note("floor_bytes_per_sample", floor / f64::from(agents) / 8.0);
    figures.at_most("chunk_bytes_per_sample", bytes / samples, 2.7);
    figures.at_least(
        "encode_samples_per_cpu_s",
        samples / writing.as_secs_f64(),
        5e6,
    );
    figures.note("decode_samples_per_cpu_s", samples / reading.as_secs_f64());
    Ok(())
}

/// A count as a figure.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a bench are far below 2^53"
)]
pub(crate) fn count(n: usize) -> f64 {
    n as f64
}
