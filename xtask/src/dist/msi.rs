//! The .msi of the agent, made by wixl from `packaging/msi`; what wixl has no words for is written into its tables afterwards.
//!
//! Same commit, same bytes: codes come of what is packed, the clock of the tools stands at the commit's date, and they run
//! without address-space randomisation, which would shuffle their tables.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::release::Release;
use crate::needs;
use crate::step::captured;
use crate::tree;

/// Packages to build it with, besides the linker of the program itself.
pub(super) const NEEDS: &[needs::Package] = &[
    needs::Package {
        name: "wixl",
        program: "wixl",
        why: "makes the .msi",
    },
    needs::Package {
        name: "msitools",
        program: "msibuild",
        why: "finishes the .msi",
    },
    needs::Package {
        name: "faketime",
        program: "faketime",
        why: "dates in the .msi are the commit's",
    },
];

/// What all versions have in common. Never to be changed: Windows would see another product.
const UPGRADE_CODE: &str = "{B2C6B6A8-8A5D-4B1E-9C39-7A2C7A0C1F65}";

/// Type 51, its value not to be logged (0x2000).
const SET_UNLOGGED: u32 = 51 + 0x2000;
/// Of a library (1), deferred (0x400), by the system (0x800), its data not to be logged (0x2000).
const LIBRARY_UNLOGGED: u32 = 1 + 0x400 + 0x800 + 0x2000;
/// Found by an installer of a version up to the own one, the own one included.
const UP_TO_AND_WITH: u32 = 1 + 0x200;

/// Packs the program `exe` under a version of three numbers, which is all that Windows compares.
pub(super) fn build(
    release: &Release,
    exe: &Path,
    version: &str,
    folder: &Path,
) -> Result<PathBuf> {
    let stage = tree::target().join("xtask/msi");
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("cannot empty {}", stage.display()))?;
    }
    fs::create_dir_all(&stage).with_context(|| format!("cannot make {}", stage.display()))?;
    let sources = tree::root().join("packaging/msi");
    for (from, name) in [
        (exe.to_path_buf(), "firstmile-agent.exe"),
        (sources.join("agent.wxs"), "agent.wxs"),
        (sources.join("handover.c"), "handover.c"),
    ] {
        fs::copy(&from, stage.join(name))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let tools = Tools {
        stage: &stage,
        release,
    };
    tools.library()?;
    let bytes = fs::read(exe).with_context(|| format!("cannot read {}", exe.display()))?;
    let of_program = format!("{version} {}", super::hex(&Sha256::digest(&bytes)));
    tools.wixl(version, &guid(&format!("product {of_program}")))?;
    for query in queries(version) {
        tools.msibuild(&["-q", &query])?;
    }
    tools.msibuild(&[
        "-s",
        &format!("Firstmile agent {version}"),
        "the firstmile contributors",
        "x64;1033",
        &guid(&format!("package {of_program}")),
    ])?;
    let name = format!(
        "firstmile-agent-{}-x64.msi",
        release.version.replace('~', "-")
    );
    let msi = folder.join(name);
    fs::rename(stage.join("agent.msi"), &msi)
        .with_context(|| format!("cannot put {} in its place", msi.display()))?;
    Ok(msi)
}

