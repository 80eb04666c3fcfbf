//! Into the lab's own namespaces: user, mount, network and process ids.
//!
//! A user namespace makes an ordinary user root of the lab and of nothing else. The namespace of process ids ties all programs of
//! the lab to the inner process: the kernel ends them with it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitStatus};

use anyhow::{Context, anyhow};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{getegid, geteuid};

/// Priority that the emulator asks for; most systems allow it to root only.
const REAL_TIME: u64 = 10;

/// Leaves for new namespaces and runs this program again in them, with `arguments`. The process must have one thread.
pub(crate) fn rerun_inside(
    arguments: &[String],
    search_path: &OsStr,
) -> anyhow::Result<ExitStatus> {
    // Refused to ordinary users: the emulator then runs at normal priority, and says how late it is.
    setrlimit(Resource::RLIMIT_RTPRIO, REAL_TIME, REAL_TIME).ok();
    let lab = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID;
    let (user, group) = (geteuid(), getegid());
    // Root needs no user namespace, and keeps its way through other users' directories without one.
    if !(user.is_root() && unshare(lab).is_ok()) {
        unshare(lab | CloneFlags::CLONE_NEWUSER).map_err(refusal)?;
        map(user.as_raw(), group.as_raw())?;
    }
    die_with_parent()?;
    let program = std::env::current_exe().context("cannot find the own program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", search_path)
        .spawn()
        .context("cannot start the inner process")?;
    child.wait().context("cannot wait for the inner process")
}

/// Makes `/run` and `/proc` the lab's own. The first thing that the inner process does.
pub(crate) fn furnish() -> anyhow::Result<()> {
    die_with_parent()?;
    let nothing: Option<&Path> = None;
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )
    .context("cannot make the mounts private; is this a container that forbids mounts?")?;
    mount(
        Some("lab"),
        "/run",
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        nothing,
    )
    .context("cannot mount a tmpfs on /run")?;
    // Containers that mask parts of /proc refuse a fresh one; the outer one serves as well.
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::MS_NOSUID,
        nothing,
    )
    .ok();
    std::fs::create_dir("/run/netns").context("cannot make /run/netns")
}

/// Even a parent that is killed takes its lab with it.
fn die_with_parent() -> anyhow::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .context("cannot tie the process to its parent")
}

/// Makes this user root of the new namespace, and of nothing else.
fn map(user: u32, group: u32) -> anyhow::Result<()> {
    write_map("setgroups", "deny")?;
    write_map("uid_map", &format!("0 {user} 1"))?;
    write_map("gid_map", &format!("0 {group} 1"))
}

fn write_map(file: &str, content: &str) -> anyhow::Result<()> {
    std::fs::write(Path::new("/proc/self").join(file), content).with_context(|| {
        format!("cannot write /proc/self/{file}: the system restricts user namespaces ({ADVICE})")
    })
}

const ADVICE: &str = "run as root, or allow them: sysctl kernel.unprivileged_userns_clone=1 \
     kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=10000, whichever the system knows";

fn refusal(error: Errno) -> anyhow::Error {
    anyhow!("cannot make a user namespace: {error} ({ADVICE})")
}
