//! What crosses the network between agent and collector, before anybody gives it a meaning.

use firstmile_wire::frame;
use firstmile_wire::join::JoinString;

pub(crate) fn frame(bytes: &[u8]) {
    let Ok(report) = frame::decode(bytes) else {
        return;
    };
    // Bytes of the sender's own choice may be packed tighter than ours; what fits again must be the same.
    if let Ok(again) = frame::encode(&report) {
        let again = frame::decode(&again).expect("a report that was read can be written and read");
        assert_eq!(again, report);
    }
}

pub(crate) fn join(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(join) = text.parse::<JoinString>() else {
        return;
    };
    assert_eq!(join.collector.scheme(), "https");
    assert_eq!(
        join.to_string().parse::<JoinString>().ok(),
        Some(join.clone())
    );
    let shown = format!("{join:?}");
    assert!(
        !shown.contains(&join.secret.to_text()),
        "a secret is never shown"
    );
}
