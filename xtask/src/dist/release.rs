//! What is being released: its version, its date, and its binaries.
//!
//! Everything that goes into a package comes from the commit, so that the same commit makes the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::artefacts;
use crate::step::{captured, step};
use crate::{needs, tree};

/// Who answers for packages whose releaser does not say: nobody's address (RFC 2606 §2).
const MAINTAINER: &str = "the firstmile maintainers <maintainers@firstmile.example>";

/// A release of this checkout.
#[derive(Clone)]
pub(super) struct Release {
    /// Version of the packages.
    pub(super) version: String,
    /// Debian's name of the architecture.
    pub(super) architecture: String,
    /// That of this machine.
    pub(super) builder: String,
    /// When the commit was made, in seconds since 1970: the date of every file.
    pub(super) epoch: String,
    /// The same, as in a mail (RFC 5322 §3.3).
    pub(super) date: String,
    /// The same, for a clock that stands still.
    pub(super) date_of_clock: String,
    /// Commit.
    pub(super) commit: String,
    /// How `dpkg-deb` compresses.
    pub(super) compression: &'static [&'static str],
    /// Name and address for the packages.
    pub(super) maintainer: String,
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
        let builder = captured(Command::new("dpkg").arg("--print-architecture"))?;
        Ok(Self {
            version,
            architecture: builder.clone(),
            builder,
            epoch: git(&["log", "-1", "--format=%ct"])?,
            date: git(&["log", "-1", "--format=%cD"])?,
            date_of_clock: git_utc(&[
                "log",
                "-1",
                "--date=format-local:%Y-%m-%d %H:%M:%S",
                "--format=%cd",
            ])?,
            commit,
            compression: &["-Zxz"],
            maintainer: MAINTAINER.to_owned(),
        })
    }

    /// The same release under a version that upgrades it, packed in a hurry: nobody downloads it.
    pub(super) fn bumped(&self) -> Self {
        Self {
            version: format!("{}+upgrade", self.version),
            compression: &["-Zgzip", "-z1"],
            ..self.clone()
        }
    }

    /// The same, answered for by another.
    pub(super) fn maintained_by(self, maintainer: Option<String>) -> Self {
        Self {
            maintainer: maintainer.unwrap_or(self.maintainer),
            ..self
        }
    }

    /// The same, for packages that nobody downloads.
    pub(super) fn in_a_hurry(self) -> Self {
        Self {
            compression: &["-Zgzip", "-z1"],
            ..self
        }
    }

    /// Whether its programs are of another architecture than this machine.
    pub(super) fn is_foreign(&self) -> bool {
        self.architecture != self.builder
    }

    /// The version's three numbers, which is what Windows compares.
    pub(super) fn number(&self) -> &str {
        self.version
            .split(['~', '+'])
            .next()
            .unwrap_or(&self.version)
    }

    /// Three numbers that are later.
    pub(super) fn later_number(&self) -> Result<String> {
        let number = self.number();
        let (before, last) = number
            .rsplit_once('.')
            .with_context(|| format!("{number} is no version"))?;
        let last: u32 = last
            .parse()
            .with_context(|| format!("{number} is no version"))?;
        Ok(format!("{before}.{}", last + 1))
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
        let (rust, c) = artefacts::without_paths(target);
        let packages = ["firstmile-agent", "firstmile-collector"];
        artefacts::release(&packages, target, |cargo| {
            cargo
                .env("CARGO_ENCODED_RUSTFLAGS", &rust)
                .env("CFLAGS", &c)
                .env("SOURCE_DATE_EPOCH", &self.epoch);
        })?;
        Ok(target.join("release"))
    }
}

/// What changed in a version, for people: its section of the changelog, without the heading.
///
/// # Errors
/// When there is no such section, or nothing in it.
pub(super) fn notes(changelog: &str, version: &str) -> Result<String> {
    let is_of_version = |line: &&str| {
        let name = line.strip_prefix("## ").unwrap_or_default();
        name.split_whitespace()
            .next()
            .map(|name| name.trim_matches(['[', ']']))
            == Some(version)
    };
    let section: Vec<&str> = changelog
        .lines()
        .skip_while(|line| !is_of_version(line))
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .collect();
    let section = section.join("\n");
    let section = section.trim();
    ensure!(
        !section.is_empty(),
        "CHANGELOG.md has no section \"## {version}\" with anything in it: give what is under \"Unreleased\" that name"
    );
    Ok(section.to_owned())
}

fn git(arguments: &[&str]) -> Result<String> {
    captured(
        Command::new("git")
            .args(arguments)
            .current_dir(tree::root()),
    )
}

fn git_utc(arguments: &[&str]) -> Result<String> {
    captured(
        Command::new("git")
            .args(arguments)
            .env("TZ", "UTC")
            .current_dir(tree::root()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notes_of_a_release_are_its_section_alone() {
        let changelog = "# Changelog\n\n## Unreleased\n\n- new\n\n## 0.2.0 - 2026-12-01\n\n### Added\n- one\n\n\
                         ## [0.1.0]\n- first\n\n## 0.0.9\n\n";
        for (version, want) in [
            ("0.2.0", Some("### Added\n- one")),
            ("0.1.0", Some("- first")),
            ("0.0.9", None),
            ("0.2", None),
            ("0.3.0", None),
        ] {
            let notes = notes(changelog, version).ok();
            assert_eq!(notes.as_deref(), want, "{version}");
        }
    }
}
