//! The chapter of the disk that was cloned with an identity on it.

use anyhow::{Result, ensure};

use super::inside::SOON;
use super::machine::wait_until;
use super::story::Story;

/// The disk in another machine: it reports as an agent of its own, and the original's name is the original's.
pub(super) fn tell(story: &Story) -> Result<()> {
    let host = &story.host;
    let original = story.only_agent()?;
    let drop_in = "/run/systemd/system/firstmile-agent.service.d/test.conf";
    host.sh("echo 0123456789abcdef0123456789abcdef > /run/another-machine")?;
    host.write(
        drop_in,
        "[Service]\nBindReadOnlyPaths=/run/another-machine:/etc/machine-id",
    )?;
    host.sh("systemctl daemon-reload && systemctl restart firstmile-agent")?;
    wait_until("the clone to have an identity of its own", SOON, || {
        Ok((story.only_agent()? != original).then_some(()))
    })?;
    host.ensure_active("firstmile-agent")?;
    let own = story.only_agent()?;
    wait_until("the clone's reports in the API", SOON, || {
        let agent = host.api(&format!("agents/{own}"))?;
        Ok(agent.filter(|agent| {
            agent
                .get("last_seen_unix_ms")
                .is_some_and(|at| !at.is_null())
        }))
    })?;
    // From now on this is the machine.
    host.sh("systemctl restart firstmile-agent")?;
    host.ensure_active("firstmile-agent")?;
    ensure!(
        story.only_agent()? == own,
        "the clone's identity does not last"
    );
    Ok(())
}
