//! `cargo xtask dist --check`: the packages on a real systemd, from the first install to the purge.
//!
//! Two stories: one machine alone, through everything that can happen to a package ([`super::story`]); one at a site of the
//! lab, through a failover ([`super::failover`]). What is measured goes to `target/bench/dist.json`; what was not measured has
//! no key there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::release::Release;
use super::{PACKAGES, failover, story};
use crate::step::{captured, step};
use crate::{needs, tree};

/// Packages that the check needs.
const NEEDS: &[needs::Package] = &[
    needs::Package {
        name: "debootstrap",
        program: "debootstrap",
        why: "the file system of the test machine",
    },
    needs::Package {
        name: "systemd-container",
        program: "systemd-nspawn",
        why: "booting the test machine",
    },
    needs::Package {
        name: "lintian",
        program: "lintian",
        why: "Debian's rules for packages",
    },
];

/// Installs what the check needs, and says early when it cannot run.
pub(super) fn require() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the check boots a machine and needs root: sudo cargo xtask dist --check"
    );
    needs::install(&NEEDS.iter().collect::<Vec<_>>())
}

/// Checks the packages, writes the measures, and fails if any of them is bad.
pub(super) fn check(release: &Release, bin: &Path, debs: &[PathBuf], twice: bool) -> Result<()> {
    let mut measures = Measures::default();
    let mut outcome = run(&mut measures, release, bin, debs);
    if twice && outcome.is_ok() {
        outcome = reproduce(&mut measures, release, debs);
    }
    measures.write()?;
    outcome?;
    ensure!(
        measures.failures.is_empty(),
        "the packages are not good:\n  {}",
        measures.failures.join("\n  ")
    );
    Ok(())
}

fn run(measures: &mut Measures, release: &Release, bin: &Path, debs: &[PathBuf]) -> Result<()> {
    for deb in debs {
        measures.size(deb)?;
    }
    manuals(measures, bin)?;
    step("ask lintian", || lintian(measures, debs))?;
    let share = share(release, bin, debs)?;
    story::tell(measures, &share)?;
    measures.chapter(
        "lab_failover_seen",
        "see a failover at a site of the lab",
        || failover::tell(&share, bin),
    );
    Ok(())
}

/// The folder that the machine reads: packages as released, and the same programs under a later version.
fn share(release: &Release, bin: &Path, debs: &[PathBuf]) -> Result<PathBuf> {
    let share = tree::target().join("nspawn/share");
    if share.exists() {
        fs::remove_dir_all(&share).with_context(|| format!("cannot empty {}", share.display()))?;
    }
    let later = share.join("later");
    fs::create_dir_all(&later).with_context(|| format!("cannot make {}", later.display()))?;
    for (package, deb) in PACKAGES.iter().zip(debs) {
        fs::copy(deb, share.join(format!("{}.deb", package.name)))
            .with_context(|| format!("cannot copy {}", deb.display()))?;
        let bumped = package.build(&release.bumped(), bin, &later)?;
        fs::rename(&bumped, later.join(format!("{}.deb", package.name)))
            .with_context(|| format!("cannot rename {}", bumped.display()))?;
    }
    Ok(share)
}

/// Every command that a program knows is in its man page.
fn manuals(measures: &mut Measures, bin: &Path) -> Result<()> {
    for package in PACKAGES {
        let page = tree::root().join(format!("packaging/man/{}.1", package.name));
        let page = fs::read_to_string(&page)
            .with_context(|| format!("cannot read {}", page.display()))?
            .replace("\\-", "-");
        let help = captured(Command::new(bin.join(package.name)).arg("--help"))?;
        let commands = help
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_whitespace().next())
            .filter(|command| *command != "help");
        for command in commands {
            if !page.contains(command) {
                let failure = format!("the man page of {} lacks `{command}`", package.name);
                measures.failures.push(failure);
            }
        }
    }
    Ok(())
}

/// The same commit, built and packed again, has to be the same bytes.
fn reproduce(measures: &mut Measures, release: &Release, debs: &[PathBuf]) -> Result<()> {
    let bin = release.build_again()?;
    let folder = tree::target().join("again/debs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut differing = Vec::new();
    for (package, first) in PACKAGES.iter().zip(debs) {
        let second = package.build(release, &bin, &folder)?;
        let read =
            |deb: &Path| fs::read(deb).with_context(|| format!("cannot read {}", deb.display()));
        if read(first)? != read(&second)? {
            differing.push(package.name);
        }
    }
    measures.set("reproducible", json!(differing.is_empty()));
    if !differing.is_empty() {
        let differing = differing.join(" and ");
        measures
            .failures
            .push(format!("built twice, {differing} differ"));
    }
    Ok(())
}

fn lintian(measures: &mut Measures, debs: &[PathBuf]) -> Result<()> {
    let output = Command::new("lintian")
        .args(["--no-cfg", "--allow-root", "--tag-display-limit", "0"])
        .args(["--display-level", ">=warning"])
        .args(debs)
        .output()
        .context("cannot start lintian")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let findings: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("E:") || line.starts_with("W:"))
        .collect();
    for finding in &findings {
        println!("    {finding}");
    }
    measures.set("lintian_findings", json!(findings.len()));
    if !findings.is_empty() {
        measures
            .failures
            .push(format!("lintian finds {} thing(s)", findings.len()));
    }
    Ok(())
}

/// What was measured, and what was bad.
#[derive(Default)]
pub(super) struct Measures {
    values: BTreeMap<String, Value>,
    failures: Vec<String>,
}

impl Measures {
    pub(super) fn set(&mut self, key: &str, value: Value) {
        println!("    {key} = {value}");
        self.values.insert(key.to_owned(), value);
    }

    fn size(&mut self, deb: &Path) -> Result<()> {
        let bytes = fs::metadata(deb)
            .with_context(|| format!("cannot look at {}", deb.display()))?
            .len();
        let name = deb.file_name().unwrap_or_default().to_string_lossy();
        let which = name.trim_start_matches("firstmile-");
        let which = which.split('_').next().unwrap_or(which);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a package is far below 2^53 bytes"
        )]
        let megabytes = (bytes as f64 / 1e4).round() / 100.0;
        self.set(&format!("deb_{which}_mb"), json!(megabytes));
        Ok(())
    }

    /// One chapter of the story under its key: true or false.
    pub(super) fn chapter<T>(
        &mut self,
        key: &str,
        name: &str,
        tell: impl FnOnce() -> Result<T>,
    ) -> Option<T> {
        match step(name, tell) {
            Ok(value) => {
                self.set(key, json!(true));
                Some(value)
            }
            Err(error) => {
                self.set(key, json!(false));
                self.failures.push(format!("{name}: {error:#}"));
                None
            }
        }
    }

    fn write(&self) -> Result<()> {
        let folder = tree::target().join("bench");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = folder.join("dist.json");
        let text = serde_json::to_string_pretty(&self.values).context("cannot write JSON")?;
        fs::write(&file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
    }
}
