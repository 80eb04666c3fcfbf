//! `cargo xtask dist --check`: the packages on a real systemd, from the first install to the purge.
//!
//! Two stories: one machine alone, through everything that can happen to a package ([`super::story`]); one at a site of the
//! lab, through a failover ([`super::failover`]). What is measured goes to `target/bench/dist.json`; what was not measured has
//! no key there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::desktop::Installers;
use super::release::Release;
use super::{Built, PACKAGES, arm64, failover, msi, story, trouble};
use crate::step::{captured, step};
use crate::{needs, tree, windows};

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
pub(super) fn check(release: &Release, built: &Built, twice: bool) -> Result<()> {
    let mut measures = Measures::default();
    let mut outcome = alone(&mut measures, release, built);
    if outcome.is_ok() {
        measures.chapter(
            "lab_failover_seen",
            "see a failover at a site of the lab",
            || failover::tell(&share_folder(), &built.bin),
        );
    }
    if twice && outcome.is_ok() {
        outcome = reproduce(&mut measures, release, built);
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

/// What needs no lab, for every run of the tests; gives back how many chapters there were, and what was bad.
pub(super) fn check_alone(release: &Release, built: &Built) -> Result<(usize, Vec<String>)> {
    let mut measures = Measures::default();
    alone(&mut measures, release, built)?;
    let chapters = measures.values.values().filter(|value| value.is_boolean());
    Ok((chapters.count(), measures.failures))
}

fn alone(measures: &mut Measures, release: &Release, built: &Built) -> Result<()> {
    let Built {
        bin,
        debs,
        arm64,
        msi,
        ..
    } = built;
    manuals(measures, bin)?;
    for deb in debs {
        measures.size(deb)?;
    }
    for deb in arm64 {
        measures.size(deb)?;
    }
    if let Some(msi) = msi {
        measures.set("msi_mb", json!(megabytes(msi)?));
    }
    let all: Vec<_> = debs.iter().chain(arm64).cloned().collect();
    // Lintian looks into each file while the story waits for services.
    thread::scope(|scope| {
        let lintian = scope.spawn(|| lintian(&all));
        let share = share(release, bin, debs)?;
        let installers = installers(release, built)?;
        let told = story::tell(measures, &share, installers.as_ref());
        let findings = lintian.join().expect("lintian's thread does not panic")?;
        note_findings(measures, &findings);
        told
    })
}

fn share_folder() -> PathBuf {
    tree::target().join("nspawn/share")
}

/// The folder that the machine reads: packages as released, and the same programs under a later version.
fn share(release: &Release, bin: &Path, debs: &[PathBuf]) -> Result<PathBuf> {
    let share = share_folder();
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
    trouble::prepare(&share)?;
    Ok(share)
}

/// The installer as released, and the same program under a later version.
fn installers(release: &Release, built: &Built) -> Result<Option<Installers>> {
    let (Some(exe), Some(msi)) = (&built.exe, &built.msi) else {
        return Ok(None);
    };
    let folder = tree::target().join("xtask/later");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let later = msi::build(&release.bumped(), exe, &release.later_number()?, &folder)?;
    Ok(Some(Installers {
        first: msi.clone(),
        later,
    }))
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
fn reproduce(measures: &mut Measures, release: &Release, built: &Built) -> Result<()> {
    let bin = release.build_again()?;
    let folder = tree::target().join("again/debs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut differing = arm64::differing(release, &built.arm64, &folder)?;
    let read =
        |file: &Path| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    for (package, first) in PACKAGES.iter().zip(&built.debs) {
        let second = package.build(release, &bin, &folder)?;
        if read(first)? != read(&second)? {
            differing.push(package.name.to_owned());
        }
    }
    if let Some(first) = &built.msi {
        let target = tree::target().join("again/windows");
        let exe = windows::Toolchain::ready(None)?.build_again(&target)?;
        let second = msi::build(release, &exe, release.number(), &folder)?;
        if read(first)? != read(&second)? {
            differing.push("the .msi".to_owned());
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

/// Errors and warnings of Debian's rules.
fn lintian(debs: &[PathBuf]) -> Result<Vec<String>> {
    let output = Command::new("lintian")
        .args(["--no-cfg", "--allow-root", "--tag-display-limit", "0"])
        .args(["--display-level", ">=warning"])
        .args(debs)
        .output()
        .context("cannot start lintian")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let is_finding = |line: &&str| line.starts_with("E:") || line.starts_with("W:");
    Ok(text.lines().filter(is_finding).map(str::to_owned).collect())
}

fn note_findings(measures: &mut Measures, findings: &[String]) {
    for finding in findings {
        println!("    {finding}");
    }
    measures.set("lintian_findings", json!(findings.len()));
    if !findings.is_empty() {
        measures
            .failures
            .push(format!("lintian finds {} thing(s)", findings.len()));
    }
}

/// The size of a file in 10^6 bytes.
fn megabytes(file: &Path) -> Result<f64> {
    let bytes = fs::metadata(file)
        .with_context(|| format!("cannot look at {}", file.display()))?
        .len();
    #[expect(
        clippy::cast_precision_loss,
        reason = "a package is far below 2^53 bytes"
    )]
    let megabytes = (bytes as f64 / 1e4).round() / 100.0;
    Ok(megabytes)
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
        let name = deb.file_name().unwrap_or_default().to_string_lossy();
        let which = name.trim_start_matches("firstmile-");
        let which = which.split('_').next().unwrap_or(which);
        let foreign = if name.ends_with("_arm64.deb") {
            "_arm64"
        } else {
            ""
        };
        self.set(&format!("deb_{which}{foreign}_mb"), json!(megabytes(deb)?));
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
