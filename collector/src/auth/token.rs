//! Tokens by which scripts come in: a bearer token (RFC 6750 §2.1), of which only the digest is kept.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use firstmile_wire::ids::OrganisationId;
use rand::RngExt;
use sha2::{Digest, Sha256};

/// What a token begins with, so that one that leaked into a text is found.
const PREFIX: &str = "fmt_";
/// Random bytes of a token: nobody guesses it, so a plain digest keeps it safe.
const SECRET_BYTES: usize = 32;
/// Longest name of a token.
const NAME_MAX: usize = 64;
/// How long a token lasts unless said otherwise.
pub const DEFAULT_LIFE: Duration = Duration::from_hours(90 * 24);
/// How long a token may last.
pub const LIFE_MAX: Duration = Duration::from_hours(366 * 24);

/// SHA-256 of a token.
pub type TokenDigest = [u8; 32];

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Look at everything.
    Viewer,
    /// Look at and change everything.
    Admin,
}

impl Role {
    /// The word for it, in the store and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "admin" => Ok(Self::Admin),
            _ => Err(TokenError::Role),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A token as the collector remembers it: without the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the secret.
    pub digest: TokenDigest,
    /// Whose data it opens.
    pub organisation: OrganisationId,
    /// Name for people, unique in its organisation.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created_unix_ms: i64,
    /// When it ends.
    pub expires_unix_ms: i64,
}

/// Why a token cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Its name cannot be used.
    #[error("a token's name is 1 to {NAME_MAX} letters, digits, '.', '-' or '_'")]
    Name,
    /// It would last for ever, or not at all.
    #[error("a token lasts from one minute to 366 days")]
    Life,
    /// There is no such role.
    #[error("a role is viewer or admin")]
    Role,
}

impl Token {
    /// Makes a token. The secret is returned once and kept nowhere.
    ///
    /// # Errors
    /// [`TokenError`] for a name or a life that cannot be used.
    pub fn make(
        organisation: OrganisationId,
        name: &str,
        role: Role,
        life: Duration,
        now_unix_ms: i64,
    ) -> Result<(Self, String), TokenError> {
        let named = (1..=NAME_MAX).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !named {
            return Err(TokenError::Name);
        }
        if !(Duration::from_mins(1)..=LIFE_MAX).contains(&life) {
            return Err(TokenError::Life);
        }
        let secret: [u8; SECRET_BYTES] = rand::rng().random();
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
        let life_ms = i64::try_from(life.as_millis()).map_err(|_| TokenError::Life)?;
        let token = Self {
            digest: digest_of(&secret),
            organisation,
            name: name.to_owned(),
            role,
            created_unix_ms: now_unix_ms,
            expires_unix_ms: now_unix_ms.saturating_add(life_ms),
        };
        Ok((token, secret))
    }

    /// Whether it still opens anything.
    pub const fn is_live(&self, now_unix_ms: i64) -> bool {
        now_unix_ms < self.expires_unix_ms
    }
}

/// The digest that a secret is looked up by.
pub fn digest_of(secret: &str) -> TokenDigest {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(name: &str, life: Duration) -> Result<(Token, String), TokenError> {
        let organisation = OrganisationId::default_organisation();
        Token::make(organisation, name, Role::Viewer, life, 1_000)
    }

    #[test]
    fn a_token_is_known_by_its_digest_until_it_ends() {
        let (token, secret) = make("ci", Duration::from_mins(1)).expect("makes");
        assert_eq!(token.digest, digest_of(&secret));
        assert!(token.is_live(60_999) && !token.is_live(61_000));
        let (other, _) = make("ci", Duration::from_mins(1)).expect("makes");
        assert_ne!(token.digest, other.digest);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for (name, life, why) in [
            ("", DEFAULT_LIFE, TokenError::Name),
            ("a b", DEFAULT_LIFE, TokenError::Name),
            ("ci", Duration::ZERO, TokenError::Life),
            ("ci", Duration::MAX, TokenError::Life),
        ] {
            assert_eq!(make(name, life).expect_err(name), why);
        }
    }
}
