//! One measurement of every target, for a person or a script; no collector, no state.

mod findings;
mod handshakes;
mod text;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Ending;
use crate::clock;
use crate::config::{AgentConfig, Host, Plan, Target};
use crate::net::capability::{self, Advice, IcmpCapability};
use crate::net::dns::Dns;
use crate::net::handshake::TlsProber;
use crate::net::https::HttpsProber;
use crate::net::icmp::{self, EchoEngine};
use crate::net::quic::QuicProber;
use crate::net::tls::ProbeTls;
use crate::net::trace::{RoundResult, TraceError, Tracer};
use crate::net::{nat64, route, tcp, train};
use crate::probe::addresses::Learnt;
use crate::probe::trace::{DEFAULT_ALPHA, FlowPath, Known, Stream, TracePlan, all_flows};
use crate::probe::train::TrainPlan;
use crate::report::counters::Counters;
use findings::{Findings, HttpsFindings, Measurement, PathFindings, PulseFindings};
use handshakes::{QuicFindings, TlsFindings};

/// Probes of a train: enough for a median and to see heavy loss.
const TRAIN: u16 = 5;

/// From one probe of a train to the next.
const TRAIN_INTERVAL: Duration = Duration::from_millis(200);

/// Longest wait for a hop.
const HOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Wait for silent hops once the destination has answered.
const HOP_GRACE: Duration = Duration::from_millis(500);

/// Measures every target once and prints what was found.
///
/// # Errors
/// When `extra_roots` cannot be read or standard output cannot be written.
pub(crate) async fn once(config: AgentConfig, json: bool) -> anyhow::Result<Ending> {
    let capability = capability::probe();
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let probe_tls = ProbeTls::new(&config.extra_roots)?;
    let tls = TlsProber::new(probe_tls.clone())?;
    let engines = Engines {
        plan: config.plan,
        dns: Dns::new(config.resolvers.clone(), config.plan.probe_timeout),
        echo: icmp::engine(config.plan.probe_timeout, &Arc::default(), &tasks, &cancel),
        https: HttpsProber::new(tls.clone()),
        tls,
        quic: QuicProber::new(probe_tls, None)?,
        tracer: Tracer::new(
            config.plan.trace_flows,
            Arc::new(Counters::default()),
            tasks.clone(),
            cancel.clone(),
        ),
    };
    let started = clock::unix_ms();
    let targets = measure_all(&engines, &config.targets).await;
    cancel.cancel();
    let findings = Findings {
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        at_unix_ms: started,
        icmp_capability: capability.as_str().to_owned(),
        advice: (capability == IcmpCapability::None).then(|| Advice::new().to_string()),
        targets,
    };
    let shown = if json {
        format!("{}\n", serde_json::to_string_pretty(&findings)?)
    } else {
        text::render(&findings)
    };
    crate::say(&shown)?;
    Ok(if findings.targets.iter().any(Measurement::is_reached) {
        Ending::Well
    } else {
        Ending::NothingReached
    })
}

struct Engines {
    plan: Plan,
    dns: Dns,
    echo: Arc<dyn EchoEngine>,
    https: HttpsProber,
    tls: TlsProber,
    quic: QuicProber,
    tracer: Tracer,
}

/// All targets side by side; results in the order of the configuration.
async fn measure_all(engines: &Engines, targets: &[Target]) -> Vec<Measurement> {
    let progress = Progress::new(targets.len());
    let mut under_way: FuturesUnordered<_> = targets
        .iter()
        .enumerate()
        .map(|(index, target)| async move { (index, measure(engines, target).await) })
        .collect();
    let mut done = Vec::new();
    while let Some((index, measurement)) = under_way.next().await {
        done.push((index, measurement));
        progress.show(done.len());
    }
    progress.clear();
    done.sort_by_key(|(index, _)| *index);
    done.into_iter()
        .map(|(_, measurement)| measurement)
        .collect()
}

