//! Feeds against recordings made by rule: what is said, what is lost, and that nothing ends for it.

use std::io::{Cursor, Write};
use std::net::IpAddr;

use firstmile_routing::asn::Asn;
use firstmile_routing::detector::PathId;
use firstmile_routing::judge::RulesFile;
use firstmile_routing::path::{AsPath, Route};
use firstmile_routing::verdict::Verdict;
use ipnet::IpNet;

use crate::bmp::session::{BmpError, Session};
use crate::event::{Event, FeedId, Peer, Routes};
use crate::mrt::{Tally, files, open, replay};
use crate::sample;
use crate::watch::Watch;

const RULES: &str = r#"{"rules":[{"prefix":"198.51.100.0/24","origins":[64496]},{"prefix":"2001:db8::/32","origins":[64496]}]}"#;
const FEED: FeedId = FeedId(0);

fn watch(rules: &str) -> Watch {
    let file = RulesFile::read(rules).expect("rules");
    Watch::new(file.build().expect("usable rules").0)
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| net(text)).collect()
}

fn said(verdicts: &[Verdict]) -> Vec<String> {
    verdicts
        .iter()
        .map(|verdict| {
            let offender = verdict
                .offender
                .map_or("-".to_owned(), |asn| asn.to_string());
            format!(
                "{} {:?} {} {} {offender}",
                verdict.at, verdict.phase, verdict.class, verdict.prefix
            )
        })
        .collect()
}

fn replayed(octets: &[u8], rules: &str) -> (Vec<String>, Tally) {
    let mut watch = watch(rules);
    let mut tally = Tally::default();
    let mut verdicts = Vec::new();
    replay(
        Cursor::new(octets.to_vec()),
        FEED,
        &mut watch,
        &mut tally,
        |verdict| verdicts.push(verdict),
    );
    (said(&verdicts), tally)
}

fn recording() -> Vec<Vec<u8>> {
    let both = nets(&["198.51.100.0/24", "2001:db8::/32"]);
    vec![
        sample::mrt(
            100,
            1,
            64_510,
            &sample::update(&[64_510, 64_496], &both, &[]),
        ),
        sample::mrt(
            101,
            1,
            64_510,
            &sample::update(&[64_510, 64_497], &both, &[]),
        ),
        sample::mrt(102, 1, 64_510, &sample::update(&[], &[], &both)),
    ]
}

fn wanted() -> Vec<String> {
    ["198.51.100.0/24", "2001:db8::/32"]
        .iter()
        .map(|prefix| format!("101 Start hijack.exact.origin {prefix} AS64497"))
        .chain(
            ["198.51.100.0/24", "2001:db8::/32"]
                .iter()
                .map(|prefix| format!("102 End hijack.exact.origin {prefix} AS64497")),
        )
        .collect()
}

#[test]
fn updates_are_replayed_on_their_own_clock() {
    let (verdicts, tally) = replayed(&recording().concat(), RULES);
    assert_eq!(verdicts, wanted());
    assert_eq!((tally.announced, tally.withdrawn, tally.unread), (4, 2, 0));
    assert!((tally.clock - 102.0).abs() < 1e-9);
}

