//! Network namespaces of the rig. They live in a mount namespace of this process and end with it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// Leaves for a network and a `/run` of its own. The process must have one thread, and be root.
pub(crate) fn enter() -> anyhow::Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the bench needs root: namespaces, priorities, packet capture"
    );
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("cannot make namespaces")?;
    let nothing: Option<&Path> = None;
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )
    .context("cannot make mounts private")?;
    mount(
        Some("bench"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        nothing,
    )
    .context("cannot mount a tmpfs on /run")?;
    std::fs::create_dir("/run/netns").context("cannot make /run/netns")
}

/// Runs `work` in the namespace `name`, on a thread of its own; what it starts stays there.
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

/// Sets a kernel variable of the current namespace, such as `ipv4/ping_group_range`.
pub(crate) fn set(name: &str, value: &str) -> anyhow::Result<()> {
    let path = Path::new("/proc/sys/net").join(name);
    std::fs::write(&path, value)
        .with_context(|| format!("cannot write {value:?} to {}", path.display()))
}

/// Runs many `ip` commands at once, in a namespace or in the process's own.
pub(crate) fn ip_batch(namespace: Option<&str>, commands: &str) -> anyhow::Result<()> {
    let mut ip = Command::new("ip");
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
        namespace.unwrap_or("the bench"),
        said.trim()
    );
    Ok(())
}
