//! From a join string to an identity on disk. The string works once: what can fail here is tried before it is shown to the collector.

use std::path::Path;

use firstmile_wire::join::JoinString;

use super::identity::{Identity, IdentityError};
use super::request::{EnrollError, Newcomer, enroll};
use crate::config::ProxyRules;
use crate::host::lock::{self, LockError};

/// Why there is no new identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObtainError {
    #[error("the join string was not used: an identity could not be kept")]
    NoPlace(#[source] IdentityError),
    #[error("the join string was not used")]
    Running(#[source] LockError),
    #[error(transparent)]
    Enroll(#[from] EnrollError),
    #[error("enrolled, but the identity could not be kept; get another join string")]
    NotKept(#[source] IdentityError),
}

/// Trades a join string for an identity, and keeps it in `state_dir`.
///
/// # Errors
/// See [`ObtainError`]; the first two leave the join string good.
pub(crate) async fn obtain(
    join: &JoinString,
    state_dir: &Path,
    newcomer: Newcomer,
    proxies: &ProxyRules,
) -> Result<Identity, ObtainError> {
    Identity::prepare(state_dir).map_err(ObtainError::NoPlace)?;
    let _alone = lock::take(state_dir).map_err(ObtainError::Running)?;
    let identity = enroll(join, newcomer, proxies).await?;
    identity.save(state_dir).map_err(ObtainError::NotKept)?;
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use firstmile_wire::join::{CaHash, JoinSecret};
    use url::Url;

    use super::*;

    #[tokio::test]
    async fn a_join_string_is_not_shown_where_its_identity_could_not_be_kept() {
        // Nobody listens there: whoever asks the collector first fails in another way.
        let join = JoinString {
            collector: Url::parse("https://127.0.0.1:1/").expect("a URL"),
            ca: CaHash([1; 32]),
            secret: JoinSecret::new([7; 24]),
        };
        let directory = tempfile::tempdir().expect("a directory");
        let direct = ProxyRules::default();
        let ask = |state_dir| obtain(&join, state_dir, Newcomer::default(), &direct);

        let blocked = directory.path().join("file");
        std::fs::write(&blocked, b"in the way").expect("a file");
        let refused = ask(&blocked).await.expect_err("no place");
        assert!(matches!(refused, ObtainError::NoPlace(_)), "{refused}");

        let running = lock::take(directory.path()).expect("free");
        let refused = ask(directory.path()).await.expect_err("running");
        assert!(matches!(refused, ObtainError::Running(_)), "{refused}");
        drop(running);

        let refused = ask(directory.path()).await.expect_err("nobody there");
        assert!(matches!(refused, ObtainError::Enroll(_)), "{refused}");
    }
}
