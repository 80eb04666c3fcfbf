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
    use super::*;

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
