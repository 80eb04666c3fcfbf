//! `cargo xtask test`: installs what the tests need, runs every tier, and says what it left out.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::artefacts::{self, Profile};
use crate::step::{command, command_line, minutes, now, shown, step};
use crate::{bench, ci, dist, fuzz, lab, needs, run, tidy, tree, windows};

/// How long each fuzz target is searched, seconds: enough to see that it lives, on every run.
const FUZZ_S: u32 = 3;
/// And in the long tiers.
const FUZZ_FULL_S: u32 = 60;

/// The tier of what is released.
const RELEASE: &str = "packages as released, built twice to the same bytes, at a site of the lab";

/// The package of the tests that need built programs.
const LAB: &[&str] = &["--package", "firstmile-tests"];

#[derive(Args)]
pub(crate) struct TestArgs {
    /// Add the long tiers: a minute for each fuzz target, lints and docs of the whole tree, the lab's five quiet minutes, what
    /// is released built twice and seen through a failover, every bench with its targets
    #[arg(long)]
    full: bool,
}

/// What the runners counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// What became of the tiers so far.
#[derive(Default)]
struct Tally {
    total: Count,
    /// What was run, and what it came to.
    tiers: Vec<String>,
    broken: Vec<String>,
}

impl Tally {
    /// Runs a tier. One that fails does not hide the next.
    fn tier(&mut self, name: &str, work: impl FnOnce() -> Result<Count>) {
        let outcome = step(name, work);
        self.tiers.push(match &outcome {
            Ok(Count {
                passed,
                failed,
                skipped,
            }) => {
                format!("{name}: {passed} passed, {failed} failed, {skipped} skipped")
            }
            Err(_) => format!("{name}: broken"),
        });
        match outcome {
            Ok(count) => {
                self.total.add(count);
                if count.failed > 0 {
                    self.broken.push(format!("{name}: {} failed", count.failed));
                }
            }
            Err(error) => {
                self.total.failed += 1;
                self.broken.push(format!("{name}: {error:#}"));
            }
        }
    }
}

/// Runs the tiers and ends with the line that counts them.
pub(crate) fn test(args: &TestArgs) -> Result<()> {
    let started = now();
    needs::node()?;
    step("packages", || {
        let wanted: Vec<_> = needs::BUILD
            .iter()
            .chain(needs::LAB)
            .chain(needs::ROUTING)
            .chain(needs::SITE)
            .chain(needs::SCRIPTS)
            .chain(needs::NOTIFY)
            .chain(needs::BROWSER)
            .collect();
        needs::install(&wanted)
    })?;
    artefacts::dashboard()?;
    let mut tally = Tally::default();
    if args.full {
        tally.tier("format, spelling, licences, lints, docs", || {
            ci::ci().map(|()| one())
        });
    } else {
        tally.tier("format and tidy", || {
            shown(&tree::root(), "cargo", &["fmt", "--all", "--check"])?;
            tidy::tidy().map(|()| one())
        });
        tally.tier("dashboard: types, lints, unit tests", || {
            ci::dashboard_checks().map(|()| one())
        });
    }
    tally.tier("unit and property tests", || {
        cargo_test(&["--workspace", "--exclude", "firstmile-tests"])
    });
    tally.tier("unit tests of the Windows agent, under wine", || {
        on_windows(args.full)
    });
    let seconds = if args.full { FUZZ_FULL_S } else { FUZZ_S };
    tally.tier(&format!("fuzz targets, {seconds} s each"), || {
        fuzz::all(seconds).map(|passed| Count {
            passed,
            ..Count::default()
        })
    });
    let bin = artefacts::binaries(
        &["firstmile-agent", "firstmile-collector", "firstmile-tests"],
        Profile::Dev,
    )?;
    tally.tier(
        "packages: .deb on a real systemd, .msi by msiexec under wine",
        || packages(&bin, args.full),
    );
    tally.tier("lab, end to end", || {
        cargo_test(&[LAB, &["--lib", "--bins", "--test", "e2e"]].concat())
    });
    tally.tier("agents at difficult sites", || {
        cargo_test(&[LAB, &["--test", "site"]].concat())
    });
    tally.tier("scripts of Microsoft.Peering, by their own client", scripts);
    tally.tier("browser", || browser(&bin));
    if args.full {
        long_tiers(&mut tally, &bin);
    }
    println!("\nran for {}", minutes(now() - started));
    close(&tally, args.full)
}

