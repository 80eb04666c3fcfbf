//! Telling people and programs: what is said, to whom, when, and how it gets there.
//!
//! `core` decides and writes the messages; [`watch`] reads incidents and fills the outbox; [`outbox`] empties it, one task for each
//! channel, so that a dead one never delays another; [`channel`] speaks to the receivers.

pub mod channel;
pub mod core;
pub mod outbox;
pub mod watch;
