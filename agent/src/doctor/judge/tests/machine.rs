//! The machine: rights and resolvers.

use super::*;

pub(super) const fn on_windows(echo_v4: bool, tcp_paths: bool) -> OnWindows {
    OnWindows {
        echo_v4,
        echo_v6: false,
        tcp_paths,
    }
}

pub(super) const RIGHTS: &[Case] = &[
    (
        "raw",
        |_| {},
        "rights",
        Good,
        "user 998 may open raw sockets",
        "",
    ),
    (
        "raw paths",
        |_| {},
        "paths",
        Good,
        "TCP SYN packets to the targets' port, 8 flows, each pinned",
        "",
    ),
    (
        "ping",
        |f| with_rights(f, Refused, Given),
        "rights",
        Good,
        "ping sockets (ping_group_range 1 0) and no raw",
        "",
    ),
    (
        "ping paths",
        |f| with_rights(f, Refused, Given),
        "paths",
        Warning,
        "ICMP (up to 8 flows, all TTLs in flight",
        "sudo setcap cap_net_raw+ep /usr/bin/firstmile-agent",
    ),
    (
        "windows",
        |f| f.rights.windows = Some(on_windows(true, true)),
        "rights",
        Good,
        "for any user, over IPv4 only",
        "",
    ),
    (
        "windows paths",
        |f| f.rights.windows = Some(on_windows(true, true)),
        "paths",
        Good,
        "8 flows, each pinned to a source port of its own, one TTL of a flow at a time",
        "",
    ),
    (
        "an older windows",
        |f| f.rights.windows = Some(on_windows(true, false)),
        "paths",
        Warning,
        "traced with ICMP echo, one flow",
        "Windows 10 version 2004",
    ),
    (
        "windows without a network",
        |f| f.rights.windows = Some(on_windows(false, true)),
        "rights",
        Problem,
        "its network is not up",
        "IP Helper",
    ),
    (
        "neither",
        |f| with_rights(f, Refused, Refused),
        "rights",
        Problem,
        "neither raw sockets (no CAP_NET_RAW) nor ping",
        "net.ipv4.ping_group_range=\"0 2147483647\"",
    ),
    (
        "plain paths",
        |f| with_rights(f, Refused, Refused),
        "paths",
        Warning,
        "one TTL of a flow at a time, 8 flows of TCP",
        "setcap",
    ),
    (
        "a container",
        |f| {
            with_rights(f, Refused, Given);
            f.rights.net_raw_is_within_bounds = Some(false);
        },
        "paths",
        Warning,
        "one TTL of a flow at a time",
        "--cap-add NET_RAW",
    ),
    (
        "no IPv6",
        |f| {
            f.rights.raw_v6 = NoFamily;
            f.rights.ping_v6 = NoFamily;
        },
        "rights",
        Good,
        "no IPv6",
        "",
    ),
    (
        "IPv6 refused",
        |f| f.rights.raw_v6 = Refused,
        "rights",
        Warning,
        "not over IPv6",
        "setcap",
    ),
    (
        "broken",
        |f| f.rights.ping_v4 = Broken,
        "rights",
        Warning,
        "another reason than rights",
        "ulimit",
    ),
];

