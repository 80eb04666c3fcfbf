//! Every way in which the collector says no to an agent: a status, a constant word, a sentence, and whether to try again.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use firstmile_wire::enroll::Refusal as Body;
use firstmile_wire::frame::FrameError;

use super::decode::DecodeError;
use crate::store::obstacle::Obstacle;

/// Seconds after which a collector that is busy, or whose store failed, may be asked again (RFC 9110 §10.2.3).
const RETRY_AFTER_S: &str = "5";
/// Seconds until somebody may have mended a clock.
const RETRY_AFTER_SKEW_S: &str = "60";

/// A refusal's constant word; `docs/wire.md` lists them for those who write agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// No client certificate was shown.
    NoCertificate,
    /// The report speaks for another agent, or the certificate names none.
    WrongAgent,
    /// The agent's certificate was taken back.
    AgentRevoked,
    /// The certificate is ours, but the store does not know the agent: the store was restored or lost.
    AgentUnknown,
    /// Beyond a bound.
    TooLarge,
    /// The zstd frame is damaged or cut off.
    Truncated,
    /// The body ended early: the line broke, the report did not.
    BodyCutOff,
    /// The message does not add up.
    Malformed,
    /// Another content type or encoding.
    WrongContentType,
    /// Another report has the same key: the agent was set back to an earlier state, or lives twice.
    EpochConflict,
    /// A version of the format that this collector does not know; a later one may.
    WrongVersion,
    /// A time ahead of the collector's clock: once the clocks are mended, or that time has come, it is taken.
    ClockSkew,
    /// A time over 30 days ago.
    TooOld,
    /// Too much at once.
    Busy,
    /// The store failed: its disk is full, for example.
    StoreFailed,
    /// The body took too long.
    TooSlow,
    /// No join string has this secret.
    JoinStringUnknown,
    /// The join string was spent.
    JoinStringUsed,
    /// The join string ended.
    JoinStringExpired,
    /// The join string was taken back.
    JoinStringRevoked,
    /// The enrolment or renewal is no JSON of the agreed form.
    MalformedRequest,
    /// The signing request cannot be used.
    BadCsr,
    /// There is no such resource.
    NotFound,
}

impl Code {
    /// The word itself.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::WrongAgent => "wrong_agent",
            Self::AgentRevoked => "agent_revoked",
            Self::AgentUnknown => "agent_unknown",
            Self::TooLarge => "too_large",
            Self::Truncated => "truncated",
            Self::BodyCutOff => "body_cut_off",
            Self::Malformed => "malformed",
            Self::WrongContentType => "wrong_content_type",
            Self::EpochConflict => "epoch_conflict",
            Self::WrongVersion => "wrong_version",
            Self::ClockSkew => "clock_skew",
            Self::TooOld => "too_old",
            Self::Busy => "busy",
            Self::StoreFailed => "store_failed",
            Self::TooSlow => "too_slow",
            Self::JoinStringUnknown => "join_string_unknown",
            Self::JoinStringUsed => "join_string_used",
            Self::JoinStringExpired => "join_string_expired",
            Self::JoinStringRevoked => "join_string_revoked",
            Self::MalformedRequest => "malformed_request",
            Self::BadCsr => "bad_csr",
            Self::NotFound => "not_found",
        }
    }

    /// Status of the response.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::NoCertificate => StatusCode::UNAUTHORIZED,
            Self::WrongAgent
            | Self::AgentRevoked
            | Self::AgentUnknown
            | Self::JoinStringUnknown
            | Self::JoinStringUsed
            | Self::JoinStringExpired
            | Self::JoinStringRevoked => StatusCode::FORBIDDEN,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Truncated
            | Self::BodyCutOff
            | Self::Malformed
            | Self::MalformedRequest
            | Self::BadCsr => StatusCode::BAD_REQUEST,
            Self::EpochConflict => StatusCode::CONFLICT,
            Self::WrongContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::WrongVersion | Self::ClockSkew | Self::TooOld => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy | Self::StoreFailed => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }

    /// Whether the same request may succeed later: an agent keeps such a report.
    pub const fn is_transient(self) -> bool {
        match self {
            Self::BodyCutOff
            | Self::EpochConflict
            | Self::WrongVersion
            | Self::ClockSkew
            | Self::Busy
            | Self::StoreFailed
            | Self::TooSlow
            | Self::AgentUnknown => true,
            Self::NoCertificate
            | Self::WrongAgent
            | Self::AgentRevoked
            | Self::TooLarge
            | Self::Truncated
            | Self::Malformed
            | Self::WrongContentType
            | Self::TooOld
            | Self::JoinStringUnknown
            | Self::JoinStringUsed
            | Self::JoinStringExpired
            | Self::JoinStringRevoked
            | Self::MalformedRequest
            | Self::BadCsr
            | Self::NotFound => false,
        }
    }

    /// When to try again, where the agent's own pauses are no good.
    fn retry_after_s(self) -> Option<&'static str> {
        if self == Self::ClockSkew {
            return Some(RETRY_AFTER_SKEW_S);
        }
        matches!(self, Self::Busy | Self::StoreFailed).then_some(RETRY_AFTER_S)
    }
}

/// A refusal with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which one.
    pub code: Code,
    /// What was wrong and what to do, for people.
    pub message: String,
}

impl Refusal {
    /// A refusal with this sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A bound does not let the request in now.
    pub fn busy() -> Self {
        Self::new(
            Code::Busy,
            "the collector is busy; the report is kept by the agent and sent again",
        )
    }

    /// The store failed the request; what keeps it from writing, where that is known.
    pub fn store_failed(obstacle: Option<Obstacle>) -> Self {
        let why = obstacle.map_or_else(
            || "the collector's store failed; its log says why".to_owned(),
            |obstacle| format!("the collector's disk {}", obstacle.predicate()),
        );
        Self::new(
            Code::StoreFailed,
            format!("{why}; what was sent is kept by the agent and sent again"),
        )
    }

    /// Under this key the collector holds another report.
    pub fn epoch_conflict() -> Self {
        Self::new(
            Code::EpochConflict,
            "another report of this epoch and sequence is stored; was this machine set back or copied? Send it under a new epoch",
        )
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        let code = match &error {
            DecodeError::Frame(FrameError::TooLarge { .. } | FrameError::TooMany { .. })
            | DecodeError::TooMany { .. } => Code::TooLarge,
            DecodeError::Frame(FrameError::Inflate { .. } | FrameError::Compress { .. }) => {
                Code::Truncated
            }
            DecodeError::Frame(FrameError::Version { .. }) => Code::WrongVersion,
            DecodeError::Frame(FrameError::Malformed { .. } | FrameError::CutOff)
            | DecodeError::Inconsistent { .. } => Code::Malformed,
            DecodeError::Ahead { .. } => Code::ClockSkew,
            DecodeError::TooOld { .. } => Code::TooOld,
            DecodeError::WrongAgent { .. } => Code::WrongAgent,
        };
        Self {
            code,
            message: with_sources(&error),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Body {
            code: self.code.word().to_owned(),
            message: self.message,
            retry: self.code.is_transient(),
        };
        let mut response = (self.code.status(), Json(body)).into_response();
        if let Some(seconds) = self.code.retry_after_s() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        response
    }
}

/// An error and its sources in one line.
pub fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
