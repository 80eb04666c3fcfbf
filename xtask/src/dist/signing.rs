//! Signing, by a program of the releaser's: keys are never here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::step::run;

/// Calls the releaser's program, where there is one, with files to sign: in place, or with a signature beside each.
pub(super) struct Signer {
    program: Option<PathBuf>,
}

impl Signer {
    pub(super) const fn new(program: Option<PathBuf>) -> Self {
        Self { program }
    }

    /// Has `file` signed.
    ///
    /// # Errors
    /// When the program cannot be started or does not exit with 0: a release is signed as a whole or not made.
    pub(super) fn sign(&self, file: &Path) -> Result<()> {
        let Some(program) = &self.program else {
            return Ok(());
        };
        run(Command::new(program).arg(file))
            .with_context(|| format!("{} is not signed", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tree;

    #[test]
    fn the_release_signs_each_file_and_leaves_no_signer_even_when_it_fails() {
        let folder = tree::target().join("xtask/signing-test");
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(folder.join("tmp")).expect("a folder");
        for name in ["one", "two"] {
            fs::write(folder.join(name), name).expect("writes");
        }
        let signer =
            "#!/bin/sh\ntest -z \"${SIGNER-}\" && test \"$1\" != two && cp \"$1\" \"$1.sig\"";
        for (signer, files, good) in [
            (signer, ["one", "one"], true),
            (signer, ["one", "two"], false),
            ("", ["one", "two"], true),
        ] {
            fs::remove_file(folder.join("one.sig")).ok();
            let outcome = Command::new(tree::root().join("packaging/sign.sh"))
                .args(files)
                .current_dir(&folder)
                .env("SIGNER", signer)
                .env("TMPDIR", folder.join("tmp"))
                .output()
                .expect("starts");
            assert_eq!(outcome.status.success(), good, "{outcome:?}");
            assert_eq!(folder.join("one.sig").is_file(), !signer.is_empty());
            let left = fs::read_dir(folder.join("tmp")).expect("a folder").count();
            assert_eq!(left, 0, "the signer is left");
        }
    }

    #[test]
    fn without_a_signer_nothing_is_called_and_a_signer_that_fails_stops_the_release() {
        let file = Path::new("SHA256SUMS");
        assert!(Signer::new(None).sign(file).is_ok());
        assert!(Signer::new(Some("true".into())).sign(file).is_ok());
        for failing in ["false", "no-such-signer"] {
            assert!(Signer::new(Some(failing.into())).sign(file).is_err());
        }
    }
}
