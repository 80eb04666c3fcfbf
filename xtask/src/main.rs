//! The project's own commands. `cargo xtask --help` lists them; nothing but cargo has to be installed to start.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program talks to its user"
)]

mod artefacts;
mod bench;
mod ci;
mod dist;
mod fuzz;
mod lab;
mod needs;
mod run;
mod step;
mod test;
mod tidy;
mod tree;
mod windows;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build everything, then run the collector and one local agent until Ctrl-C
    Run(run::RunArgs),
    /// Install what the tests need, then run them
    Test(test::TestArgs),
    /// What continuous integration runs before the tests: format, spelling, tidy, licences, lints, docs
    Ci,
    /// The project's own rules: pure rooms, sizes, headers, addresses in tests
    Tidy,
    /// Drive the simulated internet: `event NAME`, `status`, `check --json FILE`
    Lab(lab::LabArgs),
    /// Measure, beside named peers in the same run: accuracy, capacity, cost, lab
    Bench(bench::BenchArgs),
    /// Search our own parsers of bytes from outside for an input that breaks them, by libFuzzer
    Fuzz(fuzz::FuzzArgs),
    /// Build the agent for Windows; `--test` runs its unit tests under wine
    Windows(windows::WindowsArgs),
    /// Build release binaries and Debian packages with checksums into dist/; `--check` installs them on a real systemd
    Dist(dist::DistArgs),
    /// Print what changed in a version, for its release: its section of CHANGELOG.md
    Notes {
        /// Such as 0.2.0
        version: String,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Test(args) => test::test(&args),
        Command::Ci => ci::ci(),
        Command::Tidy => tidy::tidy(),
        Command::Lab(args) => lab::lab(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Fuzz(args) => fuzz::fuzz(&args),
        Command::Windows(args) => windows::windows(&args),
        Command::Dist(args) => dist::dist(&args),
        Command::Notes { version } => dist::notes(&version),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
