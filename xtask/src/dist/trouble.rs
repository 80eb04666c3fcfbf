//! The chapters of what goes wrong at sites: bad join strings, a collector that is away, disks that are full or read-only, a clock
//! that is years off. Each is told of with what to do, loses no report, and is over when its cause is.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::inside::Host;
use super::machine::{SHARE, wait_until};
use super::story::Story;
use crate::step::captured;
use crate::tree;

/// Longest wait for something to be said.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// The agent's folder, as root sees it.
const STATE: &str = "/var/lib/private/firstmile-agent";

/// A library that sets a program's wall clock off by five years, as a flat battery does.
const CLOCK: &str = "#define _GNU_SOURCE\n#include <time.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n\
int clock_gettime(clockid_t which, struct timespec *now) {\n\
\tint done = (int)syscall(SYS_clock_gettime, which, now);\n\
\tif (done == 0 && which == CLOCK_REALTIME) now->tv_sec -= 5L * 365 * 86400;\n\
\treturn done;\n}\n";

/// Builds what the chapters need into the folder that the machine reads.
pub(super) fn prepare(share: &Path) -> Result<()> {
    let source = tree::target().join("xtask/years_off.c");
    fs::create_dir_all(tree::target().join("xtask")).context("cannot make a folder")?;
    fs::write(&source, CLOCK).with_context(|| format!("cannot write {}", source.display()))?;
    captured(
        Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(share.join("years_off.so"))
            .arg(&source),
    )
    .map(drop)
}

/// Tells all of them, on a machine whose agent is at work.
pub(super) fn tell(story: &Story) -> Result<()> {
    let agent = story.only_agent()?;
    let before = dropped(&story.host)?;
    bad_join_string(story).context("a bad join string")?;
    collector_away(story).context("a collector that is away")?;
    bad_disk(story).context("a disk that is full or read-only")?;
    clock_years_off(story).context("a clock that is years off")?;
    ensure!(
        story.only_agent()? == agent,
        "trouble changed the agent's identity"
    );
    ensure!(dropped(&story.host)? == before, "reports were dropped");
    Ok(())
}

/// An agent that is enrolled goes on, and the log says what is wrong with the file.
fn bad_join_string(story: &Story) -> Result<()> {
    let host = &story.host;
    host.sh("echo not-a-join-string | install -m 600 /dev/stdin /etc/firstmile/join")?;
    logged(
        host,
        "firstmile-agent-enroll",
        "this is no join string",
        "the join file",
    )?;
    host.ensure_active("firstmile-agent")?;
    host.ensure(
        "test -e /etc/firstmile/join",
        "a bad join file is kept, for somebody to look at",
    )?;
    host.sh("rm /etc/firstmile/join; systemctl stop firstmile-agent-enroll || true")?;
    host.ensure_active("firstmile-agent")?;
    story.ensure_reports_arrive()
}

/// What the agent says of a collector that does not answer; what it measured meanwhile arrives afterwards.
fn collector_away(story: &Story) -> Result<()> {
    let host = &story.host;
    host.sh("systemctl stop firstmile-collector")?;
    says(host, "upload_problem", "cannot reach collector")?;
    host.ensure(
        "firstmile-agent doctor | grep -q 'allow TCP to'",
        "doctor does not say what to do about a collector that cannot be reached",
    )?;
    let kept = format!("ls {STATE}/spool | wc -l");
    wait_until("reports to wait on the agent's disk", PATIENCE, || {
        Ok(host.sh(&kept)?.parse().ok().filter(|kept: &u32| *kept > 2))
    })?;
    host.sh("systemctl start firstmile-collector")?;
    host.ensure_active("firstmile-collector")?;
    story.ensure_reports_arrive()
}

/// The agent's folder on a disk of four megabytes: something else fills it, and then it can no longer be written at all.
fn bad_disk(story: &Story) -> Result<()> {
    let host = &story.host;
    host.sh(&format!(
        "systemctl stop firstmile-agent && mkdir -p /run/small && mount -t tmpfs -o size=4m,mode=700 tmpfs /run/small \
         && cp -a {STATE}/. /run/small/ && chown --reference={STATE} /run/small && mount --bind /run/small {STATE} \
         && systemctl start firstmile-agent"
    ))?;
    host.ensure_active("firstmile-agent")?;
    story.ensure_reports_arrive()?;
    full(story)?;
    read_only(story)?;
    host.sh(&format!(
        "systemctl stop firstmile-agent && cp -a /run/small /run/back && umount {STATE} && rm -rf {STATE}/spool \
         && cp -a /run/back/. {STATE}/ && umount /run/small && rm -rf /run/back && systemctl start firstmile-agent"
    ))?;
    host.ensure_active("firstmile-agent")?;
    story.ensure_reports_arrive()
}

/// Measuring goes on, the last reports are held in memory, and room is enough to mend it.
fn full(story: &Story) -> Result<()> {
    let host = &story.host;
    host.sh("dd if=/dev/zero of=/run/small/filler bs=4k status=none || true")?;
    logged(
        host,
        "firstmile-agent",
        "cannot keep reports on disk",
        "the full disk",
    )?;
    host.ensure_active("firstmile-agent")?;
    host.ensure(
        "firstmile-agent doctor | grep -q 'reports cannot be kept'",
        "doctor does not say that the disk is full",
    )?;
    host.sh("rm /run/small/filler")?;
    logged(
        host,
        "firstmile-agent",
        "reports are kept on disk again",
        "that there is room again",
    )?;
    story.ensure_reports_arrive()
}

