//! Samples on disk: an inbox, a head in memory, and a file of chunks for each UTC day.
//!
//! A sample is pushed, and committed with others: one row of the inbox, synced; then it may be acknowledged. It waits in the
//! head, in memory, until its agent has enough for a chunk; chunks go into the file of their day, synced; then the inbox forgets.
//! At any instant a committed sample is in the inbox or in a chunk or in both, and each chunk says up to which row of the inbox
//! it has its agent's samples: so after a death at any instruction each is found once ([`Days`] has the argument).
//!
//! Agents and series are numbers here; what they stand for (organisation, agent, target, protocol, …) is the caller's dictionary.

mod day;
mod days;
mod fsck;
mod head;
mod inbox;
#[cfg(test)]
mod kill_tests;
mod outcome;
mod shelf;
mod view;

pub use day::{Chunks, DayNumber, copy_day};
pub use days::Days;
pub use fsck::{FsckReport, fsck};
pub use head::Sample;
pub use inbox::Batch;
pub use outcome::{DaysError, Opened, Refused, Seal, Shown};
pub use shelf::Shelf;
pub use view::{Asked, View};

/// Samples of one agent that make a chunk worth sealing. Chunks of the reference stream take 2.59 bytes a sample in their file at
/// 360 of them, and less with more: heads of blocks, rows and what is left over of pages weigh less.
pub const SEAL_ROWS: usize = 720;

/// A sample waits no longer in the head: the inbox is read at each start, and is to be an hour of samples at most.
pub const SEAL_AFTER_MS: i64 = 60 * 60_000;
