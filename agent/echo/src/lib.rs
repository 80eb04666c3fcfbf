//! ICMP echo by the kernel's clock.
//!
//! The core is pure: [`packet`] writes and reads the bytes, [`flights`] knows which probes are under way and what became of
//! them, [`moment`] notices steps of the wall clock, [`rotation`] says when to leave an identifier. On Linux, `engine` is the
//! shell with one socket for all targets of a family.

pub mod completion;
pub mod counters;
pub mod flights;
pub mod moment;
pub mod packet;
pub mod rotation;

#[cfg(target_os = "linux")]
mod channel;
#[cfg(target_os = "linux")]
mod clock;
#[cfg(target_os = "linux")]
pub mod engine;
#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod keys;
#[cfg(target_os = "linux")]
mod reader;

pub use completion::{Answer, Clock, Completion, Ending, Request, Spoiled};
pub use counters::Counters;
