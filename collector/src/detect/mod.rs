//! What the path is and whether it moved, for one agent and target: the classifier of [`firstmile_shift`] fed with what reports
//! say, and its changes told as events.
//!
//! Pure: rounds, pulses and gaps go in, events come out; time is that of the rounds.

pub(crate) mod beside;
pub mod comparability;
pub mod cost;
pub mod desk;
mod groups;
pub mod identity;
pub mod memory;
pub mod silent;
pub mod span;
mod table;
pub mod tell;
#[cfg(test)]
pub(crate) mod tests;
mod usual;
pub mod watch;
mod words;

pub use desk::Desk;
pub use memory::{PathBrief, PathMemory, PathState};
pub use watch::{Context, Observation};
