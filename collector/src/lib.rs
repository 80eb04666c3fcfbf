//! The collector: receives, keeps and explains what agents measure.
//!
//! Rooms: `ingest` takes reports in, `store` keeps them, `rollup` merges them, `geo` and `detect` say what they mean, `incident` what is one, `api`
//! tells people; [`serve`] starts and stops them in order. `rollup`, `geo`, `detect` and `incident` are pure: no socket, clock or file.

pub mod answer;
pub mod api;
pub mod auth;
pub mod backup;
pub mod clock;
pub mod config;
pub mod detect;
pub mod evidence;
pub mod feed;
pub mod geo;
pub mod incident;
pub mod ingest;
pub mod notify;
pub mod registry;
pub mod rollup;
pub mod route_statistics;
pub mod serve;
pub mod store;
mod systemd;
