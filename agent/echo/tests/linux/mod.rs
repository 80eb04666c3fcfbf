//! Each case opens an engine on a fresh setting of the namespace and looks at what becomes of its probes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use firstmile_echo::engine::{Access, Engine, OpenError, Setup};
use firstmile_echo::packet::Family;
use firstmile_echo::{Clock, Completion, Counters, Ending, Request};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Protocol, Socket, Type};

const TIMEOUT: Duration = Duration::from_millis(500);
const KINDS: [(Family, Access); 4] = [
    (Family::V4, Access::Raw),
    (Family::V6, Access::Raw),
    (Family::V4, Access::Datagram),
    (Family::V6, Access::Datagram),
];

/// Its name, and what it does with an engine of that family.
type Case = (&'static str, fn(Family));

/// Runs every case for both families and both kinds of socket.
pub(crate) fn run() {
    enter();
    let _stamping = start_stamping();
    for (family, access) in KINDS {
        let cases: [Case; 8] = [
            ("answers", answers),
            ("many_targets", many_targets),
            ("silence_and_forgery", silence_and_forgery),
            ("another_programs_reply", another_programs_reply),
            ("icmp_error", icmp_error),
            ("no_route", no_route),
            ("a_target_that_floods_back", a_target_that_floods_back),
            ("rotation", rotation),
        ];
        // A new namespace allows them to nobody; once allowed, they cannot be forbidden again without a group to name.
        if access == Access::Datagram {
            set("ipv4/ping_group_range", "0 0");
        }
        assert_eq!(open(family).access(), access);
        for (name, case) in cases {
            case(family);
            println!("test {name} ({family:?}, {access:?}) ... ok");
        }
    }
    refusal_names_both_ways();
}

/// The kernel stamps what comes a little after the first socket of the machine asks for it, and no longer when none does.
fn start_stamping() -> Engine {
    let mut engine = open(Family::V4);
    let answered = |completion: &Completion| matches!(&completion.ending, Ending::Answered(answer) if answer.clock == Clock::Kernel);
    let warm = (0..1_000).any(|_| {
        probe(&mut engine, &[loopback(Family::V4)])
            .iter()
            .all(answered)
    });
    assert!(warm, "the kernel does not stamp: {:?}", engine.counters());
    engine
}

fn answers(family: Family) {
    let mut engine = open(family);
    let loopback = loopback(family);
    let all = probe(&mut engine, &[loopback; 3]);
    for completion in &all {
        let Ending::Answered(answer) = &completion.ending else {
            panic!("{completion:?}")
        };
        assert_eq!((answer.clock, answer.hop_limit), (Clock::Kernel, Some(64)));
        assert!(answer.rtt < TIMEOUT && answer.delay < TIMEOUT, "{answer:?}");
    }
    assert_eq!(
        *engine.counters(),
        Counters {
            sent: 3,
            answered: 3,
            kernel_stamped: 3,
            ..Counters::default()
        }
    );
}

fn many_targets(family: Family) {
    let mut engine = open(family);
    let targets: Vec<IpAddr> = match family {
        Family::V4 => (0..2_000u32)
            .map(|index| Ipv4Addr::from(0x7f01_0000 + index).into())
            .collect(),
        Family::V6 => vec![loopback(family); 2_000],
    };
    let all = probe(&mut engine, &targets);
    let answered = all
        .iter()
        .filter(|completion| matches!(completion.ending, Ending::Answered(_)))
        .count();
    assert_eq!(
        (all.len(), answered),
        (2_000, 2_000),
        "{:?}",
        engine.counters()
    );
}

fn silence_and_forgery(family: Family) {
    ignore_echoes(true);
    let mut engine = open(family);
    let requests = [Request {
        destination: loopback(family),
        token: 0,
    }; 2];
    assert_eq!(engine.send(&requests), 2);
    // One with another cookie, one too short for any, one for a probe that never was.
    for (seq, payload) in [(0, [9; 56].as_slice()), (1, &[9; 4]), (77, &[9; 56])] {
        inject(family, &reply(family, engine.identifier(), seq, payload));
    }
    let all = finish(&mut engine, 2);
    assert!(
        all.iter()
            .all(|completion| matches!(completion.ending, Ending::Timeout)),
        "{all:?}"
    );
    let want = Counters {
        sent: 2,
        timeouts: 2,
        forged: 1,
        truncated: 1,
        unknown: 1,
        ..Counters::default()
    };
    assert_eq!(*engine.counters(), want);
    ignore_echoes(false);
}

fn another_programs_reply(family: Family) {
    let mut engine = open(family);
    inject(
        family,
        &reply(family, engine.identifier().wrapping_add(1), 0, &[9; 56]),
    );
    let all = probe(&mut engine, &[loopback(family)]);
    assert!(matches!(
        all.as_slice(),
        [Completion {
            ending: Ending::Answered(_),
            ..
        }]
    ));
    assert_eq!(
        engine.counters().foreign,
        0,
        "neither kind of socket hears it"
    );
}

fn icmp_error(family: Family) {
    ignore_echoes(true);
    let mut engine = open(family);
    let requests = [Request {
        destination: loopback(family),
        token: 0,
    }; 2];
    assert_eq!(engine.send(&requests), 2);
    inject(family, &unreachable(family, engine.identifier(), 1));
    // The error is pending on the socket now: a send in between must not be taken for refused.
    let after = [Request {
        destination: loopback(family),
        token: 9,
    }];
    assert_eq!(engine.send(&after), 1);
    let all = finish(&mut engine, 3);
    let refused = all
        .iter()
        .filter(|completion| matches!(completion.ending, Ending::Unreachable { by: Some(_), .. }));
    assert_eq!(
        (
            refused.count(),
            engine.counters().timeouts,
            engine.counters().not_sent
        ),
        (1, 2, 0),
        "{all:?}"
    );
    ignore_echoes(false);
}

fn no_route(family: Family) {
    let nowhere = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        Family::V6 => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    };
    let mut engine = open(family);
    let all = probe(
        &mut engine,
        &[
            loopback(family),
            nowhere,
            loopback(family),
            nowhere,
            loopback(family),
        ],
    );
    let refused = all
        .iter()
        .filter(|completion| matches!(completion.ending, Ending::NotSent(_)));
    assert!(
        refused
            .clone()
            .all(|completion| completion.destination == nowhere),
        "{all:?}"
    );
    let want = Counters {
        sent: 3,
        answered: 3,
        kernel_stamped: 3,
        not_sent: 2,
        ..Counters::default()
    };
    assert_eq!((refused.count(), *engine.counters()), (2, want), "{all:?}");
}

