//! Whether a path moved: path identity, the shift classifier, incidents, and the judge of recorded rounds.
//!
//! Pure: rounds and pulses go in, changes come out; time is that of the messages, in Unix seconds. The live collector, `paths judge`
//! and the evaluation run this very code. Design: `docs/design/path-shift.md`; formats: `docs/design/paths-judge.md`.

pub mod book;
pub mod confidence;
mod edge;
mod flap;
pub mod fleet;
mod flows;
pub mod hop;
pub mod incident;
pub mod judge;
pub mod latency;
pub mod level;
pub mod memory;
pub mod message;
mod number;
mod observer;
mod path;
mod reach;
mod redundancy;
pub mod silent;
pub mod track;
pub mod verdict;
pub mod view;
mod window;
