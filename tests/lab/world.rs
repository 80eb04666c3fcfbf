//! The inner process: builds the network, keeps it, and does what is asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::control::{self, Crossing, Request, Truth};
use crate::edge::{self, Door, Knocks};
use crate::emulator::{Behaviour, Emulator};
use crate::network::{Network, Role, host_name};
use crate::scenario::{Event, Fault, Scenario};
use crate::{agents, bird, calibrate, clock, enter, forward, names, netns, truth, wiring};

/// The lab's own address on the management network (RFC 5737): name server, and the road to the collector.
pub(crate) const MANAGEMENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Where agents find the collector.
pub(crate) const INGEST_PORT: u16 = 8443;
/// Sessions come up within seconds; a machine under full load needs some more.
const CONVERGENCE: Duration = Duration::from_secs(90);

/// What the inner process needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) state: PathBuf,
    pub(crate) scenario: String,
    pub(crate) agent: PathBuf,
}

/// The running network.
pub(crate) struct World {
    order: Order,
    scenario: Scenario,
    network: Network,
    emulator: Emulator,
    /// Names of the events that are in force.
    failed: Mutex<BTreeSet<String>>,
    children: Mutex<Vec<(String, Child)>>,
    knocks: Knocks,
}

/// Builds the lab and keeps it until standard input ends. `progress` hears what is being done.
pub(crate) fn run(order: Order, progress: &dyn Fn(&str)) -> anyhow::Result<()> {
    enter::furnish()?;
    let scenario = Scenario::parse(&order.scenario)?;
    let network = Network::plan(&scenario)?;
    progress(&format!(
        "laying {} links between {} machines",
        network.wires.len(),
        network.nodes.len()
    ));
    let emulator = wiring::lay(&network)?;
    progress("measuring what the link emulator itself costs");
    calibrate::allow_for_own_cost(&emulator)?;
    let world = Arc::new(World {
        order,
        scenario,
        network,
        emulator,
        failed: Mutex::default(),
        children: Mutex::default(),
        knocks: Knocks::default(),
    });
    world.start_names()?;
    progress("starting BGP");
    world.start_routers()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let tasks = TaskTracker::new();
    runtime.block_on(async {
        world.start_doors(&tasks)?;
        world.open_road(&tasks).await?;
        progress("waiting for BGP to converge");
        world.converge().await?;
        let answering = Arc::clone(&world);
        control::serve(
            &world.order.state,
            Arc::new(move |request| answering.answer(request)),
        )?;
        progress("ready");
        tokio::task::spawn_blocking(wait_for_the_end)
            .await
            .context("cannot wait for the end")
    })
}

/// Standard input ends when the outer process does, for whatever reason.
fn wait_for_the_end() {
    let mut nothing = [0; 64];
    while std::io::stdin()
        .read(&mut nothing)
        .is_ok_and(|read| read > 0)
    {}
}

impl World {
    /// Starts the name server of the management network, and one with the front doors, as far away as they are.
    fn start_names(&self) -> anyhow::Result<()> {
        let serve = |name: &str, listen: &[IpAddr], machine: Option<&str>| {
            let file = format!("/run/{name}.conf");
            let text = names::configuration(&self.scenario, &self.network, listen);
            std::fs::write(&file, text).with_context(|| format!("cannot write {file}"))?;
            let mut command = Command::new("dnsmasq");
            // Without `--no-daemon` it would want to become another user, who does not exist in a user namespace.
            command
                .arg("--no-daemon")
                .arg(format!("--conf-file={file}"));
            let child = netns::start(machine, command, &self.log(name))?;
            self.keep(name, child);
            anyhow::Ok(())
        };
        serve("dnsmasq", &[MANAGEMENT.into()], None)?;
        if let Some(listen) = self.scenario.resolver() {
            for edge in &self.scenario.edges {
                let name = format!("dnsmasq-{}", edge.name);
                serve(&name, &listen, Some(&edge.name))?;
            }
        }
        Ok(())
    }

    fn start_routers(&self) -> anyhow::Result<()> {
        std::fs::create_dir_all("/run/bird").context("cannot make /run/bird")?;
        for (index, node) in self.network.nodes.iter().enumerate() {
            let Some(text) = bird::configuration(&self.network, index) else {
                continue;
            };
            let file = format!("/run/bird/{}.conf", node.name);
            std::fs::write(&file, text).with_context(|| format!("cannot write {file}"))?;
            let mut command = Command::new("bird");
            command.args(["-f", "-c", &file, "-s", &socket_of(&node.name)]);
            let child = netns::start(Some(&node.name), command, &self.log(&node.name))?;
            self.keep(&node.name, child);
        }
        Ok(())
    }

    fn start_doors(&self, tasks: &TaskTracker) -> anyhow::Result<()> {
        let state = &self.order.state;
        let credentials = edge::certify(&self.scenario, &ca_file(state), &chain_file(state))?;
        for edge in &self.scenario.edges {
            Door::listen(edge)?.serve(tasks, &credentials, &self.knocks)?;
        }
        Ok(())
    }

