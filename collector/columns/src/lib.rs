//! What the collector's day files hold: samples, path rounds and sketches, as columns of bits.
//!
//! Pure: bytes in, bytes out; no file, socket, clock or database. [`chunk`] is an hour or less of one agent's samples, in about
//! 2.2 bytes each and without loss; [`rounds`] are its path rounds against a dictionary of paths; [`histogram`] is the sketch
//! that rollups are made of. Every reader takes any bytes: from a damaged disk or a later program. The figures behind each
//! coding: `docs/adr/0005-chunks-of-columns.md`.

pub mod chunk;
pub mod column;
pub mod histogram;
pub mod rounds;
pub mod tally;
pub mod varint;

mod packed;
mod runs;
mod time;

pub use chunk::{Chunk, ChunkReader};
pub use column::{Block, Row};
pub use histogram::Histogram;
pub use tally::Tally;
pub use varint::DecodeError;

/// What an agent that was answered at all weighs in one five-minute window, spread over its buckets.
pub const AGENT_WEIGHT: u64 = 65_536;
