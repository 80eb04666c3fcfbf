//! A site without IPv4: a real DNS64 (unbound) and a real NAT64 (TAYGA) are its way to IPv4 hosts.

use std::net::Ipv6Addr;

use firstmile_wire::nat64::{DISCOVERY_ADDRESSES, DISCOVERY_NAME};
use firstmile_wire::v1::{Outcome, Protocol};
use serde_json::Value;

use crate::rig::{Rig, Running, built, inside, ip, needs, said};

/// The machine at the site, and the router that is its resolver too.
const SITE: &str = "2001:db8:1::2";
const ROUTER: &str = "2001:db8:1::1";
/// The translator's prefix, one of the operator's own: TAYGA keeps to RFC 6052 §3.1 with the well-known one.
const PREFIX: &str = "2001:db8:64::/96";
/// The target has this address only, and the site's machine reaches it as that one.
const TARGET: &str = "203.0.113.10";
const TARGET_BEHIND: &str = "2001:db8:64::cb00:710a";
/// Names as the internet's servers have them, beside [`DISCOVERY_NAME`].
const NAMES: &str =
    "203.0.113.10 door.example\n203.0.113.10 portal.example\n2001:db8:2::2 collector.example\n";

/// What a captive portal says in place of a page.
const PORTAL: &str =
    "HTTP/1.0 302 Found\r\nLocation: http://login.example/\r\nContent-Length: 0\r\n\r\n";

/// An agent in `site`, DNS64 and NAT64 in `router`, names, target and collector in `internet`.
fn site(rig: &Rig) -> [Running; 4] {
    for name in ["site", "router", "internet"] {
        Rig::namespace(name);
    }
    let site = [format!("{SITE}/64")];
    let router = [format!("{ROUTER}/64")];
    Rig::cable(
        ("site", "eth0", &[site[0].as_str()]),
        ("router", "lan", &[router[0].as_str()]),
    );
    Rig::cable(
        ("router", "wan", &["192.0.2.1/24", "2001:db8:2::1/64"]),
        ("internet", "eth0", &["192.0.2.2/24", "2001:db8:2::2/64"]),
    );
    for variable in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
        let set = Rig::in_namespace("router", &["sysctl", "-w", variable]);
        assert!(set.ends_with("= 1\n"), "{variable}: {set}");
    }
    ip("site", &format!("-6 route add default via {ROUTER}"));
    ip("router", &format!("route add {TARGET} via 192.0.2.2"));
    ip("internet", &format!("addr add {TARGET}/32 dev lo"));
    ip("internet", "route add 198.18.0.0/24 via 192.0.2.1");
    ip("internet", "-6 route add default via 2001:db8:2::1");
    let (names, dns64, nat64) = (names(rig), dns64(rig), nat64(rig));
    let collector = rig.collector("internet", "https://collector.example:8443");
    [names, dns64, nat64, collector]
}

/// The servers of the internet's names.
fn names(rig: &Rig) -> Running {
    let [first, second] = DISCOVERY_ADDRESSES;
    let hosts = format!("{first} {DISCOVERY_NAME}\n{second} {DISCOVERY_NAME}\n{NAMES}");
    let hosts = rig.write("hosts", &hosts).display().to_string();
    let config = format!(
        "no-hosts\nno-resolv\nno-daemon\nuser=\npid-file=\nlocal=/example/\nlocal=/arpa/\naddn-hosts={hosts}\nlisten-address=192.0.2.2\nbind-interfaces\n"
    );
    let config = rig.write("names.conf", &config).display().to_string();
    let running = rig.start("internet", "names", &["dnsmasq", "-C", &config]);
    listening(rig, "internet", "192.0.2.2:53");
    running
}

fn dns64(rig: &Rig) -> Running {
    let config = format!(
        "server:\n interface: {ROUTER}\n access-control: ::/0 allow\n module-config: \"dns64 iterator\"\n dns64-prefix: {PREFIX}\n \
         do-daemonize: no\n use-syslog: no\n username: \"\"\n chroot: \"\"\n directory: \"\"\n pidfile: \"\"\n\
         remote-control:\n control-enable: no\nforward-zone:\n name: \".\"\n forward-addr: 192.0.2.2\n"
    );
    let config = rig.write("unbound.conf", &config).display().to_string();
    let running = rig.start("router", "unbound", &["unbound", "-c", &config]);
    listening(rig, "router", &format!("[{ROUTER}]:53"));
    running
}

fn nat64(rig: &Rig) -> Running {
    let config = format!(
        "tun-device nat64\nipv4-addr 198.18.0.1\nprefix {PREFIX}\ndynamic-pool 198.18.0.0/24\n"
    );
    let config = rig.write("tayga.conf", &config).display().to_string();
    ip("router", "tuntap add mode tun name nat64");
    ip("router", "link set nat64 up");
    ip("router", "route add 198.18.0.0/24 dev nat64");
    ip("router", &format!("-6 route add {PREFIX} dev nat64"));
    rig.start("router", "tayga", &["tayga", "-c", &config, "--nodetach"])
}

