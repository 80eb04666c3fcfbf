//! A site with two uplinks: each vantage point's packets take its own.
//!
//! Both routers own the target's address. They are told apart by what they answer with: the TTL of their replies, and whether
//! the port is open.

use std::collections::{BTreeMap, BTreeSet};

use firstmile_wire::v1::{Outcome, Protocol, Report};

use crate::rig::{Rig, Running, built, inside, ip, needs, said};

const TARGET: &str = "203.0.113.1";

/// Uplink `a` is the machine's own choice; `b` answers with TTL 33 and listens.
fn site(rig: &Rig) -> Running {
    for name in ["site", "a", "b"] {
        Rig::namespace(name);
    }
    Rig::cable(
        ("site", "eth0", &["198.51.100.2/24"]),
        ("a", "lan", &["198.51.100.1/24"]),
    );
    Rig::cable(
        ("site", "eth1", &["192.0.2.2/24", "192.0.2.3/24"]),
        ("b", "lan", &["192.0.2.1/24"]),
    );
    for router in ["a", "b"] {
        ip(router, &format!("addr add {TARGET}/32 dev lo"));
    }
    ip(
        "site",
        "route add default via 198.51.100.1 dev eth0 metric 10",
    );
    ip("site", "route add default via 192.0.2.1 dev eth1 metric 20");
    ip("site", "rule add from 192.0.2.3 table 100");
    ip("site", "route add default via 192.0.2.1 dev eth1 table 100");
    let set = Rig::in_namespace("b", &["sysctl", "-w", "net.ipv4.ip_default_ttl=33"]);
    assert!(set.contains("33"), "{set}");
    // What the bound vantage point sends, with the code point and without; the kernel's own RSTs are nobody's probes.
    let ours = format!("ip saddr 192.0.2.2 ip daddr {TARGET}");
    let rules = rig.write(
        "count.nft",
        &format!(
            "table ip t {{\n counter coded {{ }}\n counter plain {{ }}\n chain c {{\n  type filter hook prerouting priority 0\n\
             {ours} ip dscp ef counter name coded\n\
             {ours} ip dscp != ef tcp flags & rst == 0 counter name plain\n\
             {ours} ip dscp != ef meta l4proto != tcp counter name plain\n }}\n}}\n"
        ),
    );
    Rig::in_namespace("b", &["nft", "-f", &rules.display().to_string()]);
    ip("b", "addr add 192.0.2.50/24 dev lan");
    rig.collector("b", "https://192.0.2.50:8443")
}

fn configuration(rig: &Rig) -> String {
    let text = format!(
        "state_dir = {:?}\ntarget_sets = []\nresolvers = [\"198.51.100.1\"]\nvantages = [\"default\", \"by-interface\", \"by-source\"]\n\
         [[vantage]]\nname = \"by-interface\"\ninterface = \"eth1\"\ndscp = 46\n\
         [[vantage]]\nname = \"by-source\"\nsource = \"192.0.2.3\"\n\
         [[target]]\nname = \"both\"\nhost = \"{TARGET}\"\nport = 8443\nprotocols = [\"icmp\", \"tcp\", \"https\", \"tls\", \"quic\"]\n\
         [plan]\npulse_interval = \"1s\"\nhttps_interval = \"5s\"\ntls_interval = \"5s\"\nquic_interval = \"5s\"\nupload_interval = \"1s\"\nprobe_timeout = \"500ms\"\n[proxy]\nurl = \"\"\n",
        rig.path("state").display().to_string()
    );
    rig.write("agent.toml", &text).display().to_string()
}

#[test]
fn each_vantage_point_takes_its_own_uplink() {
    needs("nft", "nftables");
    inside("vantage::each_vantage_point_takes_its_own_uplink", |rig| {
        let _collector = site(&rig);
        let join = rig.join_string("b").display().to_string();
        let config = configuration(&rig);
        let enrolled = Rig::agent(
            "site",
            &[],
            &["--config", &config, "enroll", "--join-file", &join],
        );
        assert!(enrolled.status.success(), "{}", said(&enrolled));
        // The collector goes on listening, that the port is open at `b`; reports have to stay here to be looked at.
        ip("b", "addr del 192.0.2.50/24 dev lan");
        let _agent = rig.start(
            "site",
            "agent",
            &[&built("firstmile-agent"), "--config", &config, "run"],
        );
        let reports = rig.until("samples and rounds of every vantage point", || {
            let reports = rig.reports("state");
            let rounds: BTreeSet<u32> = reports
                .iter()
                .flat_map(|report| &report.traces)
                .map(|round| round.vantage)
                .collect();
            let wanted = [
                Protocol::Icmp,
                Protocol::Tcp,
                Protocol::Https,
                Protocol::Tls,
                Protocol::Quic,
            ];
            let has_all = wanted
                .iter()
                .all(|protocol| outcomes(&reports, *protocol).len() == 3);
            (has_all && rounds.len() == 3).then_some(reports)
        });
        let last = reports.last().expect("there are some");
        let names: Vec<&str> = last
            .vantages
            .iter()
            .map(|vantage| vantage.name.as_str())
            .collect();
        assert_eq!(names, ["", "by-interface", "by-source"]);

        assert_eq!(
            ttls(&reports),
            BTreeMap::from([
                (0, BTreeSet::from([64])),
                (1, BTreeSet::from([33])),
                (2, BTreeSet::from([33]))
            ])
        );
        port_of_each(&reports);
        for (counter, is_empty, why) in [
            ("coded", false, "the code point is on the wire"),
            ("plain", true, "and on every packet of its vantage point"),
        ] {
            let text = Rig::in_namespace("b", &["nft", "list", "counter", "ip", "t", counter]);
            assert!(text.contains("packets"), "it counts: {text}");
            assert_eq!(text.contains("packets 0 "), is_empty, "{why}: {text}");
        }
    });
}

/// Where the port is open, a handshake begins; where it is not, the connection is refused.
fn port_of_each(reports: &[Report]) {
    for protocol in [Protocol::Tcp, Protocol::Tls, Protocol::Https] {
        for (vantage, outcomes) in outcomes(reports, protocol) {
            let refused = outcomes.contains(&Outcome::Refused);
            assert_eq!(
                refused,
                vantage == 0,
                "{protocol:?} by {vantage}: {outcomes:?}"
            );
            let answered = outcomes.contains(&Outcome::Answered);
            assert_eq!(
                answered,
                vantage != 0,
                "{protocol:?} by {vantage}: {outcomes:?}"
            );
        }
    }
}

/// Outcomes of a protocol's samples, by vantage point.
fn outcomes(reports: &[Report], protocol: Protocol) -> BTreeMap<u32, BTreeSet<Outcome>> {
    let mut found = BTreeMap::<u32, BTreeSet<Outcome>>::new();
    let series = reports.iter().flat_map(|report| &report.series);
    for series in series.filter(|series| series.protocol() == protocol) {
        found
            .entry(series.vantage)
            .or_default()
            .extend(series.outcome());
    }
    found
}

/// TTLs of echo replies, by vantage point.
fn ttls(reports: &[Report]) -> BTreeMap<u32, BTreeSet<u32>> {
    let mut found = BTreeMap::<u32, BTreeSet<u32>>::new();
    let series = reports.iter().flat_map(|report| &report.series);
    for series in series.filter(|series| series.protocol() == Protocol::Icmp) {
        let known = series.reply_ttl.iter().copied().filter(|ttl| *ttl != 0);
        found.entry(series.vantage).or_default().extend(known);
    }
    found
}
