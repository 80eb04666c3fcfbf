//! `cargo xtask windows`: the agent as a Windows program, and its unit tests as Windows programs under wine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::artefacts;
use crate::needs::{self, Package};
use crate::step::{captured, command, run, step};
use crate::tree;

pub(crate) const TARGET: &str = "x86_64-pc-windows-gnu";

/// What building needs.
const BUILD: &[Package] = &[Package {
    name: "gcc-mingw-w64-x86-64-posix",
    program: "x86_64-w64-mingw32-gcc",
    why: "links Windows programs",
}];

/// What running needs; `wine` alone would bring 32-bit programs.
const RUN: &[Package] = &[
    Package {
        name: "wine",
        program: "wine",
        why: "runs the tests of the Windows agent",
    },
    Package {
        name: "wine64",
        program: "/usr/lib/wine/wine64",
        why: "runs 64-bit programs",
    },
];

/// Packages whose tests say something on Windows; what is pure and long is tested where it runs faster.
const TESTED: &[&str] = &[
    "firstmile-agent",
    "firstmile-echo",
    "firstmile-sys",
    "firstmile-wire",
];

/// Options of `cargo xtask windows`.
#[derive(Args)]
pub(crate) struct WindowsArgs {
    /// Build for release, for size
    #[arg(long)]
    release: bool,
    /// Then lint it, and run the unit tests of the agent and its crates under wine
    #[arg(long)]
    test: bool,
    /// Sources of Rust's std, a tarball or folder, instead of those of Debian's mirror [env: `FIRSTMILE_STD_SOURCES`]
    #[arg(long, value_name = "PATH")]
    std_sources: Option<PathBuf>,
}

/// Builds the agent for Windows, and tests it there if asked to.
pub(crate) fn windows(args: &WindowsArgs) -> Result<()> {
    let toolchain = Toolchain::ready(args.std_sources.as_deref())?;
    let program = toolchain.build(args.release)?;
    println!("    {}", program.display());
    if args.test {
        toolchain.lint()?;
        let tested = test_command(&toolchain).and_then(|mut tests| run(&mut tests));
        Wine::here().end();
        tested?;
    }
    Ok(())
}

/// What makes cargo build for Windows.
pub(crate) struct Toolchain {
    environment: Vec<(String, String)>,
}

impl Toolchain {
    /// Installs the linker and makes a std for the target, where they are missing.
    pub(crate) fn ready(std_sources: Option<&Path>) -> Result<Self> {
        needs::install(&BUILD.iter().collect::<Vec<_>>())?;
        step("toolchain for Windows", || {
            let mut script = command(tree::root().join("packaging/windows/toolchain.sh"));
            script.arg(tree::target().join("windows-toolchain"));
            script.args(std_sources).current_dir(tree::root());
            let environment = captured(&mut script)?
                .lines()
                .filter_map(|line| line.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            Ok(Self { environment })
        })
    }

    fn cargo(&self, verb: &str) -> Command {
        let mut cargo = command("cargo");
        cargo
            .args([verb, "--locked", "--target", TARGET])
            .env("CARGO_TARGET_DIR", target_folder())
            .envs(self.environment.iter().cloned())
            .current_dir(tree::root());
        cargo
    }

    /// Builds the agent and says where it is.
    pub(crate) fn build(&self, release: bool) -> Result<PathBuf> {
        let profile = if release { "small" } else { "dev" };
        step("build the agent for Windows", || {
            let mut cargo = self.cargo("build");
            cargo.args(["--package", "firstmile-agent", "--profile", profile]);
            if release {
                same_everywhere(&mut cargo, &target_folder());
            }
            run(&mut cargo)
        })?;
        Ok(program_in(
            &target_folder(),
            if release { profile } else { "debug" },
        ))
    }

    /// Builds the agent for release into another folder, from nothing.
    pub(crate) fn build_again(&self, target: &Path) -> Result<PathBuf> {
        step("build the agent for Windows again, elsewhere", || {
            let mut cargo = self.cargo("build");
            cargo.args(["--package", "firstmile-agent", "--profile", "small"]);
            // The later of two is the one that counts.
            cargo.env("CARGO_TARGET_DIR", target);
            same_everywhere(&mut cargo, target);
            run(&mut cargo)
        })?;
        Ok(program_in(target, "small"))
    }

    /// Lints what is there on Windows only, too.
    pub(crate) fn lint(&self) -> Result<()> {
        step("lint the agent for Windows", || {
            let mut cargo = self.cargo("clippy");
            cargo.args(packages()).arg("--all-targets");
            run(cargo.args(["--", "-D", "warnings"]))
        })
    }
}

/// The command that runs the unit tests; it prints cargo's closing lines.
pub(crate) fn test_command(toolchain: &Toolchain) -> Result<Command> {
    require_wine()?;
    let wine = Wine::here();
    wine.ready()?;
    let mut cargo = toolchain.cargo("test");
    cargo
        .args(packages())
        .args(["--no-fail-fast", "--lib", "--bins"])
        .env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", "wine")
        .env("RUST_BACKTRACE", "0"); // wine reads no symbols of ours
    wine.enter(&mut cargo);
    Ok(cargo)
}

fn packages() -> impl Iterator<Item = &'static str> {
    TESTED.iter().flat_map(|package| ["--package", package])
}

