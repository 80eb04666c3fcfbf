//! A machine to install packages on: Debian with a real systemd, booted in a container whose disk forgets everything.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::run::wait_a_little;
use crate::step::{captured, command_line, now, run, step};
use crate::tree;

/// Debian release of the machine.
const SUITE: &str = "bookworm";
/// What it has beyond the essential packages.
const INCLUDED: &str = "systemd,systemd-sysv,dbus,iproute2,iputils-ping,curl,ca-certificates";
/// Booting takes about a second.
const BOOT: Duration = Duration::from_mins(1);
/// Shutting down takes about two seconds.
const SHUTDOWN: Duration = Duration::from_secs(20);
/// Where the machine sees the folder that is shared with it.
pub(super) const SHARE: &str = "/srv/share";

/// A booted machine. Dropped, it is gone.
pub(super) struct Machine {
    nspawn: Child,
    leader: u32,
    log: PathBuf,
}

/// Makes the file system of the machine, once: it is kept in the target folder.
pub(super) fn file_system() -> Result<PathBuf> {
    let folder = tree::target().join("nspawn");
    let ready = folder.join(SUITE);
    if ready.is_dir() {
        return Ok(ready);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let draft = folder.join(format!("{SUITE}.draft"));
    if draft.exists() {
        fs::remove_dir_all(&draft).with_context(|| format!("cannot remove {}", draft.display()))?;
    }
    step(
        &format!("fetch Debian {SUITE} for the test machine (two minutes, once)"),
        || {
            let log = File::create(folder.join("debootstrap.log"))
                .context("cannot write debootstrap's log")?;
            run(Command::new("debootstrap")
                .args(["--variant=minbase", &format!("--include={INCLUDED}"), SUITE])
                .arg(&draft)
                .stdout(log))
        },
    )?;
    fs::rename(&draft, &ready).with_context(|| format!("cannot rename {}", draft.display()))?;
    Ok(ready)
}

impl Machine {
    /// Boots the machine in the network namespace of a process, or without any network, and with `share` to read at [`SHARE`].
    pub(super) fn boot(share: &Path, network_of: Option<u32>) -> Result<Self> {
        let disk = file_system()?;
        let log = tree::target().join("nspawn/console.log");
        let console =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = console
            .try_clone()
            .context("cannot share the console's log")?;
        let nspawn = Command::new("systemd-nspawn")
            .args([
                "--quiet",
                "--boot",
                "--volatile=overlay",
                "--resolv-conf=off",
            ])
            .args(["--register=no", "--keep-unit", "--console=pipe"])
            .arg(format!("--machine=firstmile-{}", std::process::id()))
            .arg(format!("--bind-ro={}:{SHARE}", share.display()))
            .arg(network_of.map_or_else(
                || "--private-network".to_owned(),
                |id| format!("--network-namespace-path=/proc/{id}/ns/net"),
            ))
            .arg("--directory")
            .arg(disk)
            .stdin(Stdio::null())
            .stdout(console)
            .stderr(errors)
            .spawn()
            .context("cannot start systemd-nspawn")?;
        let mut machine = Self {
            nspawn,
            leader: 0,
            log,
        };
        machine.leader = wait_until("the machine's first process", BOOT, || {
            Ok(machine.first_process())
        })?;
        let up = wait_until("systemd to be up", BOOT, || {
            machine.ensure_alive()?;
            let output = machine
                .command("systemctl", &["is-system-running"])
                .output()
                .context("cannot enter the machine")?;
            let state = String::from_utf8_lossy(&output.stdout);
            Ok(matches!(state.trim(), "running" | "degraded").then_some(()))
        });
        up.with_context(|| {
            let jobs = machine.sh_with_errors("systemctl is-system-running; systemctl list-jobs");
            jobs.unwrap_or_default()
        })?;
        Ok(machine)
    }

    /// The child that is process 1 in there: while it starts, systemd-nspawn has a helper as child, too.
    fn first_process(&self) -> Option<u32> {
        let id = self.nspawn.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children
            .split_whitespace()
            .find(|child| {
                fs::read_to_string(format!("/proc/{child}/status"))
                    .unwrap_or_default()
                    .lines()
                    .any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
            })?
            .parse()
            .ok()
    }

    fn ensure_alive(&mut self) -> Result<()> {
        let ended = self
            .nspawn
            .try_wait()
            .context("cannot look after the machine")?;
        match ended {
            None => Ok(()),
            Some(status) => bail!(
                "the machine ended with {status}; its console: {}",
                self.log.display()
            ),
        }
    }

    /// systemd-nspawn turns SIGTERM into a shutdown. It must not be killed itself: the machine would outlive it.
    fn shut_down(&mut self) -> Result<()> {
        signal(self.nspawn.id(), Signal::SIGTERM)?;
        let nspawn = &mut self.nspawn;
        let mut ended = || nspawn.try_wait().context("cannot look after the machine");
        if wait_until("the machine to shut down", SHUTDOWN, &mut ended).is_err() && self.leader != 0
        {
            signal(self.leader, Signal::SIGKILL)?;
            wait_until("the machine to be gone", SHUTDOWN, &mut ended)?;
        }
        Ok(())
    }

    /// A process in there.
    pub(super) const fn leader(&self) -> u32 {
        self.leader
    }

    /// A command inside, as root, with a clean environment.
    pub(super) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.leader.to_string()])
            .args([
                "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--",
            ])
            .arg(program)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null());
        command
    }

    /// Runs a shell line inside and gives back what it prints on standard output.
    ///
    /// # Errors
    /// When it does not exit with 0; what it wrote is in the error.
    pub(super) fn sh(&self, line: &str) -> Result<String> {
        captured(&mut self.command("sh", &["-c", line]))
    }

    /// As [`Self::sh`], with both outputs.
    pub(super) fn sh_with_errors(&self, line: &str) -> Result<String> {
        self.sh(&format!("{{ {line}; }} 2>&1"))
    }

    /// Whether a shell line exits with 0.
    pub(super) fn holds(&self, line: &str) -> Result<bool> {
        let mut command = self.command("sh", &["-c", line]);
        let shown = command_line(&command);
        let output = command
            .output()
            .with_context(|| format!("cannot start `{shown}`"))?;
        Ok(output.status.success())
    }

    /// Fails with `otherwise` unless a shell line exits with 0.
    pub(super) fn ensure(&self, line: &str, otherwise: &str) -> Result<()> {
        ensure!(self.holds(line)?, "{otherwise} (not so: `{line}`)");
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            eprintln!("    the machine could not be ended: {error:#}");
        }
    }
}

fn signal(id: u32, signal: Signal) -> Result<()> {
    let id = i32::try_from(id).context("a process id beyond 31 bits")?;
    kill(Pid::from_raw(id), signal).with_context(|| format!("cannot signal process {id}"))
}

/// Looks again and again until there is something, or the limit is over.
pub(super) fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if now() - started > limit {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        wait_a_little();
    }
}
