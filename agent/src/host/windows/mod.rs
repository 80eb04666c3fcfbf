//! What Windows asks of its programs: to be a service, to write into its Event Log, to end when told.

pub(crate) mod events;
pub(crate) mod joining;
pub(crate) mod service;
mod signals;

pub(crate) use signals::Signals;