fn program_in(target: &Path, folder: &str) -> PathBuf {
    target.join(TARGET).join(folder).join("firstmile-agent.exe")
}

/// No path of this machine, and no time, goes into the program.
fn same_everywhere(cargo: &mut Command, target: &Path) {
    let (rust, c) = artefacts::without_paths(target);
    let linked = "-Clink-arg=-Wl,--no-insert-timestamp";
    cargo
        .env("CARGO_ENCODED_RUSTFLAGS", format!("{rust}\x1f{linked}"))
        .env("CFLAGS", c);
}

fn target_folder() -> PathBuf {
    tree::target().join("windows")
}

/// A wine of the project's own: its registry and drives are under `target/`.
pub(crate) struct Wine {
    prefix: PathBuf,
}

/// Installs what runs Windows programs.
pub(crate) fn require_wine() -> Result<()> {
    needs::install(&RUN.iter().collect::<Vec<_>>())
}

impl Wine {
    pub(crate) fn here() -> Self {
        Self {
            prefix: target_folder().join("wine"),
        }
    }

    /// Another one, of which nothing is left from before.
    pub(crate) fn fresh(name: &str) -> Result<Self> {
        let wine = Self {
            prefix: target_folder().join(name),
        };
        wine.end();
        if wine.prefix.exists() {
            fs::remove_dir_all(&wine.prefix)
                .with_context(|| format!("cannot empty {}", wine.prefix.display()))?;
        }
        fs::create_dir_all(&wine.prefix)
            .with_context(|| format!("cannot make {}", wine.prefix.display()))?;
        Ok(wine)
    }

    /// Where its drive C: is.
    pub(crate) fn drive_c(&self) -> PathBuf {
        self.prefix.join("drive_c")
    }

    /// Lets a command run in it.
    pub(crate) fn enter(&self, command: &mut Command) {
        command
            .env("WINEPREFIX", &self.prefix)
            .env("WINEDEBUG", "-all")
            .env("WINEDLLOVERRIDES", "mscoree,mshtml="); // no offer to install Mono or Gecko
    }

    /// Makes it, and gives it the library that wine 8 lacks.
    pub(crate) fn ready(&self) -> Result<()> {
        if self.library().is_file() {
            return Ok(());
        }
        step("prepare wine", || {
            fs::create_dir_all(&self.prefix)
                .with_context(|| format!("cannot make {}", self.prefix.display()))?;
            let mut boot = Command::new("wine");
            self.enter(boot.args(["wineboot", "--init"]));
            // What it starts lives on for a while, and would keep a pipe open.
            run(boot.stdout(Stdio::null()).stderr(Stdio::null()))?;
            self.complete()
        })
    }

    fn library(&self) -> PathBuf {
        self.drive_c().join("windows/system32/bcryptprimitives.dll")
    }

    /// Gives a wine that was booted the library that wine 8 lacks.
    pub(crate) fn complete(&self) -> Result<()> {
        let library = self.library();
        if library.is_file() {
            return Ok(());
        }
        let source = tree::root().join("packaging/windows/bcryptprimitives.c");
        let mut compiler = Command::new("x86_64-w64-mingw32-gcc");
        compiler.args(["-shared", "-O2", "-o"]).arg(&library);
        run(compiler.arg(source).arg("-ladvapi32"))
    }

    /// Ends what still runs in it; nothing of other prefixes.
    pub(crate) fn end(&self) {
        let mut server = Command::new("wineserver");
        self.enter(server.arg("-k"));
        // It fails when nothing runs any more.
        server.output().ok();
    }
}
