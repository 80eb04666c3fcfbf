//! The webhook: the notice as JSON, signed.
//!
//! The header `Firstmile-Signature` is `t=SECONDS,v1=HEX`: HMAC-SHA256 (RFC 2104) by the shared key over the decimal seconds, a full stop and
//! the body as it was sent. A receiver checks the signature over the bytes that it got, and refuses a time further than five minutes from
//! its own clock, so that what somebody recorded cannot be played again later.

use ring::hmac;

use crate::notify::core::notice::Notice;

/// Name of the header with time and signature.
pub const SIGNATURE: &str = "firstmile-signature";
/// A receiver refuses what was signed further from its own clock than this, seconds.
pub const REPLAY_WINDOW_S: u64 = 300;

/// The body.
///
/// # Panics
/// Never: a notice is plain data, which always has a JSON form.
pub fn body(notice: &Notice) -> Vec<u8> {
    serde_json::to_vec(notice).expect("a notice is plain data")
}

/// The value of the header.
pub fn signature(key: &[u8], body: &[u8], now_unix_ms: i64) -> String {
    let seconds = now_unix_ms.div_euclid(1_000);
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, key),
        &signed(seconds, body),
    );
    let hex: Vec<String> = tag
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let hex = hex.concat();
    format!("t={seconds},v1={hex}")
}

fn signed(seconds: i64, body: &[u8]) -> Vec<u8> {
    let mut text = format!("{seconds}.").into_bytes();
    text.extend_from_slice(body);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::core::notice::Phase;
    use crate::notify::core::notice::tests::example;

    #[test]
    fn the_signature_is_the_one_that_other_programs_compute() {
        // printf '1767225600.{"a":1}' | openssl dgst -sha256 -hmac secret
        assert_eq!(
            signature(b"secret", br#"{"a":1}"#, 1_767_225_600_999),
            "t=1767225600,v1=96a067a1c95eb143fc00b9097bcfcbcd5456adda508c443ff219748e764dbed7"
        );
    }

    #[test]
    fn another_body_time_or_key_is_another_signature() {
        let of = |key: &[u8], body: &[u8], at| signature(key, body, at);
        let one = of(b"k", b"body", 1_000);
        assert_eq!(one, of(b"k", b"body", 1_999));
        for other in [
            of(b"l", b"body", 1_000),
            of(b"k", b"bodY", 1_000),
            of(b"k", b"body", 2_000),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn the_body_reads_back_as_the_notice() {
        let notice = example(Phase::End);
        let read: Notice = serde_json::from_slice(&body(&notice)).unwrap();
        assert_eq!(read, notice);
    }
}