#[test]
fn the_slower_reader_for_relations_says_the_same() {
    let relations = r#""relations":[{"a":64500,"b":64501,"rel":"peer"}],"rules""#;
    let rules = RULES.replace(r#""rules""#, relations);
    let (verdicts, tally) = replayed(&recording().concat(), &rules);
    assert_eq!(verdicts, wanted());
    assert_eq!((tally.announced, tally.withdrawn, tally.unread), (4, 2, 0));
}

#[test]
fn a_table_is_the_state_at_the_start() {
    let table = [
        sample::peer_table(50, &[(1, 64_510), (2, 64_511)]),
        sample::table_entry(
            50,
            0,
            &net("198.51.100.0/24"),
            &[(0, &[64_510, 64_497]), (1, &[64_511, 64_496])],
        ),
        sample::table_entry(50, 1, &net("2001:db8::/32"), &[(0, &[64_510, 64_496])]),
    ]
    .concat();
    let (verdicts, tally) = replayed(&table, RULES);
    assert_eq!(
        verdicts,
        ["50 Start hijack.exact.origin 198.51.100.0/24 AS64497"]
    );
    assert_eq!((tally.announced, tally.unread), (3, 0));
}

#[test]
fn torn_and_unknown_records_are_counted_and_the_rest_is_read() {
    let mut records = recording();
    // A record of an unknown type, one whose message lies about its length, and one torn in the middle of the file's end.
    records.insert(1, sample::record(100, 99, 0, &[1, 2, 3]));
    let mut lying = sample::mrt(
        100,
        1,
        64_510,
        &sample::update(&[64_510], &nets(&["198.51.100.0/24"]), &[]),
    );
    lying.truncate(12 + 20 + 21);
    let length = u32::try_from(lying.len() - 12)
        .expect("short")
        .to_be_bytes();
    lying[8..12].copy_from_slice(&length);
    records.insert(2, lying);
    let mut torn = recording().remove(0);
    torn.truncate(torn.len() / 2);
    records.push(torn);
    let (verdicts, tally) = replayed(&records.concat(), RULES);
    assert_eq!(verdicts, wanted());
    assert!(tally.unread >= 2, "{tally:?}");
}

#[test]
fn packed_files_and_folders_are_read_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let [first, second, third] = recording().try_into().expect("three records");
    std::fs::write(folder.path().join("updates.1"), first).expect("a file");
    let gz = std::fs::File::create(folder.path().join("updates.2.gz")).expect("a file");
    let mut gz = flate2::write::GzEncoder::new(gz, flate2::Compression::fast());
    gz.write_all(&second)
        .and_then(|()| gz.finish().map(drop))
        .expect("packed");
    let bz = std::fs::File::create(folder.path().join("updates.3.bz2")).expect("a file");
    let mut bz = bzip2::write::BzEncoder::new(bz, bzip2::Compression::fast());
    bz.write_all(&third)
        .and_then(|()| bz.finish().map(drop))
        .expect("packed");
    std::fs::write(folder.path().join("updates.4"), []).expect("an empty file");
    let mut watch = watch(RULES);
    let mut tally = Tally::default();
    let mut verdicts = Vec::new();
    for file in files(folder.path()).expect("the folder") {
        replay(
            open(&file).expect("a file"),
            FEED,
            &mut watch,
            &mut tally,
            |verdict| verdicts.push(verdict),
        );
    }
    assert_eq!(said(&verdicts), wanted());
}

fn bmp_said(messages: &[Vec<u8>], piece: usize) -> (Vec<String>, Session) {
    let router: IpAddr = "203.0.113.1".parse().expect("an address");
    let mut session = Session::new(FEED, router);
    let mut watch = watch(RULES);
    let mut verdicts = Vec::new();
    let octets = messages.concat();
    for octets in octets.chunks(piece) {
        let mut events = Vec::new();
        session
            .push(octets, 110.0, &mut events)
            .expect("a sound session");
        verdicts.extend(events.into_iter().flat_map(|event| watch.apply(event)));
    }
    (said(&verdicts), session)
}

fn header(at: u32) -> Vec<u8> {
    sample::bmp_peer(0, 0, 0, 9, 64_510, at)
}

fn peer_up(capabilities: &[u8]) -> Vec<u8> {
    let open = sample::open(64_510, capabilities);
    sample::bmp_peer_up(&header(99), &open, &open)
}

fn bmp_route(at: u32, path: &[u32], announced: &[&str], withdrawn: &[&str]) -> Vec<u8> {
    sample::bmp_route(
        &header(at),
        &sample::update(path, &nets(announced), &nets(withdrawn)),
    )
}

#[test]
fn a_router_tells_and_its_peer_down_withdraws() {
    let messages = [
        sample::bmp(4, &[0, 1, 0, 1, b'x']),
        peer_up(&[]),
        bmp_route(
            100,
            &[64_510, 64_497],
            &["198.51.100.0/24", "2001:db8::/32"],
            &[],
        ),
        bmp_route(101, &[64_510, 64_496], &["198.51.100.0/24"], &[]),
        sample::bmp_route(&header(101), &sample::update(&[], &[], &[])),
        sample::bmp(2, &[header(102), vec![1]].concat()),
    ];
    for piece in [1, 7, 100_000] {
        let (verdicts, session) = bmp_said(&messages, piece);
        assert_eq!(
            verdicts,
            [
                "100 Start hijack.exact.origin 198.51.100.0/24 AS64497",
                "100 Start hijack.exact.origin 2001:db8::/32 AS64497",
                "101 End hijack.exact.origin 198.51.100.0/24 AS64497",
                "102 Start visibility.lost 198.51.100.0/24 -",
                "102 End hijack.exact.origin 2001:db8::/32 AS64497",
            ]
        );
        let counters = session.counters();
        assert_eq!(
            (
                counters.ends_of_rib,
                counters.unread,
                counters.refused,
                counters.peers_up
            ),
            (1, 0, 0, 0)
        );
    }
}

