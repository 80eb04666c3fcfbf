//! The network is replaced under a running agent: another address, and an interface that comes back under its old name.

use std::time::Duration;

use firstmile_lab::clock;
use firstmile_wire::v1::{Outcome, Protocol, Report, Series};

use crate::rig::{Rig, Running, built, inside, ip, said};

const TARGET: &str = "203.0.113.1";
const PORT: u16 = 8443;
/// The second vantage point is bound to this interface.
const BOUND: u32 = 1;
/// From a change to the first sample and the first report by what is new. A report that waits on a connection that leads
/// nowhere is given up after 30 s.
const SOON: Duration = Duration::from_secs(15);

fn site(rig: &Rig) -> Running {
    for name in ["site", "router"] {
        Rig::namespace(name);
    }
    plug(&["198.51.100.2/24"]);
    ip("router", &format!("addr add {TARGET}/32 dev lo"));
    rig.collector("router", &format!("https://{TARGET}:{PORT}"))
}

/// A cable from the site to the router, by which the site reaches everything.
fn plug(addresses: &[&str]) {
    Rig::cable(
        ("site", "eth0", addresses),
        ("router", "lan", &["198.51.100.1/24"]),
    );
    ip("site", "route add default via 198.51.100.1");
}

fn configuration(rig: &Rig) -> String {
    let text = format!(
        "state_dir = {:?}\ntarget_sets = []\nresolvers = [\"198.51.100.1\"]\nvantages = [\"default\", \"bound\"]\n\
         [[vantage]]\nname = \"bound\"\ninterface = \"eth0\"\n\
         [[target]]\nname = \"door\"\nhost = \"{TARGET}\"\nport = {PORT}\nprotocols = [\"icmp\", \"tcp\", \"quic\"]\n\
         [plan]\npulse_interval = \"1s\"\nquic_interval = \"5s\"\ntrace_interval = \"10s\"\nupload_interval = \"1s\"\nprobe_timeout = \"500ms\"\n[proxy]\nurl = \"\"\n",
        rig.path("state").display().to_string()
    );
    rig.write("agent.toml", &text).display().to_string()
}

#[test]
fn a_replaced_address_and_a_replaced_interface_are_measured_and_uploaded_by_within_seconds() {
    let name = "change::a_replaced_address_and_a_replaced_interface_are_measured_and_uploaded_by_within_seconds";
    inside(name, |rig| {
        let collector = site(&rig);
        let join = rig.join_string("router").display().to_string();
        let config = configuration(&rig);
        let enrolled = Rig::agent(
            "site",
            &[],
            &["--config", &config, "enroll", "--join-file", &join],
        );
        assert!(enrolled.status.success(), "{}", said(&enrolled));
        let agent = rig.start(
            "site",
            "agent",
            &[&built("firstmile-agent"), "--config", &config, "run"],
        );
        seen_at(&rig, "198.51.100.2");

        // Another address: what was connected from the old one leads nowhere now, and nobody says so.
        ip("site", "addr del 198.51.100.2/24 dev eth0");
        ip("site", "addr add 198.51.100.3/24 dev eth0");
        ip("site", "route add default via 198.51.100.1");
        within(SOON, || seen_at(&rig, "198.51.100.3"));

        // Another interface of the same name: sockets that are bound to the old one work no more.
        ip("site", "link del eth0");
        plug(&["198.51.100.4/24"]);
        within(SOON, || seen_at(&rig, "198.51.100.4"));

        // Reports have to stay here to be looked at.
        collector.stop();
        rig.until("samples and paths by the new interface", || {
            is_measured(&rig.reports("state")).then_some(())
        });
        agent.stop();
    });
}

/// Waits until the collector says that it sees the agent at `address`.
fn seen_at(rig: &Rig, address: &str) {
    rig.until(&format!("a report from {address}"), || {
        (rig.status("state")["seen_address"] == address).then_some(())
    });
}

fn within(limit: Duration, work: impl FnOnce()) {
    let began = clock::now();
    work();
    let took = clock::now() - began;
    assert!(took < limit, "it took {took:?}");
}

/// Whether the sockets that are kept reach the target by the bound vantage point: nobody listens there any more, which the
/// target says itself.
fn is_measured(reports: &[Report]) -> bool {
    let outcomes = |protocol| {
        let series = reports.iter().flat_map(|report| &report.series);
        let ours = series.filter(move |one| one.vantage == BOUND && one.protocol() == protocol);
        ours.flat_map(Series::outcome)
    };
    let mut rounds = reports.iter().flat_map(|report| &report.traces);
    outcomes(Protocol::Icmp).any(|outcome| outcome == Outcome::Answered)
        && outcomes(Protocol::Quic).any(|outcome| outcome == Outcome::Refused)
        && rounds.any(|round| {
            round.vantage == BOUND && round.flows.iter().any(|flow| flow.destination_ttl > 0)
        })
}
