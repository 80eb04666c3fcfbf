//! The machine's place in the network: its way out, the router next to it, tunnels, NAT64, vantage points.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::NAMES;
use crate::config::{AgentConfig, Vantage};
use crate::doctor::facts::{BadVantage, Machine};
use crate::host::look;
use crate::host::marks::HostMarks;
use crate::host::memory::Memory;
use crate::host::watch::{SOMEWHERE, default_way, under_way};
use crate::net::dns::Dns;
use crate::net::icmp;
use crate::net::nat64::discover;
use crate::net::route;
use crate::probe::Outcome;

/// Echo requests to the router.
const PINGS: usize = 3;

pub(super) async fn look(
    config: &AgentConfig,
    patience: Duration,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) -> Machine {
    let marks = HostMarks::new(
        &config.targets,
        &config.proxy,
        &config.host.not_tunnels,
        &config.vantages,
    );
    let way = default_way();
    let under = under_way(way.as_ref(), &marks);
    let gateway = under.and_then(|way| way.gateway);
    let echo = icmp::engine(patience, &Arc::default(), tasks, cancel);
    let pings = async {
        let mut outcomes = Vec::new();
        for _ in 0..PINGS {
            let (Some(to), true) = (gateway, gateway.is_some_and(is_askable)) else {
                break;
            };
            outcomes.push(echo.echo(to).await.outcome);
        }
        outcomes
    };
    let dns = Dns::new(config.resolvers.clone(), patience);
    let nat64 = async {
        let found = tokio::time::timeout(NAMES, discover(&dns)).await;
        found.ok().flatten().map(|prefix| prefix.to_string())
    };
    let (pings, nat64): (Vec<Outcome>, Option<String>) = tokio::join!(pings, nat64);
    let tunnel = way.as_ref().filter(|way| marks.is_tunnel(&way.interface));
    Machine {
        is_unseen: !look::IS_ASKED,
        interface: way.as_ref().map(|way| way.interface.name.clone()),
        tunnel: tunnel.map(|way| way.interface.name.clone()),
        gateway,
        pings,
        is_roaming: config.host.roams && Memory::load(&config.state_dir).whereabouts.is_roaming(),
        nat64,
        bad_vantages: config.vantages.iter().filter_map(bad).collect(),
    }
}

/// An address of the link alone cannot be asked without its interface.
const fn is_askable(gateway: IpAddr) -> bool {
    match gateway {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    }
}

/// Why packets cannot leave by a vantage point.
fn bad(vantage: &Vantage) -> Option<BadVantage> {
    if vantage.name.is_empty() {
        return None;
    }
    let tried = SOMEWHERE
        .into_iter()
        .filter(|somewhere| vantage.exit.serves(somewhere.is_ipv6()))
        .map(|somewhere| route::source_by(vantage.exit, somewhere));
    let mut why = None;
    for tried in tried {
        match tried {
            Ok(_) => return None,
            Err(error) => why = why.or(Some(error.to_string())),
        }
    }
    Some(BadVantage {
        name: vantage.name.clone(),
        why: why.unwrap_or_default(),
    })
}
