//! `cargo xtask dist --check`: the packages on a real systemd, from the first install to the purge.
//!
//! One booted machine holds a collector and an agent that enrols to it. What is measured goes to `target/bench/dist.json`;
//! what was not measured has no key there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::PACKAGES;
use super::machine::{Machine, SHARE, wait_until};
use super::release::Release;
use crate::step::{now, step};
use crate::{needs, tree};

/// Packages that the check needs.
const NEEDS: &[needs::Package] = &[
    needs::Package {
        name: "debootstrap",
        program: "debootstrap",
        why: "the file system of the test machine",
    },
    needs::Package {
        name: "systemd-container",
        program: "systemd-nspawn",
        why: "booting the test machine",
    },
    needs::Package {
        name: "lintian",
        program: "lintian",
        why: "Debian's rules for packages",
    },
];

/// The collector's address inside; the machine has no other network.
const COLLECTOR: &str = "198.51.100.10";
/// Longest wait for the agent's first sample in the collector's API after its install.
const FIRST_SAMPLE: Duration = Duration::from_secs(90);
/// Longest wait for a service to do what it was asked for.
const SOON: Duration = Duration::from_secs(45);
/// An administrator's own line, to be found again after an upgrade.
const OWN_LINE: &str = "# our own line";

/// What the agent measures here: the collector's own port, as nothing else can be reached.
const AGENT_CONFIG: &str = "\
target_sets = []
[plan]
upload_interval = \"2s\"
[[target]]
name = \"itself\"
host = \"198.51.100.10\"
port = 8443
protocols = [\"icmp\", \"tcp\"]
";

/// Installs what the check needs, and says early when it cannot run.
pub(super) fn require() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the check boots a machine and needs root: sudo cargo xtask dist --check"
    );
    needs::install(&NEEDS.iter().collect::<Vec<_>>())
}

/// Checks the packages, writes the measures, and fails if any of them is bad.
pub(super) fn check(release: &Release, bin: &Path, debs: &[PathBuf]) -> Result<()> {
    let mut measures = Measures::default();
    let outcome = run(&mut measures, release, bin, debs);
    measures.write()?;
    outcome?;
    ensure!(
        measures.failures.is_empty(),
        "the packages are not good:\n  {}",
        measures.failures.join("\n  ")
    );
    Ok(())
}

fn run(measures: &mut Measures, release: &Release, bin: &Path, debs: &[PathBuf]) -> Result<()> {
    for deb in debs {
        measures.size(deb)?;
    }
    step("ask lintian", || lintian(measures, debs))?;
    let share = share(release, bin, debs)?;
    let machine = step("boot a machine with systemd", || {
        let machine = Machine::boot(&share)?;
        machine.sh(&format!(
            "ip link set lo up && ip address add {COLLECTOR}/32 dev lo"
        ))?;
        Ok(machine)
    })?;
    let story = Story { machine };
    let installed = measures.chapter("deb_install_ok", "install", || story.install());
    if let Some(seconds) = installed {
        measures.set("install_to_dashboard_s", json!(seconds));
        for (key, unit) in [
            ("systemd_exposure_agent", "firstmile-agent.service"),
            ("systemd_exposure_collector", "firstmile-collector.service"),
        ] {
            measures.set(key, json!(story.exposure(unit)?));
        }
        measures.set("first_sample_s", json!(story.first_sample()?));
        measures.chapter("deb_upgrade_ok", "upgrade", || story.upgrade());
        measures.chapter("deb_recovers_ok", "mend what is broken", || story.recover());
    }
    measures.chapter("deb_purge_clean", "remove, install again, purge", || {
        story.purge()
    });
    Ok(())
}

