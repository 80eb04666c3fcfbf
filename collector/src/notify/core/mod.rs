//! What is told of incidents, to whom, when, and in which words. Pure.

pub mod incident;
pub mod model;
pub mod mute;
pub mod notice;
pub mod plan;
pub mod render;
pub mod retry;
pub mod rules;
