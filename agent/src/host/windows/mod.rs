//! What Windows asks of its programs.

mod signals;

pub(crate) use signals::Signals;
