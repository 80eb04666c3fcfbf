//! One machine alone, through everything that can happen to a package: not enrolled, refused, enrolled, upgraded, broken and
//! mended, killed, removed, installed again, purged.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::check::Measures;
use super::clone;
use super::desktop::{self, Installers};
use super::inside::{COLLECTOR, Host, OWN_LINE, SOON, agent_config};
use super::ipv6;
use super::machine::{Machine, SHARE, wait_until};
use super::server;
use super::trouble;
use crate::step::{now, step};

/// Longest wait for the agent's first sample in the collector's API after its install.
const FIRST_SAMPLE: Duration = Duration::from_secs(90);

/// Tells the story, chapter by chapter.
pub(super) fn tell(
    measures: &mut Measures,
    share: &Path,
    installers: Option<&Installers>,
) -> Result<()> {
    let host = step("boot a machine with systemd", || {
        let machine = Machine::boot(share, None)?;
        machine.sh(&format!(
            "ip link set lo up && ip address add {COLLECTOR}/32 dev lo"
        ))?;
        Ok(Host(machine))
    })?;
    let story = Story { host };
    let installed = measures.chapter("deb_install_ok", "install", || story.install());
    if let Some(seconds) = installed {
        measures.set("install_to_dashboard_s", json!(seconds));
        for (key, unit) in [
            ("systemd_exposure_agent", "firstmile-agent.service"),
            ("systemd_exposure_collector", "firstmile-collector.service"),
        ] {
            measures.set(key, json!(story.host.exposure(unit)?));
        }
        measures.set("first_sample_s", json!(story.first_sample()?));
        for (key, name, chapter) in [
            (
                "deb_upgrade_ok",
                "upgrade",
                Story::upgrade as fn(&Story) -> Result<()>,
            ),
            ("deb_recovers_ok", "mend what is broken", Story::recover),
            (
                "deb_bad_input_ok",
                "say what is wrong, and go on when it is mended",
                trouble::tell,
            ),
            (
                "deb_collector_bad_input_ok",
                "say what is wrong with the collector, and go on when it is mended",
                server::tell,
            ),
            ("deb_ipv6_ok", "do without IPv4", ipv6::tell),
            (
                "deb_rollout_ok",
                "say which version is expected",
                trouble::roll_out,
            ),
            (
                "deb_clone_ok",
                "give a clone an identity of its own",
                clone::tell,
            ),
        ] {
            if measures.chapter(key, name, || chapter(&story)).is_none() {
                story.host.tell()?;
            }
        }
        if let Some(installers) = installers {
            desktop::tell(measures, &story.host, installers)?;
        }
    }
    measures.chapter("deb_purge_clean", "remove, install again, purge", || {
        story.purge()
    });
    Ok(())
}

/// A collector and an agent on one machine.
pub(super) struct Story {
    pub(super) host: Host,
}

impl Story {
    /// Installs both; gives back the seconds from the agent's install to its first sample in the API.
    fn install(&self) -> Result<f64> {
        let host = &self.host;
        self.install_collector()?;
        self.install_agent_unenrolled()?;
        let join = host.join_string("Testville --country NL")?;
        host.write("/etc/firstmile/agent.toml", &agent_config())?;
        host.preseed(&join)?;
        // By another way than the join string has it, which wins.
        let address = "https://127.0.0.1:8443";
        host.sh(&format!(
            "echo firstmile-agent firstmile-agent/collector string {address} | debconf-set-selections"
        ))?;
        let started = now();
        host.dpkg("firstmile-agent.deb")?;
        wait_until("the agent's first sample in the API", FIRST_SAMPLE, || {
            Ok(self.answered()?.filter(|n| *n > 0))
        })?;
        let seconds = ((now() - started).as_secs_f64() * 100.0).round() / 100.0;
        host.ensure(
            &format!(
                "grep -q '\"{address}/\"' /var/lib/private/firstmile-agent/identity/identity.json"
            ),
            "the agent goes to another address than it was told",
        )?;
        self.ensure_secret_is_gone(&join)?;
        self.ensure_least_rights()?;
        Ok(seconds)
    }