#[test]
fn a_peer_that_a_router_stops_to_tell_of_lost_nothing() {
    let messages = [
        peer_up(&[]),
        bmp_route(100, &[64_510, 64_496], &["198.51.100.0/24"], &[]),
        bmp_route(101, &[64_510, 64_497], &["2001:db8::/32"], &[]),
        sample::bmp(2, &[header(102), vec![5]].concat()),
    ];
    let (verdicts, session) = bmp_said(&messages, 100_000);
    assert_eq!(
        verdicts,
        [
            "101 Start hijack.exact.origin 2001:db8::/32 AS64497",
            "102 End hijack.exact.origin 2001:db8::/32 AS64497",
        ],
        "no visibility is lost"
    );
    assert_eq!(session.counters().peers_up, 0);
}

#[test]
fn routes_before_their_peer_is_up_wait_for_it_and_foreign_ends_are_ignored() {
    let down = sample::bmp(2, &[header(98), vec![1]].concat());
    let (verdicts, session) = bmp_said(
        &[
            down,
            bmp_route(100, &[64_510, 64_497], &["198.51.100.0/24"], &[]),
            peer_up(&[]),
        ],
        64,
    );
    assert_eq!(
        verdicts,
        ["100 Start hijack.exact.origin 198.51.100.0/24 AS64497"]
    );
    assert_eq!(session.counters().refused, 0);
}

#[test]
fn peers_in_two_tables_are_two_and_a_session_that_ends_is_out_of_sight() {
    let other = sample::bmp_peer(1, 0, 42, 9, 64_510, 100);
    let open = sample::open(64_510, &[]);
    let messages = [
        peer_up(&[]),
        sample::bmp_peer_up(&other, &open, &open),
        bmp_route(100, &[64_510, 64_497], &["198.51.100.0/24"], &[]),
        sample::bmp_route(
            &other,
            &sample::update(&[64_510, 64_497], &nets(&["198.51.100.0/24"]), &[]),
        ),
        sample::bmp(2, &[header(102), vec![1]].concat()),
    ];
    let router: IpAddr = "203.0.113.1".parse().expect("an address");
    let mut session = Session::new(FEED, router);
    let mut events = Vec::new();
    session
        .push(&messages.concat(), 110.0, &mut events)
        .expect("a sound session");
    let mut watch = watch(RULES);
    let mut verdicts: Vec<Verdict> = events
        .into_iter()
        .flat_map(|event| watch.apply(event))
        .collect();
    verdicts.extend(watch.apply(session.closed(110.0)));
    assert_eq!(
        said(&verdicts),
        [
            "100 Start hijack.exact.origin 198.51.100.0/24 AS64497",
            "110 End hijack.exact.origin 198.51.100.0/24 AS64497",
        ]
    );
}

#[test]
fn path_identifiers_are_read_where_both_sides_agreed() {
    // ADD-PATH (RFC 7911 §4) for IPv4 unicast, both directions.
    let add_path = [69, 4, 0, 1, 1, 3];
    let mut update = vec![0, 0];
    let attributes = [
        0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfb, 0xf1, 0x40, 3, 4, 192, 0, 2, 1,
    ];
    update.extend(
        u16::try_from(attributes.len())
            .expect("short")
            .to_be_bytes(),
    );
    update.extend(attributes);
    update.extend([0, 0, 0, 5, 24, 198, 51, 100]);
    let announce = sample::bmp_route(&header(100), &sample::message(2, &update));
    let (verdicts, session) = bmp_said(&[peer_up(&add_path), announce], 1000);
    assert_eq!(
        verdicts,
        ["100 Start hijack.exact.origin 198.51.100.0/24 AS64497"]
    );
    assert_eq!(session.counters().announced, 1);
}

