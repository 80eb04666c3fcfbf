//! The outer process: the collector on the host's own loopback, the inner process, and the road between them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_util::task::TaskTracker;

use crate::agents::quoted;
use crate::control::{self, Request};
use crate::network;
use crate::scenario::{self, Scenario};
use crate::world::{INGEST_PORT, MANAGEMENT};
use crate::{forward, requirements};

/// A file that marks a directory as ours to empty.
const MARK: &str = "firstmile-lab.state";
/// How long a program may take to say that it is ready.
const READY: Duration = Duration::from_mins(3);
/// How long the inner process may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How a lab is to be brought up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory for sockets, logs, and what agents and collector keep.
    pub state: PathBuf,
    /// The program `firstmile-lab`.
    pub lab: PathBuf,
    /// The program `firstmile-agent`.
    pub agent: PathBuf,
    /// The program `firstmile-collector`.
    pub collector: PathBuf,
    /// Where the collector serves its dashboard; port 0 takes a free one.
    pub dashboard: SocketAddr,
    /// A scenario file; the base scenario when absent.
    pub scenario: Option<PathBuf>,
    /// More of the collector's configuration: TOML tables beside those that the lab writes itself.
    pub collector_more: String,
}

/// A lab that is up. Dropping it ends everything.
#[derive(Debug)]
pub struct Lab {
    options: Options,
    scenario: Scenario,
    inner: Child,
    /// The inner process ends when this does.
    leash: Option<ChildStdin>,
    collector: Child,
    tasks: TaskTracker,
    forwarding: tokio_util::sync::CancellationToken,
}

impl Lab {
    /// Brings a lab up: network, collector, agents. `progress` hears what is being done.
    ///
    /// # Errors
    /// When a program is missing, namespaces cannot be made, a lab already runs in the state directory, or any part does
    /// not get ready; the text says which and why.
    pub async fn start(mut options: Options, progress: &dyn Fn(&str)) -> anyhow::Result<Self> {
        requirements::check(&[&options.agent, &options.collector])?;
        let text = match &options.scenario {
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?,
            None => scenario::BASE.to_owned(),
        };
        let scenario = Scenario::parse(&text)?;
        options.state = prepare(&options.state)?;
        options.dashboard = settle(options.dashboard)?;
        let ingest = settle(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        std::fs::write(options.state.join("scenario.toml"), &text)
            .context("cannot keep the scenario")?;
        let (inner, leash) = start_inner(&options, progress).await?;
        let tasks = TaskTracker::new();
        let forwarding = tokio_util::sync::CancellationToken::new();
        forward::to_collector(&tasks, &forward::border(&options.state), ingest)?;
        write_collector_configuration(&options, &scenario, ingest)?;
        progress("starting the collector");
        let collector = start_collector(&options).await?;
        let lab = Self {
            options,
            scenario,
            inner,
            leash: Some(leash),
            collector,
            tasks,
            forwarding,
        };
        progress(&format!("enrolling {} agents", lab.scenario.sites.len()));
        lab.start_agents().await?;
        Ok(lab)
    }

    /// Address of the dashboard and the API.
    pub fn dashboard(&self) -> String {
        format!("http://{}", self.options.dashboard)
    }

    /// Names of the sites.
    pub fn sites(&self) -> Vec<String> {
        self.scenario
            .sites
            .iter()
            .map(|site| site.name.clone())
            .collect()
    }

    /// AS and metro of a router: of a site's own, the site's AS.
    pub fn place_of(&self, router: &str) -> Option<(u32, Option<String>)> {
        let scenario = &self.scenario;
        let known = scenario.routers.iter().find(|known| known.name == router);
        let site = || scenario.sites.iter().find(|site| site.name == router);
        let of_router = known.map(|known| (known.asn, known.metro.clone()));
        of_router.or_else(|| site().map(|site| (site.asn, None)))
    }

    /// How many targets the collector knows of each agent: each family of a front door is one.
    pub fn targets(&self) -> usize {
        2 * self.scenario.front_doors.len()
    }

    /// The state directory.
    pub fn state(&self) -> &Path {
        &self.options.state
    }

    /// Asks the inner process, off the runtime's thread.
    ///
    /// # Errors
    /// When the lab does not answer, or refuses; the text is its reason.
    pub async fn ask<T: serde::de::DeserializeOwned + Send + 'static>(
        &self,
        request: Request,
    ) -> anyhow::Result<T> {
        let state = self.options.state.clone();
        tokio::task::spawn_blocking(move || control::ask(&state, &request))
            .await
            .context("asking panicked")?
    }

