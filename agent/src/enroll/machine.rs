//! Whether this machine is the one that enrolled. A disk that was cloned with an identity on it is another machine: it would
//! report in the name of the first, so it asks for an identity of its own.
//!
//! A machine is told by the number that its system was given at installation, or at the first start of an image that was
//! prepared for cloning: `/etc/machine-id` (machine-id(5)), and `MachineGuid` of Windows' registry. Where an image is cloned
//! without being prepared the number is the same, and nothing here can tell the clones apart.

use std::path::Path;

use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::identity::{Identity, IdentityError};
use super::request::{EnrollError, Newcomer, branch_off};
use crate::config::{AgentConfig, ProxyError};

/// Why a clone has no identity of its own yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnError {
    #[error(
        "this machine is a clone of the one that enrolled as {agent}, and has to have an identity of its own first"
    )]
    Ask {
        agent: firstmile_wire::ids::AgentId,
        source: Box<EnrollError>,
    },
    #[error(transparent)]
    Kept(#[from] IdentityError),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

/// Whose identity it is.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    Ours,
    /// Nobody noted the machine, or this one has no number.
    Unsaid,
    OfAnother,
}

/// A number of this machine that says nothing of it elsewhere (machine-id(5) asks for that): a hash of the system's own.
pub(super) fn mark() -> Option<String> {
    let number = number()?;
    let mut hasher = Sha256::new();
    hasher.update(b"firstmile machine ");
    hasher.update(number.trim().as_bytes());
    // 128 bits tell machines apart.
    let hex = hasher
        .finalize()
        .iter()
        .take(16)
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    Some(hex)
}

#[cfg(not(windows))]
fn number() -> Option<String> {
    let number = std::fs::read_to_string("/etc/machine-id").ok()?;
    // An image that waits for its first start has an empty one, or this word.
    (number.trim().len() == 32).then_some(number)
}

#[cfg(windows)]
fn number() -> Option<String> {
    firstmile_sys::windows::machine::guid()
}

fn whose(noted: Option<&str>, here: Option<&str>) -> Whose {
    match (noted, here) {
        (Some(noted), Some(here)) if noted == here => Whose::Ours,
        (Some(_), Some(_)) => Whose::OfAnother,
        (None, _) | (_, None) => Whose::Unsaid,
    }
}

/// Gives back an identity that is this machine's own: the one that is there, or, on a clone, a new one, which is kept in place
/// of the other. What the original had not reported yet is the original's to report, and is deleted on the clone.
///
/// # Errors
/// See [`OwnError`]; nothing is reported in another machine's name meanwhile.
pub(crate) async fn own(identity: Identity, config: &AgentConfig) -> Result<Identity, OwnError> {
    let here = mark();
    match whose(identity.machine.as_deref(), here.as_deref()) {
        Whose::Ours => Ok(identity),
        Whose::Unsaid => Ok(noted(identity, here, &config.state_dir)),
        Whose::OfAnother => branched(identity, config).await,
    }
}

/// The identity with this machine's mark. A disk that takes no file is no reason to measure nothing.
fn noted(identity: Identity, machine: Option<String>, state_dir: &Path) -> Identity {
    if identity.machine == machine || machine.is_none() {
        return identity;
    }
    let identity = Identity {
        machine,
        ..identity
    };
    if let Err(error) = identity.save(state_dir) {
        warn!(%error, "the machine is not noted in the identity: a clone of it would not be told");
    }
    identity
}

async fn branched(identity: Identity, config: &AgentConfig) -> Result<Identity, OwnError> {
    let proxy = config.proxy.for_url(&identity.collector)?;
    let own = branch_off(&identity, Newcomer::here(config), proxy)
        .await
        .map_err(|source| OwnError::Ask {
            agent: identity.agent_id,
            source: Box::new(source),
        })?;
    if let Err(error) = std::fs::remove_dir_all(config.state_dir.join("spool"))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        warn!(%error, "reports of the original machine stay on this one's disk");
    }
    own.save(&config.state_dir)?;
    info!(original = %identity.agent_id, agent = %own.agent_id, "this machine is a clone and has an identity of its own now");
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_marks_that_differ_make_a_clone() {
        for (noted, here, want) in [
            (Some("a"), Some("a"), Whose::Ours),
            (Some("a"), Some("b"), Whose::OfAnother),
            (None, Some("b"), Whose::Unsaid),
            (Some("a"), None, Whose::Unsaid),
            (None, None, Whose::Unsaid),
        ] {
            assert_eq!(whose(noted, here), want, "{noted:?} {here:?}");
        }
    }

    #[test]
    fn the_mark_is_steady_and_hides_the_number() {
        assert_eq!(mark(), mark());
        if let (Some(mark), Some(number)) = (mark(), number()) {
            assert_eq!(mark.len(), 32);
            assert!(!number.contains(&mark));
        }
    }
}
