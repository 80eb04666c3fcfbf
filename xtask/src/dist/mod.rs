//! `cargo xtask dist`: release binaries and Debian packages with checksums; `--check` proves them in a booted machine.

mod check;
mod deb;
mod failover;
mod inside;
mod machine;
mod release;
mod story;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use sha2::{Digest, Sha256};

use self::deb::Package;
use self::release::Release;
use crate::step::step;
use crate::{needs, tree};

/// What is released, and what each package holds.
const PACKAGES: &[Package] = &[
    Package {
        name: "firstmile-agent",
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
                "packaging/man/firstmile-agent.1",
                "usr/share/man/man1/firstmile-agent.1.gz",
            ),
        ],
    },
    Package {
        name: "firstmile-collector",
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
    /// Package the binaries in this folder instead of building them
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

/// Builds what is released into `dist/`.
pub(crate) fn dist(args: &DistArgs) -> Result<()> {
    let needed: Vec<_> = NEEDS.iter().collect();
    needs::install(&needed)?;
    if args.check {
        check::require()?;
    }
    let release = Release::of_checkout()?;
    let bin = match &args.binaries {
        Some(folder) => folder.clone(),
        None => release.build()?,
    };
    let dist = tree::root().join("dist");
    let debs = step(&format!("pack version {}", release.version), || {
        pack(&release, &bin, &dist)
    })?;
    println!("    dist/ holds binaries, packages and SHA256SUMS");
    if args.check {
        check::check(&release, &bin, &debs, args.reproducible)?;
    }
    Ok(())
}

/// Fills `dist/` anew and gives back its packages.
fn pack(release: &Release, bin: &Path, dist: &Path) -> Result<Vec<PathBuf>> {
    if dist.exists() {
        fs::remove_dir_all(dist).with_context(|| format!("cannot empty {}", dist.display()))?;
    }
    fs::create_dir_all(dist).with_context(|| format!("cannot make {}", dist.display()))?;
    let mut debs = Vec::new();
    let mut released = Vec::new();
    for package in PACKAGES {
        let copy = dist.join(package.name);
        fs::copy(bin.join(package.name), &copy).with_context(|| {
            format!(
                "cannot copy {} to {}",
                bin.join(package.name).display(),
                copy.display()
            )
        })?;
        debs.push(package.build(release, bin, dist)?);
        released.push(copy);
    }
    released.extend(debs.iter().cloned());
    let mut sums = String::new();
    for file in &released {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        writeln!(sums, "{}  {name}", hex(&Sha256::digest(&bytes)))
            .context("cannot note a checksum")?;
        println!("    {name}: {} bytes", bytes.len());
    }
    fs::write(dist.join("SHA256SUMS"), sums).context("cannot write dist/SHA256SUMS")?;
    Ok(debs)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
