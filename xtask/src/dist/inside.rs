//! What every story does on a machine with our services: install, enrol, wait, ask the API.

use std::ops::Deref;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::machine::{Machine, SHARE, wait_until};

/// Longest wait for a service to do what it was asked for.
pub(super) const SOON: Duration = Duration::from_secs(45);

/// The collector's address inside; the machine has no other network.
pub(super) const COLLECTOR: &str = "198.51.100.10";

/// An administrator's own line, to be found again after an upgrade.
pub(super) const OWN_LINE: &str = "# our own line";

/// As many targets as the default set has; all are the collector's own port, as nothing else can be reached.
const TARGETS: [&str; 5] = ["exchange", "sharepoint", "teams", "relay", "front-door"];

/// A machine on which a collector and an agent live.
pub(super) struct Host(pub(super) Machine);

impl Deref for Host {
    type Target = Machine;
    fn deref(&self) -> &Machine {
        &self.0
    }
}

impl Host {
    /// Installs as unattended as it gets; gives back what was said.
    pub(super) fn dpkg(&self, deb: &str) -> Result<String> {
        self.sh_with_errors(&format!(
            "dpkg --force-confdef --force-confold --install {SHARE}/{deb}"
        ))
    }

    /// What the packages say of how soon a service is tried again is looked at; then it is sooner, as a test has no patience.
    pub(super) fn hurry(&self, unit: &str, said: &str) -> Result<()> {
        let meant = self.sh(&format!("systemctl show -P RestartUSec {unit}"))?;
        ensure!(
            meant == said,
            "{unit} is tried again after {meant}, not after {said}"
        );
        // Not found by those who look for what a package leaves: it is the test's.
        let drop_in = format!("/run/systemd/system/{unit}.d/hurry.conf");
        self.write(&drop_in, "[Service]\nRestartSec=2s")?;
        self.sh("systemctl daemon-reload").map(drop)
    }

    /// Waits until a line that looks for what a package leaves finds nothing.
    pub(super) fn ensure_silent(&self, look: &str) -> Result<()> {
        let mut left = String::new();
        let gone = wait_until("the package to be gone", SOON, || {
            left = self.sh(look)?;
            Ok(left.is_empty().then_some(()))
        });
        gone.with_context(|| format!("left after a purge:\n{left}"))
    }

    pub(super) fn ensure_active(&self, unit: &str) -> Result<()> {
        let active = wait_until(&format!("{unit} to be active"), SOON, || {
            let state = format!(
                "systemctl is-active --quiet {unit} && test \"$(systemctl show -P MainPID {unit})\" != 0"
            );
            Ok(self.holds(&state)?.then_some(()))
        });
        if active.is_err() {
            self.tell()?;
        }
        active
    }

    /// Writes a file as an administrator would.
    pub(super) fn write(&self, path: &str, text: &str) -> Result<()> {
        self.sh(&format!(
            "mkdir -p $(dirname {path}) && cat > {path} <<'END'\n{text}\nEND"
        ))
        .map(drop)
    }

    /// Asks the collector for a join string.
    pub(super) fn join_string(&self, site: &str) -> Result<String> {
        let join = self.sh(&format!("firstmile-collector join-string --site {site}"))?;
        ensure!(
            join.starts_with("fm1") && !join.contains('\n'),
            "the join string is not alone on standard output"
        );
        Ok(join)
    }

    /// Answers debconf's question before it is asked. By standard input: what stands on a command line can be read by all.
    pub(super) fn preseed(&self, join: &str) -> Result<()> {
        self.sh(&format!(
            "debconf-set-selections <<'END'\nfirstmile-agent firstmile-agent/join-string password {join}\nEND"
        ))
        .map(drop)
    }

    /// The API's answer; nothing when there is none yet: whoever asks, waits.
    pub(super) fn api(&self, path: &str) -> Result<Option<Value>> {
        let url = format!("http://127.0.0.1:8080/api/v1/{path}");
        let output = self
            .command("curl", &["--silent", "--fail", "--max-time", "5", &url])
            .output()
            .context("cannot enter the machine")?;
        Ok(serde_json::from_slice(&output.stdout).ok())
    }

    /// What systemd makes of the rights that a unit leaves a service, from 0 (none) to 10.
    pub(super) fn exposure(&self, unit: &str) -> Result<f64> {
        let text = self.sh(&format!(
            "systemd-analyze security --no-pager {unit} | tail -n 1"
        ))?;
        text.split_whitespace()
            .find_map(|word| word.parse().ok())
            .with_context(|| format!("systemd-analyze says no number: {text}"))
    }

    /// What the services said, for somebody who has to find out.
    pub(super) fn tell(&self) -> Result<()> {
        let log = self.sh_with_errors(
            "systemctl --no-pager status 'firstmile*'; journalctl --no-pager -n 60 -u 'firstmile*' || true",
        )?;
        println!("{log}");
        Ok(())
    }
}

/// Five targets, and an administrator's line.
pub(super) fn agent_config() -> String {
    let targets = TARGETS.map(|name| {
        format!(
            "[[target]]\nname = \"{name}\"\nhost = \"{COLLECTOR}\"\nport = 8443\nprotocols = [\"icmp\", \"tcp\"]\n"
        )
    });
    format!(
        "target_sets = []\n[plan]\nupload_interval = \"2s\"\n{}{OWN_LINE}",
        targets.concat()
    )
}