async fn measure(engines: &Engines, target: &Target) -> Measurement {
    let mut measurement = Measurement::new(target);
    let addresses = match &target.host {
        Host::Address(address) => {
            measurement.learnt = Some(Learnt::Literal.to_string());
            vec![nat64::reachable(&engines.dns, *address).await]
        }
        Host::Name(name) => {
            let (v4, v6) = tokio::join!(
                engines.dns.resolve_everywhere(name, false),
                engines.dns.resolve_everywhere(name, true)
            );
            measurement.take_dns(&[v4, v6])
        }
    };
    let destination = match choose(&addresses, |address| route::source_for(address).map(drop)) {
        Choice::Address(destination) => destination,
        Choice::NoAddress => return measurement,
        Choice::NoRoute { to, why } => {
            measurement.address = Some(to);
            measurement.problems.push(why);
            return measurement;
        }
    };
    measurement.address = Some(destination);
    let echo_ttl = Cell::new(0);
    let to = SocketAddr::new(destination, target.port);
    let (icmp, tcp, https, tls, quic, path) = tokio::join!(
        echo_train(engines, target, destination, &echo_ttl),
        connect_train(engines, target, destination),
        exchange(engines, target, destination),
        handshake(engines, target, to),
        quic(engines, target, to),
        trace(engines, target, destination),
    );
    measurement.icmp = icmp;
    measurement.tcp = tcp;
    measurement.tls = tls;
    measurement.quic = quic;
    measurement.take_https(https);
    let path = path.map(|path| path.map(|(round, names)| seen(&round, &names, echo_ttl.get())));
    match path {
        Some(Ok(path)) => {
            let why = path.nearness.verdict();
            measurement.terminated_locally = why.map(|why| why.to_string());
            measurement.path = Some(path);
        }
        Some(Err(TraceError::NotPermitted)) => measurement
            .problems
            .push("the path is not known: neither raw nor ping sockets are permitted".to_owned()),
        Some(Err(error)) => measurement
            .problems
            .push(format!("the path is not known: {error}")),
        None => {}
    }
    measurement.explain();
    measurement
}

/// Which address of a target is measured.
#[derive(Debug, PartialEq)]
enum Choice {
    Address(IpAddr),
    NoAddress,
    NoRoute { to: IpAddr, why: String },
}

/// The first address that has a route: a machine with one family only has a way to half of what DNS says.
fn choose(addresses: &[IpAddr], route: impl Fn(IpAddr) -> io::Result<()>) -> Choice {
    let mut refused = None;
    for address in addresses {
        match route(*address) {
            Ok(()) => return Choice::Address(*address),
            Err(error) => refused = refused.or(Some((*address, error))),
        }
    }
    let Some((to, error)) = refused else {
        return Choice::NoAddress;
    };
    let others = match addresses.len() - 1 {
        0 => String::new(),
        more => format!(" nor to {more} more"),
    };
    Choice::NoRoute {
        to,
        why: format!(
            "there is no route to {to}{others} ({error}): is this machine connected to a network?"
        ),
    }
}

const fn train_plan(plan: &Plan) -> TrainPlan {
    TrainPlan {
        count: TRAIN,
        interval: TRAIN_INTERVAL,
        timeout: plan.probe_timeout,
    }
}

async fn echo_train(
    engines: &Engines,
    target: &Target,
    destination: IpAddr,
    ttl: &Cell<u8>,
) -> Option<PulseFindings> {
    if !target.protocols.icmp {
        return None;
    }
    let outcomes = train::run(train_plan(&engines.plan), || async {
        let echo = engines.echo.echo(destination).await;
        if echo.reply_ttl != 0 {
            ttl.set(echo.reply_ttl);
        }
        echo.outcome
    })
    .await;
    Some(PulseFindings::of(&outcomes))
}

async fn connect_train(
    engines: &Engines,
    target: &Target,
    destination: IpAddr,
) -> Option<PulseFindings> {
    if !target.protocols.tcp {
        return None;
    }
    let (to, timeout) = (
        SocketAddr::new(destination, target.port),
        engines.plan.probe_timeout,
    );
    let outcomes = train::run(train_plan(&engines.plan), || async {
        tcp::connect(to, timeout).await.outcome
    })
    .await;
    Some(PulseFindings::of(&outcomes))
}

async fn exchange(
    engines: &Engines,
    target: &Target,
    destination: IpAddr,
) -> Option<HttpsFindings> {
    if !target.protocols.https {
        return None;
    }
    let exchange = engines
        .https
        .exchange(target, destination, engines.plan.probe_timeout, None)
        .await;
    Some(HttpsFindings::of(exchange))
}

