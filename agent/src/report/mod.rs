//! From samples to the collector: batch, spool on disk, upload. Nothing in here can slow probing down.

mod answer;
pub(crate) mod batch;
pub(crate) mod counters;
pub(crate) mod durable;
pub(crate) mod pipeline;
mod restamp;
mod rounds;
pub(crate) mod spool;
pub(crate) mod status;
pub(crate) mod status_writer;
pub(crate) mod upload;
mod upload_error;
