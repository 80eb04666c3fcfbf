//! `cargo xtask run`: collector and one enrolled agent on this machine, or the lab, until Ctrl-C.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::artefacts::{self, Profile};
use crate::needs;
use crate::step::{captured, now};
use crate::{lab, tree};

/// How long both programs get to end by themselves.
const GRACE: Duration = Duration::from_secs(15);

/// How long the agent gets for its first round before the terminal says what it found.
const FIRST_LOOK: Duration = Duration::from_secs(12);

/// Ctrl-C reaches this program alone, which then ends the agent first: its last report still finds the collector.
pub(crate) const OWN_GROUP: i32 = 0;

#[derive(Args)]
pub(crate) struct RunArgs {
    /// Run a simulated internet with agents on all its sites instead of measuring the real one
    #[arg(long)]
    lab: bool,
    /// Where the dashboard is served
    #[arg(long, default_value = "127.0.0.1:8080")]
    dashboard: String,
    /// Where the collector takes reports
    #[arg(long, default_value = "127.0.0.1:8443")]
    ingest: String,
    /// Build optimised binaries (slower to build)
    #[arg(long)]
    release: bool,
}

/// Builds everything, then runs it until Ctrl-C.
pub(crate) fn run(args: &RunArgs) -> Result<()> {
    needs::node()?;
    needs::require(&needs::BUILD.iter().collect::<Vec<_>>())?;
    let profile = if args.release {
        Profile::Release
    } else {
        Profile::Dev
    };
    if args.lab {
        needs::install(&needs::LAB.iter().collect::<Vec<_>>())?;
        artefacts::dashboard()?;
        let bin = artefacts::binaries(
            &["firstmile-agent", "firstmile-collector", "firstmile-tests"],
            profile,
        )?;
        return lab::up(&bin, &args.dashboard);
    }
    artefacts::dashboard()?;
    let bin = artefacts::binaries(&["firstmile-agent", "firstmile-collector"], profile)?;
    Local::prepare(&bin, args)?.run()
}

/// Collector and agent of this checkout.
struct Local {
    agent: PathBuf,
    collector: PathBuf,
    agent_config: PathBuf,
    collector_config: PathBuf,
    state: PathBuf,
    dashboard: String,
    ingest: String,
}

impl Local {
    fn prepare(bin: &Path, args: &RunArgs) -> Result<Self> {
        let state = tree::target().join("run");
        fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
        let local = Self {
            agent: bin.join("firstmile-agent"),
            collector: bin.join("firstmile-collector"),
            agent_config: state.join("agent.toml"),
            collector_config: state.join("collector.toml"),
            state,
            dashboard: args.dashboard.clone(),
            ingest: args.ingest.clone(),
        };
        // TOML's basic strings are JSON's: quoting with serde_json keeps any path intact.
        let quoted = |path: PathBuf| {
            serde_json::Value::from(path.to_string_lossy().into_owned()).to_string()
        };
        write(
            &local.agent_config,
            &format!("state_dir = {}\n", quoted(local.state.join("agent"))),
        )?;
        write(
            &local.collector_config,
            &format!(
                "data_dir = {}\n\n[ingest]\nlisten = \"{ingest}\"\npublic_url = \"https://{ingest}\"\n\n\
                 [dashboard]\nlisten = \"{dashboard}\"\n",
                quoted(local.state.join("collector")),
                ingest = args.ingest,
                dashboard = args.dashboard,
            ),
        )?;
        Ok(local)
    }

    fn run(&self) -> Result<()> {
        let interrupted = interrupts()?;
        let mut collector = self.start_collector()?;
        let outcome = self.run_agent(&mut collector, &interrupted);
        stop("collector", &mut collector)?;
        outcome
    }

    fn start_collector(&self) -> Result<Child> {
        println!("==> start the collector");
        let mut child = Command::new(&self.collector)
            .args(["serve", "--hint-lab", "--config"])
            .arg(&self.collector_config)
            .stdout(Stdio::piped())
            .process_group(OWN_GROUP)
            .spawn()
            .with_context(|| format!("cannot start {}", self.collector.display()))?;
        let stdout = child
            .stdout
            .take()
            .context("the collector has no standard output")?;
        let mut ready = String::new();
        BufReader::new(stdout)
            .read_line(&mut ready)
            .context("cannot read what the collector prints")?;
        if ready.trim().is_empty() {
            let status = child.wait().context("cannot wait for the collector")?;
            bail!(
                "the collector ended with {status} before it was ready; its last lines above say why"
            );
        }
        println!("    {}", ready.trim());
        Ok(child)
    }

    fn run_agent(&self, collector: &mut Child, interrupted: &mpsc::Receiver<i32>) -> Result<()> {
        self.enroll()?;
        println!("==> start the agent");
        let mut agent = Command::new(&self.agent)
            .args(["run", "--config"])
            .arg(&self.agent_config)
            .spawn()
            .with_context(|| format!("cannot start {}", self.agent.display()))?;
        println!(
            "\n    dashboard  http://{}\n    stop       Ctrl-C\n",
            self.dashboard
        );
        let outcome = self.watch(collector, &mut agent, interrupted);
        stop("agent", &mut agent)?;
        outcome
    }

