//! For tests: a network of its own for one test, with another side behind a link and a firewall on it.
//!
//! The test binary calls itself again inside a fresh user and network namespace, so that no right is needed and nothing of
//! the machine is touched; the inner test is an ignored one of its own.

use std::io::Write;
use std::process::{Child, Command, Stdio};

/// Runs the ignored test `name` (a module path, the crate's name in front) in fresh namespaces.
///
/// # Panics
/// When it fails, was not found, or no namespace can be had.
pub(crate) fn run_inside(name: &str) {
    let program = std::env::current_exe().expect("this test binary");
    let (_, name) = name.split_once("::").expect("a path with the crate's name");
    let ran = Command::new("unshare")
        .args([
            "--map-root-user",
            "--net",
            "--pid",
            "--fork",
            "--mount-proc",
        ])
        .arg(program)
        .args([
            "--ignored",
            "--exact",
            name,
            "--nocapture",
            "--test-threads=1",
        ])
        .output()
        .expect("unshare (util-linux) is installed");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && said.contains("1 passed"),
        "{name}:\n{said}\n{}",
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// Makes another namespace behind a link, with `addresses` of its own (the second of each network is ours), and `rules`.
#[must_use]
pub(crate) fn with_other_side(addresses: &[&str], rules: &str) -> OtherSide {
    // The other side lives as long as the process that sleeps in it.
    let other = Command::new("unshare")
        .args(["--net", "sleep", "infinity"])
        .stdin(Stdio::null())
        .spawn()
        .expect("unshare (util-linux) is installed");
    let pid = other.id().to_string();
    // It is there as soon as its namespace is another than ours.
    let ours = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
    let path = format!("/proc/{pid}/ns/net");
    while std::fs::read_link(&path).is_ok_and(|theirs| theirs == ours) {
        std::thread::yield_now();
    }
    ip(&["link", "set", "lo", "up"]);
    ip(&[
        "link", "add", "ours", "type", "veth", "peer", "name", "theirs", "netns", &pid,
    ]);
    ip(&["link", "set", "ours", "up"]);
    inside(&pid, &["ip", "link", "set", "lo", "up"], None);
    inside(&pid, &["ip", "link", "set", "theirs", "up"], None);
    for address in addresses {
        inside(
            &pid,
            &["ip", "address", "add", address, "dev", "theirs", "nodad"],
            None,
        );
        let own = address.replacen("1/", "2/", 1);
        ip(&["address", "add", &own, "dev", "ours", "nodad"]);
    }
    inside(&pid, &["nft", "-f", "-"], Some(rules));
    OtherSide { process: other }
}

/// The other side of the link; it ends with this.
pub(crate) struct OtherSide {
    process: Child,
}

impl OtherSide {
    /// Its namespace, for a thread that enters it.
    pub(crate) fn place(&self) -> std::fs::File {
        let path = format!("/proc/{}/ns/net", self.process.id());
        std::fs::File::open(path).expect("it lives")
    }
}

impl Drop for OtherSide {
    fn drop(&mut self) {
        drop(self.process.kill().and_then(|()| self.process.wait()));
    }
}

/// Runs `ip` of iproute2 in our namespace.
pub(crate) fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments), None);
}

fn inside(pid: &str, command: &[&str], input: Option<&str>) {
    run(
        Command::new("nsenter")
            .args(["--net", "--target", pid])
            .args(command),
        input,
    );
}

fn run(command: &mut Command, input: Option<&str>) {
    let mut child = command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    if let Some(input) = input {
        let mut pipe = child.stdin.take().expect("a pipe");
        pipe.write_all(input.as_bytes()).expect("written");
    }
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{command:?}: {status}");
}

/// Puts rules of nft on our side.
pub(crate) fn filter(rules: &str) {
    run(Command::new("nft").args(["-f", "-"]), Some(rules));
}

/// Makes the loopback work.
pub(crate) fn loopback_up() {
    ip(&["link", "set", "lo", "up"]);
}

/// Puts a file in the place of another, for this test alone.
pub(crate) fn mount_over(file: &std::path::Path, place: &str) {
    run(
        Command::new("mount").arg("--bind").arg(file).arg(place),
        None,
    );
}
