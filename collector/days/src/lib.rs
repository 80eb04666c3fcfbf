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

pub use day::{Chunks, DayNumber};
pub use days::{Days, DaysError, Opened, Refused, Seal, Shown};
pub use fsck::{FsckReport, fsck};

/// Samples of one agent that make a chunk worth sealing: 2.4 bytes each; half as many take a third more.
pub const SEAL_ROWS: usize = 360;

/// A sample waits no longer in the head: the inbox is read at each start, and is to be an hour of samples at most.
pub const SEAL_AFTER_MS: i64 = 30 * 60_000;
