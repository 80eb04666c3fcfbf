//! The packages for arm64, cross-built on another machine where its toolchain is.
//!
//! `dpkg-shlibdeps` looks for the libraries themselves, of an architecture that this machine has not: what a program needs of them
//! is read from the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::PACKAGES;
use super::release::Release;
use crate::step::{captured, step};
use crate::{artefacts, needs, tree};

/// What is built for.
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Debian's name of it.
pub(super) const NAME: &str = "arm64";
/// The linker, and compiler of the parts in C.
const COMPILER: &str = "aarch64-linux-gnu-gcc";
/// Runs its programs here; the libraries are the cross compiler's.
const EMULATOR: [&str; 3] = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"];

/// Why nothing is built for arm64 here; `None` when it can be.
pub(super) fn lacking(release: &Release) -> Option<String> {
    if release.architecture == NAME {
        return Some("this machine is one: its own packages are".to_owned());
    }
    let installed = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .output();
    let has_std = installed.is_ok_and(|output| {
        let targets = String::from_utf8_lossy(&output.stdout).into_owned();
        targets.lines().any(|target| target == TARGET)
    });
    if !has_std {
        return Some(format!("rustup target add {TARGET}"));
    }
    let [emulator, ..] = EMULATOR;
    (!needs::has(COMPILER) || !needs::has(emulator)).then(|| {
        "apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static".to_owned()
    })
}

/// Builds, packs and looks at the packages; gives back where they are.
pub(super) fn packages(release: &Release, dist: &Path) -> Result<Vec<PathBuf>> {
    let release = &Release {
        architecture: NAME.to_owned(),
        ..release.clone()
    };
    let target = tree::target().join(NAME);
    let bin = step("build for arm64 (minutes)", || build(release, &target))?;
    step("pack for arm64", || pack(release, &bin, dist))
}

/// Builds them once more, from nothing, and says which packages are other bytes.
pub(super) fn differing(
    release: &Release,
    first: &[PathBuf],
    folder: &Path,
) -> Result<Vec<String>> {
    if first.is_empty() {
        return Ok(Vec::new());
    }
    let release = &Release {
        architecture: NAME.to_owned(),
        ..release.clone()
    };
    let target = tree::target().join("again").join(NAME);
    let bin = step("build for arm64 again, elsewhere (minutes)", || {
        build(release, &target)
    })?;
    let read =
        |file: &Path| fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    let mut differing = Vec::new();
    for (one, other) in first.iter().zip(pack(release, &bin, folder)?) {
        if read(one)? != read(&other)? {
            differing.push(one.file_name().unwrap_or_default().display().to_string());
        }
    }
    Ok(differing)
}

fn build(release: &Release, target: &Path) -> Result<PathBuf> {
    let (rust, c) = artefacts::without_paths(target);
    let bin = target.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    for (package, profile) in [
        ("firstmile-agent", "small"),
        ("firstmile-collector", "release"),
    ] {
        let mut cargo = crate::step::command("cargo");
        cargo
            .args(["build", "--locked", "--package", package])
            .args(["--profile", profile, "--target", TARGET])
            .env("CARGO_TARGET_DIR", target)
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", COMPILER)
            .env("CC_aarch64_unknown_linux_gnu", COMPILER)
            .env("CARGO_ENCODED_RUSTFLAGS", &rust)
            .env("CFLAGS", &c)
            .env("SOURCE_DATE_EPOCH", &release.epoch)
            .current_dir(tree::root());
        crate::step::run(&mut cargo)?;
        let (from, to) = (
            target.join(TARGET).join(profile).join(package),
            bin.join(package),
        );
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(bin)
}

fn pack(release: &Release, bin: &Path, dist: &Path) -> Result<Vec<PathBuf>> {
    let mut debs = Vec::new();
    for package in PACKAGES {
        let said = captured(emulated(&bin.join(package.name)).arg("--version"))?;
        ensure!(
            said.ends_with(env!("CARGO_PKG_VERSION")),
            "the program for arm64 calls itself {said}"
        );
        let deb = package.build(release, bin, dist)?;
        let field = |name| captured(Command::new("dpkg-deb").arg("-f").arg(&deb).arg(name));
        ensure!(
            field("Architecture")? == NAME,
            "{} is not for arm64",
            deb.display()
        );
        println!(
            "    {}: {}",
            deb.file_name().unwrap_or_default().display(),
            field("Depends")?
        );
        debs.push(deb);
    }
    Ok(debs)
}

/// A program for arm64, to be run here.
pub(super) fn emulated(program: &Path) -> Command {
    let [emulator, arguments @ ..] = EMULATOR;
    let mut command = Command::new(emulator);
    command.args(arguments).arg(program);
    command
}

/// The packages of the libraries that a program of another architecture is linked with.
pub(super) fn libraries(program: &Path) -> Result<String> {
    let told = captured(
        Command::new("readelf")
            .args(["--wide", "--dynamic", "--version-info"])
            .arg(program),
    )?;
    depends(&told).with_context(|| format!("what {} is linked with", program.display()))
}

/// Debian's packages for what `readelf` tells of a program. A symbol of glibc is named by the release that brought it.
fn depends(told: &str) -> Result<String> {
    let needed = told.lines().filter(|line| line.contains("(NEEDED)"));
    let mut packages = Vec::new();
    for line in needed {
        let library = line.split(['[', ']']).nth(1).unwrap_or_default();
        let package = match library {
            "libgcc_s.so.1" => "libgcc-s1".to_owned(),
            "libc.so.6" | "libm.so.6" | "ld-linux-aarch64.so.1" => {
                let (major, minor) = newest_glibc(told).context("no release of glibc is named")?;
                format!("libc6 (>= {major}.{minor})")
            }
            other => bail!("which package brings {other} is not known here"),
        };
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    ensure!(!packages.is_empty(), "it needs no library");
    packages.sort();
    Ok(packages.join(", "))
}

fn newest_glibc(told: &str) -> Option<(u32, u32)> {
    let mentions = told.split("GLIBC_").skip(1);
    let version = |text: &str| {
        let text: String = text
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .collect();
        let mut parts = text.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    mentions.filter_map(version).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_needs_is_the_newest_release_that_it_names() {
        let told = " 0x01 (NEEDED)  Shared library: [libgcc_s.so.1]\n 0x01 (NEEDED)  Shared library: [libc.so.6]\n\
                    0x01 (NEEDED)  Shared library: [ld-linux-aarch64.so.1]\n\
                    0x0020: Name: GLIBC_2.9  Flags: none\n 0x0030: Name: GLIBC_2.34  Flags: none\n 0x40: Name: GLIBC_2.17\n\
                    0x0050: Name: GCC_3.0";
        assert_eq!(
            depends(told).expect("names all"),
            "libc6 (>= 2.34), libgcc-s1"
        );
        for (told, why) in [
            ("", "no library"),
            ("(NEEDED) [libc.so.6]", "release of glibc"),
            ("(NEEDED) [libssl.so.3] GLIBC_2.17", "libssl.so.3"),
        ] {
            let error = depends(told).expect_err(why);
            assert!(format!("{error:#}").contains(why), "{error:#}");
        }
    }
}