/// As the kernel leaves a file system after an error, with the agent started on it: said, and over when it can be written.
fn read_only(story: &Story) -> Result<()> {
    let host = &story.host;
    host.sh(
        "systemctl stop firstmile-agent && mount -o remount,ro /run/small && systemctl start --no-block firstmile-agent",
    )?;
    wait_until("the log to name the read-only disk", PATIENCE, || {
        Ok(host
            .holds("journalctl -n 60 | grep -i firstmile | grep -qi 'read-only'")?
            .then_some(()))
    })?;
    host.sh("mount -o remount,rw /run/small")?;
    host.ensure_active("firstmile-agent")?;
    story.ensure_reports_arrive()
}

/// A machine whose clock stands five years back takes the collector's certificate for one of the future.
fn clock_years_off(story: &Story) -> Result<()> {
    let host = &story.host;
    let drop_in = "/run/systemd/system/firstmile-agent.service.d/test.conf";
    host.write(
        drop_in,
        &format!("[Service]\nEnvironment=LD_PRELOAD={SHARE}/years_off.so"),
    )?;
    host.sh("systemctl daemon-reload && systemctl restart firstmile-agent")?;
    says(host, "upload_problem", "clock of this machine says")?;
    host.sh(&format!(
        "rm {drop_in} && systemctl daemon-reload && systemctl restart firstmile-agent"
    ))?;
    host.ensure_active("firstmile-agent")?;
    story.ensure_reports_arrive()
}

/// dpkg is killed before the old files go and after the new ones came: what runs goes on, and the same install mends it. The
/// old package's scripts are called at these moments.
pub(super) fn kill_in_upgrade(story: &Story) -> Result<()> {
    let host = &story.host;
    let later = "later/firstmile-agent.deb";
    for script in ["prerm", "postrm"] {
        let script = format!("/var/lib/dpkg/info/firstmile-agent.{script}");
        host.sh(&format!("sed -i '2i kill -KILL $PPID' {script}"))?;
        ensure!(host.dpkg(later).is_err(), "{script} did not kill dpkg");
        host.sh(&format!("sed -i '/^kill -KILL/d' {script}"))?;
        story.ensure_reports_arrive()?;
        host.dpkg(later)?;
        host.ensure_active("firstmile-agent")?;
        host.ensure(
            "test -z \"$(dpkg --audit)\"",
            "dpkg still finds something half done",
        )?;
        story.ensure_reports_arrive()?;
    }
    Ok(())
}

/// A version that is expected and is not the one that runs: said by the agent's status and log, and by the collector.
pub(super) fn roll_out(story: &Story) -> Result<()> {
    let host = &story.host;
    let config = "/etc/firstmile/collector.toml";
    let process = host.sh("systemctl show -P MainPID firstmile-collector")?;
    host.sh(&format!(
        "cp -a {config} /run/collector.toml && printf '\\n[[rollout]]\\nversion = \"999.0.0\"\\n' >> {config} \
         && systemctl reload firstmile-collector"
    ))?;
    says(host, "expected_version", "999.0.0")?;
    logged(
        host,
        "firstmile-agent",
        "expects version 999.0.0",
        "the roll-out",
    )?;
    for (line, otherwise) in [
        (
            "firstmile-agent status | grep -q 'the collector expects version 999.0.0'",
            "status says nothing of it",
        ),
        (
            "firstmile-agent doctor | grep -q 'apt-get install firstmile-agent'",
            "doctor does not say what to do",
        ),
        (
            "firstmile-collector agents --json | grep -q '\"version_state\": \"behind\"'",
            "the collector does not say who is behind",
        ),
    ] {
        host.ensure(line, otherwise)?;
    }
    // A plan that cannot be read is told to whoever asks for it, and the one before stays.
    host.sh(&format!("sed -i 's/999.0.0/next/' {config}"))?;
    host.ensure(
        "! systemctl reload firstmile-collector",
        "a bad plan is taken up",
    )?;
    logged(
        host,
        "firstmile-collector",
        "rollout\\[1\\].version",
        "the bad plan",
    )?;
    story.ensure_reports_arrive()?;
    host.ensure(
        "firstmile-agent status --json | grep -q '\"expected_version\": \"999.0.0\"'",
        "a bad plan ended the one before",
    )?;
    host.sh(&format!(
        "mv /run/collector.toml {config} && systemctl reload firstmile-collector"
    ))?;
    wait_until(
        "the agent to hear that nothing is expected",
        PATIENCE,
        || {
            Ok(host
                .holds("firstmile-agent status --json | grep -q '\"expected_version\": null'")?
                .then_some(()))
        },
    )?;
    host.ensure(
        &format!("test \"$(systemctl show -P MainPID firstmile-collector)\" = {process}"),
        "the collector was restarted for a plan",
    )?;
    story.ensure_reports_arrive()
}

/// Waits for a line of a unit's log.
pub(super) fn logged(host: &Host, unit: &str, text: &str, of_what: &str) -> Result<()> {
    wait_until(&format!("the log to tell of {of_what}"), PATIENCE, || {
        Ok(host
            .holds(&format!("journalctl -n 60 -u {unit} | grep -q '{text}'"))?
            .then_some(()))
    })
}

/// Waits for what the agent's status says under a key.
pub(super) fn says(host: &Host, key: &str, text: &str) -> Result<()> {
    wait_until(
        &format!("the agent's status to say \"{text}\""),
        PATIENCE,
        || {
            let status = host.sh("firstmile-agent status --json || true")?;
            let status: Value = serde_json::from_str(&status).unwrap_or_default();
            let said = status.get(key).and_then(Value::as_str);
            Ok(said.filter(|said| said.contains(text)).map(drop))
        },
    )
}

/// Reports that the agent says it dropped, by its log.
pub(super) fn dropped(host: &Host) -> Result<String> {
    host.sh("journalctl -u firstmile-agent | grep -c 'report dropped' || true")
}
