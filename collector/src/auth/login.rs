//! Logins of people: one user with an argon2id hash in `data_dir/login.json`, sessions in memory.
//!
//! Sessions end with the process: a restart asks for the password again, which costs a person seconds and saves a table.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firstmile_wire::ids::OrganisationId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::files::{self, Readers};

/// A session ends so long after it was opened: a working day.
pub const SESSION_LIFE: Duration = Duration::from_hours(12);
/// Sessions at once; beyond it the oldest goes. More than the people of any network team.
const MAX_SESSIONS: usize = 1024;
/// Wrong passwords that one address may send in [`FAILURE_WINDOW`].
const MAX_FAILURES: u32 = 5;
/// How long failures are remembered.
const FAILURE_WINDOW: Duration = Duration::from_mins(1);
/// Addresses whose failures are remembered; beyond it the oldest goes.
const MAX_FAILING: usize = 4096;
/// Passwords checked at once: each takes 19 MiB and some 20 ms of a core.
const CHECKS_AT_ONCE: usize = 2;
/// How long a password sent with each request (HTTP Basic) is not hashed again.
const BASIC_LIFE: Duration = Duration::from_mins(5);
/// Longest password that is looked at.
const MAX_PASSWORD_BYTES: usize = 1024;
/// Shortest password that may be set (NIST SP 800-63B §5.1.1.2 asks for 8; this page is the whole installation's admin).
const MIN_PASSWORD_CHARS: usize = 10;

/// Somebody who proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Organisation whose data they see.
    pub organisation: OrganisationId,
    /// Name for people.
    pub user: String,
}

/// The word that a browser sends back in its cookie. Its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(String);

impl SessionToken {
    /// The word itself, safe in a cookie (base64url).
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionToken(…)")
    }
}

/// Why a password was not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Denied {
    /// Wrong user or password; which of them is not told.
    #[error("wrong user or password")]
    Wrong,
    /// Too many wrong ones from this address, or too many at once.
    #[error("too many attempts; try again in {} s", retry_after.as_secs().max(1))]
    TooMany {
        /// When to try again.
        retry_after: Duration,
    },
    /// No login was ever set.
    #[error("no login is set; run `firstmile-collector passwd` on the collector's machine")]
    NotSet,
}

/// Why the login could not be read or set.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} holds no login; set it again with `firstmile-collector passwd`", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// The password cannot be used.
    #[error("a password needs {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_BYTES} characters")]
    Length,
    /// The user's name cannot be used.
    #[error("a user is 1 to 64 letters, digits, '.', '-', '_' or '@'")]
    User,
    /// The hash could not be made.
    #[error("the password cannot be hashed")]
    Hash,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    user: String,
    argon2: String,
}

#[derive(Debug)]
struct Session {
    login: Login,
    ends: Instant,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    since: Instant,
}

#[derive(Debug, Default)]
struct Memory {
    sessions: BTreeMap<[u8; 32], Session>,
    failures: BTreeMap<IpAddr, Failures>,
}

/// The login of this collector and its open sessions. Every call takes `now`.
#[derive(Debug)]
pub struct Logins {
    record: Option<Record>,
    memory: Mutex<Memory>,
    checks: Semaphore,
}

