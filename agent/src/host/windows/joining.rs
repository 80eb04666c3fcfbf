//! A service's way to its identity: a join string that somebody leaves in a file, which is traded for an identity and deleted.
//!
//! The installer writes that file, and an administrator may: it is in the state directory, into which only the system,
//! administrators and the service look. It is read when the service starts, and while it has no identity.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use firstmile_sys::windows::events::Level;
use tracing::warn;

use super::{events, signals};
use crate::config::AgentConfig;
use crate::enroll::{Invitation, Newcomer, identity, obtain, text_of};

/// Between two looks for a file that somebody may write.
const LOOK: Duration = Duration::from_secs(2);

/// Between two attempts with a join string that the collector did not take, or could not be asked about.
const AGAIN: Duration = Duration::from_secs(30);

/// Where the join string is left.
fn file_in(state_dir: &Path) -> PathBuf {
    state_dir.join("join")
}

/// Waits until there is an identity to run with; false when Windows wants the service to stop before.
///
/// # Errors
/// When a join string was used and its file cannot be deleted: it is a secret, and would be used again.
pub(crate) async fn wait(config: &AgentConfig) -> Result<bool> {
    let stop = signals::stop();
    let file = file_in(&config.state_dir);
    let mut told = String::new();
    loop {
        let pause = match std::fs::read(&file) {
            Ok(bytes) => match enrolled(&text_of(&bytes), config).await {
                Ok(who) => {
                    delete(&file)?;
                    events::tell(Level::Information, &who);
                    return Ok(true);
                }
                Err(refusal) => {
                    tell_once(&mut told, format!("{refusal:#}"));
                    AGAIN
                }
            },
            Err(_) => {
                let wanted = format!(
                    "this agent has no identity yet and does not measure: write a join string into {} as an administrator",
                    file.display()
                );
                if !has_identity(config) {
                    tell_once(&mut told, wanted);
                }
                LOOK
            }
        };
        // With an identity it measures, whatever became of the join string: the next start tries again.
        if has_identity(config) {
            return Ok(true);
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(false),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn has_identity(config: &AgentConfig) -> bool {
    identity::file_in(&config.state_dir).exists()
}

fn delete(file: &Path) -> Result<()> {
    std::fs::remove_file(file)
        .with_context(|| format!("cannot delete the used join string {}", file.display()))
}

/// The same thing is said once, not every half minute for weeks.
fn tell_once(told: &mut String, text: String) {
    if *told != text {
        warn!(reason = %text, "not enrolled");
        *told = text;
    }
}

async fn enrolled(text: &str, config: &AgentConfig) -> Result<String> {
    let invitation = Invitation::read(text, None)?;
    let newcomer = Newcomer::here(config);
    let identity = obtain(&invitation.join, &config.state_dir, newcomer, &config.proxy).await?;
    let site = identity.site.as_deref().unwrap_or("no site");
    Ok(format!(
        "enrolled as {} ({site}) at {}",
        identity.agent_id, identity.collector
    ))
}