async fn handshake(engines: &Engines, target: &Target, to: SocketAddr) -> Option<TlsFindings> {
    if !target.protocols.tls {
        return None;
    }
    let timeout = engines.plan.probe_timeout;
    let found = engines.tls.shake(&target.host, to, timeout, None).await;
    Some(TlsFindings::of(found))
}

async fn quic(engines: &Engines, target: &Target, to: SocketAddr) -> Option<QuicFindings> {
    if !target.protocols.quic {
        return None;
    }
    let timeout = engines.plan.probe_timeout;
    let found = engines.quic.shake(&target.host, to, timeout).await;
    Some(QuicFindings::of(found))
}

/// A round, and the names of its hops.
type Traced = (RoundResult, Vec<(IpAddr, Option<String>)>);

fn seen(round: &RoundResult, names: &[(IpAddr, Option<String>)], echo_ttl: u8) -> PathFindings {
    let mut path = PathFindings::of(round, echo_ttl);
    path.take_names(names);
    path
}

async fn trace(
    engines: &Engines,
    target: &Target,
    destination: IpAddr,
) -> Option<Result<Traced, TraceError>> {
    if !target.trace {
        return None;
    }
    let plan = TracePlan {
        stream: Stream::Full,
        flows: all_flows(engines.plan.trace_flows),
        spacing: engines.plan.flow_spacing,
        timeout: engines.plan.probe_timeout.min(HOP_TIMEOUT),
        grace: HOP_GRACE,
        alpha: DEFAULT_ALPHA,
        known: Known::default(),
    };
    let round = match engines
        .tracer
        .round(SocketAddr::new(destination, target.port), plan)
        .await
    {
        Ok(round) => round,
        Err(error) => return Some(Err(error)),
    };
    let hops = round.flows.iter().flat_map(FlowPath::answers);
    let addresses: BTreeSet<IpAddr> = hops.map(|(_, hop)| hop.address).collect();
    let names = addresses.into_iter().map(|address| async move {
        let name = engines
            .dns
            .reverse(address)
            .await
            .ok()
            .and_then(|(name, _)| name);
        (address, name)
    });
    let names = futures::future::join_all(names).await;
    Some(Ok((round, names)))
}

/// How far it is, on standard error, when a person is looking.
struct Progress {
    total: usize,
    shown: bool,
}

impl Progress {
    fn new(total: usize) -> Self {
        let progress = Self {
            total,
            shown: io::stderr().is_terminal(),
        };
        progress.show(0);
        progress
    }

    fn show(&self, done: usize) {
        if self.shown {
            let mut stderr = io::stderr().lock();
            drop(
                write!(stderr, "\rmeasuring {} targets, {done} done …", self.total)
                    .and_then(|()| stderr.flush()),
            );
        }
    }

    fn clear(&self) {
        if self.shown {
            drop(write!(io::stderr().lock(), "\r\x1b[K"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_with_a_route_is_measured() {
        let v4 = [203, 0, 113, 1].into();
        let other_v4 = [203, 0, 113, 2].into();
        let v6: IpAddr = "2001:db8::1".parse().expect("an address");
        let all = [v4, other_v4, v6];
        let only = |has_route: fn(&IpAddr) -> bool| {
            move |address| {
                if has_route(&address) {
                    Ok(())
                } else {
                    Err(io::ErrorKind::NetworkUnreachable.into())
                }
            }
        };
        assert_eq!(choose(&all, only(|_| true)), Choice::Address(v4));
        assert_eq!(choose(&all, only(IpAddr::is_ipv6)), Choice::Address(v6));
        assert_eq!(choose(&[v6], only(IpAddr::is_ipv6)), Choice::Address(v6));
        assert_eq!(choose(&[], only(|_| true)), Choice::NoAddress);
        let Choice::NoRoute { to, why } = choose(&all, only(|_| false)) else {
            panic!("no route at all");
        };
        assert_eq!(to, v4);
        assert!(why.contains("203.0.113.1 nor to 2 more"), "{why}");
    }
}
