//! Why a report was not taken, and what a person can do about it.

use std::time::Duration;

use firstmile_wire::enroll::Refusal;
use url::Url;

use crate::clock;
use crate::enroll::Identity;
use crate::net::inspection::UnknownIssuer;
use crate::net::tls;

/// Why one report did not reach the collector.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("cannot reach collector {collector}: {why}")]
    Unreachable {
        collector: Url,
        why: String,
        source: reqwest::Error,
    },
    #[error("collector {collector} takes nothing now ({status}): {why}")]
    Overloaded {
        collector: Url,
        status: u16,
        /// Its own words.
        why: Box<str>,
        retry_after: Option<Duration>,
    },
    #[error("collector refuses ({}): {}", refusal.code, refusal.message)]
    Refused {
        refusal: Refusal,
        retry_after: Option<Duration>,
    },
    #[error("{collector} answers {status}, which no collector does")]
    NotACollector { collector: Url, status: u16 },
}

/// What helps when agent and collector can no longer prove to each other who they are.
pub(super) const ENROL_AGAIN: &str =
    "stop the agent and enrol again: firstmile-agent enroll --replace <join string>";

/// The collector holds another report of the same epoch and sequence.
pub(super) const EPOCH_CONFLICT: &str = "epoch_conflict";

/// The times in a report are far from the collector's own.
pub(super) const CLOCK_SKEW: &str = "clock_skew";

impl UploadError {
    /// The collector's word for a refusal.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { refusal, .. } => Some(&refusal.code),
            Self::Unreachable { .. } | Self::Overloaded { .. } | Self::NotACollector { .. } => None,
        }
    }

    /// Whether TLS failed because one side does not know the other's CA, or takes its certificate for ended.
    fn is_about_certificates(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => {
                tls::cause(source).is_some_and(is_about_certificates)
            }
            Self::Overloaded { .. } | Self::Refused { .. } | Self::NotACollector { .. } => false,
        }
    }

    /// What `status` says: with what to do about it, where that is known.
    pub(super) fn to_problem(&self) -> String {
        if let Self::Unreachable { source, .. } = self
            && let Some(doubt) = tls::clock_in_doubt(source, clock::unix_ms())
        {
            return format!("{self}; {doubt}; reports are kept");
        }
        if self.is_about_certificates() {
            return format!("{self}; if the collector was set up anew, {ENROL_AGAIN}");
        }
        if self.code() == Some(CLOCK_SKEW) {
            return format!(
                "the clock of this machine or that of the collector is wrong; reports are kept until they agree: {self}"
            );
        }
        self.to_string()
    }
}

/// That the certificate has ended, where it has, and what to do.
pub(super) fn ended(identity: &Identity, now_unix_ms: i64) -> Option<String> {
    let end = identity.not_after_unix_ms;
    let shown = || {
        jiff::Timestamp::from_millisecond(end).map_or_else(|_| end.to_string(), |at| at.to_string())
    };
    (now_unix_ms >= end).then(|| {
        format!(
            "the certificate of this agent ended on {}; unless this machine's clock is wrong, {ENROL_AGAIN}",
            shown()
        )
    })
}

/// Of all that TLS says, what another enrolment would mend. A new CA under the old name shows as a bad signature.
fn is_about_certificates(error: &rustls::Error) -> bool {
    use rustls::{AlertDescription, Error};
    let alerts = [
        AlertDescription::UnknownCA,
        AlertDescription::BadCertificate,
        AlertDescription::CertificateExpired,
        AlertDescription::CertificateRevoked,
        AlertDescription::CertificateUnknown,
        AlertDescription::DecryptError,
    ];
    if let Error::AlertReceived(alert) = error {
        return alerts.contains(alert);
    }
    UnknownIssuer::of(error).is_some()
}