impl Logins {
    /// Reads the login in `data_dir`. There may be none: then only loopback is let in.
    ///
    /// # Errors
    /// See [`LoginError`].
    pub fn open(data_dir: &Path) -> Result<Self, LoginError> {
        let path = login_path(data_dir);
        let record = match std::fs::read(&path) {
            Ok(bytes) => {
                Some(serde_json::from_slice(&bytes).map_err(|_| LoginError::Damaged { path })?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => {
                return Err(LoginError::File {
                    action: "read",
                    path,
                    source,
                });
            }
        };
        Ok(Self {
            record,
            memory: Mutex::default(),
            checks: Semaphore::new(CHECKS_AT_ONCE),
        })
    }

    /// Whether a login was set.
    pub const fn is_set(&self) -> bool {
        self.record.is_some()
    }

    /// Checks a user and a password sent from an address.
    ///
    /// # Errors
    /// See [`Denied`].
    pub async fn verify(
        &self,
        from: IpAddr,
        user: &str,
        password: &str,
        now: Instant,
    ) -> Result<Login, Denied> {
        let record = self.record.as_ref().ok_or(Denied::NotSet)?;
        let from = block_of(from);
        self.memory().still_welcome(from, now)?;
        // Waiting would let a flood of attempts hold connections; whoever is refused tries again.
        let busy = Denied::TooMany {
            retry_after: Duration::from_secs(1),
        };
        let _permit = self.checks.try_acquire().map_err(|_| busy)?;
        let hash = record.argon2.clone();
        let password = password
            .get(..MAX_PASSWORD_BYTES)
            .unwrap_or(password)
            .to_owned();
        let right = tokio::task::spawn_blocking(move || {
            password.len() <= MAX_PASSWORD_BYTES
                && Argon2::default()
                    .verify_password(password.as_bytes(), hash.as_str())
                    .is_ok()
        });
        // The user is compared after the hash, so that the time taken does not tell whether the user exists.
        if right.await.unwrap_or(false) && record.user == user {
            return Ok(Login {
                organisation: OrganisationId::default_organisation(),
                user: user.to_owned(),
            });
        }
        self.memory().note_failure(from, now);
        Err(Denied::Wrong)
    }

    /// As [`Self::verify`] for a password that comes with each request (HTTP Basic, RFC 7617): the same pair is hashed once
    /// in five minutes.
    ///
    /// # Errors
    /// See [`Denied`].
    pub async fn verify_basic(
        &self,
        from: IpAddr,
        user: &str,
        password: &str,
        now: Instant,
    ) -> Result<Login, Denied> {
        let pair: [u8; 32] = Sha256::new()
            .chain_update(b"basic")
            .chain_update(user.len().to_be_bytes())
            .chain_update(user)
            .chain_update(password)
            .finalize()
            .into();
        if let Some(login) = self.memory().login_of(&pair, now) {
            return Ok(login);
        }
        let login = self.verify(from, user, password, now).await?;
        self.memory().remember(
            pair,
            Session {
                login: login.clone(),
                ends: now + BASIC_LIFE,
            },
        );
        Ok(login)
    }

    /// Opens a session.
    pub fn open_session(&self, login: &Login, now: Instant) -> SessionToken {
        let token = SessionToken(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        self.memory().remember(
            key_of(token.as_str()),
            Session {
                login: login.clone(),
                ends: now + SESSION_LIFE,
            },
        );
        token
    }

    /// Who holds this token, if its session is open.
    pub fn login_of_session(&self, token: &str, now: Instant) -> Option<Login> {
        self.memory().login_of(&key_of(token), now)
    }

    /// Ends a session; an unknown token is no error.
    pub fn close_session(&self, token: &str) {
        self.memory().sessions.remove(&key_of(token));
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn login_of(&self, key: &[u8; 32], now: Instant) -> Option<Login> {
        self.sessions
            .get(key)
            .filter(|session| now < session.ends)
            .map(|session| session.login.clone())
    }

    fn remember(&mut self, key: [u8; 32], session: Session) {
        if self.sessions.len() >= MAX_SESSIONS {
            let oldest = self
                .sessions
                .iter()
                .min_by_key(|(_, session)| session.ends)
                .map(|(key, _)| *key);
            oldest.map(|key| self.sessions.remove(&key));
        }
        self.sessions.insert(key, session);
    }

    fn still_welcome(&mut self, from: IpAddr, now: Instant) -> Result<(), Denied> {
        self.failures
            .retain(|_, failures| now < failures.since + FAILURE_WINDOW);
        match self.failures.get(&from) {
            Some(failures) if failures.count >= MAX_FAILURES => Err(Denied::TooMany {
                retry_after: (failures.since + FAILURE_WINDOW).saturating_duration_since(now),
            }),
            _ => Ok(()),
        }
    }

    fn note_failure(&mut self, from: IpAddr, now: Instant) {
        if self.failures.len() >= MAX_FAILING && !self.failures.contains_key(&from) {
            let oldest = self
                .failures
                .iter()
                .min_by_key(|(_, failures)| failures.since)
                .map(|(from, _)| *from);
            oldest.map(|from| self.failures.remove(&from));
        }
        self.failures
            .entry(from)
            .or_insert(Failures {
                count: 0,
                since: now,
            })
            .count += 1;
    }
}

/// Sets the login in `data_dir`, in the place of an older one. A running collector takes it at its next start.
///
/// # Errors
/// See [`LoginError`].
pub fn set_login(data_dir: &Path, user: &str, password: &str) -> Result<(), LoginError> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-_@".contains(letter);
    if !(1..=64).contains(&user.len()) || !user.chars().all(plain) {
        return Err(LoginError::User);
    }
    if password.chars().count() < MIN_PASSWORD_CHARS || password.len() > MAX_PASSWORD_BYTES {
        return Err(LoginError::Length);
    }
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|_| LoginError::Hash)?;
    let record = Record {
        user: user.to_owned(),
        argon2: hash.to_string(),
    };
    let path = login_path(data_dir);
    let bytes = serde_json::to_vec_pretty(&record).map_err(|_| LoginError::Hash)?;
    files::replace_whole(&path, &bytes, Readers::Owner).map_err(|source| LoginError::File {
        action: "write",
        path,
        source,
    })
}

fn login_path(data_dir: &Path) -> PathBuf {
    data_dir.join("login.json")
}

/// Tokens are looked up by their hash, so that neither memory nor the time of a look-up gives them away.
fn key_of(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// Who shares an attempt counter: one IPv4 address, or the /64 that one IPv6 host can take addresses from at will.
fn block_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(four) => IpAddr::V4(four),
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "correct horse";

    fn logins() -> Logins {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!Logins::open(folder.path()).expect("opens").is_set());
        set_login(folder.path(), "admin", PASSWORD).expect("sets");
        Logins::open(folder.path()).expect("opens")
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn a_session_lives_its_time_and_ends_when_closed() {
        let (logins, now) = (logins(), crate::clock::now());
        let login = logins
            .verify(address(1), "admin", PASSWORD, now)
            .await
            .expect("lets in");
        let token = logins.open_session(&login, now);
        assert_eq!(
            logins.login_of_session(token.as_str(), now),
            Some(login.clone())
        );
        assert_eq!(
            logins.login_of_session(token.as_str(), now + SESSION_LIFE),
            None
        );
        assert_eq!(logins.login_of_session("forged", now), None);
        logins.close_session(token.as_str());
        assert_eq!(logins.login_of_session(token.as_str(), now), None);
    }

    #[tokio::test]
    async fn guessing_is_slowed_for_the_guesser_alone() {
        let (logins, now) = (logins(), crate::clock::now());
        for (user, password) in [
            ("admin", "wrong"),
            ("root", PASSWORD),
            ("", ""),
            ("admin", ""),
            ("admin", "Correct horse"),
        ] {
            assert_eq!(
                logins.verify(address(1), user, password, now).await,
                Err(Denied::Wrong),
                "{user}:{password}"
            );
        }
        let refused = logins.verify(address(1), "admin", PASSWORD, now).await;
        assert_eq!(
            refused,
            Err(Denied::TooMany {
                retry_after: FAILURE_WINDOW
            })
        );
        assert!(
            logins
                .verify(address(2), "admin", PASSWORD, now)
                .await
                .is_ok()
        );
        assert!(
            logins
                .verify(address(1), "admin", PASSWORD, now + FAILURE_WINDOW)
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn basic_is_remembered_for_the_same_pair_only() {
        let (logins, now) = (logins(), crate::clock::now());
        assert!(
            logins
                .verify_basic(address(1), "admin", PASSWORD, now)
                .await
                .is_ok()
        );
        assert_eq!(logins.memory().sessions.len(), 1);
        assert!(
            logins
                .verify_basic(address(1), "admin", PASSWORD, now)
                .await
                .is_ok()
        );
        assert_eq!(logins.memory().sessions.len(), 1);
        assert_eq!(
            logins
                .verify_basic(address(1), "admi", "ncorrect horse", now)
                .await,
            Err(Denied::Wrong)
        );
    }

    #[test]
    fn sessions_are_bounded() {
        let (logins, now) = (logins(), crate::clock::now());
        let login = Login {
            organisation: OrganisationId::default_organisation(),
            user: "admin".to_owned(),
        };
        let first = logins.open_session(&login, now);
        for second in 1..=MAX_SESSIONS {
            logins.open_session(&login, now + Duration::from_secs(second as u64));
        }
        assert_eq!(logins.memory().sessions.len(), MAX_SESSIONS);
        assert_eq!(logins.login_of_session(first.as_str(), now), None);
    }

    #[test]
    fn what_cannot_be_a_login_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        for (user, password) in [
            ("", PASSWORD),
            ("a b", PASSWORD),
            ("admin", "short"),
            ("admin", &"x".repeat(1025)),
        ] {
            assert!(set_login(folder.path(), user, password).is_err(), "{user}");
        }
        std::fs::write(folder.path().join("login.json"), "{").expect("writes");
        assert!(matches!(
            Logins::open(folder.path()),
            Err(LoginError::Damaged { .. })
        ));
    }
}
