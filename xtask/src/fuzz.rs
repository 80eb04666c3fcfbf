//! `cargo xtask fuzz`: libFuzzer on our own parsers of bytes from outside (`tests/fuzz`), on the stable compiler.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::step::{command, command_line, run, step};
use crate::tree;

/// An input that takes longer than this, seconds, hangs a parser.
const MOST_SECONDS_AN_INPUT: u32 = 10;
/// Memory of a target, MiB: every parser is bounded.
const MOST_MEMORY_MB: u32 = 512;

#[derive(Args)]
pub(crate) struct FuzzArgs {
    /// One target; all when absent. The folders of tests/fuzz/corpus name them
    target: Option<String>,
    /// How long each target is searched
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn fuzz(args: &FuzzArgs) -> Result<()> {
    let all = targets()?;
    let chosen = match &args.target {
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => bail!("there is no target `{name}`; there are: {}", all.join(" ")),
        None => all,
    };
    search(&chosen, args.seconds)
}

/// Searches every target for `seconds`; says how many there are.
pub(crate) fn all(seconds: u32) -> Result<u32> {
    let all = targets()?;
    search(&all, seconds)?;
    u32::try_from(all.len()).context("too many targets")
}

fn search(targets: &[String], seconds: u32) -> Result<()> {
    let program = step("build the fuzz targets with coverage", build)?;
    let mut broken = Vec::new();
    for target in targets {
        if let Err(error) = one(&program, target, seconds) {
            println!("    {target}: {error:#}");
            broken.push(target.as_str());
        }
    }
    ensure!(
        broken.is_empty(),
        "broken fuzz targets: {}",
        broken.join(", ")
    );
    Ok(())
}

/// Each folder of the corpus is a target; a test of `firstmile-fuzz` holds them equal.
fn targets() -> Result<Vec<String>> {
    let folder = corpus();
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names: Vec<String> = (entries.flatten())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

fn build() -> Result<PathBuf> {
    let mut cargo = command("cargo");
    cargo
        .args(["build", "--locked", "--package", "firstmile-fuzz"])
        .args(["--features", "libfuzzer"])
        .env(
            "RUSTC_WORKSPACE_WRAPPER",
            tree::root().join("tests/fuzz/instrument.sh"),
        )
        .current_dir(tree::root());
    run(&mut cargo)?;
    Ok(tree::target().join("debug/firstmile-fuzz"))
}

/// What is found beyond the seeds stays in `target/fuzz`, so that the next search begins there.
fn one(program: &Path, target: &str, seconds: u32) -> Result<()> {
    let work = tree::target().join("fuzz");
    let found = work.join(target);
    fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let breakers = work.join(format!("breaks-{target}-"));
    let mut command = Command::new(program);
    command
        .env("FIRSTMILE_FUZZ_TARGET", target)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={MOST_SECONDS_AN_INPUT}"))
        .arg(format!("-rss_limit_mb={MOST_MEMORY_MB}"))
        .arg(format!("-artifact_prefix={}", breakers.display()))
        .args([&found, &corpus().join(target)])
        .stderr(Stdio::piped());
    let line = command_line(&command);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let stderr = child.stderr.take().context("libFuzzer has no voice")?;
    let said: Vec<String> = BufReader::new(stderr)
        .lines()
        .map_while(Result::ok)
        .collect();
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{line}`"))?;
    if !status.success() {
        let tail = said.len().saturating_sub(40);
        for text in said.iter().skip(tail) {
            println!("{text}");
        }
        bail!(
            "an input broke it: {}…; once it is mended, keep that file in tests/fuzz/corpus/{target}/",
            breakers.display()
        );
    }
    let done = said.iter().rev().find(|text| text.starts_with("Done "));
    let done = done.with_context(|| format!("`{line}` did not say what it did"))?;
    println!("    {target}: {}", done.to_lowercase());
    Ok(())
}

fn corpus() -> PathBuf {
    tree::root().join("tests/fuzz/corpus")
}
