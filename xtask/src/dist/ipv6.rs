//! A machine that has IPv6 alone: it enrols, uploads and measures by it.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::inside::{COLLECTOR, Host};
use super::machine::wait_until;
use super::story::Story;
use super::trouble::PATIENCE;

/// The collector's address where there is no IPv4 (RFC 3849).
const COLLECTOR_V6: &str = "2001:db8::10";

/// Takes IPv4 away from a machine whose collector and agent are at work, and gives it back.
pub(super) fn tell(story: &Story) -> Result<()> {
    let host = &story.host;
    let before = problems(host)?;
    move_to(
        host,
        &format!(
            "ip address add {COLLECTOR_V6}/128 dev lo nodad && ip address del {COLLECTOR}/32 dev lo"
        ),
        (COLLECTOR, COLLECTOR_V6),
        (COLLECTOR, &format!("[{COLLECTOR_V6}]")),
    )?;
    let agent = story.only_agent()?;
    for protocol in ["icmp", "tcp"] {
        let answered = format!(
            "firstmile-collector samples {agent} | grep ',{COLLECTOR_V6},{protocol},' | grep -q ',answered,'"
        );
        wait_until(
            &format!("an answer over IPv6 by {protocol} in the collector"),
            PATIENCE,
            || Ok(host.holds(&answered)?.then_some(())),
        )
        .with_context(|| {
            host.sh_with_errors(&format!(
                "firstmile-collector samples {agent} | tail -n 20; firstmile-agent status"
            ))
            .unwrap_or_default()
        })?;
    }
    ensure!(
        problems(host)? == before,
        "doctor finds other problems without IPv4: {:?}, before: {before:?}",
        problems(host)?
    );
    move_to(
        host,
        &format!(
            "ip address add {COLLECTOR}/32 dev lo && ip address del {COLLECTOR_V6}/128 dev lo"
        ),
        (COLLECTOR_V6, COLLECTOR),
        (&format!("\\[{COLLECTOR_V6}\\]"), COLLECTOR),
    )?;
    story.ensure_reports_arrive()
}

/// Changes the collector's address, what the agent measures, and the collector that it is enrolled with; each pair is before and after, as
/// a host and as part of a URL.
fn move_to(host: &Host, addresses: &str, hosts: (&str, &str), urls: (&str, &str)) -> Result<()> {
    host.sh(&format!(
        "systemctl stop firstmile-agent && {addresses} \
         && sed -i 's|^public_url = \"https://{}:|public_url = \"https://{}:|' /etc/firstmile/collector.toml \
         && sed -i 's|\"{}\"|\"{}\"|' /etc/firstmile/agent.toml && systemctl restart firstmile-collector",
        urls.0, urls.1, hosts.0, hosts.1
    ))?;
    host.ensure_active("firstmile-collector")?;
    host.sh(
        "firstmile-collector join-string --site Testville | firstmile-agent enroll --replace - \
         && systemctl restart firstmile-agent",
    )?;
    host.ensure_active("firstmile-agent")
}

/// The checks of the doctor that find a problem; a machine without any network has some.
fn problems(host: &Host) -> Result<Vec<String>> {
    let text = host.sh("firstmile-agent doctor --json || true")?;
    let said: Value = serde_json::from_str(&text).context("the doctor prints no JSON")?;
    let findings = said.get("findings").and_then(Value::as_array);
    let findings = findings.context("the doctor has no findings")?;
    Ok(findings
        .iter()
        .filter(|finding| finding["level"] == "problem")
        .map(|finding| finding["check"].to_string())
        .collect())
}
