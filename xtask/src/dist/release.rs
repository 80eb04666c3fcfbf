//! What is being released: its version, its date, and its binaries.
//!
//! Everything that goes into a package comes from the commit, so that the same commit makes the same bytes.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::artefacts;
use crate::step::{captured, step};
use crate::{needs, tree};

/// Who answers for the packages.
const MAINTAINER: &str = "firstmile contributors <contributors@firstmile.example>";

/// A release of this checkout.
#[derive(Clone)]
pub(super) struct Release {
    /// Version of the packages.
    pub(super) version: String,
    /// Debian's name of the architecture.
    pub(super) architecture: String,
    /// When the commit was made, in seconds since 1970: the date of every file.
    pub(super) epoch: String,
    /// The same, as in a mail (RFC 5322 §3.3).
    pub(super) date: String,
    /// Commit.
    pub(super) commit: String,
    /// How `dpkg-deb` compresses.
    pub(super) compression: &'static str,
    /// Name and address for the packages.
    pub(super) maintainer: &'static str,
}

impl Release {
    /// What the checkout's commit would release.
    pub(super) fn of_checkout() -> Result<Self> {
        let commit = git(&["rev-parse", "--short=9", "HEAD"])?;
        let version = env!("CARGO_PKG_VERSION");
        let tags = git(&["tag", "--points-at", "HEAD"])?;
        let version = if tags.lines().any(|tag| tag == format!("v{version}")) {
            version.to_owned()
        } else {
            // `~` sorts before the release that this will be; the count makes each commit an upgrade of the one before.
            format!(
                "{version}~git{}.{commit}",
                git(&["rev-list", "--count", "HEAD"])?
            )
        };
        // What was built from changed files does not pass for the commit.
        let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
        let version = if changed.is_empty() {
            version
        } else {
            format!("{version}+changed")
        };
        Ok(Self {
            version,
            architecture: captured(Command::new("dpkg").arg("--print-architecture"))?,
            epoch: git(&["log", "-1", "--format=%ct"])?,
            date: git(&["log", "-1", "--format=%cD"])?,
            commit,
            compression: "-Zxz",
            maintainer: MAINTAINER,
        })
    }

    /// The same release under a version that upgrades it, packed in a hurry: nobody downloads it.
    pub(super) fn bumped(&self) -> Self {
        Self {
            version: format!("{}+upgrade", self.version),
            compression: "-Znone",
            ..self.clone()
        }
    }

    /// Builds dashboard and binaries, and says where the binaries are.
    pub(super) fn build(&self) -> Result<PathBuf> {
        needs::node()?;
        artefacts::dashboard()?;
        step(
            "build release binaries (minutes: optimised across crates)",
            || self.binaries(&tree::target()),
        )
    }

    /// Builds the binaries a second time, from nothing and elsewhere.
    pub(super) fn build_again(&self) -> Result<PathBuf> {
        let target = tree::target().join("again");
        step("build release binaries again, elsewhere (minutes)", || {
            if target.exists() {
                fs::remove_dir_all(&target)
                    .with_context(|| format!("cannot empty {}", target.display()))?;
            }
            self.binaries(&target)
        })
    }

    /// Paths of this machine are kept out: they would differ from builder to builder.
    fn binaries(&self, target: &Path) -> Result<PathBuf> {
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
        let packages = ["firstmile-agent", "firstmile-collector"];
        artefacts::release(&packages, target, |cargo| {
            cargo
                .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\x1f"))
                .env("CFLAGS", c.join(" "))
                .env("SOURCE_DATE_EPOCH", &self.epoch);
        })?;
        Ok(target.join("release"))
    }
}

fn git(arguments: &[&str]) -> Result<String> {
    captured(
        Command::new("git")
            .args(arguments)
            .current_dir(tree::root()),
    )
}

/// Where cargo keeps the sources of what we depend on.
fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME").map_or_else(
        || env::home_dir().unwrap_or_default().join(".cargo"),
        PathBuf::from,
    )
}
