//! How fast routes are read and judged, beside a bare parse of the same octets. `cargo xtask bench bgp` runs it.
//!
//! Everything is made by rule from a seed and lies in memory; one thread; the best of some runs. The time from a socket to a stored alert is
//! that of the collector itself: started here, told by BMP, asked by its API.

use std::io::{Cursor, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use bgpkit_parser::BgpkitParser;
use clap::Parser;
use firstmile_feeds::bmp::session::Session;
use firstmile_feeds::event::{FeedId, Peer};
use firstmile_feeds::mrt::{Tally, replay};
use firstmile_feeds::watch::Watch;
use firstmile_feeds::{ris_live, sample};
use firstmile_routing::asn::{Allowed, Asn};
use firstmile_routing::detector::{self, Detector};
use firstmile_routing::examine::Registry;
use firstmile_routing::path::{AsPath, Route};
use firstmile_routing::relation::Relations;
use firstmile_routing::ris::{self, Message};
use firstmile_routing::rule::{Rule, Rules};
use firstmile_routing::vrp::{Vrp, Vrps};
use ipnet::{IpNet, Ipv4Net};
use serde_json::{Value, json};

const REGISTERED: u32 = 10_000;
const RUNS: usize = 5;
const FEED: FeedId = FeedId(0);

/// Options.
#[derive(Debug, Parser)]
struct Options {
    /// Where the figures go.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The collector's program, for the time from a socket to a stored alert.
    #[arg(long, value_name = "FILE")]
    collector_bin: Option<PathBuf>,
}

/// What has to be reached: name, bound, and whether more is better.
const TARGETS: [(&str, f64, bool); 9] = [
    ("mrt_per_s", 500_000.0, true),
    ("mrt_of_parse_ratio", 0.35, true),
    ("ris_per_s", 50_000.0, true),
    ("bmp_per_s", 150_000.0, true),
    ("bmp_dump_1_3m_s", 5.0, false),
    ("alert_ms_p99", 50.0, false),
    ("rss_filter_mb", 200.0, false),
    ("rss_full10_mb", 600.0, false),
    ("vrp_rejudge_s", 1.0, false),
];

fn main() -> ExitCode {
    let options = Options::parse();
    let figures = figures(&options);
    let text = serde_json::to_string_pretty(&figures).expect("figures are plain data");
    if let Some(path) = &options.json {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).expect("the folder can be made");
        std::fs::write(path, &text).expect("the figures can be written");
    }
    let mut out = std::io::stdout();
    writeln!(out, "{text}").expect("standard output takes it");
    let mut missed = false;
    for (name, bound, more) in TARGETS {
        let Some(figure) = figures.get(name).and_then(Value::as_f64) else {
            continue;
        };
        if (more && figure < bound) || (!more && figure > bound) {
            missed = true;
            writeln!(out, "missed: {name} is {figure}, the target is {bound}")
                .expect("standard output takes it");
        }
    }
    ExitCode::from(u8::from(missed))
}

fn figures(options: &Options) -> Value {
    let (full, parse_only, ratio) = mrt();
    let (bmp, dump_s) = bmp();
    let (filter_mb, rejudge_s, per_route) = memory();
    let mut figures = json!({
        "mrt_per_s": full.round(),
        "mrt_parse_only_per_s": parse_only.round(),
        "mrt_of_parse_ratio": (ratio * 1000.0).round() / 1000.0,
        "ris_per_s": ris().round(),
        "bmp_per_s": bmp.round(),
        "bmp_dump_1_3m_s": dump_s,
        "vrp_rejudge_s": rejudge_s,
        "rss_filter_mb": filter_mb,
        "filter_bytes_a_route": per_route,
        "rss_full10_mb": full_tables(),
    });
    if let (Some(program), Some(map)) = (&options.collector_bin, figures.as_object_mut()) {
        let (median, p99) = alerts(program);
        map.insert("alert_ms_p50".to_owned(), json!(median));
        map.insert("alert_ms_p99".to_owned(), json!(p99));
    }
    figures
}

/// Prefix `number` of a made-up table: /24s from 20.0.0.0 on.
fn prefix(number: u32) -> IpNet {
    let net = Ipv4Net::new(Ipv4Addr::from(0x1400_0000 + (number << 8)), 24);
    net.expect("24 is a length").into()
}

