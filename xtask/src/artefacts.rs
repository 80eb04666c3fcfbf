//! What is built before anything runs: the dashboard, then the binaries that embed it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::needs;
use crate::step::{command, run, shown, step};
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

/// Package that is built for size when it is built for release; and the profile for it.
const SMALL_PACKAGE: &str = "firstmile-agent";
const SMALL_PROFILE: &str = "small";

/// Builds the named packages and says where their binaries are.
pub(crate) fn binaries(packages: &[&str], profile: Profile) -> Result<PathBuf> {
    let target = tree::target();
    step(
        &format!("build {}", packages.join(", ")),
        || match profile {
            Profile::Dev => shown(&tree::root(), "cargo", &arguments(packages, "dev")),
            Profile::Release => release(packages, &target, |_| {}),
        },
    )?;
    Ok(target.join(if profile == Profile::Release {
        "release"
    } else {
        "debug"
    }))
}

/// Builds the named packages for release into `target`, the agent for size. All programs are in `release` then.
pub(crate) fn release(
    packages: &[&str],
    target: &Path,
    prepare: impl Fn(&mut Command),
) -> Result<()> {
    let (small, fast): (Vec<&str>, Vec<&str>) = packages
        .iter()
        .partition(|package| **package == SMALL_PACKAGE);
    for (packages, profile) in [(fast, "release"), (small, SMALL_PROFILE)] {
        if packages.is_empty() {
            continue;
        }
        let mut cargo = command("cargo");
        cargo
            .args(arguments(&packages, profile))
            .env("CARGO_TARGET_DIR", target)
            .current_dir(tree::root());
        prepare(&mut cargo);
        run(&mut cargo)?;
        if profile == SMALL_PROFILE {
            put_beside(target)?;
        }
    }
    Ok(())
}

fn arguments<'a>(packages: &[&'a str], profile: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["build", "--locked", "--profile", profile];
    for package in packages {
        arguments.extend(["--package", package]);
    }
    arguments
}

/// Puts the small program where the others are. What stands there may be a hard link to a file of cargo's: it is replaced,
/// not written to.
fn put_beside(target: &Path) -> Result<()> {
    let from = target.join(SMALL_PROFILE).join(SMALL_PACKAGE);
    let folder = target.join("release");
    let (waiting, to) = (folder.join(".firstmile-agent"), folder.join(SMALL_PACKAGE));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::copy(&from, &waiting)
        .with_context(|| format!("cannot copy {} to {}", from.display(), waiting.display()))?;
    fs::rename(&waiting, &to).with_context(|| format!("cannot replace {}", to.display()))
}

/// Flags for rustc and for C compilers that keep paths of this machine out of programs: they would differ from builder to
/// builder. Rust's are separated as `CARGO_ENCODED_RUSTFLAGS` wants them.
pub(crate) fn without_paths(target: &Path) -> (String, String) {
    // Of several that fit, the last counts.
    let mapped = [
        (cargo_home(), "/cargo"),
        (tree::root(), "/firstmile"),
        (target.to_path_buf(), "/target"),
    ];
    let rust: Vec<_> = mapped
        .iter()
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .collect();
    let c: Vec<_> = mapped
        .iter()
        .map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()))
        .collect();
    (rust.join("\x1f"), c.join(" "))
}

/// Where cargo keeps the sources of what we depend on.
fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME").map_or_else(
        || env::home_dir().unwrap_or_default().join(".cargo"),
        PathBuf::from,
    )
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