    /// Kills the collector without warning, as a crash would.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill_collector(&mut self) -> anyhow::Result<()> {
        self.collector
            .kill()
            .await
            .context("cannot kill the collector")
    }

    /// Starts the collector again on what it kept.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn restart_collector(&mut self) -> anyhow::Result<()> {
        self.collector = start_collector(&self.options).await?;
        Ok(())
    }

    /// Waits until a part of the lab ends that should not, and says which.
    pub async fn broken(&mut self) -> anyhow::Error {
        tokio::select! {
            status = self.inner.wait() => anyhow::anyhow!("the network of the lab ended: {status:?}"),
            status = self.collector.wait() => {
                let log = log(&self.options.state, "collector");
                anyhow::anyhow!("the collector ended: {status:?}; its log: {}", log.display())
            }
        }
    }

    /// Ends everything.
    pub async fn stop(mut self) {
        self.forwarding.cancel();
        drop(self.leash.take());
        if tokio::time::timeout(GRACE, self.inner.wait())
            .await
            .is_err()
        {
            drop(self.inner.kill().await);
        }
        if let Some(id) = self.collector.id().and_then(|id| i32::try_from(id).ok()) {
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(id),
                nix::sys::signal::Signal::SIGTERM,
            )
            .ok();
        }
        if tokio::time::timeout(GRACE, self.collector.wait())
            .await
            .is_err()
        {
            drop(self.collector.kill().await);
        }
        self.tasks.close();
    }

    async fn start_agents(&self) -> anyhow::Result<()> {
        let mut joins = Vec::new();
        for site in &self.scenario.sites {
            let mut command = Command::new(&self.options.collector);
            command
                .arg("join-string")
                .arg("--config")
                .arg(configuration_file(&self.options.state));
            command.args([
                "--site",
                &site.name,
                "--country",
                &site.country,
                "--subdivision",
                &site.subdivision,
            ]);
            command.args(["--metro", &site.metro]);
            command
                .arg(format!("--latitude={}", site.latitude))
                .arg(format!("--longitude={}", site.longitude));
            let output = command
                .stdin(Stdio::null())
                .output()
                .await
                .context("cannot start the collector program")?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(
                output.status.success(),
                "no join string for {}: {}",
                site.name,
                said.trim()
            );
            let join = String::from_utf8(output.stdout).context("the join string is not text")?;
            joins.push((site.name.clone(), join.trim().to_owned()));
        }
        let said: String = self.ask(Request::StartAgents { joins }).await?;
        ensure!(!said.is_empty(), "no agent started");
        Ok(())
    }
}

/// Runs a program that ends when this one does, even if this one is killed.
fn leashed(lab: &Path, program: &Path) -> Command {
    let mut command = Command::new(lab);
    command
        .arg("leash")
        .arg(program)
        .kill_on_drop(true)
        .process_group(0);
    command
}

async fn start_inner(
    options: &Options,
    progress: &dyn Fn(&str),
) -> anyhow::Result<(Child, ChildStdin)> {
    let mut command = Command::new(&options.lab);
    command
        .arg("enter")
        .arg("--state")
        .arg(&options.state)
        .arg("--agent-bin")
        .arg(&options.agent);
    // Its own process group: Ctrl-C reaches the outer process alone, which then ends the rest in order.
    command.process_group(0).kill_on_drop(true);
    let mut child = (command.stdin(Stdio::piped()).stdout(Stdio::piped()))
        .spawn()
        .context("cannot start firstmile-lab")?;
    let leash = child
        .stdin
        .take()
        .context("the inner process has no standard input")?;
    let out = child
        .stdout
        .take()
        .context("the inner process has no standard output")?;
    let mut lines = BufReader::new(out).lines();
    let ready = async {
        while let Some(line) = lines
            .next_line()
            .await
            .context("cannot read the inner process")?
        {
            if line == "ready" {
                return Ok(());
            }
            progress(&line);
        }
        bail!("the network of the lab did not come up; the reason is above")
    };
    tokio::time::timeout(READY, ready)
        .await
        .context("the network of the lab takes too long")??;
    Ok((child, leash))
}