fn origin(number: u32) -> u32 {
    131_072 + number % 70_000
}

fn random(state: &mut u64) -> u32 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    u32::try_from(*state >> 33).expect("31 bits")
}

/// Ten thousand registrations, spread over a table of a million.
fn detector(vrps: Option<Vrps>) -> Detector {
    let rules = (0..REGISTERED).map(|index| {
        let number = index * 100;
        let mut rule = Rule::new(prefix(number));
        rule.origins = Allowed::Only(vec![(Asn(origin(number)), Asn(origin(number)))]);
        rule
    });
    let registry = Registry::new(Rules::new(rules), Vec::new(), Relations::default());
    Detector::new(registry, detector::Options::default(), vrps)
}

/// One in two hundred hijacks; paths of three to six.
fn path(number: u32, state: &mut u64) -> Vec<u32> {
    let mut path = vec![174 + random(state) % 50, 1299 + random(state) % 500];
    for _ in 0..random(state) % 4 {
        path.push(6000 + random(state) % 3000);
    }
    let wrong = random(state).is_multiple_of(200);
    path.push(if wrong { 64_000 } else { origin(number) });
    path
}

/// Seconds of the best of some runs.
fn best(mut run: impl FnMut()) -> f64 {
    (0..RUNS)
        .map(|_| seconds(&mut run))
        .fold(f64::INFINITY, f64::min)
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn seconds(run: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

fn mrt() -> (f64, f64, f64) {
    const MESSAGES: u32 = 150_000;
    const PREFIXES: u32 = 4;
    let mut state = 1;
    let mut octets = Vec::new();
    for message in 0..MESSAGES {
        let first = random(&mut state) % 1_000_000;
        let prefixes: Vec<IpNet> = (first..first + PREFIXES).map(prefix).collect();
        let update = sample::update(&path(first, &mut state), &prefixes, &[]);
        let peer = u8::try_from(message % 200).expect("below 200");
        octets.extend(sample::mrt(1000 + message / 100, peer, 6000, &update));
    }
    let announcements = f64::from(MESSAGES * PREFIXES);
    let parse = best(|| {
        let parser = BgpkitParser::from_reader(Cursor::new(octets.as_slice())).disable_warnings();
        assert_eq!(parser.into_fallible_route_iter().flatten().count(), 600_000);
    });
    let judged = best(|| {
        let mut watch = Watch::new(detector(None));
        let mut tally = Tally::default();
        let mut verdicts = 0;
        replay(
            Cursor::new(octets.as_slice()),
            FEED,
            &mut watch,
            &mut tally,
            |_| verdicts += 1,
        );
        assert!(
            tally.announced == 600_000 && verdicts > 0,
            "{tally:?} {verdicts}"
        );
    });
    (
        announcements / judged,
        announcements / parse,
        parse / judged,
    )
}

fn ris() -> f64 {
    const MESSAGES: u32 = 100_000;
    let mut state = 2;
    let messages: Vec<String> = (0..MESSAGES)
        .map(|message| {
            let number = random(&mut state) % 1_000_000;
            let path = path(number, &mut state);
            json!({"type": "ris_message", "data": {
                "timestamp": 1_700_000_000.25, "peer": format!("192.0.2.{}", message % 200), "peer_asn": "6000",
                "id": "192.0.2.1-018bcfe5687b0000", "host": "rrc00.ripe.net", "type": "UPDATE", "path": path,
                "community": [[6000, 100], [6000, 200]], "origin": "IGP",
                "announcements": [{"next_hop": "192.0.2.1", "prefixes": [prefix(number)]}], "withdrawals": [],
            }})
            .to_string()
        })
        .collect();
    let spent = best(|| {
        let mut watch = Watch::new(detector(None));
        let mut verdicts = 0;
        for message in &messages {
            let Ok(Message::Update(update)) = ris::decode(message) else {
                panic!("every message is an update");
            };
            verdicts += watch.apply(ris_live::routes(FEED, 0.0, *update)).len();
        }
        assert!(verdicts > 0, "some are hijacks");
    });
    f64::from(MESSAGES) / spent
}

fn bmp_stream(messages: u32, prefixes: u32) -> Vec<u8> {
    let mut state = 3;
    let header = sample::bmp_peer(0, 0, 0, 9, 6000, 1000);
    let open = sample::open(6000, &[]);
    let mut octets = sample::bmp_peer_up(&header, &open, &open);
    for message in 0..messages {
        let first = message * prefixes % 1_000_000;
        let nets: Vec<IpNet> = (first..first + prefixes).map(prefix).collect();
        let update = sample::update(&path(first, &mut state), &nets, &[]);
        octets.extend(sample::bmp_route(&header, &update));
    }
    octets
}

fn bmp_run(octets: &[u8]) {
    let mut watch = Watch::new(detector(None));
    let mut session = Session::new(FEED, IpAddr::from([203, 0, 113, 1]));
    let mut events = Vec::new();
    for piece in octets.chunks(1 << 16) {
        session
            .push(piece, 1000.0, &mut events)
            .expect("a sound session");
        for event in events.drain(..) {
            watch.apply(event);
        }
    }
}

fn bmp() -> (f64, f64) {
    const MESSAGES: u32 = 100_000;
    let stream = bmp_stream(MESSAGES, 6);
    let rate = f64::from(MESSAGES) / best(|| bmp_run(&stream));
    let dump = bmp_stream(203_125, 6);
    let dump_s = seconds(&mut || bmp_run(&dump));
    (rate, (dump_s * 100.0).round() / 100.0)
}

/// Filter mode: 10,000 registrations, each announced by 1,000 peers over 5,000 distinct paths; then a change of RPKI.
fn memory() -> (f64, f64, f64) {
    const PEERS: u32 = 1000;
    let vrps = |changed: u32| {
        Vrps::new((0..REGISTERED).map(|index| {
            let number = index * 100;
            let asn = if index < changed {
                64_000
            } else {
                origin(number)
            };
            Vrp {
                prefix: prefix(number),
                max_length: 24,
                asn: Asn(asn),
            }
        }))
    };
    let before = rss_mb();
    let mut watch = Watch::new(detector(Some(vrps(0))));
    for peer in 0..PEERS {
        let address = IpAddr::from(Ipv4Addr::from(0xc612_0000 + peer));
        let id = watch
            .peer(
                FEED,
                Peer::Recorded {
                    address,
                    asn: Asn(6000),
                },
            )
            .expect("room");
        for index in 0..REGISTERED {
            let number = index * 100;
            let route = Route::new(AsPath::of(&[
                6000 + peer % 50,
                1299,
                2000 + index % 100,
                origin(number),
            ]));
            watch.announce(0.0, id, prefix(number), &route);
        }
    }
    assert!(watch.take_verdicts().is_empty(), "all are benign");
    let after = rss_mb();
    let changed = vrps(2500);
    let spent = seconds(&mut || {
        // 2,500 payloads go and 2,500 come: 5,000 entries.
        let at = 1.0;
        let event = firstmile_feeds::event::Event::Vrps {
            at,
            vrps: Box::new(changed.clone()),
        };
        assert!(
            watch.apply(event).len() >= 5000,
            "each becomes invalid, and is told of"
        );
    });
    let routes = f64::from(PEERS * REGISTERED);
    (
        after.round(),
        (spent * 1000.0).round() / 1000.0,
        ((after - before) * 1e6 / routes).round(),
    )
}

/// Ten peers with a whole table of 1.06 M IPv4 prefixes each, all of it registered under one rule for all space.
fn full_tables() -> f64 {
    const TABLE: u32 = 1_060_000;
    let mut rule = Rule::new("0.0.0.0/0".parse().expect("a prefix"));
    rule.lengths = (0, 32);
    let registry = Registry::new(Rules::new([rule]), Vec::new(), Relations::default());
    let mut watch = Watch::new(Detector::new(registry, detector::Options::default(), None));
    let before = rss_mb();
    for peer in 0..10 {
        let address = IpAddr::from(Ipv4Addr::from(0xc612_0000 + peer));
        let id = watch
            .peer(
                FEED,
                Peer::Recorded {
                    address,
                    asn: Asn(6000 + peer),
                },
            )
            .expect("room");
        for number in 0..TABLE {
            let route = Route::new(AsPath::of(&[
                6000 + peer,
                1299 + number % 7,
                2000 + number % 900,
                origin(number),
            ]));
            watch.announce(0.0, id, prefix(number), &route);
        }
    }
    assert_eq!(
        watch.detector().kept().0,
        usize::try_from(TABLE).expect("fits")
    );
    // What earlier parts of the bench left behind is not of this one.
    (rss_mb() - before).max(0.0).round()
}

fn rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("it is there");
    let kib: f64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("a number");
    kib * 1024.0 / 1e6
}

/// From the socket to the answer of the API: hijacks one after the other amid 4,000 messages a second. Median and 99th percentile.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures time and paces itself"
)]
fn alerts(program: &Path) -> (f64, f64) {
    const ALERTS: u32 = 300;
    const TICK: Duration = Duration::from_millis(5);
    const PER_TICK: u32 = 20;
    let folder = tempfile::tempdir().expect("a folder");
    let (collector, api, station) = Collector::start(program, folder.path());
    let mut socket = reached(&station);
    socket.set_nodelay(true).expect("a TCP socket");
    let header = sample::bmp_peer(0, 0, 0, 9, 6000, 0);
    let open = sample::open(6000, &[]);
    socket
        .write_all(&sample::bmp_peer_up(&header, &open, &open))
        .expect("sent");
    let mut state = 4;
    let mut spent = Vec::new();
    for alert in 0..ALERTS {
        // About 4,000 messages a second between the alerts.
        for _ in 0..4 {
            let mut noise = Vec::new();
            for _ in 0..PER_TICK {
                let number = random(&mut state) % 1_000_000;
                let update = sample::update(&[6000, 1299, origin(number)], &[prefix(number)], &[]);
                noise.extend(sample::bmp_route(&header, &update));
            }
            socket.write_all(&noise).expect("sent");
            std::thread::sleep(TICK);
        }
        let number = alert * 100;
        let hijack = sample::update(&[6000, 1299, 64_000], &[prefix(number)], &[]);
        let start = Instant::now();
        socket
            .write_all(&sample::bmp_route(&header, &hijack))
            .expect("sent");
        let wanted = format!("\"prefix\":\"{}\"", prefix(number));
        while !newest(&api).contains(&wanted) {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{wanted} was not told of in ten seconds"
            );
        }
        spent.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    drop(collector);
    spent.sort_by(f64::total_cmp);
    let at = |share: usize| {
        spent
            .get(spent.len() * share / 100)
            .copied()
            .unwrap_or(f64::NAN)
    };
    (
        (at(50) * 10.0).round() / 10.0,
        (at(99) * 10.0).round() / 10.0,
    )
}

