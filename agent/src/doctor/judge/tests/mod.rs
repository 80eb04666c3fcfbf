//! A table of every finding: a healthy site, one fact of it changed, and what is said then.

mod machine;
mod network;
mod site;

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::doctor::facts::{
    Access, BadVantage, Clock, Collector, Destination, Enrolled, LastWord, Machine, OnWindows,
    Path, Permission, Portal, PortalAnswer, ProxyVariable, Question, Reply, Resolver, Rights,
    State, Tls,
};
use crate::probe::Outcome;

const MS: Duration = Duration::from_millis(1);
const NOW: i64 = 1_800_000_000_000;
const DAY: i64 = 86_400_000;

fn reply(outcome: Outcome, problem: &str) -> Reply {
    Reply {
        outcome,
        addresses: Vec::new(),
        problem: problem.to_owned(),
    }
}

fn target(name: &str) -> Destination {
    Destination {
        name: name.to_owned(),
        host: format!("{name}.example"),
        port: 443,
        is_microsoft: true,
        address: "192.0.2.1".parse().ok(),
        tcp: Some(Outcome::Answered(MS * 9)),
        icmp: Some(Outcome::Timeout),
        path: Path::Met {
            routers: vec![1, 2, 4],
            is_reached: true,
        },
        tls: Some(Tls::Shown {
            issuer: "Microsoft Corporation, Microsoft Azure RSA TLS Issuing CA 04".to_owned(),
            distrust: None,
            is_out_of_time: false,
        }),
    }
}

fn question(name: &str) -> Question {
    Question {
        host: format!("{name}.example"),
        v4: reply(Outcome::Answered(MS * 8), ""),
        v6: reply(Outcome::Answered(MS * 8), ""),
    }
}

fn enrolled() -> Enrolled {
    Enrolled {
        url: "https://collector.example:8443/".to_owned(),
        certificate_ends_unix_ms: NOW + 60 * DAY,
        proxy: None,
        proxy_refuses: false,
        contact: Ok(404),
        run: Some(LastWord {
            written_unix_ms: NOW - 20_000,
            last_upload_unix_ms: Some(NOW - 20_000),
            upload_problem: None,
            spool_reports: 0,
            spool_bytes: 0,
            spool_problem: None,
            dropped_reports: 0,
            newer_expected: None,
        }),
        upload_interval: MS * 30_000,
    }
}

fn healthy() -> Facts {
    Facts {
        setcap: "sudo setcap cap_net_raw+ep /usr/bin/firstmile-agent".to_owned(),
        rights: Rights {
            user: Some(998),
            raw_v4: Given,
            raw_v6: Given,
            ping_v4: Refused,
            ping_v6: Refused,
            ping_group_range: Some("1 0".to_owned()),
            net_raw_is_within_bounds: Some(true),
            kernel_stamps: true,
            windows: None,
        },
        flows: 8,
        resolvers: vec![Resolver {
            server: "192.0.2.53:53".to_owned(),
            has_route: true,
            questions: vec![question("mail"), question("files")],
            answers_ptr: Some(true),
        }],
        targets: vec![target("mail"), target("files")],
        proxies: Vec::new(),
        clock: Clock {
            unix_ms: NOW,
            moved_ms: 0,
            offset: Some((-400, "the collector".to_owned())),
        },
        portal: Some(Portal {
            url: "http://portal.example/".to_owned(),
            answer: PortalAnswer::Expected,
        }),
        collector: Collector::Enrolled(enrolled()),
        state: State {
            directory: PathBuf::from("/var/lib/firstmile-agent"),
            access: Access::Writable,
            free_bytes: Some(8 << 30),
            spool_max_bytes: 64 << 20,
        },
        machine: Machine {
            interface: Some("eth0".to_owned()),
            gateway: "192.0.2.254".parse().ok(),
            pings: vec![Outcome::Answered(MS)],
            ..Machine::default()
        },
    }
}

type Change = fn(&mut Facts);
/// Name, change, check, level, words of the sentence, words of the change.
type Case = (
    &'static str,
    Change,
    &'static str,
    Level,
    &'static str,
    &'static str,
);

fn first(facts: &mut Facts) -> &mut Destination {
    &mut facts.targets[0]
}

fn with_tcp(facts: &mut Facts, outcome: Outcome) {
    first(facts).tcp = Some(outcome);
    first(facts).tls = None;
}

