//! The commands about notifications: try the channels out.

use anyhow::{Result, bail};
use clap::Subcommand;
use comfy_table::Table;
use firstmile_collector::clock;
use firstmile_collector::config::Config;
use firstmile_collector::notify::channel::Sender;
use firstmile_collector::notify::core::notice::{Notice, utc};
use firstmile_collector::store::notifying::{LetterState, Notifying};
use firstmile_wire::ids::OrganisationId;
use uuid::Uuid;

use super::commands::{open_existing_store, print};

/// What can be done with notifications.
#[derive(Debug, Subcommand)]
pub(super) enum NotifyCommand {
    /// Send a message that is marked as a test through every channel, and say of each what happened.
    Test {
        /// Only through this channel.
        channel: Option<String>,
    },
    /// Show the channels' counts and the newest messages of the outbox.
    List {
        /// Only `waiting`, `delivered` or `dead` ones.
        #[arg(long, value_parser = state_of)]
        state: Option<LetterState>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

fn state_of(word: &str) -> Result<LetterState, String> {
    LetterState::parse(word).ok_or_else(|| "it must be waiting, delivered or dead".to_owned())
}

/// Runs a command.
pub(super) async fn run(config: &Config, command: NotifyCommand) -> Result<()> {
    match command {
        NotifyCommand::Test { channel } => test(config, channel.as_deref()).await,
        NotifyCommand::List { state, json } => list(config, state, json).await,
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

/// Messages that are listed.
const LISTED: u32 = 100;

async fn list(config: &Config, state: Option<LetterState>, json: bool) -> Result<()> {
    let store = open_existing_store(config).await?;
    let organisation = OrganisationId::default_organisation();
    let counts = store.channel_counts(&organisation).await?;
    let letters = store.letters(&organisation, state, None, LISTED).await?;
    if json {
        let channels: Vec<_> = counts
            .iter()
            .map(|one| {
                serde_json::json!({ "channel": one.channel, "waiting": one.waiting, "delivered": one.delivered, "dead": one.dead,
                    "oldest_waiting_unix_ms": one.oldest_waiting_unix_ms, "last_error": one.last_error })
            })
            .collect();
        let messages: Vec<_> = letters
            .iter()
            .map(|one| {
                serde_json::json!({ "channel": one.channel, "state": one.state.as_str(), "created_unix_ms": one.created_unix_ms,
                    "due_unix_ms": one.due_unix_ms, "attempts": one.attempts, "last_error": one.last_error,
                    "finished_unix_ms": one.finished_unix_ms, "notice": one.notice })
            })
            .collect();
        let both = serde_json::json!({ "channels": channels, "messages": messages });
        return print(&serde_json::to_string_pretty(&both)?);
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["CHANNEL", "WAITING", "DELIVERED", "DEAD", "LAST ERROR"]);
    for one in &counts {
        let [waiting, delivered, dead] =
            [one.waiting, one.delivered, one.dead].map(|count| count.to_string());
        let error = one.last_error.as_deref().unwrap_or("-");
        table.add_row([&one.channel, &waiting, &delivered, &dead, error]);
    }
    print(&table.trim_fmt())?;
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        "MADE", "CHANNEL", "STATE", "TRIES", "PHASE", "INCIDENT", "WHAT",
    ]);
    for one in &letters {
        table.add_row([
            utc(one.created_unix_ms),
            one.channel.clone(),
            one.state.as_str().to_owned(),
            one.attempts.to_string(),
            one.notice.phase.as_str().to_owned(),
            one.notice.incident_id.clone(),
            one.notice.summary.clone(),
        ]);
    }
    print(&if letters.is_empty() {
        "no message".to_owned()
    } else {
        table.trim_fmt()
    })
}
