//! What goes wrong on the collector's own machine: a broken configuration, a disk that is full, one that cannot be written. Each is told of
//! with what to do, there and at the sites; nothing that was measured is lost; and it is over when its cause is.

use anyhow::{Context, Result, ensure};

use super::story::Story;
use super::trouble::{dropped, logged, says};

/// The collector's folder, as root sees it.
const STATE: &str = "/var/lib/private/firstmile-collector";

/// Tells all of them, on a machine whose collector and agent are at work.
pub(super) fn tell(story: &Story) -> Result<()> {
    let before = dropped(&story.host)?;
    broken_configuration(story).context("a configuration broken by hand")?;
    bad_disk(story).context("a disk that is full or read-only")?;
    ensure!(dropped(&story.host)? == before, "reports were dropped");
    Ok(())
}

/// Mended without anybody touching the service.
fn broken_configuration(story: &Story) -> Result<()> {
    let host = &story.host;
    let config = "/etc/firstmile/collector.toml";
    host.sh(&format!(
        "sed -i '1i bogus = 1' {config}; systemctl restart firstmile-collector || true"
    ))?;
    logged(
        host,
        "firstmile-collector",
        "bogus",
        "the key that is unknown",
    )?;
    host.sh(&format!("sed -i '/^bogus/d' {config}"))?;
    host.ensure_active("firstmile-collector")?;
    story.ensure_reports_arrive()
}

/// The collector's folder on a small disk of its own.
fn bad_disk(story: &Story) -> Result<()> {
    let host = &story.host;
    host.sh(&format!(
        "systemctl stop firstmile-collector && mkdir -p /run/tight \
         && mount -t tmpfs -o size=$(($(du -sk {STATE} | cut -f 1) + 16384))k,mode=700 tmpfs /run/tight \
         && cp -a {STATE}/. /run/tight/ && chown --reference={STATE} /run/tight && mount --bind /run/tight {STATE} \
         && systemctl start firstmile-collector"
    ))?;
    host.ensure_active("firstmile-collector")?;
    story.ensure_reports_arrive()?;
    full(story)?;
    read_only(story)?;
    host.sh(&format!(
        "systemctl stop firstmile-collector && cp -a /run/tight /run/back && umount {STATE} && find {STATE} -mindepth 1 -delete \
         && cp -a /run/back/. {STATE}/ && umount /run/tight && rm -rf /run/back && systemctl start firstmile-collector"
    ))?;
    host.ensure_active("firstmile-collector")?;
    story.ensure_reports_arrive()
}

/// Whoever looks at a site reads that it is the collector's disk; room alone mends it.
fn full(story: &Story) -> Result<()> {
    let host = &story.host;
    let process = host.sh("systemctl show -P MainPID firstmile-collector")?;
    host.sh("dd if=/dev/zero of=/run/tight/filler bs=4k status=none || true")?;
    says(host, "upload_problem", "disk is full")?;
    logged(
        host,
        "firstmile-collector",
        "reports cannot be stored",
        "the full disk",
    )?;
    host.ensure(
        "firstmile-agent doctor | grep -q 'disk is full'",
        "doctor does not say that the collector's disk is full",
    )?;
    host.sh("rm /run/tight/filler")?;
    story.ensure_reports_arrive()?;
    host.ensure(
        &format!("test \"$(systemctl show -P MainPID firstmile-collector)\" = {process}"),
        "the collector did not outlive a full disk",
    )?;
    host.ensure(
        "curl -sf http://127.0.0.1:8080/metrics | grep -q 'reports_set_aside_total 0$'",
        "reports that were acknowledged were set aside",
    )
}

/// As the kernel leaves a file system after an error, with the collector started on it.
fn read_only(story: &Story) -> Result<()> {
    let host = &story.host;
    host.sh(
        "systemctl stop firstmile-collector && mount -o remount,ro /run/tight && systemctl start --no-block firstmile-collector",
    )?;
    logged(
        host,
        "firstmile-collector",
        "[Rr]ead-only",
        "the read-only disk",
    )?;
    host.sh("mount -o remount,rw /run/tight")?;
    host.ensure_active("firstmile-collector")?;
    story.ensure_reports_arrive()
}
