//! Reports in: authenticate, limit, decode, make durable, acknowledge, apply.

pub mod apply;
pub mod batch;
mod bridge;
pub mod commit;
pub mod counters;
pub mod decode;
mod derive;
mod enrolment;
pub mod facts;
pub mod families;
mod floor;
pub mod gate;
pub mod listen;
pub mod locate;
mod machine;
mod places;
pub mod plan;
pub mod refusal;
pub mod routes;
mod series;
pub mod silence;
mod vantages;

pub use counters::Counters;
