//! TCP, ICMP, a path and a TLS handshake with each target, side by side.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::REACH;
use crate::config::{AgentConfig, Host, Service, Target};
use crate::doctor::facts::{Destination, Path, Resolver, Tls};
use crate::net::dns::Dns;
use crate::net::exit::Exit;
use crate::net::handshake::{Handshake, TlsProber};
use crate::net::icmp::{self, EchoEngine};
use crate::net::trace::{TraceError, Tracer};
use crate::net::{nat64, tcp};
use crate::probe::Outcome;
use crate::probe::trace::{DEFAULT_ALPHA, FlowPath, Known, Stream, TracePlan, all_flows};
use crate::report::counters::Counters;

/// Longest wait for a hop, and for silent ones once the destination has answered.
const HOP_TIMEOUT: Duration = Duration::from_secs(1);
const HOP_GRACE: Duration = Duration::from_millis(300);

pub(super) struct Engines {
    echo: Arc<dyn EchoEngine>,
    tracer: Tracer,
    tls: TlsProber,
    dns: Dns,
    patience: Duration,
}

impl Engines {
    pub(super) fn new(
        config: &AgentConfig,
        tls: TlsProber,
        patience: Duration,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Self {
        let counters = Arc::new(Counters::default());
        Self {
            echo: icmp::engine(config.plan.probe_timeout, &Arc::default(), tasks, cancel),
            // One flow is enough to see that anything comes back.
            tracer: Tracer::new(1, counters, tasks.clone(), cancel.clone()),
            tls,
            dns: Dns::new(config.resolvers.clone(), patience),
            patience,
        }
    }
}

/// All targets side by side, in the order of the configuration.
pub(super) async fn all(
    engines: &Engines,
    targets: &[Target],
    resolvers: &[Resolver],
) -> Vec<Destination> {
    join_all(
        targets
            .iter()
            .map(|target| destination(engines, target, address(target, resolvers))),
    )
    .await
}

/// The literal address, else the first A, else the first AAAA that any resolver gave.
fn address(target: &Target, resolvers: &[Resolver]) -> Option<IpAddr> {
    let name = match &target.host {
        Host::Address(address) => return Some(*address),
        Host::Name(name) => name,
    };
    let questions = || {
        resolvers
            .iter()
            .flat_map(|resolver| &resolver.questions)
            .filter(|question| question.host == *name)
    };
    let v4 = questions().flat_map(|question| &question.v4.addresses);
    let v6 = questions().flat_map(|question| &question.v6.addresses);
    v4.chain(v6).next().copied()
}

async fn destination(engines: &Engines, target: &Target, address: Option<IpAddr>) -> Destination {
    let address = match (&target.host, address) {
        (Host::Address(_), Some(address)) => Some(nat64::reachable(&engines.dns, address).await),
        (Host::Address(_) | Host::Name(_), address) => address,
    };
    let mut found = Destination {
        name: target.name.to_string(),
        host: target.host.to_string(),
        port: target.port,
        is_microsoft: target.service != Service::Custom,
        address,
        tcp: None,
        icmp: None,
        path: Path::NotAsked,
        tls: None,
    };
    let Some(address) = address else {
        return found;
    };
    let to = SocketAddr::new(address, target.port);
    let connecting = async {
        // Whether it answers at all: one lost packet is no finding.
        let (tcp, _) = tcp::dial(to, engines.patience, Exit::default()).await;
        let tcp = tcp.outcome;
        let wanted = target.protocols.https || target.protocols.tls;
        let wanted = wanted && matches!(tcp, Outcome::Answered(_));
        (
            tcp,
            if wanted {
                Some(shake(engines, target, to).await)
            } else {
                None
            },
        )
    };
    let ((tcp, tls), icmp, path) = tokio::join!(
        connecting,
        ping(engines, target, address),
        path(engines, target, to)
    );
    found.tcp = Some(tcp);
    found.tls = tls;
    found.icmp = icmp;
    found.path = path;
    found
}

async fn shake(engines: &Engines, target: &Target, to: SocketAddr) -> Tls {
    let found = engines
        .tls
        .shake(&target.host, to, engines.patience, None)
        .await;
    judged(found)
}

fn judged(found: Handshake) -> Tls {
    match found.sighting {
        Some(sighting) => Tls::Shown {
            issuer: sighting.issuer,
            is_out_of_time: (found.distrust.as_ref())
                .is_some_and(|distrust| distrust.is_about_time),
            distrust: found.distrust.map(|distrust| distrust.why),
        },
        None => Tls::Failed(found.problem),
    }
}

async fn ping(engines: &Engines, target: &Target, address: IpAddr) -> Option<Outcome> {
    if !target.protocols.icmp {
        return None;
    }
    let echo = tokio::time::timeout(engines.patience, engines.echo.echo(address)).await;
    Some(echo.map_or(Outcome::Timeout, |measured| measured.outcome))
}

async fn path(engines: &Engines, target: &Target, to: SocketAddr) -> Path {
    if !target.trace {
        return Path::NotAsked;
    }
    let plan = TracePlan {
        stream: Stream::Full,
        flows: all_flows(1),
        spacing: Duration::ZERO,
        timeout: HOP_TIMEOUT,
        grace: HOP_GRACE,
        alpha: DEFAULT_ALPHA,
        known: Known::default(),
    };
    match tokio::time::timeout(REACH, engines.tracer.round(to, plan)).await {
        Ok(Ok(round)) => met(&round.flows),
        Ok(Err(TraceError::NotPermitted)) => Path::NotPermitted,
        Ok(Err(error)) => Path::Failed(error.to_string()),
        Err(_) => Path::Failed("it took too long".to_owned()),
    }
}

fn met(flows: &[FlowPath]) -> Path {
    let is_reached = flows.iter().any(|flow| flow.destination_ttl.is_some());
    let routers = flows.iter().flat_map(|flow| {
        flow.answers()
            .filter(|(ttl, _)| flow.destination_ttl != Some(*ttl))
            .map(|(ttl, _)| ttl)
    });
    Path::Met {
        routers: routers.collect(),
        is_reached,
    }
}
