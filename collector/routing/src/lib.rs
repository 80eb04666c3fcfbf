//! What routes say of registered prefixes: hijacks, leaks, lost visibility, RPKI; and the judge of recorded updates.
//!
//! Pure: announcements and withdrawals go in, verdicts come out; time is that of the updates, in Unix seconds. The live collector, the
//! replay of recordings and `bgp judge` run this very code. What the operator registered is the ground truth, never history. Design:
//! `docs/design/routing.md`.

pub mod allow;
pub mod asn;
pub mod bogon;
pub mod class;
pub mod counts;
pub mod cross_check;
pub mod detector;
pub mod examine;
mod instance;
pub mod judge;
mod near;
pub mod path;
pub mod policy;
pub mod relation;
pub mod remedy;
pub mod ris;
mod routes;
pub mod rule;
pub mod verdict;
pub mod vrp;
