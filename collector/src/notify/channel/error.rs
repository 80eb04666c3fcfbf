//! Why a channel cannot be opened, and why a message did not get there.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a channel cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file that the configuration names cannot be read.
    #[error("cannot read {}; make it readable for the user that the collector runs as", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Everybody can read a secret.
    #[error("every user of this machine can read the secret in {0}; run `chmod o= {0}`", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
    },
    /// The file holds no secret.
    #[error("{} must hold the secret alone, on one line", path.display())]
    NoSecret {
        /// Which file.
        path: PathBuf,
    },
    /// The secret should be a URL.
    #[error("the url of the channel is no http or https URL with a host")]
    Url,
    /// The certificates cannot be used.
    #[error("the certificates in {} cannot be used; write them as PEM", path.display())]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The machinery of a protocol does not start.
    #[error("cannot get {what} ready")]
    Setup {
        /// What.
        what: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// How long a message that was refused is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It would be refused again.
    None,
    /// Nobody may be there any more; a few minutes are enough to mend a mistake.
    Short,
    /// As long as messages are kept.
    Full,
}

/// Tries of a message to somebody who may not be there any more: some four minutes.
const SHORT_TRIES: u32 = 8;

/// Why a message did not get there.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The receiver was not reached, or the connection broke.
    #[error("cannot {what} {to}; {fix}")]
    Unreachable {
        /// What was tried, such as `post to`.
        what: &'static str,
        /// Host and port.
        to: String,
        /// What to do.
        fix: &'static str,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The receiver answered, and did not take it.
    #[error("{to} refused the message with {status}{}; {fix}", said(text))]
    Refused {
        /// Host and port.
        to: String,
        /// Its status.
        status: u16,
        /// What it said, cut.
        text: String,
        /// How long it asks to be left alone (RFC 9110 §10.2.3).
        retry_after: Option<Duration>,
        /// Whether it is of use to try again.
        patience: Patience,
        /// What to do.
        fix: &'static str,
    },
    /// It took too long.
    #[error("{to} did not take the message within {within:?}; look whether it is overloaded")]
    TooSlow {
        /// Host and port.
        to: String,
        /// How long it had.
        within: Duration,
    },
    /// The message cannot be written in the way of the channel.
    #[error("the message cannot be written for {to}")]
    Unwritable {
        /// Host and port.
        to: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl SendError {
    /// Whether trying the same message again is of no use, after so many tries.
    pub const fn is_for_good(&self, attempts: u32) -> bool {
        match self {
            Self::Refused { patience, .. } => match patience {
                Patience::None => true,
                Patience::Short => attempts >= SHORT_TRIES,
                Patience::Full => false,
            },
            Self::Unwritable { .. } => true,
            Self::Unreachable { .. } | Self::TooSlow { .. } => false,
        }
    }

    /// How long the receiver asks to be left alone.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Unwritable { .. } | Self::Unreachable { .. } | Self::TooSlow { .. } => None,
        }
    }
}

fn said(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(" ({text:?})")
    }
}
