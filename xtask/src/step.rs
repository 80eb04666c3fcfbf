//! One step of a command: said before, timed after, and an error that names what was run.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs `work` as a named step and says how long it took.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("==> {name}");
    let started = now();
    let outcome = work();
    let seconds = (now() - started).as_secs_f64();
    match &outcome {
        Ok(_) => println!("    {name}: done in {seconds:.1} s"),
        Err(_) => println!("    {name}: failed after {seconds:.1} s"),
    }
    outcome
}

/// A command that does not see what cargo told *this* program of itself: build scripts (ring's, for one) watch those
/// variables, and would build again whenever `cargo` and `cargo xtask` take turns.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command with its output shown, in `folder`.
///
/// # Errors
/// When it cannot be started or does not exit with 0; the error names the command line.
pub(crate) fn shown(folder: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    run(command(program).args(arguments).current_dir(folder))
}

/// Runs a prepared command with its output shown.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = command_line(command);
    let status = command
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Runs a command and gives back what it printed on standard output, trimmed.
pub(crate) fn captured(command: &mut Command) -> Result<String> {
    let line = command_line(command);
    let output = command
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!(
            "`{line}` ended with {}:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A command as one would type it.
pub(crate) fn command_line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Monotonic now.
#[expect(
    clippy::disallowed_methods,
    reason = "the one call site of this program"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A duration for people.
pub(crate) fn minutes(duration: Duration) -> String {
    format!(
        "{} min {:02} s",
        duration.as_secs() / 60,
        duration.as_secs() % 60
    )
}