/// An update with path identifiers (RFC 7911 §3): the last AS of the path, and the announced or withdrawn path of 198.51.100.0/24.
fn of_path(at: u32, origin: u16, announced: Option<u8>, withdrawn: Option<u8>) -> Vec<u8> {
    let nlri = |path: u8| vec![0, 0, 0, path, 24, 198, 51, 100];
    let withdrawn = withdrawn.map(nlri).unwrap_or_default();
    let [high, low] = origin.to_be_bytes();
    let attributes: Vec<u8> = match announced {
        Some(_) => vec![
            0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, high, low, 0x40, 3, 4, 192, 0, 2, 1,
        ],
        None => Vec::new(),
    };
    let length = |octets: &[u8]| u16::try_from(octets.len()).expect("short").to_be_bytes();
    let mut update = length(&withdrawn).to_vec();
    update.extend(&withdrawn);
    update.extend(length(&attributes));
    update.extend(&attributes);
    update.extend(announced.map(nlri).unwrap_or_default());
    sample::bmp_route(&header(at), &sample::message(2, &update))
}

#[test]
fn one_of_two_paths_that_goes_loses_nothing_and_its_fault_goes_with_it() {
    let add_path = [69, 4, 0, 1, 1, 3];
    let messages = [
        peer_up(&add_path),
        of_path(100, 64_496, Some(5), None),
        of_path(101, 64_497, Some(6), None),
        of_path(102, 0, None, Some(6)),
        of_path(103, 64_497, Some(6), None),
        of_path(104, 0, None, Some(5)),
        of_path(105, 0, None, Some(6)),
        of_path(106, 64_496, Some(7), None),
        of_path(107, 0, None, Some(7)),
    ];
    let (verdicts, _) = bmp_said(&messages, 1000);
    assert_eq!(
        verdicts,
        [
            "101 Start hijack.exact.origin 198.51.100.0/24 AS64497",
            "102 End hijack.exact.origin 198.51.100.0/24 AS64497",
            "103 Start hijack.exact.origin 198.51.100.0/24 AS64497",
            // The path of the owner went first, so a hijack was left, and its end is no loss of the owner's route.
            "105 End hijack.exact.origin 198.51.100.0/24 AS64497",
            "107 Start visibility.lost 198.51.100.0/24 -",
        ]
    );
}

#[test]
fn paths_that_are_numbered_anew_for_ever_are_one_peer() {
    let mut watch = watch(RULES);
    let router: IpAddr = "203.0.113.1".parse().expect("an address");
    for _ in 0..3 {
        let mut session = Session::new(FEED, router);
        let mut events = Vec::new();
        let mut messages = vec![peer_up(&[69, 4, 0, 1, 1, 3])];
        messages.extend((0..50).map(|path| of_path(100, 64_496, Some(path), None)));
        session
            .push(&messages.concat(), 110.0, &mut events)
            .expect("a sound session");
        for event in events {
            watch.apply(event);
        }
        assert_eq!(watch.peers(), (1, 0));
        watch.apply(session.closed(110.0));
        assert_eq!(watch.peers(), (0, 0));
        assert_eq!(watch.detector().kept(), (0, 0));
    }
}

#[test]
fn what_was_early_for_a_peer_that_never_came_up_is_forgotten_with_it() {
    let early: Vec<Vec<u8>> = (0..64)
        .map(|_| bmp_route(100, &[64_510, 64_497], &["198.51.100.0/24"], &[]))
        .collect();
    let down = sample::bmp(2, &[header(101), vec![1]].concat());
    let mut messages = Vec::new();
    for _ in 0..400 {
        messages.extend(early.iter().cloned());
        messages.push(down.clone());
    }
    let (verdicts, session) = bmp_said(&messages, 1 << 16);
    assert!(verdicts.is_empty(), "{verdicts:?}");
    assert_eq!(
        session.counters().refused,
        0,
        "there is room again after each end"
    );
}

#[test]
fn a_router_that_lives_in_another_year_is_not_believed() {
    let future = u32::MAX;
    let (verdicts, _) = bmp_said(
        &[
            peer_up(&[]),
            bmp_route(future, &[64_510, 64_497], &["198.51.100.0/24"], &[]),
        ],
        1000,
    );
    assert_eq!(
        verdicts,
        ["410 Start hijack.exact.origin 198.51.100.0/24 AS64497"],
        "110 is now, and five minutes ahead are let pass"
    );
}

