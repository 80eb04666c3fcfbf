//! The socket file by which a running lab is told what to do: one line of JSON each way.

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use crate::emulator::crossings::{Crossing, Exchange};
pub use crate::scenario::Answers;

/// What can be asked of a running lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb")]
pub enum Request {
    /// Makes an event happen: `pop-down`, `pop-up`; `list` names all.
    Event {
        /// Its name.
        name: String,
    },
    /// Changes how a link behaves: `delay=20ms`, `jitter=1ms`, `loss=0.1`, `blackhole=true`.
    Link {
        /// Its name, such as `a-ams:icr01-ams`.
        name: String,
        /// What to change.
        changes: Vec<String>,
    },
    /// What the lab looks like now, for people.
    Status,
    /// The true path and RTT of every site to every front door over each family: a list of [`Truth`].
    Truth,
    /// The way of one flow's packets: a list of [`TrueHop`].
    Flow(Flow),
    /// How many TCP connections the front doors saw from each site before a time: a map from its name.
    Knocks {
        /// The time.
        before_unix_ms: i64,
    },
    /// What passed at the host of a site, on its own link: a list of [`Crossing`].
    Crossings {
        /// The site.
        site: String,
    },
    /// The emulator's own error: a [`Calibration`].
    Calibrate,
    /// Runs a program on a machine of the lab and waits for it: an [`Outcome`].
    Run {
        /// The machine, such as `paris-pc`.
        machine: String,
        /// The program and its arguments.
        command: Vec<String>,
        /// It is killed after that.
        limit_ms: u64,
    },
    /// Enrols and starts the agents.
    StartAgents {
        /// Site and join string of each.
        joins: Vec<(String, String)>,
    },
}

/// What routers choose among equal paths by.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flow {
    /// The site whose host sends.
    pub site: String,
    /// Where to.
    pub destination: IpAddr,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// 0 for ICMP.
    pub source_port: u16,
    /// 0 for ICMP.
    pub destination_port: u16,
}

/// One router on the way of a flow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrueHop {
    /// Its name.
    pub router: String,
    /// By which of these it answers: over IPv4 there is one.
    pub addresses: Vec<IpAddr>,
    /// How often it answers.
    pub answers: Answers,
}

/// What a program in the lab said, and how it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Exit code; absent when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// The truth about one site and one front door over one family, read from the routers' forwarding tables and the emulator's links.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The site.
    pub site: String,
    /// The front door.
    pub target: String,
    /// Address of the front door.
    pub destination: IpAddr,
    /// Metro of the front door that answers; absent when it cannot be reached.
    pub metro: Option<String>,
    /// Sum of the links' delays, there and back.
    pub rtt_us: Option<u64>,
    /// Address by which each router answers a trace, without the destination.
    pub hops: Vec<IpAddr>,
    /// The routers by name.
    pub routers: Vec<String>,
}

impl Truth {
    /// `"IPv4"` or `"IPv6"`.
    pub const fn family(&self) -> &'static str {
        if self.destination.is_ipv4() {
            "IPv4"
        } else {
            "IPv6"
        }
    }

    /// The target's name at the collector, where each family is a target of its own.
    pub fn collector_target(&self) -> String {
        if self.destination.is_ipv4() {
            self.target.clone()
        } else {
            format!("{} (IPv6)", self.target)
        }
    }
}

/// What a round trip over one emulated link costs beyond its delay.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Calibration {
    /// One way delay of the link that was measured.
    pub delay_us: u64,
    /// Echoes sent.
    pub echoes: u32,
    /// What one crossing was found to cost when the lab came up; taken off every delay since.
    pub own_cost_us: u64,
    /// Median of measured RTT minus twice the delay.
    pub error_p50_us: i64,
    /// 99th percentile of the same.
    pub error_p99_us: i64,
    /// How late frames left, of all links since the lab came up.
    pub lateness: crate::emulator::lateness::LatenessReport,
}

/// The socket's file in a state directory.
pub(crate) fn socket_path(state: &Path) -> PathBuf {
    state.join("control.sock")
}

/// Asks the lab of a state directory.
///
/// # Errors
/// When no lab answers there, or when it refuses; the text is the lab's reason.
pub fn ask<T: DeserializeOwned>(state: &Path, request: &Request) -> anyhow::Result<T> {
    let path = socket_path(state);
    let stream = UnixStream::connect(&path)
        .with_context(|| format!("no lab answers at {}", path.display()))?;
    // Starting agents and calibrating take seconds; nothing takes minutes.
    stream
        .set_read_timeout(Some(Duration::from_mins(2)))
        .context("cannot set a timeout")?;
    let mut line = serde_json::to_string(request).context("cannot write the request")?;
    line.push('\n');
    (&stream)
        .write_all(line.as_bytes())
        .context("the lab does not listen")?;
    let mut answer = String::new();
    BufReader::new(&stream)
        .read_line(&mut answer)
        .context("the lab does not answer")?;
    let answer: Result<T, String> =
        serde_json::from_str(&answer).context("the lab's answer is not understood")?;
    answer.map_err(|reason| anyhow!(reason))
}

/// Serves requests, one thread each, until the process ends.
pub(crate) fn serve(
    state: &Path,
    answer: Arc<dyn Fn(Request) -> anyhow::Result<serde_json::Value> + Send + Sync>,
) -> anyhow::Result<()> {
    let path = socket_path(state);
    let listener = UnixListener::bind(&path)
        .with_context(|| format!("cannot listen at {}", path.display()))?;
    std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || {
                    // Whoever asked may be gone; that is their choice.
                    drop(converse(&stream, answer.as_ref()));
                });
            }
        })
        .context("cannot start the control thread")?;
    Ok(())
}

fn converse(
    stream: &UnixStream,
    answer: &(dyn Fn(Request) -> anyhow::Result<serde_json::Value> + Send + Sync),
) -> anyhow::Result<()> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let result = serde_json::from_str(&line)
        .context("the request is not understood")
        .and_then(answer);
    let result = result.map_err(|error| format!("{error:#}"));
    let mut line = serde_json::to_string(&result)?;
    line.push('\n');
    let mut stream = stream;
    stream.write_all(line.as_bytes())?;
    Ok(())
}
