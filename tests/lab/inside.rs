//! What the program does inside its namespaces.

use std::path::Path;
use std::process::ExitStatus;

use anyhow::Context;

use crate::world::{self, Order};
use crate::{enter as namespaces, requirements};

/// Leaves for new namespaces and runs this program again there. The process must have one thread.
///
/// # Errors
/// When the system forbids namespaces; the text says how to allow them.
pub fn enter(arguments: &[String]) -> anyhow::Result<ExitStatus> {
    namespaces::rerun_inside(arguments, &requirements::search_path())
}

/// Builds the network described by `scenario.toml` of the state directory and keeps it until standard input ends.
///
/// # Errors
/// When a part of the network cannot be made; the text says which.
pub fn run(state: &Path, agent: &Path, progress: &dyn Fn(&str)) -> anyhow::Result<()> {
    let scenario =
        std::fs::read_to_string(state.join("scenario.toml")).context("cannot read the scenario")?;
    world::run(
        Order {
            state: state.to_owned(),
            scenario,
            agent: agent.to_owned(),
        },
        progress,
    )
}
