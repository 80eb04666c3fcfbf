//! The collector beside, as a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use firstmile_collector::config::Config;
use firstmile_collector::geo::Geography;
use firstmile_collector::registry::invite::{Invitation, Inviter};
use firstmile_collector::serve;
use firstmile_wire::ids::OrganisationId;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clock;

/// How long a join string is good.
const LIFE: Duration = Duration::from_hours(2);

/// The running collector.
pub(crate) struct Host {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) ca_pem: String,
    pub(crate) secret: String,
    _folder: TempDir,
}

impl Host {
    /// Starts it, with a join string for so many agents.
    pub(crate) fn start(agents: u32) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let own = std::env::current_exe().context("this program has no path")?;
        let mut child = Command::new(own)
            .arg("collector")
            .arg(folder.path())
            .arg(agents.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the collector")?;
        let out = child.stdout.take().context("it has a standard output")?;
        let mut line = String::new();
        BufReader::new(out)
            .read_line(&mut line)
            .context("the collector says nothing")?;
        let said: Value = serde_json::from_str(&line).context("the collector did not start")?;
        let text = |name: &str| {
            let text = said.get(name).and_then(Value::as_str);
            text.map(str::to_owned).context("it says where it is")
        };
        Ok(Self {
            address: text("address")?.parse().context("an address")?,
            ca_pem: text("ca_pem")?,
            secret: text("secret")?,
            child,
            _folder: folder,
        })
    }

    /// Processor time that it has used, user and system.
    pub(crate) fn processor(&self) -> anyhow::Result<Duration> {
        let text = self.read("stat")?;
        let (_, fields) = text
            .rsplit_once(')')
            .context("a stat has a name in brackets")?;
        // Fields 14 and 15 of the whole; the rest begins with field 3. In hundredths of a second.
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Resident memory in MiB.
    pub(crate) fn resident_mb(&self) -> anyhow::Result<f64> {
        let text = self.read("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        let kib: f64 = kib.and_then(|kib| kib.parse().ok()).context("its memory")?;
        Ok(kib / 1_024.0)
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait().context("cannot wait for the collector")?;
        ensure!(status.success(), "the collector ended with {status}");
        Ok(())
    }

    fn read(&self, name: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{name}", self.child.id());
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have ended; then there is nobody to end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Serves until standard input ends; says first, in a line of JSON, where it is and how agents get in.
pub(crate) async fn serve(folder: &Path, agents: u32) -> anyhow::Result<()> {
    let text = format!(
        "data_dir = {:?}\n[ingest]\nlisten = \"127.0.0.1:0\"\npublic_url = \"https://127.0.0.1:8443\"\n[dashboard]\nlisten = \"127.0.0.1:0\"\n",
        folder.display().to_string()
    );
    let config = Config::parse(&text, Path::new("loadgen.toml")).context("a configuration")?;
    let running = serve::start(&config).await.context("cannot start")?;
    let authority = serve::open_authority(&config).context("no authority")?;
    let store = std::sync::Arc::clone(&running.store);
    let inviter = Inviter::new(store, config.ingest.public_url.clone(), authority.hash());
    let invitation = Invitation {
        site: Some("load".to_owned()),
        geography: Geography::default(),
        life: LIFE,
        uses: agents,
    };
    let organisation = OrganisationId::default_organisation();
    let made = inviter
        .invite(&organisation, invitation, clock::unix_ms())
        .await
        .context("cannot invite")?;
    let said = json!({
        "address": running.ingest_address.to_string(),
        "ca_pem": authority.certificate_pem(),
        "secret": made.join.secret.to_text(),
    });
    println!("{said}");
    let wait = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin()));
    wait.await
        .context("cannot wait")?
        .context("standard input")?;
    running.stop().await;
    Ok(())
}
