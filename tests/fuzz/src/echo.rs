//! ICMP echo: replies, and our own requests as an error quotes them.

use firstmile_echo::packet::{
    Echo, Family, Malformed, read_quoted_request, read_raw_v4_reply, read_reply, request,
};

/// Bytes before the payload.
const HEADER: usize = 8;

pub(crate) fn packets(bytes: &[u8]) {
    for family in [Family::V4, Family::V6] {
        let reply = read_reply(family, bytes);
        let quoted = read_quoted_request(family, bytes);
        assert!(
            reply.is_err() || quoted.is_err(),
            "one message is not a request and a reply"
        );
        holds_its_fields(bytes, reply);
        holds_its_fields(bytes, quoted);
        if let Ok(Echo {
            identifier,
            seq,
            cookie: Some(cookie),
        }) = quoted
        {
            let written = request(family, identifier, seq, cookie);
            assert_eq!(read_quoted_request(family, &written), quoted);
        }
    }
    if let Ok(echo) = read_raw_v4_reply(bytes) {
        // What a raw socket takes for a reply is one without its IP header too, at one place only.
        let header = usize::from(bytes.first().map_or(5, |first| first & 0xf).max(5)) * 4;
        let inner = bytes.get(header..).unwrap_or_default();
        assert_eq!(read_reply(Family::V4, inner), Ok(echo));
    }
}

/// Nothing is made up: what was read stands in the bytes.
fn holds_its_fields(bytes: &[u8], read: Result<Echo, Malformed>) {
    let Ok(echo) = read else { return };
    let [id_high, id_low] = echo.identifier.to_be_bytes();
    let [seq_high, seq_low] = echo.seq.to_be_bytes();
    let fields = bytes.get(4..HEADER);
    assert_eq!(fields, Some(&[id_high, id_low, seq_high, seq_low][..]));
    if let Some(cookie) = echo.cookie {
        assert!(
            bytes
                .get(HEADER..)
                .is_some_and(|payload| payload.starts_with(&cookie))
        );
    }
}
