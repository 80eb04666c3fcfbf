//! `cargo xtask dist`: release binaries with checksums.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::artefacts::{self, Profile};
use crate::{needs, tree};

/// Builds what is released into `dist/`.
pub(crate) fn dist() -> Result<()> {
    needs::node()?;
    artefacts::dashboard()?;
    let bin = artefacts::binaries(
        &["firstmile-agent", "firstmile-collector"],
        Profile::Release,
    )?;
    let dist = tree::root().join("dist");
    fs::create_dir_all(&dist).with_context(|| format!("cannot make {}", dist.display()))?;
    let mut sums = String::new();
    for name in ["firstmile-agent", "firstmile-collector"] {
        let bytes =
            fs::read(bin.join(name)).with_context(|| format!("cannot read the built {name}"))?;
        fs::copy(bin.join(name), dist.join(name))
            .with_context(|| format!("cannot copy {name} into dist/"))?;
        let digest = Sha256::digest(&bytes)
            .iter()
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        writeln!(sums, "{digest}  {name}").context("cannot note a checksum")?;
        println!("    {name}: {} bytes", bytes.len());
    }
    fs::write(dist.join("SHA256SUMS"), sums).context("cannot write dist/SHA256SUMS")?;
    println!("    dist/ holds the binaries and SHA256SUMS");
    Ok(())
}
