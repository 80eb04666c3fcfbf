//! The body of a request, as JSON.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::failure::Failure;
use super::{ApiState, BODY_MAX_BYTES};

/// A JSON body. Its content type is not looked at: what parses is JSON, and other pages are refused by origin.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<ApiState> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    Failure::body_too_large(BODY_MAX_BYTES)
                } else {
                    Failure::bad_body("the body was cut off")
                }
            })?;
        let value = serde_json::from_slice(&bytes);
        value
            .map(Self)
            .map_err(|error| Failure::bad_body(format!("the body cannot be read as JSON: {error}")))
    }
}
