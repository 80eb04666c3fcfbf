//! Network namespaces of the lab, by name; they live as long as the lab's process tree does.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sched::{CloneFlags, setns, unshare};

use crate::control::Outcome;

/// Runs `work` in the namespace `name`, on a thread of its own.
pub(crate) fn inside<T: Send>(
    name: &str,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let path = Path::new("/run/netns").join(name);
            let namespace =
                File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            setns(namespace, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot enter namespace {name}"))?;
            work()
        });
        thread
            .join()
            .unwrap_or_else(|_| bail!("the work in namespace {name} panicked"))
    })
}

/// Starts a program in a namespace, with a host name of its own, or in the lab's own; its output goes to `log`.
pub(crate) fn start(name: Option<&str>, mut command: Command, log: &Path) -> anyhow::Result<Child> {
    let out = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let err = out.try_clone().context("cannot share the log")?;
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let mut spawn = move || {
        command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))
    };
    let Some(name) = name else { return spawn() };
    inside(name, move || {
        rename(name)?;
        spawn()
    })
}

/// Runs a program in a namespace and waits for its end; past `limit` it is killed.
pub(crate) fn run(name: &str, command: &[String], limit: Duration) -> anyhow::Result<Outcome> {
    let limit = format!("{}", limit.as_secs_f64());
    // `timeout` of coreutils waits and kills, and says so by its exit code 137.
    let mut timeout = Command::new("timeout");
    timeout
        .args(["--signal=KILL", &limit])
        .args(command)
        .stdin(Stdio::null());
    let output = inside(name, move || {
        rename(name)?;
        timeout.output().context("cannot start timeout")
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Outcome {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    })
}

/// Gives the current thread, and what it starts, a host name of its own.
fn rename(name: &str) -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWUTS).context("cannot have a host name of its own")?;
    nix::unistd::sethostname(name).context("cannot set the host name")
}

/// Sets kernel variables of the current namespace, such as `net/ipv4/ip_forward`.
pub(crate) fn set(variables: &[(&str, &str)]) -> anyhow::Result<()> {
    for (name, value) in variables {
        let path = Path::new("/proc/sys").join(name);
        std::fs::write(&path, value)
            .with_context(|| format!("cannot write {value:?} to {}", path.display()))?;
    }
    Ok(())
}

/// Runs many `ip` commands at once, in a namespace or in the lab's own.
pub(crate) fn ip_batch(namespace: Option<&str>, commands: &str) -> anyhow::Result<()> {
    ip_batch_of(None, namespace, commands)
}

/// As [`ip_batch`], for commands that do not say their family: `-4` or `-6`.
pub(crate) fn ip_batch_of(
    family: Option<&str>,
    namespace: Option<&str>,
    commands: &str,
) -> anyhow::Result<()> {
    let mut ip = Command::new("ip");
    ip.args(family);
    if let Some(namespace) = namespace {
        ip.args(["-n", namespace]);
    }
    let mut child = (ip
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped()))
    .spawn()
    .context("cannot start ip (package iproute2)")?;
    let mut input = child.stdin.take().context("ip has no standard input")?;
    input
        .write_all(commands.as_bytes())
        .context("ip ended early")?;
    drop(input);
    let output = child.wait_with_output().context("cannot wait for ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "ip refused in {}: {}",
        namespace.unwrap_or("the lab"),
        said.trim()
    );
    Ok(())
}
