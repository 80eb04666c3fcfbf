//! `firstmile-agent doctor`: what keeps this machine from measuring well, and what to change.
//!
//! Facts are gathered by [`gather`] (sockets, files, clocks) and judged by [`judge`], which is pure.

mod facts;
mod gather;
mod judge;
mod text;

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::Ending;
use crate::clock;
use crate::config::AgentConfig;
use judge::{Finding, Level};

/// The shape of `doctor --json`, documented in `docs/operations/agent-commands.md`.
#[derive(Debug, Serialize)]
struct Document {
    agent_version: &'static str,
    at_unix_ms: i64,
    problems: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

/// Looks at everything and prints what it found.
///
/// # Errors
/// When `extra_roots` cannot be used or standard output cannot be written.
pub(crate) async fn doctor(config: AgentConfig, json: bool) -> anyhow::Result<Ending> {
    let at_unix_ms = clock::unix_ms();
    let is_watched = io::stderr().is_terminal();
    let show = |done: usize| {
        if is_watched {
            let line = format!("\rlooking around, {done} of {} done …", gather::GROUPS);
            drop(io::stderr().lock().write_all(line.as_bytes()));
        }
    };
    show(0);
    let facts = gather::facts(&config, show).await?;
    if is_watched {
        drop(io::stderr().lock().write_all(b"\r\x1b[K"));
    }
    let findings = judge::judge(&facts);
    let count = |level| {
        findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
    let shown = if json {
        let document = Document {
            agent_version: env!("CARGO_PKG_VERSION"),
            at_unix_ms,
            problems,
            warnings,
            findings,
        };
        format!("{}\n", serde_json::to_string_pretty(&document)?)
    } else {
        text::render(&findings, io::stdout().is_terminal())
    };
    crate::say(&shown)?;
    Ok(if problems > 0 {
        Ending::Failed
    } else {
        Ending::Well
    })
}