fn listening(rig: &Rig, namespace: &str, address: &str) {
    rig.until(&format!("{address} to listen"), || {
        Rig::in_namespace(namespace, &["ss", "-Hltn"])
            .contains(&format!("{address} "))
            .then_some(())
    });
}

fn configuration(rig: &Rig) -> String {
    let text = format!(
        "state_dir = {:?}\ntarget_sets = []\n\
         [[target]]\nname = \"door\"\nhost = \"door.example\"\nport = 8443\nprotocols = [\"icmp\", \"tcp\"]\ntrace = false\n\
         [[target]]\nname = \"literal\"\nhost = \"{TARGET}\"\nport = 8443\nprotocols = [\"icmp\", \"tcp\"]\ntrace = false\n\
         [doctor]\nportal_url = \"http://portal.example/\"\nportal_text = \"The Page\"\n\
         [plan]\npulse_interval = \"1s\"\nupload_interval = \"1s\"\nprobe_timeout = \"2s\"\n[proxy]\nurl = \"\"\n",
        rig.path("state").display().to_string()
    );
    rig.write("agent.toml", &text).display().to_string()
}

#[test]
fn a_site_without_ipv4_is_enrolled_measured_and_its_translator_is_known() {
    let name = "ipv6::a_site_without_ipv4_is_enrolled_measured_and_its_translator_is_known";
    for (program, package) in [
        ("unbound", "unbound"),
        ("tayga", "tayga"),
        ("dnsmasq", "dnsmasq-base"),
    ] {
        needs(program, package);
    }
    inside(name, |rig| {
        rig.resolver(ROUTER);
        let _programs = site(&rig);
        let none = Rig::in_namespace("site", &["ip", "-4", "-br", "addr", "show", "dev", "eth0"]);
        assert_eq!(none, "", "the site has no IPv4");
        let join = rig.join_string("internet").display().to_string();
        let config = configuration(&rig);
        let enrolled = Rig::agent(
            "site",
            &[],
            &["--config", &config, "enroll", "--join-file", &join],
        );
        assert!(enrolled.status.success(), "{}", said(&enrolled));
        // In place of the page that the agent knows the text of, over IPv4 only.
        Rig::answer("internet", &format!("{TARGET}:80"), PORTAL);
        let agent = rig.start(
            "site",
            "agent",
            &[&built("firstmile-agent"), "--config", &config, "run"],
        );
        known_to_the_collector(&rig);
        doctor_says_so(&config);
        // The collector goes on listening, that the port is open at the target; reports have to stay here to be looked at.
        ip("internet", "addr del 2001:db8:2::2/64 dev eth0");
        answered_behind_the_translator(&rig);
        agent.stop();
    });
}

/// Reports are taken over IPv6, and the collector's API names the translator.
fn known_to_the_collector(rig: &Rig) {
    let status = rig.until("a report to be taken", || {
        let status = rig.status("state");
        status["seen_address"].is_string().then_some(status)
    });
    assert_eq!(status["seen_address"], SITE);
    let id = status["agent_id"].as_str().expect("it is enrolled");
    let machine = format!("/api/v1/agents/{id}/machine");
    let host = rig.until("the prefix at the collector", || {
        let machine = Rig::dashboard("internet", &machine);
        machine["host"]["nat64_prefix"]
            .is_string()
            .then(|| machine["host"].clone())
    });
    assert_eq!(host["nat64_prefix"], PREFIX);
    rig.until("the portal at the collector", || {
        (Rig::dashboard("internet", &machine)["host"]["captive_portal"] == true).then_some(())
    });
    assert_eq!(host["interface"], "eth0");
    assert_eq!(host["gateway"], ROUTER);
}

fn doctor_says_so(config: &str) {
    let output = Rig::agent("site", &[], &["--config", config, "doctor", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
    let findings = document["findings"].as_array().expect("findings");
    let of = |check: &str| {
        let found = findings.iter().find(|finding| finding["check"] == check);
        found.unwrap_or_else(|| panic!("{check}: {document}"))
    };
    let nat64 = of("nat64");
    assert_eq!(nat64["level"], "ok", "{nat64}");
    let says = nat64["says"].as_str().expect("text");
    assert!(says.contains("NAT64") && says.contains(PREFIX), "{says}");
    assert_eq!(of("collector")["level"], "ok", "{document}");
}

/// The IPv4-only target answers, named and given as an address, under its address behind the prefix and under no other.
fn answered_behind_the_translator(rig: &Rig) {
    let behind: Ipv6Addr = TARGET_BEHIND.parse().expect("an address");
    let wanted = [Protocol::Tcp, Protocol::Icmp].map(|protocol| [(protocol, 0), (protocol, 1)]);
    for (protocol, target) in wanted.into_iter().flatten() {
        rig.until(&format!("answers to {protocol:?} of {target}"), || {
            let reports = rig.reports("state");
            let series = reports.iter().flat_map(|report| &report.series);
            let ours =
                series.filter(|series| series.protocol() == protocol && series.target == target);
            let mut answered = ours.filter(|series| {
                let elsewhere = series.destination != behind.octets();
                let answered = series.outcome().any(|outcome| outcome == Outcome::Answered);
                assert!(!(elsewhere && answered), "{series:?}");
                answered
            });
            answered.next().map(drop)
        });
    }
}
