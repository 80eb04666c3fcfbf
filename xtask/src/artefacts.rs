//! What is built before anything runs: the dashboard, then the binaries that embed it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::needs;
use crate::step::{shown, step};
use crate::tree;

/// How the binaries are built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Fast to build.
    Dev,
    /// Fast to run, small.
    Release,
}

/// Where the dashboard's source is.
pub(crate) fn dashboard_folder() -> PathBuf {
    tree::root().join("collector/dashboard")
}

/// Installs a folder's npm packages, when its lock file is another than at the last time.
pub(crate) fn npm_ci(folder: &Path) -> Result<()> {
    let lock = folder.join("package-lock.json");
    let stamp = folder.join("node_modules/.firstmile-stamp");
    let digest = digest_of(&[lock])?;
    if fs::read_to_string(&stamp).is_ok_and(|old| old == digest) {
        return Ok(());
    }
    shown(
        folder,
        "npm",
        &["ci", "--no-audit", "--no-fund", "--loglevel=error"],
    )?;
    fs::write(&stamp, digest).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Builds the dashboard, when its sources are others than at the last time.
pub(crate) fn dashboard() -> Result<()> {
    let folder = dashboard_folder();
    let sources: Vec<PathBuf> = tree::files()?
        .into_iter()
        .filter(|file| file.starts_with("collector/dashboard"))
        .map(|file| tree::root().join(file))
        .collect();
    let digest = digest_of(&sources)?;
    let stamp = tree::target().join("xtask/dashboard.stamp");
    let built =
        folder.join("dist/index.html").is_file() && folder.join("dist-data/country.mmdb").is_file();
    if built && fs::read_to_string(&stamp).is_ok_and(|old| old == digest) {
        return Ok(());
    }
    step("build the dashboard", || {
        needs::node()?;
        npm_ci(&folder)?;
        shown(&folder, "npm", &["run", "--silent", "build"])
    })?;
    fs::create_dir_all(tree::target().join("xtask"))
        .context("cannot make the folder for build stamps")?;
    fs::write(&stamp, digest).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Builds the named packages and says where their binaries are.
pub(crate) fn binaries(packages: &[&str], profile: Profile) -> Result<PathBuf> {
    let mut arguments = vec!["build", "--locked"];
    for package in packages {
        arguments.extend(["--package", package]);
    }
    if profile == Profile::Release {
        arguments.push("--release");
    }
    step(&format!("build {}", packages.join(", ")), || {
        shown(&tree::root(), "cargo", &arguments)
    })?;
    Ok(tree::target().join(if profile == Profile::Release {
        "release"
    } else {
        "debug"
    }))
}

fn digest_of(files: &[PathBuf]) -> Result<String> {
    let mut hasher = Sha256::new();
    for file in files {
        hasher.update(file.to_string_lossy().as_bytes());
        hasher.update(fs::read(file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(hasher
        .finalize()
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}