/// The folder that the machine reads: packages as released, and the same programs under a later version.
fn share(release: &Release, bin: &Path, debs: &[PathBuf]) -> Result<PathBuf> {
    let share = tree::target().join("nspawn/share");
    if share.exists() {
        fs::remove_dir_all(&share).with_context(|| format!("cannot empty {}", share.display()))?;
    }
    let later = share.join("later");
    fs::create_dir_all(&later).with_context(|| format!("cannot make {}", later.display()))?;
    for (package, deb) in PACKAGES.iter().zip(debs) {
        fs::copy(deb, share.join(format!("{}.deb", package.name)))
            .with_context(|| format!("cannot copy {}", deb.display()))?;
        let bumped = package.build(&release.bumped(), bin, &later)?;
        fs::rename(&bumped, later.join(format!("{}.deb", package.name)))
            .with_context(|| format!("cannot rename {}", bumped.display()))?;
    }
    Ok(share)
}

fn lintian(measures: &mut Measures, debs: &[PathBuf]) -> Result<()> {
    let output = Command::new("lintian")
        .args(["--no-cfg", "--allow-root", "--tag-display-limit", "0"])
        .args(["--display-level", ">=warning"])
        .args(debs)
        .output()
        .context("cannot start lintian")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let findings: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("E:") || line.starts_with("W:"))
        .collect();
    for finding in &findings {
        println!("    {finding}");
    }
    measures.set("lintian_findings", json!(findings.len()));
    if !findings.is_empty() {
        measures
            .failures
            .push(format!("lintian finds {} thing(s)", findings.len()));
    }
    Ok(())
}

/// What was measured, and what was bad.
#[derive(Default)]
struct Measures {
    values: BTreeMap<String, Value>,
    failures: Vec<String>,
}

impl Measures {
    fn set(&mut self, key: &str, value: Value) {
        println!("    {key} = {value}");
        self.values.insert(key.to_owned(), value);
    }

    fn size(&mut self, deb: &Path) -> Result<()> {
        let bytes = fs::metadata(deb)
            .with_context(|| format!("cannot look at {}", deb.display()))?
            .len();
        let name = deb.file_name().unwrap_or_default().to_string_lossy();
        let which = name.trim_start_matches("firstmile-");
        let which = which.split('_').next().unwrap_or(which);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a package is far below 2^53 bytes"
        )]
        let megabytes = (bytes as f64 / 1e4).round() / 100.0;
        self.set(&format!("deb_{which}_mb"), json!(megabytes));
        Ok(())
    }

    /// One chapter of the story under its key: true or false.
    fn chapter<T>(&mut self, key: &str, name: &str, tell: impl FnOnce() -> Result<T>) -> Option<T> {
        match step(name, tell) {
            Ok(value) => {
                self.set(key, json!(true));
                Some(value)
            }
            Err(error) => {
                self.set(key, json!(false));
                self.failures.push(format!("{name}: {error:#}"));
                None
            }
        }
    }

    fn write(&self) -> Result<()> {
        let folder = tree::target().join("bench");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = folder.join("dist.json");
        let text = serde_json::to_string_pretty(&self.values).context("cannot write JSON")?;
        fs::write(&file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
    }
}

/// A collector and an agent on one machine.
struct Story {
    machine: Machine,
}

impl Story {
    /// Installs both; gives back the seconds from the agent's install to its first sample in the API.
    fn install(&self) -> Result<f64> {
        let machine = &self.machine;
        self.install_collector()?;
        self.install_agent_unenrolled()?;
        let join = machine.sh("firstmile-collector join-string --site Testville --country NL")?;
        ensure!(
            join.starts_with("fm1") && !join.contains('\n'),
            "the join string is not alone on standard output"
        );
        machine.sh(&format!(
            "mkdir -p /etc/firstmile && cat > /etc/firstmile/agent.toml <<'END'\n{AGENT_CONFIG}{OWN_LINE}\nEND"
        ))?;
        // By standard input: what stands on a command line can be read by everybody.
        machine.sh(&format!(
            "debconf-set-selections <<'END'\nfirstmile-agent firstmile-agent/join-string password {join}\nEND"
        ))?;
        let started = now();
        self.dpkg("firstmile-agent.deb")?;
        wait_until("the agent's first sample in the API", FIRST_SAMPLE, || {
            Ok(self.answered()?.filter(|n| *n > 0))
        })?;
        let seconds = ((now() - started).as_secs_f64() * 100.0).round() / 100.0;
        self.ensure_secret_is_gone(&join)?;
        self.ensure_least_rights()?;
        Ok(seconds)
    }

