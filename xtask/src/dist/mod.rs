//! `cargo xtask dist`: release binaries and Debian packages with checksums; `--check` proves them in a booted machine.

mod arm64;
mod check;
mod clone;
mod deb;
mod desktop;
mod failover;
mod inside;
mod ipv6;
mod machine;
mod msi;
mod release;
mod sbom;
mod server;
mod signing;
mod story;
mod trouble;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use sha2::{Digest, Sha256};

use self::deb::Package;
use self::machine::Machine;
use self::release::Release;
use self::signing::Signer;
use crate::step::{run, step};
use crate::{artefacts, needs, tree, windows};

/// What is released, and what each package holds.
const PACKAGES: &[Package] = &[
    Package {
        name: "firstmile-agent",
        completes: false,
        files: &[
            ("packaging/conf/agent.toml", "etc/firstmile/agent.toml"),
            (
                "packaging/systemd/firstmile-agent.service",
                "usr/lib/systemd/system/firstmile-agent.service",
            ),
            (
                "packaging/systemd/firstmile-agent-enroll.service",
                "usr/lib/systemd/system/firstmile-agent-enroll.service",
            ),
            (
                "packaging/systemd/firstmile-agent-enroll.path",
                "usr/lib/systemd/system/firstmile-agent-enroll.path",
            ),
            (
                "packaging/completions/firstmile-agent.bash",
                "usr/share/bash-completion/completions/firstmile-agent",
            ),
            (
                "packaging/completions/firstmile-agent.fish",
                "usr/share/fish/vendor_completions.d/firstmile-agent.fish",
            ),
            (
                "packaging/completions/_firstmile-agent",
                "usr/share/zsh/vendor-completions/_firstmile-agent",
            ),
            (
                "packaging/man/firstmile-agent.1",
                "usr/share/man/man1/firstmile-agent.1.gz",
            ),
        ],
    },
    Package {
        name: "firstmile-collector",
        completes: true,
        files: &[
            (
                "packaging/conf/collector.toml",
                "etc/firstmile/collector.toml",
            ),
            (
                "packaging/systemd/firstmile-collector.service",
                "usr/lib/systemd/system/firstmile-collector.service",
            ),
            (
                "packaging/man/firstmile-collector.1",
                "usr/share/man/man1/firstmile-collector.1.gz",
            ),
        ],
    },
];

/// What this machine's programs are built for.
const HOST: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-gnu"
} else {
    "x86_64-unknown-linux-gnu"
};

/// Bills of materials: package, target, name of the file, whether the dashboard is in it.
const BILLS: &[(&str, &str, &str, bool)] = &[
    ("firstmile-agent", HOST, "firstmile-agent", false),
    ("firstmile-collector", HOST, "firstmile-collector", true),
    (
        "firstmile-agent",
        windows::TARGET,
        "firstmile-agent-windows",
        false,
    ),
];

/// Packages to build packages with.
const NEEDS: &[needs::Package] = &[
    needs::Package {
        name: "dpkg-dev",
        program: "dpkg-shlibdeps",
        why: "the libraries that a .deb depends on",
    },
    needs::Package {
        name: "gzip",
        program: "gzip",
        why: "man pages and changelogs",
    },
];