    async fn open_road(&self, tasks: &TaskTracker) -> anyhow::Result<()> {
        let listener = tokio::net::TcpListener::bind((MANAGEMENT, INGEST_PORT)).await;
        let listener = listener.context("cannot listen for the agents")?;
        forward::outwards(tasks, listener, forward::border(&self.order.state));
        Ok(())
    }

    /// Waits until every BGP session is up, and every site reaches every front door.
    async fn converge(&self) -> anyhow::Result<()> {
        let pause = Duration::from_millis(300);
        clock::poll_until("BGP sessions", CONVERGENCE, pause, async || {
            self.check_children()?;
            let routers = self
                .network
                .nodes
                .iter()
                .filter(|node| matches!(node.role, Role::Router | Role::SiteRouter));
            let up = { routers }.all(|node| all_established(&node.name));
            Ok(up.then_some(()))
        })
        .await?;
        let mut before = Vec::new();
        clock::poll_until("paths to the front doors", CONVERGENCE, pause, async || {
            let truths = self.truth()?;
            let settled = truths == before && truths.iter().all(|truth| truth.metro.is_some());
            before = truths;
            Ok(settled.then_some(()))
        })
        .await
    }

    fn answer(&self, request: Request) -> anyhow::Result<Value> {
        self.check_children()?;
        match request {
            Request::Event { name } if name == "list" => Ok(json!(self.list())),
            Request::Event { name } => self.event(&name).map(|said| json!(said)),
            Request::Link { name, changes } => {
                self.change_link(&name, &changes).map(|said| json!(said))
            }
            Request::Status => self.status().map(|said| json!(said)),
            Request::Flow(flow) => Ok(json!(truth::of_flow(&self.network, &flow)?)),
            Request::Truth => Ok(json!(self.truth()?)),
            Request::Knocks { before_unix_ms } => Ok(json!(self.knocks(before_unix_ms))),
            Request::Crossings { site } => Ok(json!(self.crossings(&site)?)),
            Request::Calibrate => Ok(json!(calibrate::measure(&self.emulator)?)),
            Request::Run {
                machine,
                command,
                limit_ms,
            } => {
                let limit = Duration::from_millis(limit_ms);
                Ok(json!(netns::run(&machine, &command, limit)?))
            }
            Request::StartAgents { joins } => {
                for (site, join) in &joins {
                    let child = agents::start(&self.order, &self.scenario, site, join)?;
                    self.keep(&format!("agent-{site}"), child);
                }
                Ok(json!(format!("{} agents started", joins.len())))
            }
        }
    }

    fn list(&self) -> String {
        let mut text = String::new();
        for event in &self.scenario.events {
            writeln!(text, "{0}-down, {0}-up: {1}", event.name, event.text).ok();
        }
        text
    }

    /// Puts an event in force, or ends it, and sets every link as the events that are left want it.
    fn event(&self, name: &str) -> anyhow::Result<String> {
        let parts = name.strip_suffix("-down").map(|base| (base, true));
        let parts = parts.or_else(|| name.strip_suffix("-up").map(|base| (base, false)));
        let known = parts.and_then(|(base, down)| {
            let event = self
                .scenario
                .events
                .iter()
                .find(|event| event.name == base)?;
            Some((event, down))
        });
        let Some((event, down)) = known else {
            bail!("there is no event `{name}`; there are:\n{}", self.list())
        };
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = if down {
            failed.insert(event.name.clone())
        } else {
            failed.remove(&event.name)
        };
        if !changed {
            return Ok(format!("{name}: it is so already"));
        }
        let mut commands = String::new();
        for index in 0..self.network.wires.len() {
            let faults = self.faults(&failed, index);
            let state = if faults.contains(&Fault::Down) {
                "down"
            } else {
                "up"
            };
            for interface in wiring::interfaces(index) {
                writeln!(commands, "link set {interface} {state}").ok();
            }
            self.emulator.change(index, |behaviour| {
                behaviour.blackhole = faults.contains(&Fault::Blackhole);
            });
        }
        netns::ip_batch(None, &commands)?;
        Ok(format!(
            "{name}: {}",
            if down {
                event.text.as_str()
            } else {
                "repaired"
            }
        ))
    }

    /// How a wire fails by the events that are in force.
    fn faults(&self, failed: &BTreeSet<String>, index: usize) -> Vec<Fault> {
        let events = self.scenario.events.iter();
        let in_force =
            events.filter(|event| failed.contains(&event.name) && self.covers(event, index));
        in_force.map(|event| event.fault).collect()
    }

    fn covers(&self, event: &Event, index: usize) -> bool {
        let Some(wire) = self.network.wires.get(index) else {
            return false;
        };
        let [from, to] = wire
            .name
            .split_once(':')
            .map_or([wire.name.as_str(), ""], |(from, to)| [from, to]);
        let reversed = format!("{to}:{from}");
        let by_name = event
            .links
            .iter()
            .any(|link| *link == wire.name || *link == reversed);
        let by_router = wire
            .ends
            .iter()
            .filter_map(|end| self.network.nodes.get(end.node))
            .any(|node| {
                node.role == Role::Router
                    && (event.routers.contains(&node.name)
                        || (event.routers_of_metro.is_some()
                            && event.routers_of_metro == node.metro)
                        || event.routers_of_as == Some(node.asn))
            });
        by_name || by_router
    }