    fn install_collector(&self) -> Result<()> {
        let machine = &self.machine;
        let said = self.dpkg("firstmile-collector.deb")?;
        ensure!(
            said.contains("public_url"),
            "the install does not say that public_url wants setting:\n{said}"
        );
        self.ensure_active("firstmile-collector")?;
        machine.sh(&format!(
            "sed -i 's|^#public_url.*|public_url = \"https://{COLLECTOR}:8443\"  {OWN_LINE}|' /etc/firstmile/collector.toml \
             && firstmile-collector check-config && systemctl restart firstmile-collector"
        ))?;
        self.ensure_active("firstmile-collector")
    }

    /// Without a join string: a hint, nothing failed, and a purge that leaves nothing. Then a join file enrols it.
    fn install_agent_unenrolled(&self) -> Result<()> {
        let machine = &self.machine;
        let said = self.dpkg("firstmile-agent.deb")?;
        ensure!(
            said.contains("not enrolled"),
            "the install does not say how to enrol:\n{said}"
        );
        let state = machine.sh("systemctl is-active firstmile-agent || true")?;
        ensure!(
            state == "inactive",
            "an agent without identity is {state}, not inactive"
        );
        let failed =
            machine.sh("systemctl list-units --failed --plain --no-legend 'firstmile*'")?;
        ensure!(failed.is_empty(), "units failed:\n{failed}");
        // One that the collector never made, then a good one in its place: taken up without anybody's help.
        let put = "install -m 600 /dev/stdin /etc/firstmile/join";
        let join = "firstmile-collector join-string --site Elsewhere";
        machine.sh(&format!(
            "J=$({join}) && firstmile-collector revoke-join-string $J && echo $J | {put}"
        ))?;
        wait_until(
            "the log to say that the join string is refused",
            SOON,
            || {
                Ok(machine
                    .holds("journalctl -u firstmile-agent-enroll | grep -q join_string_revoked")?
                    .then_some(()))
            },
        )?;
        machine.sh(&format!("{join} | {put}"))?;
        self.ensure_active("firstmile-agent")?;
        machine.ensure(
            "test ! -e /etc/firstmile/join",
            "the consumed join string is still on disk",
        )?;
        machine.sh("dpkg --purge firstmile-agent")?;
        self.ensure_no_trace("firstmile-agent")
    }

