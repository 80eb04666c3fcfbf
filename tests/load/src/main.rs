//! Agents by the thousand from one process: real enrolment, mutual TLS, HTTP/2 and reports, sent to a collector that runs beside
//! as a process of its own, so that its processor time and memory are told apart from those of the load.
//!
//! Open loop: every report has its time, whatever the collector does, and its acknowledgement is timed from that time on; so a
//! collector that stalls is not asked more politely (no coordinated omission). Closed loop: as fast as it acknowledges.
#![expect(clippy::print_stdout, reason = "a bench talks to its user")]

mod agent;
mod clock;
mod host;
mod load;
mod reports;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};
use serde_json::{Map, Value, json};

use crate::host::Host;
use crate::load::{Load, Pace};

/// Agents by the thousand from one process, in the protocol of agents, to see what a collector carries.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// As fast as the collector acknowledges: samples a second, and for each second of its processor
    Socket {
        /// Agents
        #[arg(long, default_value_t = 64)]
        agents: u32,
        /// Reports on their way at once
        #[arg(long, default_value_t = 16)]
        at_once: usize,
        /// Samples of one report
        #[arg(long, default_value_t = 360)]
        samples: u32,
        /// Seconds
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// Where the figures go
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Every agent sends in its own time: memory, processor and the time to the acknowledgement
    Scale {
        /// Agents
        #[arg(long, default_value_t = 5_000)]
        agents: u32,
        /// Seconds between two reports of an agent
        #[arg(long, default_value_t = 30)]
        every: u64,
        /// Samples of one report
        #[arg(long, default_value_t = 60)]
        samples: u32,
        /// Seconds before the figures begin: the first reports make targets and series
        #[arg(long, default_value_t = 60)]
        settle: u64,
        /// Seconds of the figures
        #[arg(long, default_value_t = 120)]
        seconds: u64,
        /// Where the figures go
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// The collector beside; started by the others
    #[command(hide = true)]
    Collector {
        /// Its data
        folder: PathBuf,
        /// Agents that may enrol
        agents: u32,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    // Another part of the process may have installed it.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(run(Options::parse().command))
}

async fn run(what: What) -> anyhow::Result<ExitCode> {
    match what {
        What::Collector { folder, agents } => {
            host::serve(&folder, agents).await?;
            Ok(ExitCode::SUCCESS)
        }
        What::Socket {
            agents,
            at_once,
            samples,
            seconds,
            json,
        } => {
            let load = Load {
                agents,
                samples,
                pace: Pace::Closed { at_once },
                settle: Duration::ZERO,
                length: Duration::from_secs(seconds),
            };
            socket(&load, json).await
        }
        What::Scale {
            agents,
            every,
            samples,
            settle,
            seconds,
            json,
        } => {
            let load = Load {
                agents,
                samples,
                pace: Pace::Open {
                    every: Duration::from_secs(every),
                },
                settle: Duration::from_secs(settle),
                length: Duration::from_secs(seconds),
            };
            scale(&load, json).await
        }
    }
}

async fn socket(load: &Load, file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let mut host = Host::start(load.agents)?;
    let told = load::run(load, &host).await?;
    let samples = told.acknowledged * f64::from(load.samples);
    let figures = json!({
        "socket_samples_per_s": (samples / told.wall.as_secs_f64()).round(),
        "socket_samples_per_cpu_s": (samples / told.processor.as_secs_f64()).round(),
        "socket_ack_ms_p50": told.ack_ms(0.5),
        "socket_ack_ms_p99": told.ack_ms(0.99),
        "socket_refused": told.refused,
    });
    host.stop()?;
    let met = judged(
        &figures,
        &[
            ("socket_samples_per_s", 500_000.0, true),
            ("socket_refused", 0.0, false),
        ],
    );
    publish(&figures, file)?;
    Ok(ExitCode::from(u8::from(!met)))
}

async fn scale(load: &Load, file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let mut host = Host::start(load.agents)?;
    let told = load::run(load, &host).await?;
    ensure!(
        told.acknowledged > 0.0,
        "no report was acknowledged: {} were refused or failed",
        told.refused
    );
    let seconds = told.wall.as_secs_f64();
    let figures = json!({
        "agents": load.agents,
        "connections": told.connections,
        "reports_per_s": told.acknowledged / seconds,
        "rss_mb_5k": told.rss_mb,
        "rss_mb_before_agents": told.rss_before_mb,
        "cpu_pct_5k": told.processor.as_secs_f64() / seconds * 100.0,
        "ack_ms_p50_5k": told.ack_ms(0.5),
        "ack_ms_p99_5k": told.ack_ms(0.99),
        "refused_or_failed": told.refused,
        "late_sends": told.late,
    });
    host.stop()?;
    let met = judged(
        &figures,
        &[
            ("rss_mb_5k", 250.0, false),
            ("cpu_pct_5k", 15.0, false),
            ("ack_ms_p99_5k", 700.0, false),
            ("refused_or_failed", 0.0, false),
        ],
    );
    publish(&figures, file)?;
    Ok(ExitCode::from(u8::from(!met)))
}

/// Prints targets: name, bound, whether at least.
fn judged(figures: &Value, targets: &[(&str, f64, bool)]) -> bool {
    let mut all = true;
    for (name, bound, at_least) in targets {
        let value = figures.get(*name).and_then(Value::as_f64);
        let met = value.is_some_and(|value| {
            if *at_least {
                value >= *bound
            } else {
                value <= *bound
            }
        });
        let (word, side) = (
            if met { "met   " } else { "MISSED" },
            if *at_least { "at least" } else { "at most" },
        );
        println!("{word} {name} = {value:?} ({side} {bound})");
        all &= met;
    }
    all
}

/// Prints the figures, and adds them to a file of figures.
fn publish(figures: &Value, file: Option<PathBuf>) -> anyhow::Result<()> {
    println!("{figures:#}");
    let Some(path) = file else {
        return Ok(());
    };
    let there = std::fs::read(&path).unwrap_or_default();
    let mut all: Map<String, Value> = serde_json::from_slice(&there).unwrap_or_default();
    all.extend(figures.as_object().cloned().unwrap_or_default());
    let text = serde_json::to_string_pretty(&all).context("no JSON")? + "\n";
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).context("cannot make a folder")?;
    }
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
