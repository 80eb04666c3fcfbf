//! The identity on disk: one file, readable by its owner only, replaced as a whole, so that key and certificate always
//! belong together.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use firstmile_wire::enroll::EnrollResponse;
use firstmile_wire::ids::{AgentId, OrganisationId};
use serde::{Deserialize, Serialize};
use url::Url;

use super::machine;
use crate::report::durable::write_durably_as;

/// More than any identity: two certificates, a key, a few names.
const PROBE_BYTES: usize = 16 << 10;

/// What an enrolled agent is. Its `Debug` form hides the key.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) agent_id: AgentId,
    pub(crate) organisation: OrganisationId,
    pub(crate) site: Option<String>,
    pub(crate) collector: Url,
    pub(crate) issued_unix_ms: i64,
    pub(crate) not_after_unix_ms: i64,
    pub(crate) certificate_pem: String,
    pub(crate) ca_pem: String,
    pub(crate) key_pem: String,
    /// Mark of the machine that enrolled; none of identities of 0.1.0, and where a machine has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) machine: Option<String>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("agent_id", &self.agent_id)
            .field("collector", &self.collector.as_str())
            .finish_non_exhaustive()
    }
}

/// Why there is no identity to use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("this agent is not enrolled: there is no {}; get a join string from the collector (`firstmile-collector join-string --site NAME`) and paste it into `firstmile-agent enroll -`", file.display())]
    NotEnrolled { file: PathBuf },
    #[error("cannot read {}; run as the user that enrolled", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("{} is damaged; enrol again with a new join string and --replace", file.display())]
    Damaged {
        file: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot write {}; run as a user that may, or choose another state_dir", file.display())]
    Unwritable { file: PathBuf, source: io::Error },
}

impl Identity {
    /// What a collector has granted, with the key that it was granted for.
    pub(crate) fn granted(
        response: EnrollResponse,
        collector: Url,
        key_pem: String,
        now_unix_ms: i64,
    ) -> Self {
        Self {
            agent_id: response.agent_id,
            organisation: response.organisation,
            site: response.site,
            collector,
            issued_unix_ms: now_unix_ms,
            not_after_unix_ms: response.not_after_unix_ms,
            certificate_pem: response.certificate_pem,
            ca_pem: response.ca_pem,
            key_pem,
            machine: machine::mark(),
        }
    }

    /// Reads the identity in `state_dir`.
    ///
    /// # Errors
    /// See [`IdentityError`]; each says what to do.
    pub(crate) fn load(state_dir: &Path) -> Result<Self, IdentityError> {
        let file = file_in(state_dir);
        match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| IdentityError::Damaged { file, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(IdentityError::NotEnrolled { file })
            }
            Err(source) => Err(IdentityError::Unreadable { file, source }),
        }
    }

    /// Writes the identity into `state_dir`, for its owner only.
    ///
    /// # Errors
    /// [`IdentityError::Unwritable`].
    pub(crate) fn save(&self, state_dir: &Path) -> Result<(), IdentityError> {
        let file = file_in(state_dir);
        let fault = |source| IdentityError::Unwritable {
            file: file.clone(),
            source,
        };
        make_private(file.parent().unwrap_or(state_dir)).map_err(fault)?;
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| fault(error.into()))?;
        write_durably_as(&file, &bytes, 0o600).map_err(fault)
    }

    /// Sees whether [`Identity::save`] can succeed in `state_dir`: a join string works once, so this is asked before it is used.
    ///
    /// # Errors
    /// [`IdentityError::Unwritable`].
    pub(crate) fn prepare(state_dir: &Path) -> Result<(), IdentityError> {
        let file = file_in(state_dir).with_extension("probe");
        let fault = |source| IdentityError::Unwritable {
            file: file.clone(),
            source,
        };
        make_private(file.parent().unwrap_or(state_dir)).map_err(fault)?;
        // As large as an identity: a full disk may take an empty file.
        write_durably_as(&file, &[0; PROBE_BYTES], 0o600).map_err(fault)?;
        fs::remove_file(&file).map_err(fault)
    }

    /// When to ask for a fresh certificate: after two thirds of its life.
    pub(crate) const fn renew_at_unix_ms(&self) -> i64 {
        let life = self.not_after_unix_ms.saturating_sub(self.issued_unix_ms);
        self.issued_unix_ms.saturating_add(life / 3 * 2)
    }
}

/// Where the identity is.
pub(crate) fn file_in(state_dir: &Path) -> PathBuf {
    state_dir.join("identity").join("identity.json")
}

#[cfg(unix)]
fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

#[cfg(windows)]
fn make_private(directory: &Path) -> io::Result<()> {
    if let Some(above) = directory.parent() {
        fs::create_dir_all(above)?;
    }
    firstmile_sys::windows::folder::make_private(directory)
}

#[cfg(not(any(unix, windows)))]
fn make_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Identity {
        Identity {
            agent_id: AgentId::random(),
            organisation: OrganisationId::default_organisation(),
            site: Some("Site".to_owned()),
            collector: Url::parse("https://collector.example:8443/").expect("a URL"),
            issued_unix_ms: 1_000,
            not_after_unix_ms: 91_000,
            certificate_pem: "certificate".to_owned(),
            ca_pem: "ca".to_owned(),
            key_pem: "very secret".to_owned(),
            machine: None,
        }
    }

    #[test]
    fn an_identity_is_read_back_and_is_its_owners_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let identity = sample();
        identity.save(directory.path()).expect("saved");
        identity.save(directory.path()).expect("saved over");
        assert_eq!(
            Identity::load(directory.path()).expect("loads").agent_id,
            identity.agent_id
        );
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(file_in(directory.path()))
                .expect("there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn whether_an_identity_can_be_kept_is_known_before() {
        let directory = tempfile::tempdir().expect("a directory");
        let state_dir = directory.path().join("state");
        Identity::prepare(&state_dir).expect("writable");
        let identities = fs::read_dir(state_dir.join("identity")).expect("made");
        assert_eq!(identities.count(), 0, "nothing is left behind");
        fs::remove_dir(state_dir.join("identity")).expect("empty");
        fs::write(state_dir.join("identity"), b"in the way").expect("a file");
        let error = Identity::prepare(&state_dir).expect_err("in the way");
        assert!(matches!(error, IdentityError::Unwritable { .. }), "{error}");
    }

    #[test]
    fn debug_hides_the_key() {
        assert!(!format!("{:?}", sample()).contains("very secret"));
    }

    #[test]
    fn what_is_missing_or_damaged_says_what_to_do() {
        let directory = tempfile::tempdir().expect("a directory");
        let error = Identity::load(directory.path())
            .expect_err("none")
            .to_string();
        assert!(error.contains("firstmile-agent enroll"), "{error}");
        sample().save(directory.path()).expect("saved");
        fs::write(file_in(directory.path()), b"{").expect("damaged");
        let error = Identity::load(directory.path())
            .expect_err("damaged")
            .to_string();
        assert!(error.contains("enrol again"), "{error}");
    }

    #[test]
    fn renewal_is_due_at_two_thirds() {
        assert_eq!(sample().renew_at_unix_ms(), 61_000);
    }
}