    /// Seconds from `systemctl start` to the first answered echo request, by the kernel's own count of echo replies.
    fn first_sample(&self) -> Result<f64> {
        let nanoseconds = self.machine.sh(
            "replies() { awk '/^Icmp: [0-9]/ { print $(column) }' column=$(awk '/^Icmp: In/ { for (i = 1; i <= NF; i++) if ($i == \"InEchoReps\") print i }' /proc/net/snmp) /proc/net/snmp; }
             systemctl stop firstmile-agent; before=$(replies); start=$(date +%s%N)
             systemctl start --no-block firstmile-agent
             while [ \"$(replies)\" = \"$before\" ] && [ $(($(date +%s%N) - start)) -lt 30000000000 ]; do :; done
             echo $(($(date +%s%N) - start))",
        )?;
        let nanoseconds: f64 = nanoseconds.parse().context("no duration came")?;
        Ok((nanoseconds / 1e7).round() / 100.0)
    }

    fn upgrade(&self) -> Result<()> {
        let machine = &self.machine;
        let before = self.only_agent()?;
        let config = "cat /etc/firstmile/agent.toml /etc/firstmile/collector.toml";
        let kept = machine.sh(config)?;
        self.dpkg("later/firstmile-collector.deb")?;
        self.dpkg("later/firstmile-agent.deb")?;
        for name in ["firstmile-collector", "firstmile-agent"] {
            self.ensure_active(name)?;
            machine.ensure(
                &format!("dpkg-query -W -f '${{Version}}' {name} | grep -q +upgrade"),
                "the later version is not installed",
            )?;
            machine.ensure(
                &format!("test \"$(readlink /proc/$(systemctl show -P MainPID {name})/exe)\" = /usr/bin/{name}"),
                "the service still runs the old program",
            )?;
        }
        ensure!(
            machine.sh(config)? == kept,
            "the upgrade changed the configuration"
        );
        ensure!(
            kept.matches(OWN_LINE).count() == 2,
            "the administrator's lines are gone"
        );
        self.ensure_reports_arrive()?;
        ensure!(
            self.only_agent()? == before,
            "the upgrade changed the agent's identity"
        );
        // The same version again, as `apt-get install --reinstall` does.
        self.dpkg("later/firstmile-agent.deb")?;
        self.ensure_active("firstmile-agent")?;
        self.ensure_reports_arrive()
    }

    /// A configuration broken by hand, and mended, without anybody touching the service.
    fn recover(&self) -> Result<()> {
        let machine = &self.machine;
        machine.sh("echo 'bogus = 1' >> /etc/firstmile/agent.toml; sed -i '1i bogus = 1' /etc/firstmile/agent.toml; systemctl restart firstmile-agent || true")?;
        wait_until("the log to name the bad key", SOON, || {
            Ok(machine
                .holds("journalctl -u firstmile-agent -n 20 | grep -q bogus")?
                .then_some(()))
        })?;
        machine.sh("sed -i '/^bogus/d' /etc/firstmile/agent.toml")?;
        self.ensure_active("firstmile-agent")?;
        machine.sh("kill -KILL $(systemctl show -P MainPID firstmile-agent)")?;
        self.ensure_reports_arrive()
    }

    fn purge(&self) -> Result<()> {
        let machine = &self.machine;
        machine.sh("dpkg --remove firstmile-agent firstmile-collector")?;
        let running = machine.sh("ls -l /proc/[0-9]*/exe 2>/dev/null | grep firstmile || true")?;
        ensure!(
            running.is_empty(),
            "programs outlive their packages:\n{running}"
        );
        for kept in [
            "/etc/firstmile/agent.toml",
            "/etc/firstmile/collector.toml",
            "/var/lib/private/firstmile-agent/identity/identity.json",
            "/var/lib/private/firstmile-collector",
        ] {
            machine.ensure(&format!("test -e {kept}"), "remove took what purge takes")?;
        }
        self.dpkg("firstmile-collector.deb")?;
        self.dpkg("firstmile-agent.deb")?;
        self.ensure_active("firstmile-agent")?;
        self.ensure_reports_arrive()?;
        machine.sh("dpkg --purge firstmile-agent firstmile-collector")?;
        self.ensure_no_trace("firstmile")
    }

    /// Installs as unattended as it gets; gives back what was said.
    fn dpkg(&self, deb: &str) -> Result<String> {
        self.machine.sh_with_errors(&format!(
            "dpkg --force-confdef --force-confold --install {SHARE}/{deb}"
        ))
    }

    fn ensure_active(&self, unit: &str) -> Result<()> {
        let active = wait_until(&format!("{unit} to be active"), SOON, || {
            let state = format!(
                "systemctl is-active --quiet {unit} && test \"$(systemctl show -P MainPID {unit})\" != 0"
            );
            Ok(self.machine.holds(&state)?.then_some(()))
        });
        if active.is_err() {
            self.tell()?;
        }
        active
    }

    fn ensure_reports_arrive(&self) -> Result<()> {
        let before = self.samples()?.unwrap_or(0);
        wait_until("more samples in the API", SOON, || {
            Ok(self.samples()?.filter(|n| *n > before))
        })
        .map(drop)
    }

    fn api(&self, path: &str) -> Result<Option<Value>> {
        let url = format!("http://127.0.0.1:8080/api/v1/{path}");
        let output = self
            .machine
            .command("curl", &["--silent", "--fail", "--max-time", "5", &url])
            .output()
            .context("cannot enter the machine")?;
        // Not there yet is no error: whoever asks, waits.
        Ok(serde_json::from_slice(&output.stdout).ok())
    }

    fn samples(&self) -> Result<Option<u64>> {
        let report = self.api("latency?scope=world&window=15m&protocol=tcp")?;
        Ok(report.and_then(|report| report.pointer("/total/n")?.as_u64()))
    }

    /// Samples that were answered.
    fn answered(&self) -> Result<Option<u64>> {
        let report = self.api("latency?scope=world&window=15m&protocol=tcp")?;
        Ok(report.and_then(|report| {
            report.pointer("/total/p50_us")?.as_u64()?;
            report.pointer("/total/n")?.as_u64()
        }))
    }

    /// The identity of the agent that reports.
    fn only_agent(&self) -> Result<String> {
        self.machine.sh("sed -n 's/.*\"agent_id\": *\"\\([^\"]*\\)\".*/\\1/p' /var/lib/private/firstmile-agent/identity/identity.json")
    }

    fn ensure_secret_is_gone(&self, join: &str) -> Result<()> {
        for (place, line) in [
            ("the disk", "test ! -e /etc/firstmile/join".to_owned()),
            (
                "a file",
                format!(
                    "! grep -rlF -e '{join}' /etc /var/lib /var/cache /var/log /var/tmp /run/log"
                ),
            ),
            (
                "the journal",
                format!("! journalctl --all -o export | grep -qF -e '{join}'"),
            ),
        ] {
            // The error must not show the line: it holds the secret.
            ensure!(
                self.machine.holds(&line)?,
                "the join string is still in {place}"
            );
        }
        Ok(())
    }

    /// The agent: no root, raw sockets and nothing else. The collector: nothing at all.
    fn ensure_least_rights(&self) -> Result<()> {
        for (unit, rights) in [
            ("firstmile-agent", "0000000000002000"),
            ("firstmile-collector", "0000000000000000"),
        ] {
            let status = self.machine.sh(&format!(
                "cat /proc/$(systemctl show -P MainPID {unit})/status"
            ))?;
            let field = |name: &str| {
                status
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap_or_default()
                    .trim()
                    .to_owned()
            };
            ensure!(!field("Uid:").starts_with("0\t"), "{unit} runs as root");
            for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
                ensure!(
                    field(set) == rights,
                    "{unit} has {set} {}, not {rights}",
                    field(set)
                );
            }
            ensure!(field("NoNewPrivs:") == "1", "{unit} may gain privileges");
            ensure!(field("Seccomp:") == "2", "{unit} may call anything");
        }
        self.machine.ensure(
            "test \"$(stat -Lc %a /var/lib/private/firstmile-agent /var/lib/private/firstmile-agent/identity/identity.json | tr '\\n' ' ')\" = '700 600 '",
            "the identity can be read by others",
        )
    }

