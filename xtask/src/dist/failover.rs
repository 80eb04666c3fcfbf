//! The packages at a site of the lab: collector and agent, installed from their .debs on a booted machine in the namespace of a
//! site's computer, see the POP that serves the site fail.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::inside::Host;
use super::machine::{Machine, SHARE, wait_until};
use crate::artefacts::{self, Profile};
use crate::run::stop;
use crate::step::run;
use crate::{needs, tree};

/// The site that is visited.
const SITE: &str = "amsterdam";
/// Six agents enrol, BGP converges.
const LAB_UP: Duration = Duration::from_mins(3);
/// Twenty whole rounds of each target, by turns at what they share.
const STABLE: Duration = Duration::from_mins(12);
/// Three agreeing rounds, a report, and the collector's work.
const FLAGGED: Duration = Duration::from_mins(3);

/// Tells the story, as far as the failover being flagged.
pub(super) fn tell(share: &Path, bin: &Path) -> Result<()> {
    needs::install(&needs::LAB.iter().collect::<Vec<_>>())?;
    let lab = Lab::up(bin)?;
    let config = lab.agent_config(share)?;
    let host = Host(Machine::boot(share, Some(lab.computer()?))?);
    host.write(
        "/etc/firstmile/collector.toml",
        &format!(
            "[ingest]\npublic_url = \"https://127.0.0.1:8443\"\n[geo]\nip_to_as = [\"{SHARE}/ip-to-as.csv\"]"
        ),
    )?;
    host.write("/etc/firstmile/agent.toml", &config)?;
    host.dpkg("firstmile-collector.deb")?;
    host.ensure_active("firstmile-collector")?;
    host.preseed(&host.join_string("Amsterdam --country NL --metro Amsterdam")?)?;
    host.dpkg("firstmile-agent.deb")?;
    wait_until("a stable path to every target", STABLE, || {
        Ok(host.api("agents")?.filter(all_stable).map(drop))
    })?;
    lab.event("pop-down")?;
    wait_until("the failover to be flagged", FLAGGED, || {
        Ok(host
            .api("events?window=1h&state=open")?
            .and_then(|events| events.get(0).cloned()))
    })
    .map(|event| {
        let text = event.get("text").and_then(Value::as_str);
        println!("    flagged: {}", text.unwrap_or_default());
    })
}

fn all_stable(agents: &Value) -> bool {
    let targets = agents
        .pointer("/0/targets")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    !targets.is_empty()
        && targets
            .iter()
            .all(|target| target.get("path_state").and_then(Value::as_str) == Some("stable"))
}

/// A lab of our own. Dropped, it ends.
struct Lab {
    process: Child,
    program: PathBuf,
    state: PathBuf,
}

impl Lab {
    fn up(bin: &Path) -> Result<Self> {
        let program =
            artefacts::binaries(&["firstmile-tests"], Profile::Dev)?.join("firstmile-lab");
        let state = tree::target().join("dist-lab");
        let log = File::create(tree::target().join("nspawn/lab.log"))
            .context("cannot write the lab's log")?;
        let process = Command::new(&program)
            .args(["up", "--dashboard", "127.0.0.1:0", "--state"])
            .arg(&state)
            .arg("--agent-bin")
            .arg(bin.join("firstmile-agent"))
            .arg("--collector-bin")
            .arg(bin.join("firstmile-collector"))
            .stdin(Stdio::null())
            .stdout(log)
            .spawn();
        Ok(Self {
            process: process.with_context(|| format!("cannot start {}", program.display()))?,
            program,
            state,
        })
    }

    /// A process on the site's computer: the lab's own agent there.
    fn computer(&self) -> Result<u32> {
        let home = self.state.join("sites").join(SITE);
        let home = home.to_string_lossy();
        wait_until("the lab", LAB_UP, || {
            Ok(processes()?.into_iter().find(|id| {
                let line = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
                let mut words = line.split('\0');
                words
                    .next()
                    .is_some_and(|program| program.ends_with("/firstmile-agent"))
                    && words.next() == Some("run")
                    && words.any(|word| word.starts_with(&*home))
            }))
        })
    }

    /// The configuration of the lab's own agent, for a machine: what it names is put into the share.
    fn agent_config(&self, share: &Path) -> Result<String> {
        self.computer()?;
        for file in ["ip-to-as.csv", "front-door-ca.pem"] {
            fs::copy(self.state.join(file), share.join(file))
                .with_context(|| format!("the lab has no {file}"))?;
        }
        let file = self.state.join("sites").join(SITE).join("agent.toml");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let lines: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with("state_dir"))
            .map(|line| {
                if line.starts_with("extra_roots") {
                    format!("extra_roots = [\"{SHARE}/front-door-ca.pem\"]")
                } else {
                    line.to_owned()
                }
            })
            .collect();
        ensure!(!lines.is_empty(), "the lab's agent has no configuration");
        Ok(lines.join("\n"))
    }

    fn event(&self, name: &str) -> Result<()> {
        run(Command::new(&self.program)
            .args(["event", name, "--state"])
            .arg(&self.state))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = stop("lab", &mut self.process) {
            eprintln!("    the lab could not be ended: {error:#}");
        }
    }
}

fn processes() -> Result<Vec<u32>> {
    Ok(fs::read_dir("/proc")
        .context("cannot list processes")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}