pub(super) const NAMES: &[Case] = &[
    (
        "all",
        |_| {},
        "resolver",
        Good,
        "resolves 2 of 2 names, median 8 ms",
        "",
    ),
    (
        "none",
        |f| f.resolvers.clear(),
        "resolver",
        Problem,
        "no resolver is configured",
        "resolvers = [",
    ),
    (
        "addresses only",
        |f| f.resolvers[0].questions.clear(),
        "resolver",
        Good,
        "every target is an address",
        "",
    ),
    (
        "silent",
        |f| {
            for q in &mut f.resolvers[0].questions {
                q.v4 = reply(Outcome::Timeout, "x does not answer");
            }
        },
        "resolver",
        Problem,
        "it does not answer (names asked: 2)",
        "/etc/resolv.conf",
    ),
    (
        "no route",
        |f| {
            f.resolvers[0].has_route = false;
            for q in &mut f.resolvers[0].questions {
                q.v4 = reply(Outcome::DnsFailed, "x cannot answer");
            }
        },
        "resolver",
        Problem,
        "there is no route to it",
        "/etc/resolv.conf",
    ),
    (
        "refuses",
        |f| {
            for q in &mut f.resolvers[0].questions {
                q.v4 = reply(Outcome::DnsFailed, "x cannot answer: Server Failure");
            }
        },
        "resolver",
        Problem,
        "it resolves none of 2 names: mail.example: x cannot answer: Server Failure",
        "/etc/resolv.conf",
    ),
    (
        "some",
        |f| {
            f.resolvers[0].questions[0].v4 =
                reply(Outcome::DnsFailed, "x says that there is no such name");
        },
        "resolver",
        Warning,
        "1 of 2 names, median 8 ms; mail.example: x says",
        "below",
    ),
    (
        "slow",
        |f| {
            for q in &mut f.resolvers[0].questions {
                q.v4 = reply(Outcome::Answered(MS * 400), "");
            }
        },
        "resolver",
        Warning,
        "median 400 ms: that is slow",
        "nearer",
    ),
    (
        "no AAAA",
        |f| f.resolvers[0].questions[0].v6 = reply(Outcome::Timeout, "x does not answer"),
        "resolver",
        Warning,
        "leaves AAAA questions for the same names open (1)",
        "AAAA",
    ),
    (
        "no PTR",
        |f| f.resolvers[0].answers_ptr = Some(false),
        "resolver",
        Warning,
        "PTR",
        "PTR",
    ),
    (
        "unknown name",
        |f| {
            f.resolvers[0].questions[0].v4 =
                reply(Outcome::DnsFailed, "x says that there is no such name");
            first(f).address = None;
        },
        "name",
        Problem,
        "mail.example has no address here: x says that there is no such name",
        "spelling",
    ),
];

pub(super) const PLACE: &[Case] = &[
    (
        "near",
        |_| {},
        "gateway",
        Good,
        "192.0.2.254 behind eth0 answers in 1.00 ms",
        "",
    ),
    (
        "slow",
        |f| f.machine.pings = vec![Outcome::Answered(MS * 90)],
        "gateway",
        Warning,
        "takes 90 ms",
        "cable or the radio",
    ),
    (
        "lossy",
        |f| f.machine.pings.push(Outcome::Timeout),
        "gateway",
        Warning,
        "left 1 of 2 echoes",
        "cable or the radio",
    ),
    (
        "silent",
        |f| f.machine.pings = vec![Outcome::Timeout],
        "gateway",
        Good,
        "answers no echo",
        "",
    ),
    (
        "not asked",
        |f| f.machine.pings.clear(),
        "gateway",
        Good,
        "cannot be asked",
        "",
    ),
    (
        "no router",
        |f| f.machine.gateway = None,
        "gateway",
        Good,
        "no router next to it",
        "",
    ),
    (
        "no route",
        |f| f.machine.interface = None,
        "gateway",
        Problem,
        "no default route",
        "ip route",
    ),
    ("no tunnel", |_| {}, "tunnel", Good, "no tunnel", ""),
    (
        "place not looked at",
        |f| {
            f.machine = Machine {
                is_unseen: true,
                ..Machine::default()
            };
        },
        "gateway",
        Good,
        "not looked at",
        "",
    ),
    (
        "tunnels not seen",
        |f| f.machine.is_unseen = true,
        "tunnel",
        Warning,
        "carry no mark",
        "exempt the targets",
    ),
    (
        "tunnel",
        |f| f.machine.tunnel = Some("wg0".to_owned()),
        "tunnel",
        Warning,
        "leave through wg0",
        "not_tunnels",
    ),
    (
        "away",
        |f| f.machine.is_roaming = true,
        "roaming",
        Warning,
        "another network",
        "roams = false",
    ),
    (
        "nat64",
        |f| f.machine.nat64 = Some("64:ff9b::/96".to_owned()),
        "nat64",
        Good,
        "NAT64, 64:ff9b::/96",
        "",
    ),
    (
        "vantage",
        |f| {
            f.machine.bad_vantages = vec![BadVantage {
                name: "b".to_owned(),
                why: "No such device".to_owned(),
            }];
        },
        "vantage",
        Problem,
        "No such device",
        "correct interface or source",
    ),
];