async fn start_collector(options: &Options) -> anyhow::Result<Child> {
    let log = log(&options.state, "collector");
    let err = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log);
    let err = err.with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = leashed(&options.lab, &options.collector);
    command
        .arg("serve")
        .arg("--config")
        .arg(configuration_file(&options.state));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(err)
        .spawn()
        .context("cannot start the collector")?;
    let out = child
        .stdout
        .take()
        .context("the collector has no standard output")?;
    let mut lines: Lines<BufReader<ChildStdout>> = BufReader::new(out).lines();
    let line = tokio::time::timeout(READY, lines.next_line()).await;
    let line =
        line.with_context(|| format!("the collector takes too long; its log: {}", log.display()))?;
    let line = line.context("cannot read the collector")?;
    ensure!(
        line.is_some(),
        "the collector did not start; its log: {}",
        log.display()
    );
    Ok(child)
}

fn write_collector_configuration(
    options: &Options,
    scenario: &Scenario,
    ingest: SocketAddr,
) -> anyhow::Result<()> {
    let state = &options.state;
    let table = state.join("ip-to-as.csv");
    std::fs::write(&table, network::ip_to_as(scenario))
        .context("cannot write the table of systems")?;
    let text = format!(
        "data_dir = {}\n\n[ingest]\nlisten = \"{ingest}\"\npublic_url = \"https://{MANAGEMENT}:{INGEST_PORT}\"\n\n\
         [dashboard]\nlisten = \"{}\"\n\n[geo]\nip_to_as = [{}]\n\n{}",
        quoted(&state.join("collector")),
        options.dashboard,
        quoted(&table),
        options.collector_more,
    );
    let file = configuration_file(state);
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn configuration_file(state: &Path) -> PathBuf {
    state.join("collector.toml")
}

fn log(state: &Path, name: &str) -> PathBuf {
    state.join("log").join(format!("{name}.log"))
}

/// Empties a state directory that is ours and not in use, or makes it.
fn prepare(state: &Path) -> anyhow::Result<PathBuf> {
    if std::os::unix::net::UnixStream::connect(control::socket_path(state)).is_ok() {
        bail!("a lab already runs in {}", state.display());
    }
    std::fs::create_dir_all(state).with_context(|| format!("cannot make {}", state.display()))?;
    let state = state
        .canonicalize()
        .with_context(|| format!("cannot find {}", state.display()))?;
    ensure!(
        !state.starts_with("/run"),
        "the lab has a /run of its own: choose another state directory"
    );
    let empty = std::fs::read_dir(&state)
        .context("cannot list the state directory")?
        .next()
        .is_none();
    let ours = state.join(MARK);
    ensure!(
        empty || ours.exists(),
        "{} is not empty and not a lab's: choose another",
        state.display()
    );
    for name in ["collector", "sites", "log"] {
        let path = state.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path)
                .with_context(|| format!("cannot empty {}", path.display()))?;
        }
    }
    for socket in [control::socket_path(&state), forward::border(&state)] {
        if socket.exists() {
            std::fs::remove_file(&socket)
                .with_context(|| format!("cannot remove {}", socket.display()))?;
        }
    }
    std::fs::create_dir(state.join("log")).context("cannot make the log directory")?;
    std::fs::write(
        ours,
        "firstmile-lab empties this directory when it starts\n",
    )
    .context("cannot mark the state directory")?;
    Ok(state)
}

/// Finds the port that a port of 0 stands for; says so early when a port is taken.
fn settle(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(address);
    let listener = listener
        .with_context(|| format!("cannot listen at {address}: choose another with --dashboard"))?;
    listener.local_addr().context("cannot see the own address")
}
