//! What a collector answers, read.

use std::net::IpAddr;
use std::time::Duration;

use firstmile_wire::enroll::Refusal;
use firstmile_wire::v1;
use prost::Message;
use url::Url;

use super::upload_error::UploadError;
use crate::clock;

/// What the collector says of a report.
pub(super) fn read_answer(
    status: u16,
    answer: &[u8],
    retry_after: Option<Duration>,
    collector: Url,
) -> Result<v1::Ack, UploadError> {
    if status == 200 {
        return v1::Ack::decode(answer)
            .map_err(|_| UploadError::NotACollector { collector, status });
    }
    if matches!(status, 429 | 503) {
        // Whatever it says of `retry`: no report is dropped for a collector that is in trouble.
        let why = serde_json::from_slice::<Refusal>(answer)
            .map_or_else(|_| "it gives no reason".into(), |said| said.message.into());
        return Err(UploadError::Overloaded {
            collector,
            status,
            why,
            retry_after,
        });
    }
    match serde_json::from_slice::<Refusal>(answer) {
        Ok(refusal) => Err(UploadError::Refused {
            refusal,
            retry_after,
        }),
        Err(_) => Err(UploadError::NotACollector { collector, status }),
    }
}

/// 4 or 16 bytes; an IPv4 address that a dual-stack socket wears as IPv6 is shown as IPv4.
pub(super) fn read_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(|octets| IpAddr::from(octets).to_canonical());
    v4.or_else(|_| v6()).ok()
}

/// Retry-After as seconds or as a date (RFC 9110 §10.2.3).
pub(super) fn read_retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let then = jiff::fmt::rfc2822::parse(value.trim())
        .ok()?
        .timestamp()
        .as_millisecond();
    Some(Duration::from_millis(
        u64::try_from(then - clock::unix_ms()).unwrap_or(0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector_url() -> Url {
        Url::parse("https://collector.example/").expect("a URL")
    }

    fn answer(status: u16, body: &[u8]) -> Result<v1::Ack, UploadError> {
        read_answer(status, body, None, collector_url())
    }

    #[test]
    fn answers_say_whether_to_keep_a_report() {
        let refusal =
            |retry| format!("{{\"code\":\"c\",\"message\":\"m\",\"retry\":{retry}}}").into_bytes();
        let ack = v1::Ack {
            epoch: vec![1; 16],
            stored: 4,
            replicated: 3,
            plan_version: 0,
            ..v1::Ack::default()
        };
        assert_eq!(answer(200, &ack.encode_to_vec()).expect("an ack"), ack);
        assert!(
            matches!(
                answer(200, b"<html>"),
                Err(UploadError::NotACollector { .. })
            ),
            "a captive portal is no collector"
        );
        assert!(
            matches!(answer(403, &refusal(false)), Err(UploadError::Refused { refusal, .. }) if !refusal.retry)
        );
        assert!(
            matches!(answer(422, &refusal(true)), Err(UploadError::Refused { refusal, .. }) if refusal.retry)
        );
        assert!(
            matches!(answer(503, &refusal(true)), Err(UploadError::Overloaded { why, .. }) if &*why == "m"),
            "the reason is the collector's own"
        );
        assert!(
            matches!(answer(503, b"<html>"), Err(UploadError::Overloaded { .. })),
            "a load balancer before a collector that is away says 503, too"
        );
        assert!(
            matches!(
                answer(403, b"<html>"),
                Err(UploadError::NotACollector { .. })
            ),
            "a proxy's refusal drops nothing"
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(read_retry_after(" 120 "), Some(Duration::from_mins(2)));
        assert_eq!(
            read_retry_after("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Duration::ZERO)
        );
        assert_eq!(read_retry_after("soon"), None);
        assert_eq!(read_retry_after("-1"), None);
    }
}
