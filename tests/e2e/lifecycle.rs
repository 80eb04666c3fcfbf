//! Two labs side by side, ended by a signal and by a kill: neither leaves anything behind.
//!
//! The agents and the collector are stand-ins here: what is looked at is the lab itself.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use firstmile_lab::clock::poll_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const STAND_IN: &str = "#!/bin/sh\ncase \"$1\" in join-string) echo none;; serve) echo ready; exec sleep 600;; run) exec sleep 600;; esac\n";

#[test]
fn two_labs_run_side_by_side_and_leave_nothing_behind() {
    let _alone = crate::alone();
    let directory = tempfile::tempdir().unwrap();
    let stand_in = directory.path().join("stand-in");
    std::fs::write(&stand_in, STAND_IN).unwrap();
    std::fs::set_permissions(&stand_in, std::fs::Permissions::from_mode(0o755)).unwrap();
    let states = ["first", "second"].map(|name| directory.path().join(name));
    let [mut first, mut second] = states.each_ref().map(|state| up(state, &stand_in));
    let [first_namespace, second_namespace] = states.each_ref().map(|state| namespace(state));
    assert_ne!(first_namespace, second_namespace);
    assert!(members(&first_namespace) > 18, "a router each, and more");

    let outer = Pid::from_raw(first.0.id().try_into().unwrap());
    kill(outer, Signal::SIGTERM).unwrap();
    assert!(
        first.0.wait().unwrap().success(),
        "a lab that is told to end ends well"
    );
    gone(&first_namespace);
    assert!(members(&second_namespace) > 18, "the other lab goes on");

    second.0.kill().unwrap();
    second.0.wait().unwrap();
    gone(&second_namespace);
    crate::runtime().block_on(none_left(|| processes_naming(directory.path())));
}

/// A lab that does not outlive a failed test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Brings a lab up and returns when it says that it is up.
fn up(state: &Path, stand_in: &Path) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firstmile-lab"));
    command
        .args(["up", "--dashboard", "127.0.0.1:0", "--state"])
        .arg(state);
    command
        .arg("--agent-bin")
        .arg(stand_in)
        .arg("--collector-bin")
        .arg(stand_in);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("the lab's program starts");
    let out = child.stdout.take().expect("standard output is piped");
    let up = BufReader::new(out)
        .lines()
        .map_while(Result::ok)
        .any(|line| line.starts_with("Ctrl-C"));
    assert!(up, "the lab did not come up; the reason is above");
    Running(child)
}

/// The namespace of process ids that a lab's programs live in.
fn namespace(state: &Path) -> PathBuf {
    let inside = |process: &PathBuf| named(process, state) && named(process, Path::new("inside"));
    let process = processes()
        .into_iter()
        .find(inside)
        .expect("a lab has an inner process");
    namespace_of(&process).expect("a process lives in a namespace")
}

fn gone(namespace: &Path) {
    crate::runtime().block_on(none_left(|| members(namespace)));
}

async fn none_left(count: impl Fn() -> usize) {
    let probe = async || Ok((count() == 0).then_some(()));
    let pause = Duration::from_millis(100);
    poll_until(
        "the end of every process",
        Duration::from_secs(10),
        pause,
        probe,
    )
    .await
    .expect("nothing is left behind");
}

fn members(namespace: &Path) -> usize {
    processes()
        .iter()
        .filter(|process| namespace_of(process).as_deref() == Some(namespace))
        .count()
}

fn processes_naming(path: &Path) -> usize {
    processes()
        .iter()
        .filter(|process| named(process, path))
        .count()
}

/// The directories of all processes in `/proc`.
fn processes() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/proc")
        .expect("there is a /proc")
        .flatten();
    let number = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok())
    };
    entries.map(|entry| entry.path()).filter(number).collect()
}

/// Whether an argument of a process begins with `text`.
fn named(process: &Path, text: &Path) -> bool {
    let arguments = std::fs::read(process.join("cmdline")).unwrap_or_default();
    let arguments = String::from_utf8_lossy(&arguments);
    arguments
        .split('\0')
        .any(|argument| argument.starts_with(&*text.to_string_lossy()))
}

fn namespace_of(process: &Path) -> Option<PathBuf> {
    std::fs::read_link(process.join("ns/pid")).ok()
}
