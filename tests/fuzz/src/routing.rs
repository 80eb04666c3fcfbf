//! Parsers of routes: whatever comes, nothing panics, and what is kept is bounded by what came.

use std::io::Cursor;
use std::net::IpAddr;

use firstmile_feeds::bmp::session::Session as BmpSession;
use firstmile_feeds::event::FeedId;
use firstmile_feeds::mrt::{Tally, replay};
use firstmile_feeds::rpki::read_json;
use firstmile_feeds::rpki::session::Session as RtrSession;
use firstmile_feeds::watch::Watch;
use firstmile_routing::judge::{Judge, RulesFile};
use firstmile_routing::ris;

const RULES: &str = r#"{"rules":[{"prefix":"198.51.100.0/24","origins":[64496]},{"prefix":"2001:db8::/32","origins":[64496]}],"asns":[{"asn":64500}]}"#;

fn watch() -> Option<Watch> {
    let (detector, _) = RulesFile::read(RULES).ok()?.build().ok()?;
    Some(Watch::new(detector))
}

/// A BMP session, cut in two anywhere, says the same as in one piece, and all it says can be judged.
pub(super) fn bmp(bytes: &[u8]) {
    let session = || BmpSession::new(FeedId(1), IpAddr::from([192, 0, 2, 1]));
    let (mut whole, mut cut) = (session(), session());
    let (mut events, mut pieces) = (Vec::new(), Vec::new());
    let outcome = whole.push(bytes, 1.0, &mut events);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let other = cut
        .push(first, 1.0, &mut pieces)
        .and_then(|()| cut.push(second, 1.0, &mut pieces));
    assert_eq!(outcome, other);
    assert_eq!(whole.counters(), cut.counters());
    if let Some(mut watch) = watch() {
        for event in events {
            watch.apply(event);
        }
        watch.apply(whole.closed(2.0));
        assert_eq!(
            watch.detector().open(),
            0,
            "all is over when the router is out of sight"
        );
    }
}

/// An MRT file: every record is read or counted.
pub(super) fn mrt(bytes: &[u8]) {
    let Some(mut watch) = watch() else { return };
    let mut tally = Tally::default();
    replay(
        Cursor::new(bytes),
        FeedId(0),
        &mut watch,
        &mut tally,
        |_| {},
    );
}

/// An RTR session: payloads have lengths that their prefixes have.
pub(super) fn rtr(bytes: &[u8]) {
    let mut session = RtrSession::new();
    if session.push(bytes).is_ok() {
        let mut vrps = session.vrps().iter();
        assert!(vrps.all(|vrp| vrp.max_length >= vrp.prefix.prefix_len()));
    }
}

/// A message of RIS Live, judged: starts and ends are told with an index.
pub(super) fn ris_message(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(mut judge) = Judge::new(RULES) {
        for line in text.lines() {
            assert!(judge.line(line).iter().all(|line| line.after.is_some()));
        }
    }
}

/// Attributes of a BGP UPDATE.
pub(super) fn update(bytes: &[u8]) {
    let otc = ris::otc_of_update(bytes);
    assert!(otc.is_none() || bytes.len() > 23);
}

/// Rules, from whoever may write them.
pub(super) fn rules(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    drop(Judge::new(text));
}

/// A file of RPKI payloads.
pub(super) fn vrp_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok((vrps, _)) = read_json(text) {
        assert!(
            vrps.iter()
                .all(|(vrp, _)| vrp.max_length <= vrp.prefix.max_prefix_len())
        );
    }
}