/// Forged replies by the thousand, before and after the true one: counted or dropped, and the sample is right.
fn a_target_that_floods_back(family: Family) {
    let mut engine = open(family);
    let flood = |engine: &Engine| {
        for round in 0..1_500 {
            let payload = [9; 56];
            inject(
                family,
                &reply(family, engine.identifier(), round % 3, &payload),
            );
        }
    };
    flood(&engine);
    let all = probe(&mut engine, &[loopback(family)]);
    let [Completion { ending, .. }] = all.as_slice() else {
        panic!("{all:?}")
    };
    // What the flood left no room for is lost, as on a full link; what is answered is right.
    match ending {
        Ending::Answered(answer) => assert_eq!(answer.clock, Clock::Kernel),
        Ending::Timeout => assert!(engine.counters().overflowed > 0),
        Ending::Unreachable { .. } | Ending::Spoiled(_) | Ending::NotSent(_) => {
            panic!("{ending:?}")
        }
    }
    flood(&engine);
    let all = probe(&mut engine, &[loopback(family)]);
    let counters = engine.counters();
    assert_eq!((all.len(), engine.under_way()), (1, 0));
    let dropped = counters.forged + counters.unknown + counters.overflowed;
    assert!(dropped > 0 && counters.answered <= 2, "{counters:?}");
}

fn rotation(family: Family) {
    let mut engine = open(family);
    let before = engine.identifier();
    let request = [Request {
        destination: loopback(family),
        token: 0,
    }];
    assert_eq!(engine.send(&request), 1);
    engine.rotate();
    assert_eq!(engine.send(&request), 1);
    let all = finish(&mut engine, 2);
    assert!(
        all.iter()
            .all(|completion| matches!(completion.ending, Ending::Answered(_))),
        "{all:?}"
    );
    assert_eq!(
        (engine.rotations(), engine.identifier() == before),
        (1, false)
    );
    assert_eq!(engine.counters().kernel_stamped, 2);
}

fn refusal_names_both_ways() {
    let error = OpenError::NeitherKind {
        family: Family::V4,
        datagram: std::io::ErrorKind::PermissionDenied.into(),
        raw: std::io::ErrorKind::PermissionDenied.into(),
    };
    let text = error.to_string();
    assert!(
        text.contains("ping_group_range") && text.contains("CAP_NET_RAW"),
        "{text}"
    );
}