    fn change_link(&self, name: &str, changes: &[String]) -> anyhow::Result<String> {
        let names = |wire: &crate::network::Wire| wire.name == name;
        let index = self.network.wires.iter().position(names);
        let index = index.with_context(|| {
            let all: Vec<_> = self
                .network
                .wires
                .iter()
                .map(|wire| wire.name.as_str())
                .collect();
            format!("there is no link `{name}`; there are: {}", all.join(" "))
        })?;
        let mut behaviour = self.emulator.behaviour(index).unwrap_or_default();
        for change in changes {
            wiring::change(&mut behaviour, change)?;
        }
        self.emulator.change(index, |now| *now = behaviour);
        let Behaviour {
            delay,
            jitter,
            loss_ratio,
            blackhole,
        } = behaviour;
        Ok(format!(
            "{name}: delay={delay:?} jitter={jitter:?} loss={loss_ratio} blackhole={blackhole}"
        ))
    }

    fn status(&self) -> anyhow::Result<String> {
        let mut text = format!("scenario {}\n", self.scenario.name);
        let failed = self
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        writeln!(
            text,
            "in force: {}",
            if failed.is_empty() {
                "nothing".into()
            } else {
                Vec::from_iter(failed).join(", ")
            }
        )
        .ok();
        for truth in self.truth()? {
            let served = truth.metro.as_deref().unwrap_or("not reached");
            let rtt = truth
                .rtt_us
                .map(|rtt_us| format!("{:.2?}", Duration::from_micros(rtt_us)));
            let rtt = rtt.unwrap_or_default();
            writeln!(
                text,
                "{:<12}{:<12}{:<6}{served:<12}{rtt:>9}  {}",
                truth.site,
                truth.target,
                truth.family(),
                truth.routers.join(" > ")
            )
            .ok();
        }
        let late = self.emulator.lateness();
        writeln!(
            text,
            "emulator: {} frames, late by {} us (median), {} us (99 of 100)",
            late.frames, late.p50_us, late.p99_us
        )
        .ok();
        Ok(text)
    }

    fn knocks(&self, before_unix_ms: i64) -> BTreeMap<String, u64> {
        let count = |site: &str| {
            let addresses = self.network.host_addresses(site)?;
            let of_each = addresses.map(|address| self.knocks.from(address, before_unix_ms));
            Some(of_each.into_iter().sum())
        };
        (self.scenario.sites.iter())
            .filter_map(|site| Some((site.name.clone(), count(&site.name)?)))
            .collect()
    }

    fn crossings(&self, site: &str) -> anyhow::Result<Vec<Crossing>> {
        let host = host_name(site);
        let nodes = &self.network.nodes;
        let host = nodes.iter().position(|node| node.name == host);
        let host = host.with_context(|| format!("there is no site `{site}`"))?;
        let links = self.network.ends_of(host).map(|(wire, ..)| wire);
        Ok(links
            .flat_map(|link| self.emulator.crossings(link))
            .collect())
    }

    fn truth(&self) -> anyhow::Result<Vec<Truth>> {
        let failed = self
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let delay = |wire: usize| {
            let behaviour = self.emulator.behaviour(wire)?;
            let passes = !behaviour.blackhole && self.faults(&failed, wire).is_empty();
            passes.then_some(behaviour.delay)
        };
        truth::all(&self.scenario, &self.network, &delay)
    }

    fn keep(&self, name: &str, child: Child) {
        self.children
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name.to_owned(), child));
    }

    /// A program that ended on its own makes all that follows meaningless: say which.
    fn check_children(&self) -> anyhow::Result<()> {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, child) in children.iter_mut() {
            if let Some(status) = child.try_wait().context("cannot look after a program")? {
                bail!(
                    "the program of {name} ended: {status}; its log: {}",
                    self.log(name).display()
                );
            }
        }
        Ok(())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.order.state.join("log").join(format!("{name}.log"))
    }
}

/// Where the front doors' CA certificate is.
pub(crate) fn ca_file(state: &Path) -> PathBuf {
    state.join("front-door-ca.pem")
}

/// Where the chain is that the front doors show, their own certificate first.
pub(crate) fn chain_file(state: &Path) -> PathBuf {
    state.join("front-door-chain.pem")
}

fn socket_of(node: &str) -> String {
    format!("/run/bird/{node}.ctl")
}

fn all_established(node: &str) -> bool {
    let output = Command::new("birdc")
        .args(["-r", "-s", &socket_of(node), "show", "protocols"])
        .output();
    let Ok(output) = output else { return false };
    let text = String::from_utf8_lossy(&output.stdout);
    let mut sessions = text
        .lines()
        .filter(|line| line.split_whitespace().nth(1) == Some("BGP"))
        .peekable();
    sessions.peek().is_some() && sessions.all(|line| line.contains("Established"))
}