#[test]
fn what_cannot_be_read_is_counted_and_lies_about_length_end_the_session() {
    let mut broken = bmp_route(100, &[64_510, 64_497], &["198.51.100.0/24"], &[]);
    for octet in broken.iter_mut().skip(48 + 16).take(3) {
        *octet = 0;
    }
    let (verdicts, session) = bmp_said(
        &[
            peer_up(&[]),
            broken,
            sample::bmp(77, &[1, 2, 3]),
            sample::bmp(0, &[1]),
            bmp_route(101, &[64_510, 64_497], &["198.51.100.0/24"], &[]),
        ],
        1000,
    );
    assert_eq!(
        verdicts,
        ["101 Start hijack.exact.origin 198.51.100.0/24 AS64497"]
    );
    assert_eq!(session.counters().unread, 3);
    let router: IpAddr = "203.0.113.1".parse().expect("an address");
    let push = |octets: &[u8]| Session::new(FEED, router).push(octets, 0.0, &mut Vec::new());
    assert_eq!(
        push(&[3, 0xff, 0xff, 0xff, 0xff, 0]),
        Err(BmpError::Length(u32::MAX))
    );
    assert_eq!(push(&[3, 0, 0, 0, 5, 0]), Err(BmpError::Length(5)));
    assert_eq!(push(b"GET / HTTP/1.1"), Err(BmpError::Version(b'G')));
}

#[test]
fn one_frame_of_a_hundred_corrupted_loses_that_frame_at_most() {
    let mut random = 1_u64;
    let mut next = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).expect("31 bits")
    };
    for _ in 0..300 {
        let mut messages = vec![peer_up(&[])];
        for at in 0..100 {
            messages.push(bmp_route(at, &[64_510, 64_496], &["203.0.113.0/24"], &[]));
        }
        messages.push(bmp_route(200, &[64_510, 64_497], &["198.51.100.0/24"], &[]));
        let index = 1 + next() % 100;
        let victim = &mut messages[index];
        let octet = 48 + next() % (victim.len() - 48);
        victim[octet] ^= u8::try_from(1 + next() % 255).expect("an octet");
        let (verdicts, _) = bmp_said(&messages, 4096);
        assert!(
            verdicts.contains(&"200 Start hijack.exact.origin 198.51.100.0/24 AS64497".to_owned()),
            "{verdicts:?}"
        );
    }
}

#[test]
fn events_of_a_feed_out_of_sight_leave_others_alone() {
    let mut watch = watch(RULES);
    let routes = |feed: u16, at: f64| {
        crate::ris_live::routes(
            FeedId(feed),
            at,
            firstmile_routing::ris::Update {
                route: Route::new(AsPath::of(&[64_510, 64_497])),
                announced: nets(&["198.51.100.0/24"]),
                ..firstmile_routing::ris::Update::default()
            },
        )
    };
    assert_eq!(watch.apply(routes(0, 1.0)).len(), 1);
    assert_eq!(
        watch.apply(routes(1, 2.0)).len(),
        0,
        "another peer of the same verdict"
    );
    let gone = |feed| Event::OutOfSight {
        feed: FeedId(feed),
        at: 3.0,
        router: None,
    };
    assert_eq!(watch.apply(gone(0)).len(), 0);
    assert_eq!(watch.apply(gone(1)).len(), 1, "the end");
}

