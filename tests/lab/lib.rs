//! The lab: a simulated internet in namespaces, with real routers, real agents and a real collector.
//!
//! Outside, [`outer`] starts the collector and the inner process; inside, `world` builds the network and keeps it. Both
//! talk over a socket file in the state directory ([`control`]). When the inner process ends, the kernel takes down every
//! namespace, program and address of the lab with it: nothing has to be cleaned up, however it ended.

mod agents;
mod bird;
mod calibrate;
pub mod check;
pub mod clock;
pub mod control;
mod edge;
mod emulator;
mod enter;
mod forward;
pub mod hostile;
pub mod inside;
mod names;
mod netns;
mod network;
pub mod outer;
mod quic;
mod requirements;
mod scenario;
pub mod score;
mod truth;
mod twin;
mod wiring;
mod world;

pub use emulator::lateness::LatenessReport;
