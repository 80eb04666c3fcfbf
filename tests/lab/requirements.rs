//! What the lab needs of the machine, and the package that brings it.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};

/// Program and Debian package.
const PROGRAMS: [(&str, &str); 4] = [
    ("ip", "iproute2"),
    ("bird", "bird2"),
    ("birdc", "bird2"),
    ("dnsmasq", "dnsmasq-base"),
];
/// Where Debian keeps programs for administrators, which is not in every user's path.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Says what is missing, all at once.
pub(crate) fn check(binaries: &[&Path]) -> anyhow::Result<()> {
    let mut packages: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    if !packages.is_empty() {
        bail!(
            "missing packages: sudo apt-get install --no-install-recommends {}",
            packages.join(" ")
        );
    }
    for binary in binaries {
        ensure!(
            binary.is_file(),
            "there is no {}: run `cargo build` first",
            binary.display()
        );
    }
    Ok(())
}

/// The search path with the administrators' directories, for the inner process.
pub(crate) fn search_path() -> std::ffi::OsString {
    let mut all = own_path();
    all.extend(SYSTEM.iter().map(PathBuf::from));
    std::env::join_paths(all).unwrap_or_else(|_| "/usr/bin:/bin:/usr/sbin:/sbin".into())
}

fn find(program: &str) -> Option<PathBuf> {
    let mut all = own_path();
    all.extend(SYSTEM.iter().map(PathBuf::from));
    all.into_iter()
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

fn own_path() -> Vec<PathBuf> {
    std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default()
}