fn with_paths(facts: &mut Facts, routers: &[u8], is_reached: bool) {
    for target in &mut facts.targets {
        target.path = Path::Met {
            routers: routers.to_vec(),
            is_reached,
        };
    }
}

fn with_rights(facts: &mut Facts, raw: Permission, ping: Permission) {
    facts.rights.raw_v4 = raw;
    facts.rights.raw_v6 = raw;
    facts.rights.ping_v4 = ping;
    facts.rights.ping_v6 = ping;
}

fn with_enrolled(facts: &mut Facts, change: impl FnOnce(&mut Enrolled)) {
    let mut changed = enrolled();
    change(&mut changed);
    facts.collector = Collector::Enrolled(changed);
}

fn with_run(facts: &mut Facts, change: impl FnOnce(&mut LastWord)) {
    with_enrolled(facts, |enrolled| {
        enrolled.run.as_mut().map(change).expect("it runs");
    });
}

fn with_issuer(facts: &mut Facts, issuer: &str, distrust: Option<&str>) {
    first(facts).tls = Some(Tls::Shown {
        issuer: issuer.to_owned(),
        distrust: distrust.map(str::to_owned),
        is_out_of_time: false,
    });
}

fn with_proxy(facts: &mut Facts, name: &str, value: &str, is_url: bool) {
    facts.proxies.push(ProxyVariable {
        name: name.to_owned(),
        value: value.to_owned(),
        is_url,
    });
}

use Level::{Ok as Good, Problem, Warning};
use Permission::{Broken, Given, NoFamily, Refused};

#[test]
fn every_fact_has_its_finding() {
    for (name, change, check, level, says, mends) in [
        machine::RIGHTS,
        machine::PLACE,
        machine::NAMES,
        network::REACH,
        site::COLLECTOR,
    ]
    .concat()
    {
        let mut facts = healthy();
        change(&mut facts);
        let findings = judge(&facts);
        let found = findings.iter().find(|finding| {
            let mends_it = finding.change.as_deref().unwrap_or("").contains(mends);
            finding.check == check
                && finding.level == level
                && finding.says.contains(says)
                && mends_it
        });
        assert!(found.is_some(), "{check}, {name}: {findings:#?}");
    }
}

#[test]
fn a_healthy_site_has_nothing_to_change_and_everything_else_says_what() {
    assert!(
        judge(&healthy())
            .iter()
            .all(|finding| finding.level == Good)
    );
    for (name, change, ..) in [
        machine::RIGHTS,
        machine::PLACE,
        machine::NAMES,
        network::REACH,
        site::COLLECTOR,
    ]
    .concat()
    {
        let mut facts = healthy();
        change(&mut facts);
        for finding in judge(&facts) {
            let is_good = finding.level == Good;
            assert_eq!(finding.change.is_none(), is_good, "{name}: {finding:#?}");
        }
    }
}

/// The collector's machine is a Linux, whatever the agent's is.
#[test]
fn a_windows_is_told_nothing_that_only_a_linux_has() {
    for (name, change, ..) in [
        machine::RIGHTS,
        machine::PLACE,
        machine::NAMES,
        network::REACH,
        site::COLLECTOR,
    ]
    .concat()
    {
        let mut facts = healthy();
        change(&mut facts);
        facts.rights.windows = Some(machine::on_windows(true, true));
        facts.state.directory = PathBuf::from("C:\\ProgramData\\firstmile\\state");
        for advice in judge(&facts).into_iter().filter_map(|it| it.change) {
            for word in [
                "sudo",
                "setcap",
                "sysctl",
                "timedatectl",
                "chronyc",
                "df -h",
                "ls -ld",
                "ip route",
                "ip -brief",
                "nft",
                "iptables",
                "ulimit",
                "/etc/",
                "/var/",
                "agent | grep",
            ] {
                assert!(!advice.contains(word), "{name}: {advice}");
            }
        }
    }
}

#[test]
fn one_inspecting_box_is_one_finding() {
    let mut facts = healthy();
    for target in &mut facts.targets {
        target.tls = Some(Tls::Shown {
            issuer: "Example Inspection".to_owned(),
            distrust: Some("UnknownIssuer".to_owned()),
            is_out_of_time: false,
        });
    }
    let findings = judge(&facts);
    let tls: Vec<_> = findings.iter().filter(|f| f.check == "tls").collect();
    assert_eq!(tls.len(), 1);
    assert_eq!(tls[0].about.as_deref(), Some("mail, files"));
}