#[test]
fn rules_are_taken_up_while_routes_stand_and_allowances_end_by_the_clock() {
    let mut watch = watch(RULES);
    let told = |watch: &mut Watch, event: Event| said(&watch.apply(event));
    let peer = |last: u8| Peer::Recorded {
        address: IpAddr::from([192, 0, 2, last]),
        asn: Asn(64_510),
    };
    let hijack = |last: u8| {
        Event::Routes(Box::new(Routes {
            feed: FEED,
            at: 10.0,
            peer: peer(last),
            path: PathId::NONE,
            withdrawn: Vec::new(),
            announced: nets(&["198.51.100.0/24"]),
            route: Route::new(AsPath::of(&[64_510, 64_497])),
            communities: None,
        }))
    };
    let rules = |at: f64, more: &str| {
        let text =
            format!(r#"{{"rules":[{{"prefix":"198.51.100.0/24","origins":[64496]}}],{more}}}"#);
        let file = RulesFile::read(&text).expect("rules");
        let rules = file.build().expect("usable rules").0.into_rules();
        let rules = Box::new(rules);
        Event::Rules { at, rules }
    };
    let start = |at: u32| {
        [format!(
            "{at} Start hijack.exact.origin 198.51.100.0/24 AS64497"
        )]
    };
    let end = |at: u32| {
        [format!(
            "{at} End hijack.exact.origin 198.51.100.0/24 AS64497"
        )]
    };
    assert_eq!(told(&mut watch, hijack(1)), start(10));
    let allowed = r#""allowances":[{"prefix":"198.51.100.0/24","origins":[64497],"to":30}]"#;
    assert_eq!(told(&mut watch, rules(20.0, allowed)), end(20));
    assert!(told(&mut watch, Event::Tick { at: 29.0 }).is_empty());
    assert_eq!(told(&mut watch, Event::Tick { at: 30.0 }), start(30));
    let muted = r#""mute":["192.0.2.1"]"#;
    assert_eq!(told(&mut watch, rules(40.0, muted)), end(40));
    assert!(told(&mut watch, hijack(1)).is_empty(), "nobody listens");
    assert_eq!(told(&mut watch, hijack(2)), start(10));
    assert_eq!(told(&mut watch, rules(50.0, r#""min_peers":{}"#)).len(), 0);
}

#[test]
fn records_that_lag_do_not_begin_an_allowance_again_that_ended() {
    let allowed = r#"{"rules":[{"prefix":"198.51.100.0/24","origins":[64496]}],
        "allowances":[{"prefix":"198.51.100.0/24","origins":[64497],"to":30}]}"#;
    let mut watch = watch(allowed);
    let route = |at: f64, last: u8| {
        Event::Routes(Box::new(Routes {
            feed: FEED,
            at,
            peer: Peer::Recorded {
                address: IpAddr::from([192, 0, 2, last]),
                asn: Asn(64_510),
            },
            path: PathId::NONE,
            withdrawn: Vec::new(),
            announced: nets(&["198.51.100.0/24"]),
            route: Route::new(AsPath::of(&[64_510, 64_497])),
            communities: None,
        }))
    };
    let tick = |at: f64| Event::Tick { at };
    let mut told = Vec::new();
    for event in [
        tick(20.0),
        route(31.0, 1),
        tick(30.0),
        route(28.5, 2),
        tick(29.0),
        route(28.5, 1),
        tick(31.0),
    ] {
        told.extend(said(&watch.apply(event)));
    }
    let once = ["30 Start hijack.exact.origin 198.51.100.0/24 AS64497"];
    assert_eq!(told, once, "one start, and no end");
}

#[test]
fn what_comes_and_goes_is_counted_of_registered_prefixes_and_of_peers_that_are_heard() {
    let rules =
        r#"{"rules":[{"prefix":"198.51.100.0/24","origins":[64496]}],"mute":["192.0.2.9"]}"#;
    let mut watch = watch(rules);
    let said = |last: u8, announced: &[&str], withdrawn: &[&str], path: &[u32]| {
        Event::Routes(Box::new(Routes {
            feed: FEED,
            at: 10.0,
            peer: Peer::Recorded {
                address: IpAddr::from([192, 0, 2, last]),
                asn: Asn(64_510),
            },
            path: PathId::NONE,
            withdrawn: nets(withdrawn),
            announced: nets(announced),
            route: Route::new(AsPath::of(path)),
            communities: None,
        }))
    };
    let ours = "198.51.100.0/24";
    watch.apply(said(1, &[ours], &[], &[64_510, 64_496]));
    assert_eq!(watch.take_counts(), [], "nothing is counted unasked");
    watch.count();
    watch.apply(said(1, &[ours], &[], &[64_510, 64_496, 64_496]));
    watch.apply(said(
        2,
        &[ours, "198.51.100.0/25", "203.0.113.0/24"],
        &[ours],
        &[64_510, 64_499, 64_496],
    ));
    watch.apply(said(9, &[ours], &[], &[64_496]));
    watch.apply(Event::Tick { at: 100.0 });
    watch.apply(Event::Tick { at: 101.0 });
    watch.apply(said(2, &[], &[ours, "203.0.113.0/24"], &[]));
    watch.apply(Event::Tick { at: 160.0 });
    let counts = watch.take_counts();
    let [(prefix, counts)] = counts.as_slice() else {
        panic!("{counts:?}")
    };
    assert_eq!(*prefix, net(ours));
    assert_eq!(counts.announced_by_hops, [(2, 1), (3, 1)].into());
    assert_eq!(
        (counts.withdrawn, counts.looks, counts.unseen_looks),
        (1, 2, 0)
    );
    assert_eq!((counts.seen_peers, counts.known_peers), (2 + 1, 2 + 2));
    assert_eq!(watch.take_counts(), []);
}