/// The newest verdicts, by a bare HTTP request to a collector on this machine.
fn newest(api: &str) -> String {
    let mut socket = reached(api);
    let request = format!(
        "GET /api/v1/routing/verdicts?state=open&window=15m HTTP/1.0\r\nHost: {api}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1"), "{answer}");
    answer.chars().take(3000).collect()
}

/// A collector of its own, which ends with the bench.
struct Collector(Child);

impl Collector {
    /// Starts it; returns where its API and its BMP station listen.
    fn start(program: &Path, folder: &Path) -> (Self, String, String) {
        let [ingest, api, station] = [(); 3].map(|()| free_address());
        let rules: Vec<Value> = (0..REGISTERED)
            .map(|index| json!({"prefix": prefix(index * 100), "origins": [origin(index * 100)]}))
            .collect();
        std::fs::write(
            folder.join("rules.json"),
            json!({ "rules": rules }).to_string(),
        )
        .expect("the folder takes it");
        let config = format!(
            "data_dir = \"data\"\n[ingest]\nlisten = \"{ingest}\"\n[dashboard]\nlisten = \"{api}\"\n\
             [routing]\nrules = \"rules.json\"\nbmp_listen = \"{station}\"\nbmp_routers = [\"127.0.0.1\"]\n"
        );
        let file = folder.join("collector.toml");
        std::fs::write(&file, config).expect("the folder takes it");
        let child = Command::new(program)
            .arg("--config")
            .arg(&file)
            .arg("serve")
            .env("RUST_LOG", "warn")
            .stdout(Stdio::null())
            .spawn()
            .expect("the collector starts");
        (Self(child), api, station)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nobody to end.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    listener.local_addr().expect("a bound socket").to_string()
}

/// A connection, as soon as somebody listens.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench waits for a program that starts"
)]
fn reached(address: &str) -> TcpStream {
    let start = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) => assert!(
                start.elapsed() < Duration::from_secs(20),
                "nobody listens on {address}: {error}"
            ),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