/// Options of `cargo xtask dist`.
#[derive(Args)]
pub(crate) struct DistArgs {
    /// Then install, upgrade and purge the packages on a real systemd; results in target/bench/dist.json. Needs root
    #[arg(long)]
    check: bool,
    /// Also build everything a second time, elsewhere, and compare the bytes. Takes as long again
    #[arg(long, requires = "check", conflicts_with = "binaries")]
    reproducible: bool,
    /// Check the programs that the tests use, as `cargo xtask test` does: without the lab, and built fast
    #[arg(long, conflicts_with_all = ["check", "reproducible", "binaries"])]
    trial: bool,
    /// Who answers for the packages, as Debian writes it
    #[arg(long, value_name = "NAME <ADDRESS>")]
    maintainer: Option<String>,
    /// A program of the releaser's that is called with each file to sign: the programs before they are packed, the .msi,
    /// SHA256SUMS; the keys are its own
    #[arg(long, value_name = "PROGRAM")]
    signer: Option<PathBuf>,
    /// Package the binaries in this folder instead of building them
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

/// What was built: where the programs are, and the packages.
struct Built {
    /// Programs of this system.
    bin: PathBuf,
    debs: Vec<PathBuf>,
    /// The same for arm64, where they were built.
    arm64: Vec<PathBuf>,
    /// The agent for Windows, where it was built.
    exe: Option<PathBuf>,
    msi: Option<PathBuf>,
}

/// Builds what is released into `dist/`.
pub(crate) fn dist(args: &DistArgs) -> Result<()> {
    if args.trial {
        return trial();
    }
    let needed: Vec<_> = NEEDS.iter().chain(msi::NEEDS).collect();
    needs::install(&needed)?;
    if args.check {
        check::require()?;
    }
    let release = Release::of_checkout()?.maintained_by(args.maintainer.clone());
    let (bin, exe) = match &args.binaries {
        Some(folder) => {
            let exe = folder.join("firstmile-agent.exe");
            (folder.clone(), exe.is_file().then_some(exe))
        }
        None => (
            release.build()?,
            Some(windows::Toolchain::ready(None)?.build(true)?),
        ),
    };
    let dist = tree::root().join("dist");
    let signer = Signer::new(args.signer.clone());
    let mut built = step(&format!("pack version {}", release.version), || {
        pack(&release, bin, exe, &dist, &signer)
    })?;
    built.arm64 = match arm64::lacking(&release) {
        // What was built is packed: these are not built for it.
        _ if args.binaries.is_some() => Vec::new(),
        Some(lacking) => {
            println!("    skipped: packages for arm64, for want of: {lacking}");
            Vec::new()
        }
        None => arm64::packages(&release, &dist)?,
    };
    signer.sign(&checksums(&dist)?)?;
    println!("    dist/ holds programs, packages, bills of materials and SHA256SUMS");
    if args.check {
        check::check(&release, &built, args.reproducible)?;
    }
    Ok(())
}

/// Prints what changed in a version.
pub(crate) fn notes(version: &str) -> Result<()> {
    let file = tree::root().join("CHANGELOG.md");
    let changelog =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    println!("{}", release::notes(&changelog, version)?);
    Ok(())
}

/// What is released, as it is released: built twice, installed, seen through a failover.
pub(crate) fn as_released() -> Result<()> {
    dist(&DistArgs {
        check: true,
        reproducible: true,
        trial: false,
        maintainer: None,
        signer: None,
        binaries: None,
    })
}

fn trial() -> Result<()> {
    can_try_out()?;
    artefacts::dashboard()?;
    let packages: Vec<_> = PACKAGES.iter().map(|package| package.name).collect();
    let bin = artefacts::binaries(&packages, artefacts::Profile::Dev)?;
    let exe = windows::Toolchain::ready(None)?.build(false)?;
    let (chapters, bad) = try_out(&bin, &exe)?;
    println!("    {chapters} chapters");
    ensure!(
        bad.is_empty(),
        "the packages are not good:\n  {}",
        bad.join("\n  ")
    );
    Ok(())
}

/// Whether packages can be tried out here: what it needs is there, and a machine boots.
///
/// # Errors
/// What is missing or not allowed.
pub(crate) fn can_try_out() -> Result<()> {
    needs::install(&NEEDS.iter().chain(msi::NEEDS).collect::<Vec<_>>())?;
    check::require()?;
    windows::require_wine()?;
    let nothing = tree::target().join("xtask/trial/nothing");
    fs::create_dir_all(&nothing).with_context(|| format!("cannot make {}", nothing.display()))?;
    Machine::boot(&nothing, None).map(drop)
}

/// Packs programs that were built for the tests, installs them as `--check` does, and gives back how many chapters of their
/// story there were, and what was bad. The lab's part is left to the lab's own tests.
pub(crate) fn try_out(bin: &Path, exe: &Path) -> Result<(usize, Vec<String>)> {
    let release = Release::of_checkout()?.in_a_hurry();
    let folder = tree::target().join("xtask/trial");
    let small = folder.join("bin");
    fs::create_dir_all(&small).with_context(|| format!("cannot make {}", small.display()))?;
    for (from, stripper) in [
        (bin.join("firstmile-agent"), "strip"),
        (bin.join("firstmile-collector"), "strip"),
        (exe.to_path_buf(), "x86_64-w64-mingw32-strip"),
    ] {
        // What is debugged with is most of the bytes.
        let to = small.join(from.file_name().unwrap_or_default());
        run(Command::new(stripper).arg("-o").arg(&to).arg(&from))?;
    }
    let exe = small.join("firstmile-agent.exe");
    let built = step("pack", || {
        pack(
            &release,
            small,
            Some(exe),
            &folder.join("dist"),
            &Signer::new(None),
        )
    })?;
    check::check_alone(&release, &built)
}

/// Fills `dist/` anew and says what is in it.
fn pack(
    release: &Release,
    bin: PathBuf,
    exe: Option<PathBuf>,
    dist: &Path,
    signer: &Signer,
) -> Result<Built> {
    if dist.exists() {
        fs::remove_dir_all(dist).with_context(|| format!("cannot empty {}", dist.display()))?;
    }
    fs::create_dir_all(dist).with_context(|| format!("cannot make {}", dist.display()))?;
    let mut debs = Vec::new();
    for package in PACKAGES {
        put_beside(&bin.join(package.name), dist)?;
        debs.push(package.build(release, &bin, dist)?);
    }
    let mut msi = None;
    if let Some(exe) = &exe {
        // Windows looks at the signature of the program and at that of what brings it.
        let exe = put_beside(exe, dist)?;
        signer.sign(&exe)?;
        let packed = msi::build(release, &exe, release.number(), dist)?;
        signer.sign(&packed)?;
        msi = Some(packed);
    }
    for (package, target, name, dashboard) in BILLS {
        let file = dist.join(format!("{name}.cdx.json"));
        fs::write(&file, sbom::of(package, target, *dashboard)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(Built {
        bin,
        debs,
        arm64: Vec::new(),
        exe,
        msi,
    })
}

fn put_beside(file: &Path, folder: &Path) -> Result<PathBuf> {
    let copy = folder.join(file.file_name().unwrap_or_default());
    fs::copy(file, &copy)
        .with_context(|| format!("cannot copy {} to {}", file.display(), copy.display()))?;
    Ok(copy)
}

/// Writes `SHA256SUMS` of all files of a folder.
fn checksums(folder: &Path) -> Result<PathBuf> {
    let mut names = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        names.push(entry.file_name());
    }
    names.sort();
    let mut sums = String::new();
    for name in names {
        let file = folder.join(&name);
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = name.to_string_lossy();
        writeln!(sums, "{}  {name}", hex(&Sha256::digest(&bytes)))
            .context("cannot note a checksum")?;
        println!("    {name}: {} bytes", bytes.len());
    }
    let file = folder.join("SHA256SUMS");
    fs::write(&file, sums).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
