//! What the agent keeps of the machine's networks from one run to the next: `network.json` in `state_dir`.
//!
//! A network is named by a hash of what it is known by, mostly its gateway's link address, under a key that never leaves this
//! file: link addresses are few enough to be guessed, and nobody outside has to know them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::roaming::{NetworkId, Whereabouts};
use crate::report::durable::write_durably_as;

const FILE: &str = "network.json";

/// The key of the hash, and where the machine was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    key: [u8; 32],
    #[serde(default)]
    pub(crate) whereabouts: Whereabouts,
}

impl Memory {
    /// Reads what is kept in `state_dir`; a fresh memory where there is none, or none that can be read.
    pub(crate) fn load(state_dir: &Path) -> Self {
        let kept = std::fs::read(file_in(state_dir)).ok();
        kept.and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_else(|| Self {
                key: rand::random(),
                whereabouts: Whereabouts::default(),
            })
    }

    /// Keeps it. What cannot be kept is relearnt after the next start.
    pub(crate) fn save(&self, state_dir: &Path) {
        let file = file_in(state_dir);
        let written = serde_json::to_vec(self)
            .map_err(Into::into)
            .and_then(|bytes| write_durably_as(&file, &bytes, 0o600));
        if let Err(error) = written {
            warn!(file = %file.display(), %error, "the machine's networks are not kept");
        }
    }

    /// The name of the network that is known by this (`Nearby::name`).
    pub(crate) fn network(&self, known_by: &[u8]) -> NetworkId {
        let digest = Sha256::new()
            .chain_update(self.key)
            .chain_update(known_by)
            .finalize();
        let mut name = NetworkId::default();
        for (slot, octet) in name.iter_mut().zip(digest) {
            *slot = octet;
        }
        name
    }
}

fn file_in(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_keeps_its_name_and_no_other_agent_knows_it() {
        let (here, there) = (
            tempfile::tempdir().expect("a directory"),
            tempfile::tempdir().expect("a directory"),
        );
        let link = [2, 0, 0, 0, 0, 1];
        let memory = Memory::load(here.path());
        memory.save(here.path());
        assert_eq!(
            Memory::load(here.path()).network(&link),
            memory.network(&link)
        );
        assert_ne!(memory.network(&link), memory.network(&[2, 0, 0, 0, 0, 2]));
        assert_ne!(
            memory.network(&link),
            Memory::load(there.path()).network(&link)
        );
        std::fs::write(here.path().join(FILE), b"{").expect("damaged");
        assert_ne!(
            Memory::load(here.path()).network(&link),
            memory.network(&link)
        );
    }
}
