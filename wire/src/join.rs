//! The join string: everything that a new agent has to know, in one word that survives copy and paste.
//!
//! `fm1.<collector URL>.<SHA-256 of the collector's CA certificate>.<secret>`, each part base64url without padding
//! (RFC 4648 §5). The hash lets the agent trust the right collector before it has any certificate of its own; the secret
//! is spent on the first use.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use url::Url;

const PREFIX: &str = "fm1";
const SECRET_BYTES: usize = 24;

/// SHA-256 of the DER form of a CA certificate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaHash(pub [u8; 32]);

impl CaHash {
    /// Hashes a certificate in DER form.
    pub fn of_der(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

impl fmt::Display for CaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaHash({self})")
    }
}

/// The one-time secret of a join string. Its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinSecret([u8; SECRET_BYTES]);

impl JoinSecret {
    /// Wraps 24 random bytes.
    pub const fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The text form that goes into an enrolment request.
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What the collector keeps instead of the secret.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

impl FromStr for JoinSecret {
    type Err = JoinStringError;
    fn from_str(text: &str) -> Result<Self, JoinStringError> {
        decode_exact(text, "secret").map(Self)
    }
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret(…)")
    }
}

/// A parsed join string; if it exists, it is well-formed. `Debug` hides the secret, `Display` is the string itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinString {
    /// Where the collector takes enrolments and reports: `https`, a host, no path.
    pub collector: Url,
    /// Which CA to trust.
    pub ca: CaHash,
    /// Proof that the holder was invited.
    pub secret: JoinSecret,
}

impl fmt::Display for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{PREFIX}.{}.{}.{}",
            URL_SAFE_NO_PAD.encode(self.collector.as_str()),
            URL_SAFE_NO_PAD.encode(self.ca.0),
            self.secret.to_text()
        )
    }
}

impl FromStr for JoinString {
    type Err = JoinStringError;

    /// Reads a join string; white space around it, as left by copy and paste, is forgiven.
    fn from_str(text: &str) -> Result<Self, JoinStringError> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let &[prefix, url, ca, secret] = parts.as_slice() else {
            return Err(JoinStringError::Shape { parts: parts.len() });
        };
        if prefix != PREFIX {
            return Err(JoinStringError::Prefix {
                got: prefix.chars().take(16).collect(),
            });
        }
        let url = URL_SAFE_NO_PAD
            .decode(url)
            .map_err(|source| JoinStringError::Base64 {
                part: "URL",
                source,
            })?;
        let url = String::from_utf8_lossy(&url);
        let collector = Url::parse(&url).map_err(|source| JoinStringError::Url {
            got: url.chars().take(256).collect(),
            source,
        })?;
        if collector.scheme() != "https" || collector.host_str().is_none() {
            return Err(JoinStringError::NotHttps {
                got: collector.to_string(),
            });
        }
        Ok(Self {
            collector,
            ca: CaHash(decode_exact(ca, "CA hash")?),
            secret: secret.parse()?,
        })
    }
}

/// Why a text is no join string.
#[derive(Debug, thiserror::Error)]
pub enum JoinStringError {
    /// Another number of parts: usually cut off while copying.
    #[error(
        "a join string has 4 parts separated by '.', this one has {parts}; was it cut off while copying?"
    )]
    Shape {
        /// Parts found.
        parts: usize,
    },
    /// Not one of ours, or of a later version.
    #[error("a join string starts with \"fm1.\", this one with {got:?}")]
    Prefix {
        /// What it starts with, cut at 16 characters.
        got: String,
    },
    /// A part is no base64url.
    #[error("the {part} in the join string is damaged; copy it again")]
    Base64 {
        /// Which part.
        part: &'static str,
        /// What the decoder said.
        source: base64::DecodeError,
    },
    /// A part has another length.
    #[error("the {part} in the join string has {got} bytes instead of {want}; copy it again")]
    Length {
        /// Which part.
        part: &'static str,
        /// Bytes found.
        got: usize,
        /// Bytes needed.
        want: usize,
    },
    /// The URL does not parse.
    #[error("the collector URL {got:?} in the join string is not a URL")]
    Url {
        /// The URL's text, cut at 256 characters.
        got: String,
        /// What the parser said.
        source: url::ParseError,
    },
    /// The URL is not https, or has no host.
    #[error("the collector URL {got} in the join string must be https://host:port")]
    NotHttps {
        /// The URL.
        got: String,
    },
}

fn decode_exact<const N: usize>(
    text: &str,
    part: &'static str,
) -> Result<[u8; N], JoinStringError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|source| JoinStringError::Base64 { part, source })?;
    bytes
        .try_into()
        .map_err(|bytes: Vec<u8>| JoinStringError::Length {
            part,
            got: bytes.len(),
            want: N,
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> JoinString {
        JoinString {
            collector: Url::parse("https://collector.example:8443/").expect("a URL"),
            ca: CaHash([7; 32]),
            secret: JoinSecret::new([9; SECRET_BYTES]),
        }
    }

    #[test]
    fn a_join_string_survives_copy_and_paste() {
        let text = format!("  {}\n", sample());
        assert_eq!(text.parse::<JoinString>().expect("parses"), sample());
    }

    #[test]
    #[expect(clippy::string_slice, reason = "the sample is ASCII")]
    fn damage_is_named() {
        let good = sample().to_string();
        for (name, text, want) in [
            (
                "cut off",
                good[..good.rfind('.').expect("a dot")].to_owned(),
                "was it cut off",
            ),
            (
                "secret cut",
                good[..good.len() - 4].to_owned(),
                "secret in the join string has 21 bytes instead of 24",
            ),
            (
                "other product",
                good.replace("fm1.", "xx9."),
                "starts with \"fm1.\"",
            ),
            (
                "strange letters",
                good.replace("fm1.", "fm1.*"),
                "URL in the join string is damaged",
            ),
            ("empty", String::new(), "has 1"),
        ] {
            let error = text.parse::<JoinString>().expect_err(name).to_string();
            assert!(error.contains(want), "{name}: {error}");
        }
    }

    #[test]
    fn plain_http_is_refused() {
        let mut join = sample();
        join.collector = Url::parse("http://collector.example/").expect("a URL");
        assert!(matches!(
            join.to_string().parse::<JoinString>(),
            Err(JoinStringError::NotHttps { .. })
        ));
    }

    #[test]
    fn debug_hides_the_secret() {
        let secret = sample().secret.to_text();
        assert!(!format!("{:?}", sample()).contains(&secret));
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_what_was_written(text in "(fm1\\.)?[A-Za-z0-9_.-]{0,200}") {
            if let Ok(join) = text.parse::<JoinString>() {
                prop_assert_eq!(join.to_string().parse::<JoinString>().expect("parses"), join);
            }
        }

        #[test]
        fn every_join_string_is_read_back(ca in any::<[u8; 32]>(), secret in any::<[u8; SECRET_BYTES]>(), port in 1u16..) {
            let collector = Url::parse(&format!("https://192.0.2.7:{port}/")).expect("a URL");
            let join = JoinString { collector, ca: CaHash(ca), secret: JoinSecret::new(secret) };
            prop_assert_eq!(join.to_string().parse::<JoinString>().expect("parses"), join);
        }
    }
}
