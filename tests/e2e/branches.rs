//! Equal paths: every kind of trace, with rights and without, shows each flow on the branch that the routers send it, over
//! both families.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use firstmile_lab::control::{Answers, Flow, Outcome, Request, TrueHop, Truth};
use firstmile_lab::outer::Lab;
use serde::Deserialize;

/// The one site of the scenario with equal paths.
pub(crate) const SITE: &str = "lisbon";

/// What `trace --json` says.
#[derive(Deserialize)]
struct Traced {
    method: String,
    reached: bool,
    flow_ids: Vec<u32>,
    port: u16,
    hops: Vec<TracedHop>,
}

#[derive(Deserialize)]
struct TracedHop {
    ttl: usize,
    addresses: Vec<TracedAddress>,
}

#[derive(Deserialize)]
struct TracedAddress {
    address: IpAddr,
    flows: usize,
}

/// How a path is looked for.
#[derive(Clone, Copy)]
struct Means {
    kind: &'static str,
    /// Where somebody answers: nobody does to a datagram for an open port that says nothing.
    port: u16,
    /// Whether the program may open raw sockets; else it sends by ordinary ones and reads their error queues.
    raw: bool,
}

impl Means {
    const fn of(kind: &'static str, port: u16, raw: bool) -> Self {
        Self { kind, port, raw }
    }
}

const MEANS: [Means; 5] = [
    Means::of("tcp", 443, true),
    Means::of("udp", 33_434, true),
    Means::of("icmp", 443, true),
    Means::of("tcp", 443, false),
    Means::of("icmp", 443, false),
];
const FLOWS: usize = 8;

#[test]
fn every_kind_of_trace_shows_each_flow_on_its_branch() {
    let _alone = crate::alone();
    let state = tempfile::tempdir().unwrap();
    let options = ecmp(state.path().join("lab"));
    let agent = options.agent.to_str().unwrap().to_owned();
    crate::runtime().block_on(async {
        let lab = Lab::start(options, &|text| println!("{text}"))
            .await
            .unwrap();
        let truths: Vec<Truth> = lab.ask(Request::Truth).await.unwrap();
        // The group of the programs here may send echo requests by datagram sockets.
        on_site(&lab, &["sysctl", "-w", "net.ipv4.ping_group_range=0 0"]).await;
        for truth in &truths {
            for means in MEANS {
                let traced = trace(&lab, &agent, truth.destination, means).await;
                let by = match (means.raw, means.kind) {
                    (true, _) => "raw",
                    (false, "icmp") => "error_queue",
                    (false, _) => "one_at_a_time",
                };
                let name = format!("{} by {by} over {}", means.kind, truth.family());
                assert_eq!(traced.method, by, "{name}");
                assert!(traced.reached, "{name}");
                assert_eq!(traced.flow_ids.len(), FLOWS, "{name}");
                println!("{name}: {} hops", traced.hops.len());
                branches_are_true(&lab, &traced, truth.destination, means.kind).await;
            }
        }
        lab.stop().await;
    });
}

async fn trace(lab: &Lab, agent: &str, to: IpAddr, means: Means) -> Traced {
    let config = lab.state().join("sites").join(SITE).join("agent.toml");
    let subject = SocketAddr::from((to, means.port)).to_string();
    let config = config.to_str().expect("a path in UTF-8");
    let flows = FLOWS.to_string();
    let unprivileged = [
        "setpriv",
        "--bounding-set",
        "-net_raw",
        "--inh-caps",
        "-net_raw",
    ];
    let mut command = Vec::new();
    command.extend(unprivileged.into_iter().filter(|_| !means.raw));
    command.extend([
        agent, "trace", &subject, "--json", "--rounds", "1", "--flows", &flows, "--kind",
        means.kind, "--config", config,
    ]);
    serde_json::from_str(&on_site(lab, &command).await).expect("JSON as documented")
}

/// What a program on the machine of the site says; it has to end well.
async fn on_site(lab: &Lab, command: &[&str]) -> String {
    let request = Request::Run {
        machine: format!("{SITE}-pc"),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        limit_ms: 60_000,
    };
    let outcome: Outcome = lab.ask(request).await.expect("the lab runs it");
    assert_eq!(outcome.code, Some(0), "{command:?}: {}", outcome.stderr);
    outcome.stdout
}

/// At each TTL the routers that the flows meet, each by as many flows as the truth has there.
async fn branches_are_true(lab: &Lab, traced: &Traced, to: IpAddr, kind: &str) {
    let mut ways = Vec::new();
    for id in &traced.flow_ids {
        ways.push(way(lab, to, kind, *id, traced.port).await);
    }
    for (index, hop) in traced.hops.iter().enumerate() {
        assert_eq!(hop.ttl, index + 1);
        let mut expected: BTreeMap<&str, usize> = BTreeMap::new();
        for truth in ways.iter().filter_map(|way| way.get(index)) {
            *expected.entry(&truth.router).or_default() += 1;
        }
        let met = || ways.iter().filter_map(|way| way.get(index));
        let mut measured: BTreeMap<&str, usize> = BTreeMap::new();
        for seen in &hop.addresses {
            let is_it = |truth: &&TrueHop| truth.addresses.contains(&seen.address);
            let router = met()
                .find(is_it)
                .map_or("destination", |truth| &truth.router);
            assert!(
                router != "destination" || seen.address == to,
                "{kind}: {}",
                seen.address
            );
            *measured.entry(router).or_default() += seen.flows;
        }
        let what = format!(
            "{kind} to {to}, TTL {}: {measured:?}, true {expected:?}",
            hop.ttl
        );
        match met().next().map(|truth| truth.answers) {
            None => assert_eq!(measured.get("destination"), Some(&FLOWS), "{what}"),
            Some(Answers::Always) => assert_eq!(measured, expected, "{what}"),
            Some(Answers::Never) => assert!(measured.is_empty(), "{what}"),
            Some(Answers::Seldom) => assert!(
                measured.keys().all(|router| expected.contains_key(router)),
                "{what}"
            ),
        }
    }
    let routers = ways.first().map(Vec::len);
    assert_eq!(Some(traced.hops.len() - 1), routers, "{kind} to {to}");
}

/// The scenario with equal paths, on its one site.
pub(crate) fn ecmp(state: PathBuf) -> firstmile_lab::outer::Options {
    let scenario = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios/ecmp.toml");
    firstmile_lab::outer::Options {
        scenario: Some(scenario),
        ..crate::options(state)
    }
}

/// The true way of a flow; ICMP has no ports.
pub(crate) async fn way(
    lab: &Lab,
    destination: IpAddr,
    protocol: &str,
    id: u32,
    port: u16,
) -> Vec<TrueHop> {
    let icmp = protocol == "icmp";
    let flow = Flow {
        site: SITE.to_owned(),
        destination,
        protocol: protocol.to_owned(),
        source_port: if icmp {
            0
        } else {
            u16::try_from(id).expect("a port")
        },
        destination_port: if icmp { 0 } else { port },
    };
    lab.ask(Request::Flow(flow)).await.expect("a way")
}
