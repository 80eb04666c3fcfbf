//! Where routes come from: MRT files, BMP, RIS Live; and where RPKI comes from: RTR, files.
//!
//! Each feed turns what it reads into [`event::Event`]s; the [`watch::Watch`] hands them to the detector of `firstmile-routing`. What cannot
//! be read is counted and never ends anything but its own record, or at most its own connection.

pub mod bmp;
pub mod convert;
mod counting;
pub mod event;
pub mod mrt;
pub mod ris_live;
pub mod rpki;
pub mod sample;
pub mod status;
#[cfg(test)]
mod tests;
pub mod watch;
