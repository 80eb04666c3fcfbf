//! The commands about notifications: try the channels out.

use anyhow::{Result, bail};
use clap::Subcommand;
use firstmile_collector::clock;
use firstmile_collector::config::Config;
use firstmile_collector::notify::channel::Sender;
use firstmile_collector::notify::core::notice::Notice;
use uuid::Uuid;

use super::commands::print;

/// What can be done with notifications.
#[derive(Debug, Subcommand)]
pub(super) enum NotifyCommand {
    /// Send a message that is marked as a test through every channel, and say of each what happened.
    Test {
        /// Only through this channel.
        channel: Option<String>,
    },
}

/// Runs a command.
pub(super) async fn run(config: &Config, command: NotifyCommand) -> Result<()> {
    match command {
        NotifyCommand::Test { channel } => test(config, channel.as_deref()).await,
    }
}

async fn test(config: &Config, only: Option<&str>) -> Result<()> {
    let channels = &config.notify.channels;
    let names: Vec<&str> = channels.keys().map(String::as_str).collect();
    if names.is_empty() {
        bail!(
            "{} names no channel; write one as [notify.channels.NAME]",
            config.file.display()
        );
    }
    if let Some(unknown) = only.filter(|only| !channels.contains_key(*only)) {
        bail!(
            "there is no channel {unknown}; channels are: {}",
            names.join(", ")
        );
    }
    let chosen: Vec<_> = channels
        .iter()
        .filter(|(name, _)| only.is_none_or(|only| only == *name))
        .collect();
    let notice = Notice::test(
        Uuid::new_v4(),
        clock::unix_ms(),
        config.notify.settings.dashboard.clone(),
    );
    // At the same time: a channel that hangs keeps no other waiting.
    let tries = chosen.iter().map(|(name, channel)| async {
        let outcome = match Sender::open(channel) {
            Ok(sender) => sender
                .send(&notice, clock::unix_ms())
                .await
                .map_err(anyhow::Error::from),
            Err(error) => Err(error.into()),
        };
        (name.as_str(), outcome)
    });
    let mut failed = 0;
    for (name, outcome) in futures::future::join_all(tries).await {
        match outcome {
            Ok(said) => print(&format!("{name}: {said}"))?,
            Err(error) => {
                failed += 1;
                print(&format!("{name}: FAILED: {error:#}"))?;
            }
        }
    }
    if failed > 0 {
        bail!(
            "{failed} of {} channel(s) did not take the test",
            chosen.len()
        );
    }
    Ok(())
}