    fn install_collector(&self) -> Result<()> {
        let host = &self.host;
        let said = host.dpkg("firstmile-collector.deb")?;
        ensure!(
            said.contains("public_url"),
            "the install does not say that public_url wants setting:\n{said}"
        );
        host.ensure_active("firstmile-collector")?;
        host.hurry("firstmile-collector.service", "10s")?;
        host.sh(&format!(
            "sed -i 's|^#public_url.*|public_url = \"https://{COLLECTOR}:8443\"  {OWN_LINE}|' /etc/firstmile/collector.toml \
             && firstmile-collector check-config && systemctl restart firstmile-collector"
        ))?;
        host.ensure_active("firstmile-collector")?;
        // Written by root, read by the service.
        host.sh("echo a-password-of-some-length | firstmile-collector passwd && systemctl restart firstmile-collector")?;
        host.ensure_active("firstmile-collector")
    }

    /// Without a join string: a hint, nothing failed, and a purge that leaves nothing. Then a join file enrols it.
    fn install_agent_unenrolled(&self) -> Result<()> {
        let host = &self.host;
        let said = host.dpkg("firstmile-agent.deb")?;
        ensure!(
            said.contains("not enrolled"),
            "the install does not say how to enrol:\n{said}"
        );
        let state = host.sh("systemctl is-active firstmile-agent || true")?;
        ensure!(
            state == "inactive",
            "an agent without identity is {state}, not inactive"
        );
        let failed = host.sh("systemctl list-units --failed --plain --no-legend 'firstmile*'")?;
        ensure!(failed.is_empty(), "units failed:\n{failed}");
        host.hurry("firstmile-agent.service", "10s")?;
        host.hurry("firstmile-agent-enroll.service", "30s")?;
        self.enroll_by_hand()?;
        // One that the collector took back, then a good one in its place: taken up without anybody's help.
        let put = "install -m 600 /dev/stdin /etc/firstmile/join";
        let join = "firstmile-collector join-string --site Elsewhere";
        host.sh(&format!(
            "J=$({join}) && firstmile-collector revoke-join-string $J && echo $J | {put}"
        ))?;
        wait_until(
            "the log to say that the join string is refused",
            SOON,
            || {
                Ok(host
                    .holds("journalctl -u firstmile-agent-enroll | grep -q join_string_revoked")?
                    .then_some(()))
            },
        )?;
        host.sh(&format!("{join} | {put}"))?;
        wait_until("the join string to be consumed", SOON, || {
            Ok(host.holds("test ! -e /etc/firstmile/join")?.then_some(()))
        })?;
        host.ensure_active("firstmile-agent")?;
        host.sh("dpkg --purge firstmile-agent")?;
        self.ensure_no_trace("firstmile-agent")
    }

    /// As root, before the service ever ran and then again over its identity: both are the service's to use.
    fn enroll_by_hand(&self) -> Result<()> {
        let host = &self.host;
        for options in ["", "--replace"] {
            host.sh(&format!(
                "systemctl stop firstmile-agent; firstmile-collector join-string --site Elsewhere | firstmile-agent enroll {options} -"
            ))?;
            host.sh("systemctl restart firstmile-agent")?;
            host.ensure_active("firstmile-agent")?;
            host.ensure(
                "test \"$(stat -c %U /proc/$(systemctl show -P MainPID firstmile-agent))\" != root",
                "the service runs as root",
            )?;
        }
        Ok(())
    }