/// What takes hours.
fn long_tiers(tally: &mut Tally, bin: &Path) {
    tally.tier("lab against the truth, five quiet minutes", || {
        lab_check(bin)
    });
    tally.tier(RELEASE, || dist::as_released().map(|()| one()));
    for name in bench::TIERS {
        tally.tier(&format!("bench {name}"), || {
            bench::tier(name).map(|()| one())
        });
    }
}

fn close(tally: &Tally, full: bool) -> Result<()> {
    if !full {
        println!(
            "left out (run them with --full): clippy and docs of the whole tree and of the Windows agent, spelling, licences"
        );
        println!(
            "left out (run them with --full): a minute for each fuzz target (they had {FUZZ_S} s)"
        );
        println!("left out (run them with --full): lab check with five quiet minutes");
        println!("left out (run them with --full): {RELEASE}");
        println!(
            "left out (run them with --full): bench {}",
            bench::TIERS.join(", bench ")
        );
    }
    for line in &tally.tiers {
        println!("tier {line}");
    }
    for line in &tally.broken {
        println!("broken: {line}");
    }
    let Count {
        passed,
        failed,
        skipped,
    } = tally.total;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 {
        bail!("{failed} test(s) or tier(s) failed");
    }
    Ok(())
}

fn one() -> Count {
    Count {
        passed: 1,
        ..Count::default()
    }
}

/// The agent's unit tests as Windows programs.
fn on_windows(full: bool) -> Result<Count> {
    let toolchain = windows::Toolchain::ready(None)?;
    if full {
        toolchain.lint()?;
    }
    let tested = windows::test_command(&toolchain).and_then(|mut tests| counted(&mut tests));
    windows::Wine::here().end();
    tested
}

/// The packages of the programs that were just built, installed, upgraded, broken, removed.
///
/// A machine that cannot boot another one skips them, by name; the long run does not.
fn packages(bin: &Path, full: bool) -> Result<Count> {
    if let Err(why) = dist::can_try_out() {
        if full {
            return Err(why);
        }
        println!("    skipped, packages cannot be tried out here: {why:#}");
        return Ok(Count {
            skipped: 1,
            ..Count::default()
        });
    }
    let exe = windows::Toolchain::ready(None)?.build(false)?;
    let (chapters, bad) = dist::try_out(bin, &exe)?;
    for line in &bad {
        println!("    {line}");
    }
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(Count {
        passed: count(chapters.saturating_sub(bad.len())),
        failed: count(bad.len()),
        skipped: 0,
    })
}

fn cargo_test(arguments: &[&str]) -> Result<Count> {
    let mut command = command("cargo");
    command
        .args(["test", "--locked", "--no-fail-fast"])
        .args(arguments)
        .current_dir(tree::root());
    counted(&mut command)
}

