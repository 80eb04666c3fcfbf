//! The commands about tokens: make one, list them, take one back.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Subcommand;
use comfy_table::Table;
use firstmile_collector::auth::token::{Role, Token};
use firstmile_collector::clock;
use firstmile_collector::config::Config;
use firstmile_collector::serve;
use firstmile_collector::store::registered::Registered;
use firstmile_wire::ids::OrganisationId;

use super::commands::{open_existing_store, print};

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it, alone on standard output. It is shown this once.
    Make {
        /// Name for people and for the audit log.
        name: String,
        /// What it may do: look (viewer), or change too (admin).
        #[arg(long, default_value = "viewer")]
        role: Role,
        /// How long it can be used, at most 366 days.
        #[arg(long, default_value = "90d", value_parser = humantime::parse_duration)]
        expires: Duration,
    },
    /// List the tokens; their secrets are kept nowhere.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take a token back.
    Revoke {
        /// Its name.
        name: String,
    },
}

/// Runs a command.
pub(super) async fn run(config: &Config, command: TokenCommand) -> Result<()> {
    match command {
        TokenCommand::Make {
            name,
            role,
            expires,
        } => make(config, &name, role, expires).await,
        TokenCommand::List { json } => list(config, json).await,
        TokenCommand::Revoke { name } => revoke(config, &name).await,
    }
}

async fn make(config: &Config, name: &str, role: Role, life: Duration) -> Result<()> {
    let organisation = OrganisationId::default_organisation();
    let (token, secret) = Token::make(organisation, name, role, life, clock::unix_ms())?;
    serve::open_authority(config)?; // makes data_dir, as a first start does
    let store = serve::open_store(config).await?;
    store.put_token(&token, "command line").await?;
    print(&secret)
}

async fn list(config: &Config, json: bool) -> Result<()> {
    let store = open_existing_store(config).await?;
    let tokens = store
        .tokens(&OrganisationId::default_organisation())
        .await?;
    let now = clock::unix_ms();
    if json {
        let rows: Vec<_> = tokens.iter().map(json_of).collect();
        return print(&serde_json::to_string_pretty(&rows)?);
    }
    let mut table = Table::new();
    table.set_header(["token", "role", "made", "ends"]);
    for token in &tokens {
        let ends = if token.is_live(now) {
            time(token.expires_unix_ms)
        } else {
            "ended".to_owned()
        };
        table.add_row([
            token.name.clone(),
            token.role.to_string(),
            time(token.created_unix_ms),
            ends,
        ]);
    }
    print(&table.to_string())
}

fn json_of(token: &Token) -> serde_json::Value {
    serde_json::json!({
        "name": token.name,
        "role": token.role.as_str(),
        "created_unix_ms": token.created_unix_ms,
        "expires_unix_ms": token.expires_unix_ms,
    })
}

/// To the minute, UTC.
fn time(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(
        |_| "?".to_owned(),
        |at| at.strftime("%Y-%m-%d %H:%MZ").to_string(),
    )
}

async fn revoke(config: &Config, name: &str) -> Result<()> {
    let store = open_existing_store(config).await?;
    let organisation = OrganisationId::default_organisation();
    let gone = store
        .revoke_token(&organisation, name, clock::unix_ms(), "command line")
        .await?;
    if !gone {
        bail!("there is no token {name:?}; `token list` shows them");
    }
    print(&format!("the token {name} is taken back"))
}