    /// Seconds from `systemctl start` to the first answered probe, by the kernel's own count of echo replies and of
    /// connections that the collector's port took.
    fn first_sample(&self) -> Result<f64> {
        let nanoseconds = self.host.sh(
            "answered() { awk '$1 == kind { for (i = 2; i <= NF; i++) if (names[i] == \"InEchoReps\" || names[i] == \"PassiveOpens\") sum += $i }
                 { kind = $1; split($0, names) } END { print sum }' /proc/net/snmp; }
             systemctl stop firstmile-agent; before=$(answered); start=$(date +%s%N)
             systemctl start --no-block firstmile-agent
             while [ \"$(answered)\" = \"$before\" ] && [ $(($(date +%s%N) - start)) -lt 30000000000 ]; do :; done
             echo $(($(date +%s%N) - start))",
        )?;
        let nanoseconds: f64 = nanoseconds.parse().context("no duration came")?;
        Ok((nanoseconds / 1e7).round() / 100.0)
    }

    fn upgrade(&self) -> Result<()> {
        let host = &self.host;
        let before = self.only_agent()?;
        let config = "cat /etc/firstmile/agent.toml /etc/firstmile/collector.toml";
        let kept = host.sh(config)?;
        host.dpkg("later/firstmile-collector.deb")?;
        host.dpkg("later/firstmile-agent.deb")?;
        for name in ["firstmile-collector", "firstmile-agent"] {
            host.ensure_active(name)?;
            host.ensure(
                &format!("dpkg-query -W -f '${{Version}}' {name} | grep -q +upgrade"),
                "the later version is not installed",
            )?;
            host.ensure(
                &format!("test \"$(readlink /proc/$(systemctl show -P MainPID {name})/exe)\" = /usr/bin/{name}"),
                "the service still runs the old program",
            )?;
        }
        ensure!(
            host.sh(config)? == kept,
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
        // The same version again, and the machine "crashes" between unpacking and configuring.
        host.sh(&format!(
            "dpkg --force-confold --unpack {SHARE}/later/firstmile-agent.deb && kill -KILL $(systemctl show -P MainPID firstmile-agent)"
        ))?;
        host.sh("dpkg --configure --pending")?;
        host.ensure_active("firstmile-agent")?;
        self.ensure_reports_arrive()?;
        trouble::kill_in_upgrade(self)?;
        ensure!(
            self.only_agent()? == before,
            "a killed upgrade changed the agent's identity"
        );
        Ok(())
    }

    /// A configuration broken by hand, and mended, without anybody touching the service.
    fn recover(&self) -> Result<()> {
        let host = &self.host;
        host.sh("echo 'bogus = 1' >> /etc/firstmile/agent.toml; sed -i '1i bogus = 1' /etc/firstmile/agent.toml; systemctl restart firstmile-agent || true")?;
        wait_until("the log to name the bad key", SOON, || {
            Ok(host
                .holds("journalctl -u firstmile-agent -n 20 | grep -q bogus")?
                .then_some(()))
        })?;
        host.sh("sed -i '/^bogus/d' /etc/firstmile/agent.toml")?;
        host.ensure_active("firstmile-agent")?;
        host.sh("kill -KILL $(systemctl show -P MainPID firstmile-agent)")?;
        self.ensure_reports_arrive()?;
        for unit in ["firstmile-agent", "firstmile-collector"] {
            self.ensure_watched(unit)?;
        }
        self.take_port_away()?;
        self.take_right_away()
    }

    /// The collector's port is taken, the agent dies meanwhile; what it had measured arrives once the port is free.
    fn take_port_away(&self) -> Result<()> {
        let host = &self.host;
        let dropped = "journalctl -u firstmile-agent | grep -c 'dropped' || true";
        let before = host.sh(dropped)?;
        host.sh(
            "systemctl stop firstmile-collector && systemd-run -q --unit=other perl -MIO::Socket::INET -e \
             '$$taken = IO::Socket::INET->new(Listen => 1, LocalPort => 8443, ReuseAddr => 1) or die; sleep 600'",
        )?;
        wait_until("the port to be taken", SOON, || {
            Ok(host
                .holds("bash -c '< /dev/tcp/127.0.0.1/8443'")?
                .then_some(()))
        })?;
        host.sh("systemctl start --no-block firstmile-collector")?;
        wait_until("the log to say that the port is taken", SOON, || {
            Ok(host
                .holds("journalctl -u firstmile-collector -n 20 | grep -q 'cannot be listened on'")?
                .then_some(()))
        })?;
        let kept = "ls /var/lib/private/firstmile-agent/spool | wc -l";
        wait_until("reports to wait on the agent's disk", SOON, || {
            Ok(host.sh(kept)?.parse().ok().filter(|kept: &u32| *kept > 1))
        })?;
        host.sh("kill -KILL $(systemctl show -P MainPID firstmile-agent); systemctl stop other")?;
        host.ensure_active("firstmile-collector")?;
        self.ensure_reports_arrive()?;
        ensure!(host.sh(dropped)? == before, "reports were dropped");
        Ok(())
    }

    /// Without raw sockets the agent still measures TCP, and says what is missing.
    fn take_right_away(&self) -> Result<()> {
        let host = &self.host;
        let drop_in = "/run/systemd/system/firstmile-agent.service.d/test.conf";
        host.write(
            drop_in,
            "[Service]\nAmbientCapabilities=\nCapabilityBoundingSet=",
        )?;
        host.sh("systemctl daemon-reload && systemctl restart firstmile-agent")?;
        self.ensure_reports_arrive()?;
        host.ensure(
            "firstmile-agent status --json | grep -q 'ping_group_range'",
            "the agent does not say which right it lacks",
        )?;
        host.sh(&format!(
            "rm {drop_in} && systemctl daemon-reload && systemctl restart firstmile-agent"
        ))?;
        host.ensure_active("firstmile-agent")
    }

    /// A process that hangs is ended and started again. With less patience than the package has, as the test has none.
    fn ensure_watched(&self, unit: &str) -> Result<()> {
        let host = &self.host;
        let drop_in = format!("/run/systemd/system/{unit}.service.d/test.conf");
        host.write(&drop_in, "[Service]\nWatchdogSec=2s\nRestartSec=1s")?;
        host.sh(&format!(
            "systemctl daemon-reload && systemctl restart {unit}"
        ))?;
        let hung = host.sh(&format!("systemctl show -P MainPID {unit}"))?;
        host.sh(&format!(
            "sleep 5; test $(systemctl show -P MainPID {unit}) = {hung} && kill -STOP {hung}"
        ))?;
        wait_until(&format!("a hung {unit} to be replaced"), SOON, || {
            let replaced = format!(
                "test $(systemctl show -P MainPID {unit}) != {hung} && systemctl is-active -q {unit}"
            );
            Ok(host.holds(&replaced)?.then_some(()))
        })?;
        host.sh(&format!(
            "rm {drop_in} && systemctl daemon-reload && systemctl restart {unit}"
        ))?;
        host.ensure_active(unit)
    }

    fn purge(&self) -> Result<()> {
        let host = &self.host;
        host.sh("dpkg --remove firstmile-agent firstmile-collector")?;
        let running = host.sh("ls -l /proc/[0-9]*/exe 2>/dev/null | grep firstmile || true")?;
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
            host.ensure(&format!("test -e {kept}"), "remove took what purge takes")?;
        }
        host.dpkg("firstmile-collector.deb")?;
        host.dpkg("firstmile-agent.deb")?;
        host.ensure_active("firstmile-agent")?;
        self.ensure_reports_arrive()?;
        host.sh("dpkg --purge firstmile-agent firstmile-collector")?;
        self.ensure_no_trace("firstmile")
    }

    pub(super) fn ensure_reports_arrive(&self) -> Result<()> {
        let before = self.samples()?.unwrap_or(0);
        wait_until("more samples in the API", SOON, || {
            Ok(self.samples()?.filter(|n| *n > before))
        })
        .map(drop)
    }

    fn samples(&self) -> Result<Option<u64>> {
        let report = self
            .host
            .api("latency?scope=world&window=15m&protocol=tcp")?;
        Ok(report.and_then(|report| report.pointer("/total/n")?.as_u64()))
    }

    /// Samples that were answered.
    fn answered(&self) -> Result<Option<u64>> {
        let report = self
            .host
            .api("latency?scope=world&window=15m&protocol=tcp")?;
        Ok(report.and_then(|report| {
            report.pointer("/total/p50_us")?.as_u64()?;
            report.pointer("/total/n")?.as_u64()
        }))
    }

    /// The identity of the agent that reports.
    pub(super) fn only_agent(&self) -> Result<String> {
        self.host.sh("sed -n 's/.*\"agent_id\": *\"\\([^\"]*\\)\".*/\\1/p' /var/lib/private/firstmile-agent/identity/identity.json")
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
                self.host.holds(&line)?,
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
            let status = self.host.sh(&format!(
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
        self.host.ensure(
            "test \"$(stat -Lc %a /var/lib/private/firstmile-agent /var/lib/private/firstmile-agent/identity/identity.json | tr '\\n' ' ')\" = '700 600 '",
            "the identity can be read by others",
        )
    }

    /// Nothing of a package is left: no file, no unit, no process, no answer in debconf.
    fn ensure_no_trace(&self, name: &str) -> Result<()> {
        let look = format!(
            "find / -xdev \\( -path /proc -o -path /sys -o -path {SHARE} \\) -prune -o -name '*{name}*' -print; \
             systemctl list-units --all --plain --no-legend '{name}*'; \
             systemctl list-unit-files --plain --no-legend '{name}*'; \
             ls -l /proc/[0-9]*/exe 2>/dev/null | grep {name}; \
             grep -l {name} /var/cache/debconf/*.dat; true"
        );
        // systemd forgets a unit when the last job that names it is done, and looks again where it was not told that a container's
        // processes are gone.
        if let Err(left) = self.host.ensure_silent(&look) {
            println!("    looking again: {left:#}");
            self.host.sh("systemctl daemon-reload")?;
            self.host.ensure_silent(&look)?;
        }
        if name == "firstmile" {
            self.host
                .ensure("test ! -e /etc/firstmile", "/etc/firstmile is left")?;
        }
        Ok(())
    }
}