fn open(family: Family) -> Engine {
    let setup = Setup {
        family,
        capacity: 4_096,
        timeout: TIMEOUT,
        source: None,
        interface: None,
        traffic_class: 0,
    };
    Engine::open(setup).expect("the namespace allows one kind")
}

fn probe(engine: &mut Engine, targets: &[IpAddr]) -> Vec<Completion> {
    let mut finished = Vec::new();
    for batch in targets.chunks(64) {
        let requests: Vec<Request> = batch
            .iter()
            .map(|target| Request {
                destination: *target,
                token: 7,
            })
            .collect();
        assert_eq!(engine.send(&requests), batch.len());
        engine.receive(None, &mut finished).expect("a sound socket");
    }
    finished.extend(finish(engine, targets.len() - finished.len()));
    finished
}

fn finish(engine: &mut Engine, count: usize) -> Vec<Completion> {
    let mut finished = Vec::new();
    while finished.len() < count {
        let now = Engine::now().monotonic;
        let wait = engine
            .next_expiry()
            .map_or(Duration::ZERO, |expiry| expiry.saturating_sub(now));
        let millis = u16::try_from(wait.as_millis() + 1).expect("a short timeout");
        poll(
            &mut [PollFd::new(engine.as_fd(), PollFlags::POLLIN)],
            PollTimeout::from(millis),
        )
        .expect("poll");
        engine.receive(None, &mut finished).expect("a sound socket");
    }
    finished
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

fn reply(family: Family, identifier: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
    message(family, family.reply_kind(), identifier, seq, payload)
}

/// Unreachable, code 0, quoting the header of one of our requests.
fn unreachable(family: Family, identifier: u16, seq: u16) -> Vec<u8> {
    let (kind, request) = match family {
        Family::V4 => (3, 8),
        Family::V6 => (1, 128),
    };
    let mut quoted = match family {
        Family::V4 => {
            let mut header = [0u8; 20];
            header[0] = 0x45;
            header[3] = 28;
            header[9] = 1;
            header[12..16].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
            header[16..20].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
            header.to_vec()
        }
        Family::V6 => {
            let mut header = [0u8; 40];
            header[0] = 0x60;
            header[5] = 8;
            header[6] = 58;
            header[8..24].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
            header[24..40].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
            header.to_vec()
        }
    };
    quoted.extend(message(family, request, identifier, seq, &[]));
    message(family, kind, 0, 0, &quoted)
}

fn message(family: Family, kind: u8, identifier: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
    let [id_high, id_low] = identifier.to_be_bytes();
    let [seq_high, seq_low] = seq.to_be_bytes();
    let mut bytes = vec![kind, 0, 0, 0, id_high, id_low, seq_high, seq_low];
    bytes.extend(payload);
    if family == Family::V4 {
        let (pairs, odd) = bytes.as_chunks::<2>();
        let whole: u32 = pairs
            .iter()
            .map(|pair| u32::from(u16::from_be_bytes(*pair)))
            .sum();
        let sum = whole + odd.first().map_or(0, |last| u32::from(*last) << 8);
        let folded = (sum & 0xffff) + (sum >> 16);
        let sum = !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded twice");
        let place = bytes.get_mut(2..4).expect("the header is there");
        place.copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

/// Sends bytes to ourselves as another program would.
fn inject(family: Family, bytes: &[u8]) {
    let (domain, protocol) = match family {
        Family::V4 => (Domain::IPV4, Protocol::ICMPV4),
        Family::V6 => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol)).expect("root of the namespace");
    let target = std::net::SocketAddr::new(loopback(family), 0);
    assert_eq!(
        socket
            .send_to(bytes, &target.into())
            .expect("loopback is up"),
        bytes.len()
    );
}

fn enter() {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .expect("user namespaces are allowed");
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {user} 1")),
        ("gid_map", format!("0 {group} 1")),
    ] {
        std::fs::write(format!("/proc/self/{file}"), text).expect("a map of our own");
    }
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .expect("ip (package iproute2)");
    assert!(up.success());
}

fn ignore_echoes(ignored: bool) {
    let value = if ignored { "1" } else { "0" };
    set("ipv4/icmp_echo_ignore_all", value);
    set("ipv6/icmp/echo_ignore_all", value);
}

fn set(variable: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{variable}"), value)
        .unwrap_or_else(|error| panic!("{variable}: {error}"));
}