    /// Whether the agent has an identity, and one that this collector gave it for the address it listens on.
    fn is_enrolled(&self) -> bool {
        let read = |path: &str| fs::read_to_string(self.state.join(path)).ok();
        let identity = read("agent/identity/identity.json")
            .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
        let (Some(identity), Some(ca)) = (identity, read("collector/ca/ca.crt")) else {
            return false;
        };
        let says = |key| {
            identity
                .get(key)
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .trim()
        };
        says("collector") == format!("https://{}/", self.ingest) && says("ca_pem") == ca.trim()
    }

    fn enroll(&self) -> Result<()> {
        if self.is_enrolled() {
            return Ok(());
        }
        println!("==> enrol the agent of this machine");
        let site =
            captured(&mut Command::new("hostname")).unwrap_or_else(|_| "this-machine".to_owned());
        let join = captured(
            Command::new(&self.collector)
                .args(["join-string", "--site", &site, "--config"])
                .arg(&self.collector_config),
        )?;
        // On standard input, so that the secret shows in no process list.
        let mut child = Command::new(&self.agent)
            .args(["enroll", "-", "--replace", "--config"])
            .arg(&self.agent_config)
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.agent.display()))?;
        child
            .stdin
            .take()
            .context("the agent has no standard input")?
            .write_all(join.as_bytes())
            .context("cannot hand the join string to the agent")?;
        let status = child
            .wait()
            .context("cannot wait for the agent's enrolment")?;
        if !status.success() {
            bail!("the agent could not enrol ({status}); its last lines above say why");
        }
        Ok(())
    }

    /// Waits for Ctrl-C or the end of either program; says once, early, what the agent reaches.
    fn watch(
        &self,
        collector: &mut Child,
        agent: &mut Child,
        interrupted: &mpsc::Receiver<i32>,
    ) -> Result<()> {
        let mut look_at = Some(now() + FIRST_LOOK);
        loop {
            match interrupted.recv_timeout(Duration::from_millis(250)) {
                Ok(_) => {
                    println!("\n==> stopping");
                    return Ok(());
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => bail!("lost the signal watcher"),
            }
            if let Some(status) = collector
                .try_wait()
                .context("cannot look after the collector")?
            {
                bail!("the collector ended by itself with {status}; its last lines above say why");
            }
            if let Some(status) = agent.try_wait().context("cannot look after the agent")? {
                bail!("the agent ended by itself with {status}; its last lines above say why");
            }
            if look_at.is_some_and(|at| now() >= at) {
                // Once it has spoken there is nothing more to say here: the dashboard goes on from there.
                look_at = (!self.tell_what_is_reached()).then(|| now() + FIRST_LOOK);
            }
        }
    }

    /// Says whether anything answers; false as long as the agent has not found out.
    fn tell_what_is_reached(&self) -> bool {
        let mut status = Command::new(&self.agent);
        let status = captured(
            status
                .args(["status", "--json", "--config"])
                .arg(&self.agent_config),
        );
        let Some(status) = status
            .ok()
            .and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok())
        else {
            return false;
        };
        let answered = |kind| {
            status
                .pointer(&format!("/last_success_unix_ms/{kind}"))
                .is_some()
        };
        if answered("icmp") || answered("tcp") || answered("https") {
            println!("\n    Targets answer: the first chart is on the dashboard.\n");
        } else {
            println!(
                "\n    No Microsoft edge can be reached from this machine: the dashboard says why, target by target.\n    \
                 To see the product on a simulated internet instead: cargo xtask run --lab\n"
            );
        }
        true
    }
}

/// Delivers SIGINT, SIGTERM and SIGHUP (a closed terminal) as messages.
pub(crate) fn interrupts() -> Result<mpsc::Receiver<i32>> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
        .context("cannot watch for Ctrl-C")?;
    let (sender, receiver) = mpsc::sync_channel(8);
    std::thread::spawn(move || {
        for signal in &mut signals {
            // A full channel means that the first signal is still being handled: nothing to add.
            sender.try_send(signal).ok();
        }
    });
    Ok(receiver)
}

/// Asks a program to end, and ends it by force after the grace.
pub(crate) fn stop(name: &str, child: &mut Child) -> Result<()> {
    if child
        .try_wait()
        .context("cannot look after a program")?
        .is_some()
    {
        return Ok(());
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).context("a process id beyond 31 bits")?);
    kill(pid, Signal::SIGTERM).with_context(|| format!("cannot ask the {name} to end"))?;
    let asked = now();
    while now() - asked < GRACE {
        if child
            .try_wait()
            .with_context(|| format!("cannot wait for the {name}"))?
            .is_some()
        {
            println!("    the {name} has ended");
            return Ok(());
        }
        wait_a_little();
    }
    println!(
        "    the {name} did not end within {} s and is killed",
        GRACE.as_secs()
    );
    child
        .kill()
        .with_context(|| format!("cannot kill the {name}"))?;
    child
        .wait()
        .with_context(|| format!("cannot wait for the {name}"))
        .map(drop)
}

/// A pause between two looks at a program of another: it cannot wake us.
#[expect(
    clippy::disallowed_methods,
    reason = "std has no wait with a deadline for a child process"
)]
pub(crate) fn wait_a_little() {
    std::thread::sleep(Duration::from_millis(50));
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
