//! Runs one tool in the rig.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::resource::{UsageWho, getrusage};

use crate::{clock, netns, rig};

/// With which priority a tool runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// As any program.
    Normal,
    /// Before all normal programs: stands in for a machine that is idle but for this tool.
    AtEase,
}

/// What a tool printed, and what it cost.
pub(crate) struct Finished {
    pub(crate) text: String,
    pub(crate) wall: Duration,
    /// User and system time.
    pub(crate) processor: Duration,
}

/// Runs this program's own hidden command.
pub(crate) fn own(arguments: &[String], priority: Priority) -> anyhow::Result<Finished> {
    let program = std::env::current_exe().context("cannot find the own program")?;
    let mut line = vec![program.to_string_lossy().into_owned(), "child".to_owned()];
    line.extend_from_slice(arguments);
    tool(&line, priority)
}

/// Runs a program in the prober's namespace to its end. Exit codes are not looked at: ping and fping say with them that
/// something was lost, which the figures say better.
pub(crate) fn tool(line: &[String], priority: Priority) -> anyhow::Result<Finished> {
    tool_in(rig::NEAR, line, priority)
}

/// The same in another namespace.
pub(crate) fn tool_in(
    namespace: &str,
    line: &[String],
    priority: Priority,
) -> anyhow::Result<Finished> {
    let mut command = match priority {
        Priority::Normal => Command::new("env"),
        Priority::AtEase => {
            let mut command = Command::new("chrt");
            command.args(["--fifo", "10"]);
            command
        }
    };
    command
        .args(line)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let before = processor_time()?;
    let started = clock::monotonic();
    let child = netns::inside(namespace, move || {
        command.spawn().context("cannot start chrt or env")
    })?;
    let output = child
        .wait_with_output()
        .with_context(|| format!("cannot wait for `{}`", short(line)))?;
    let wall = clock::monotonic().saturating_sub(started);
    let processor = processor_time()?.saturating_sub(before);
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if output.status.code().is_none_or(|code| code > 1) {
        bail!(
            "`{}` ended with {}: {}",
            short(line),
            output.status,
            text.trim()
        );
    }
    Ok(Finished {
        text,
        wall,
        processor,
    })
}

fn processor_time() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot ask for the usage")?;
    let micros = [usage.user_time(), usage.system_time()]
        .map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
    Ok(Duration::from_micros(
        micros.iter().sum::<i64>().try_into().unwrap_or(0),
    ))
}

/// A command line for people: fping's may name 2,000 targets.
fn short(line: &[String]) -> String {
    let words: Vec<&str> = line.iter().take(12).map(String::as_str).collect();
    words.join(" ")
}

/// Words to a command line.
pub(crate) fn line(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
