//! Why a request was not answered: a status, a word for programs, a sentence for people.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tracing::error;

use super::types::ApiError;
use crate::auth::login::Denied;
use crate::geo::GeographyError;
use crate::registry::invite::InviteError;
use crate::store::StoreError;

/// What becomes an [`ApiError`] with its status.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    error: ApiError,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

impl Failure {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            error: ApiError {
                code: code.to_owned(),
                message: message.into(),
            },
            header: None,
        }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    /// A parameter of the query or path that cannot be used.
    pub(super) fn bad_parameter(name: &str, got: &str, want: &str) -> Self {
        let got: String = got.chars().take(64).collect();
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad_parameter",
            format!("{name}={got:?} cannot be used: it must be {want}"),
        )
    }

    /// Parameters that cannot be read at all, or that contradict each other.
    pub(super) fn bad_parameters(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_parameter", why)
    }

    /// A body that cannot be used.
    pub(super) fn bad_body(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_body", why)
    }

    /// A body beyond the limit.
    pub(super) fn body_too_large(limit_bytes: usize) -> Self {
        let message = format!("the body is longer than {limit_bytes} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    /// Nobody has said yet who is asking.
    pub(super) fn login_required(why: impl Into<String>, challenge: HeaderValue) -> Self {
        let failure = Self::new(StatusCode::UNAUTHORIZED, "login_required", why);
        failure.with(header::WWW_AUTHENTICATE, challenge)
    }

    /// A user and password that were not taken.
    pub(super) fn denied(denied: &Denied, challenge: HeaderValue) -> Self {
        let message = denied.to_string();
        match denied {
            Denied::Wrong => {
                let failure = Self::new(StatusCode::UNAUTHORIZED, "wrong_login", message);
                failure.with(header::WWW_AUTHENTICATE, challenge)
            }
            Denied::TooMany { retry_after } => {
                let seconds = HeaderValue::from(retry_after.as_secs().max(1));
                let failure =
                    Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message);
                failure.with(header::RETRY_AFTER, seconds)
            }
            Denied::NotSet => Self::new(StatusCode::FORBIDDEN, "no_login_set", message),
        }
    }

    /// The request's host is none of this page's.
    pub(super) fn wrong_host(host: &str) -> Self {
        let message = format!(
            "host {host:?} is none of this page's: it is served to this machine only, as localhost, 127.0.0.1 or [::1]"
        );
        Self::new(StatusCode::FORBIDDEN, "wrong_host", message)
    }

    /// A change that another page asks for.
    pub(super) fn cross_origin(origin: &str) -> Self {
        let message = format!("changes are taken from this page only, not from {origin:?}");
        Self::new(StatusCode::FORBIDDEN, "cross_origin", message)
    }

    /// A change that a viewer asks for.
    pub(super) fn viewer(name: &str) -> Self {
        let message = format!("{name} may look and not change; use a token made with --role admin");
        Self::new(StatusCode::FORBIDDEN, "viewer", message)
    }

    /// There is no such thing.
    pub(super) fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// The resource is there, the method is not.
    pub(super) fn method_not_allowed(method: &Method, path: &str) -> Self {
        let message =
            format!("{path} does not take {method}; /api/openapi.json says what it takes");
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            message,
        )
    }

    /// The store did not answer in time.
    pub(super) fn too_slow(limit: Duration) -> Self {
        let message = format!(
            "no answer within {} s; ask for a shorter window or a coarser step",
            limit.as_secs()
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_slow", message)
    }
}

impl Failure {
    /// Status, word and sentence, for an interface with an envelope of its own.
    pub(super) fn parts(&self) -> (StatusCode, &str, &str) {
        (self.status, &self.error.code, &self.error.message)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", message),
            StoreError::Conflict { .. } => Self::new(StatusCode::CONFLICT, "conflict", message),
            StoreError::TooMuch { .. } => Self::bad_parameters(message),
            StoreError::Stopped => Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopped", message),
            StoreError::Engine { .. } | StoreError::Damaged { .. } => {
                error!(
                    error = &error as &dyn std::error::Error,
                    "the store failed a request"
                );
                let hint = "; the collector's log says why";
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "store_failed",
                    format!("{message}{hint}"),
                )
            }
        }
    }
}

impl From<GeographyError> for Failure {
    fn from(error: GeographyError) -> Self {
        Self::bad_body(error.to_string())
    }
}

impl From<InviteError> for Failure {
    fn from(error: InviteError) -> Self {
        if let InviteError::Store(source) = error {
            source.into()
        } else {
            Self::bad_body(error.to_string())
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.error)).into_response();
        if let Some((name, value)) = self.header.map(|header| *header) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
