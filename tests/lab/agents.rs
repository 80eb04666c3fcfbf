//! The agents of the sites: configuration, enrolment, start.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, ensure};

use crate::netns;
use crate::network::host_name;
use crate::scenario::Scenario;
use crate::world::{MANAGEMENT, Order, ca_file};

/// Enrols the agent of a site and starts it.
pub(crate) fn start(
    order: &Order,
    scenario: &Scenario,
    site: &str,
    join: &str,
) -> anyhow::Result<Child> {
    let home = home(&order.state, site);
    std::fs::create_dir_all(home.join("state"))
        .with_context(|| format!("cannot make {}", home.display()))?;
    let config = home.join("agent.toml");
    std::fs::write(&config, configuration(order, scenario, &home))
        .context("cannot write an agent's configuration")?;
    let join_file = home.join("join-string");
    std::fs::write(&join_file, join).context("cannot write a join string")?;
    let host = host_name(site);
    let logs = order.state.join("log");
    let mut enroll = Command::new(&order.agent);
    enroll
        .arg("enroll")
        .arg("--join-file")
        .arg(&join_file)
        .arg("--config")
        .arg(&config);
    let log = logs.join(format!("enroll-{site}.log"));
    let status = netns::start(Some(&host), enroll, &log)?
        .wait()
        .context("cannot wait for an enrolment")?;
    ensure!(
        status.success(),
        "the agent of {site} could not enrol: {}",
        tail(&log)
    );
    let mut run = Command::new(&order.agent);
    run.arg("run").arg("--config").arg(&config);
    netns::start(Some(&host), run, &logs.join(format!("agent-{site}.log")))
}

/// Where an agent keeps its things.
pub(crate) fn home(state: &Path, site: &str) -> PathBuf {
    state.join("sites").join(site)
}

/// Faster than the defaults where a person is watching: trace rounds and reports come sooner.
fn configuration(order: &Order, scenario: &Scenario, home: &Path) -> String {
    let resolvers = [IpAddr::from(MANAGEMENT)]
        .into_iter()
        .chain(scenario.resolver().into_iter().flatten())
        .map(|address| format!("\"{}\"", SocketAddr::from((address, 53))))
        .collect::<Vec<_>>()
        .join(", ");
    let mut text = format!(
        "state_dir = {}\ntarget_sets = []\nresolvers = [{resolvers}]\nextra_roots = [{}]\n",
        quoted(&home.join("state")),
        quoted(&ca_file(&order.state)),
    );
    for door in &scenario.front_doors {
        write!(
            text,
            "\n[[target]]\nname = {:?}\nhost = {:?}\nport = 443\nservice = {:?}\nprotocols = {:?}\ntrace = true\n",
            door.name, door.host, door.service, door.protocols
        ).ok();
    }
    text.push_str("\n[plan]\n");
    let usual = [
        ("pulse_interval", "5s"),
        ("https_interval", "60s"),
        ("trace_interval", "30s"),
        ("upload_interval", "10s"),
    ];
    for (key, value) in usual {
        if !scenario.plan.contains_key(key) {
            writeln!(text, "{key} = {value:?}").ok();
        }
    }
    for (key, value) in &scenario.plan {
        writeln!(text, "{key} = {value}").ok();
    }
    text
}

/// A path as a TOML string.
pub(crate) fn quoted(path: &Path) -> String {
    toml::Value::String(path.display().to_string()).to_string()
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().take(3).collect::<Vec<_>>().join(" | ")
}