/// What wixl cannot say: order, secrets, and that a build of the same version replaces another.
fn queries(version: &str) -> Vec<String> {
    let order = [
        // Within the transaction: an upgrade that fails puts the old version back.
        ("RemoveExistingProducts", 1501),
        ("Forget", 3450),
        ("SetHandOver", 5801),
        ("Adopt", 5810),
        ("HandOver", 5820),
    ];
    let kinds = [
        ("SetHandOver", SET_UNLOGGED),
        ("HandOver", LIBRARY_UNLOGGED),
    ];
    let mut queries: Vec<String> = order
        .iter()
        .map(|(action, at)| {
            format!("UPDATE InstallExecuteSequence SET Sequence = {at} WHERE Action = '{action}'")
        })
        .collect();
    queries.extend(kinds.iter().map(|(action, kind)| {
        format!("UPDATE CustomAction SET Type = {kind} WHERE Action = '{action}'")
    }));
    queries.extend([
        "DELETE FROM Upgrade WHERE ActionProperty = 'WIX_UPGRADE_DETECTED'".to_owned(),
        format!(
            "INSERT INTO Upgrade (UpgradeCode, VersionMax, Attributes, ActionProperty) \
             VALUES ('{UPGRADE_CODE}', '{version}', {UP_TO_AND_WITH}, 'WIX_UPGRADE_DETECTED')"
        ),
        "UPDATE Property SET Value = 'WIX_DOWNGRADE_DETECTED;WIX_UPGRADE_DETECTED;COLLECTOR;JOIN;KEEPSTATE' \
         WHERE Property = 'SecureCustomProperties'"
            .to_owned(),
        "INSERT INTO Property (Property, Value) VALUES ('MsiHiddenProperties', 'JOIN;HandOver')"
            .to_owned(),
    ]);
    queries
}

/// The tools, in a folder of their own.
struct Tools<'a> {
    stage: &'a Path,
    release: &'a Release,
}

impl Tools<'_> {
    fn library(&self) -> Result<()> {
        let mut compiler = Command::new("x86_64-w64-mingw32-gcc");
        compiler
            .args(["-shared", "-Os", "-s", "-Wall", "-Wextra", "-Werror"])
            .args([
                "-Wl,--no-insert-timestamp",
                "-o",
                "handover.dll",
                "handover.c",
            ])
            .args(["-lmsi", "-ladvapi32"])
            .current_dir(self.stage);
        captured(&mut compiler)?;
        for file in ["handover.dll", "firstmile-agent.exe"] {
            let at = format!("@{}", self.release.epoch);
            captured(
                Command::new("touch")
                    .args(["--date", &at, file])
                    .current_dir(self.stage),
            )?;
        }
        Ok(())
    }

    fn wixl(&self, version: &str, product: &str) -> Result<()> {
        let product = product.trim_matches(['{', '}']);
        let mut wixl = self.tool("wixl");
        wixl.args(["-a", "x64", "-o", "agent.msi", "agent.wxs"])
            .args(["-D", &format!("Version={version}")])
            .args(["-D", &format!("ProductCode={product}")]);
        let output = wixl.output().context("cannot start wixl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        // It only warns of what it does not know, and leaves it out.
        ensure!(
            output.status.success() && said.trim().is_empty(),
            "wixl does not take packaging/msi/agent.wxs:\n{said}"
        );
        Ok(())
    }

    fn msibuild(&self, arguments: &[&str]) -> Result<()> {
        captured(self.tool("msibuild").arg("agent.msi").args(arguments)).map(drop)
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new("setarch");
        command
            .args(["--addr-no-randomize", "faketime", "-f"])
            .arg(&self.release.date_of_clock)
            .arg(name)
            .current_dir(self.stage)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("TZ", "UTC");
        command
    }
}

/// A GUID of a text: version 8, made of its SHA-256 (RFC 9562 §5.8).
fn guid(text: &str) -> String {
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(Sha256::digest(text)) {
        *to = from;
    }
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = *version & 0x0f | 0x80;
    *variant = *variant & 0x3f | 0x80;
    let mut text = super::hex(&bytes).to_uppercase();
    for at in [20, 16, 12, 8] {
        text.insert(at, '-');
    }
    format!("{{{text}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_guid_and_another_text_another() {
        assert_eq!(guid("a"), guid("a"));
        assert_ne!(guid("a"), guid("b"));
        let guid = guid("a");
        assert_eq!(guid.len(), 38, "{guid}");
        assert_eq!(guid.chars().nth(15), Some('8'), "{guid}");
    }
}