    fn exposure(&self, unit: &str) -> Result<f64> {
        let text = self.machine.sh(&format!(
            "systemd-analyze security --no-pager {unit} | tail -n 1"
        ))?;
        text.split_whitespace()
            .find_map(|word| word.parse().ok())
            .with_context(|| format!("systemd-analyze says no number: {text}"))
    }

    /// Nothing of a package is left: no file, no unit, no process, no answer in debconf.
    fn ensure_no_trace(&self, name: &str) -> Result<()> {
        let left = self.machine.sh(&format!(
            "find / -xdev \\( -path /proc -o -path /sys -o -path {SHARE} \\) -prune -o -name '*{name}*' -print; \
             systemctl list-units --all --plain --no-legend '{name}*'; \
             systemctl list-unit-files --plain --no-legend '{name}*'; \
             ls -l /proc/[0-9]*/exe 2>/dev/null | grep {name}; \
             grep -l {name} /var/cache/debconf/*.dat; true"
        ))?;
        if !left.is_empty() {
            bail!("left after the purge of {name}:\n{left}");
        }
        if name == "firstmile" {
            self.machine
                .ensure("test ! -e /etc/firstmile", "/etc/firstmile is left")?;
        }
        Ok(())
    }

    /// What the services said, for somebody who has to find out.
    fn tell(&self) -> Result<()> {
        let log = self.machine.sh_with_errors(
            "systemctl --no-pager status 'firstmile*'; journalctl --no-pager -n 60 -u 'firstmile*' || true",
        )?;
        println!("{log}");
        Ok(())
    }
}