/// Runs a test runner, shows what it prints, and adds up its closing lines.
fn counted(command: &mut Command) -> Result<Count> {
    let line = command_line(command);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let stdout = child
        .stdout
        .take()
        .with_context(|| format!("`{line}` has no standard output"))?;
    let mut count = Count::default();
    for text in BufReader::new(stdout).lines() {
        let text = text.with_context(|| format!("cannot read what `{line}` prints"))?;
        println!("{text}");
        count.add(closing_line(&text));
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{line}`"))?;
    if count.passed + count.failed == 0 {
        bail!("`{line}` ran no test ({status})");
    }
    if !status.success() && count.failed == 0 {
        bail!("`{line}` ended with {status} though no test failed");
    }
    Ok(count)
}

/// Reads the closing lines of cargo's harness, of Playwright and of Node's runner.
fn closing_line(text: &str) -> Count {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number_before = |word: &str| {
        words.windows(2).find_map(|pair| match pair {
            [number, next] if next.trim_end_matches([';', ',']) == word => number.parse().ok(),
            _ => None,
        })
    };
    let number_after = |word: &str| {
        words.windows(2).find_map(|pair| match pair {
            [first, number] if *first == word => number.parse().ok(),
            _ => None,
        })
    };
    let cargo = text.starts_with("test result:");
    let playwright = words.len() >= 2
        && text.starts_with("  ")
        && words.first().is_some_and(|w| w.parse::<u32>().is_ok());
    if cargo || playwright {
        return Count {
            passed: number_before("passed").unwrap_or(0),
            failed: number_before("failed").unwrap_or(0),
            skipped: number_before("ignored")
                .or_else(|| number_before("skipped"))
                .unwrap_or(0),
        };
    }
    if matches!(words.first(), Some(&("#" | "ℹ"))) && words.len() == 3 {
        return Count {
            passed: number_after("pass").unwrap_or(0),
            failed: number_after("fail").unwrap_or(0),
            skipped: number_after("skipped").unwrap_or(0),
        };
    }
    Count::default()
}

/// A script with the client that its publisher gives out, against the collector.
fn scripts() -> Result<Count> {
    let wanted = tree::root().join("tests/arm/requirements.txt");
    let folder = tree::target().join("arm-client");
    let mark = folder.join("requirements.txt");
    let pinned =
        std::fs::read(&wanted).with_context(|| format!("cannot read {}", wanted.display()))?;
    if std::fs::read(&mark).ok().as_ref() != Some(&pinned) {
        let mut install = command("pip3");
        install
            .args([
                "install",
                "--quiet",
                "--upgrade",
                "--no-deps",
                "--only-binary",
                ":all:",
                "--target",
            ])
            .arg(&folder)
            .arg("--requirement")
            .arg(&wanted);
        crate::step::run(&mut install)?;
        std::fs::write(&mark, pinned)
            .with_context(|| format!("cannot write {}", mark.display()))?;
    }
    cargo_test(&[LAB, &["--test", "arm"]].concat())
}

/// The dashboard in a real browser, on a collector that a lab of its own feeds.
fn browser(bin: &Path) -> Result<Count> {
    let folder = tree::root().join("tests/browser");
    artefacts::npm_ci(&folder)?;
    let state = tree::target().join("lab-browser");
    let (mut lab, url) = start_lab(bin, &state)?;
    let event = format!(
        "{} event pop-down --state {}",
        bin.join("firstmile-lab").display(),
        state.display()
    );
    let outcome = counted(
        Command::new("npm")
            .args(["test", "--silent"])
            .env("FIRSTMILE_URL", url)
            .env("FIRSTMILE_LAB_EVENT", event)
            .env("FORCE_COLOR", "0")
            .current_dir(&folder),
    );
    run::stop("lab", &mut lab)?;
    outcome
}

/// Starts a lab on a port of its own choice; returns once it says where its dashboard is.
fn start_lab(bin: &Path, state: &Path) -> Result<(Child, String)> {
    let mut child = lab::up_command(bin, state, "127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the lab")?;
    let stdout = child
        .stdout
        .take()
        .context("the lab has no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    for text in lines.by_ref() {
        let text = text.context("cannot read what the lab prints")?;
        println!("    lab: {text}");
        if let Some(url) = text.strip_prefix("dashboard ") {
            let url = url.trim().to_owned();
            // Its later lines are read on, so that the lab never waits for a reader.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok((child, url));
        }
    }
    let status = child.wait().context("cannot wait for the lab")?;
    bail!("the lab ended with {status} before its dashboard was there")
}

fn lab_check(bin: &Path) -> Result<Count> {
    let json = tree::target().join("lab-check.json");
    let mut command = Command::new(bin.join("firstmile-lab"));
    command
        .arg("check")
        .arg("--json")
        .arg(&json)
        .args(["--quiet", "5m"]);
    command.arg("--agent-bin").arg(bin.join("firstmile-agent"));
    command
        .arg("--collector-bin")
        .arg(bin.join("firstmile-collector"));
    crate::step::run(command.current_dir(tree::root())).map(|()| one())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_each_runner_are_counted() {
        let count = |passed, failed, skipped| Count {
            passed,
            failed,
            skipped,
        };
        for (text, want) in [
            (
                "test result: ok. 11 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out",
                count(11, 0, 2),
            ),
            (
                "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured",
                count(3, 1, 0),
            ),
            ("  7 passed (12.3s)", count(7, 0, 0)),
            ("  1 failed", count(0, 1, 0)),
            ("# pass 4", count(4, 0, 0)),
            ("ℹ fail 2", count(0, 2, 0)),
            ("running 11 tests", count(0, 0, 0)),
            ("ok 1 - 3 passed through", count(0, 0, 0)),
        ] {
            assert_eq!(closing_line(text), want, "{text}");
        }
    }
}
