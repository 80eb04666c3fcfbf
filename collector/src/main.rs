//! The collector's program: order of start and stop, and the commands of its administrator.
//!
//! Answers go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 usage or configuration.

mod agent_rows;
mod bgp;
mod commands;
mod event_commands;
mod incident_commands;
mod notify_commands;
mod paths;
mod query_commands;
mod sample_commands;
mod sites;
mod tokens;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use firstmile_collector::config::Config;
use tracing_subscriber::EnvFilter;

/// Receives, keeps and explains what firstmile agents measure.
#[derive(Debug, Parser)]
#[command(name = "firstmile-collector", version, max_term_width = 100)]
struct Cli {
    /// Configuration file; without it /etc/firstmile/collector.toml, and without that the defaults.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take reports in and serve the dashboard, until SIGTERM or Ctrl-C; SIGHUP has the roll-out plan read again.
    Serve {
        /// Started in the project's checkout: offer its simulated internet where no real one is reached.
        #[arg(long, hide = true)]
        hint_lab: bool,
    },
    /// Print a join string for a new agent, alone on standard output.
    JoinString(JoinArgs),
    /// Take a join string back that was not used yet.
    RevokeJoinString {
        /// The join string, or `-` to read it from standard input.
        join_string: String,
    },
    /// List the agents.
    Agents {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Refuse an agent from now on: its reports and the renewal of its certificate. What it measured stays.
    RevokeAgent {
        /// The agent's id, or its host name if no other agent has it.
        agent: String,
        /// Also those that were cloned from its machine, and their clones.
        #[arg(long)]
        clones: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Set the login of the dashboard; the password comes from the terminal, or from standard input.
    Passwd {
        /// Name to log in with.
        #[arg(long, default_value = "admin")]
        user: String,
    },
    /// Load sites from a file, with the rules that lead agents to them; list them.
    Sites {
        #[command(subcommand)]
        command: sites::SitesCommand,
    },
    /// Tokens for scripts: the API, and the REST interface of `Microsoft.Peering`, take them as `Authorization: Bearer`.
    Token {
        #[command(subcommand)]
        command: tokens::TokenCommand,
    },
    /// Move an agent to another site; its recent figures move along.
    MoveAgent {
        /// The agent's id, or its host name if no other agent has it.
        agent: String,
        /// Name of a site that exists.
        #[arg(long)]
        site: String,
    },
    /// Copy the whole collector into a new folder, while it runs: store, certificate authority, login.
    Backup {
        /// The folder; it must not exist yet, or be empty.
        folder: PathBuf,
    },
    /// Put a backup into the data folder of the configuration, which must hold no collector.
    Restore {
        /// The folder of the backup.
        folder: PathBuf,
    },
    /// Print what an agent measured, each sample a line of CSV; seven days are kept.
    Samples(sample_commands::SampleArgs),
    /// Print quantiles, mean, loss and counts by any grouping as CSV; the collector may run
    Query(Box<query_commands::QueryArgs>),
    /// Read all that is stored and say what is damaged; changes nothing, and the collector may run. Exits with 1 if something is.
    Fsck,
    /// Judge recorded path rounds, offline: what would have been said, by the live classifier.
    Paths {
        #[command(subcommand)]
        command: paths::PathsCommand,
    },
    /// Judge recorded routes, offline, by the live detector; print how routes fared in a month.
    Bgp {
        #[command(subcommand)]
        command: bgp::BgpCommand,
    },
    /// List events, show one: what one agent saw of one target.
    #[command(visible_alias = "events")]
    Event {
        #[command(subcommand)]
        command: event_commands::EventCommand,
    },
    /// List incidents, show one, look after it, note, take the evidence along.
    #[command(visible_alias = "incidents")]
    Incident {
        #[command(subcommand)]
        command: incident_commands::IncidentCommand,
    },
    /// Change windows: times in which incidents are recorded and not told.
    Mute {
        #[command(subcommand)]
        command: incident_commands::MuteCommand,
    },
    /// Try the channels of notifications out; see what was told.
    Notify {
        #[command(subcommand)]
        command: notify_commands::NotifyCommand,
    },
    /// Check the configuration and exit.
    CheckConfig,
    /// Print the `OpenAPI` document of the JSON API.
    #[command(hide = true)]
    Openapi,
    /// Print what a shell completes these commands by; the packages bring it.
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Where the new agent will stand.
#[derive(Debug, Args)]
struct JoinArgs {
    /// Name of the site; it is made if it does not exist.
    #[arg(long, required_unless_present = "by_rules")]
    site: Option<String>,
    /// Let the rules of the sites say for each agent where it stands (`sites import`).
    #[arg(long, conflicts_with_all = ["site", "country", "subdivision", "metro", "latitude", "longitude"])]
    by_rules: bool,
    /// Agents that the join string lets in, each with an identity of its own.
    #[arg(long, default_value_t = 1)]
    uses: u32,
    /// Country of the site (ISO 3166-1), such as NL.
    #[arg(long)]
    country: Option<String>,
    /// Subdivision of the site (ISO 3166-2), such as NL-NH.
    #[arg(long)]
    subdivision: Option<String>,
    /// City or metropolitan area of the site.
    #[arg(long)]
    metro: Option<String>,
    /// Latitude of the site, degrees, north positive.
    #[arg(long, requires = "longitude", allow_negative_numbers = true)]
    latitude: Option<f64>,
    /// Longitude of the site, degrees, east positive.
    #[arg(long, requires = "latitude", allow_negative_numbers = true)]
    longitude: Option<f64>,
    /// How long the join string can be used, such as 24h or 7d.
    #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
    expires: std::time::Duration,
    /// As JSON, with the site and the end.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log();
    if let Command::Completions { shell } = cli.command {
        return commands::completions(shell, Cli::command());
    }
    if let Command::Paths { command } = &cli.command {
        return commands::done(paths::run(command));
    }
    if let Command::Bgp { command } = &cli.command
        && let Some(outcome) = bgp::run(command)
    {
        return commands::done(outcome);
    }
    let config = match Config::load(cli.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return commands::fail(&error.into(), commands::CONFIGURATION),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return commands::fail(&error.into(), commands::FAILED),
    };
    runtime.block_on(async {
        match cli.command {
            Command::Serve { hint_lab } => commands::serve(&Config { hint_lab, ..config }).await,
            Command::JoinString(args) => commands::done(commands::join_string(&config, args).await),
            Command::RevokeJoinString { join_string } => {
                commands::done(commands::revoke_join_string(&config, join_string).await)
            }
            Command::Agents { json } => commands::done(commands::agents(&config, json).await),
            Command::RevokeAgent {
                agent,
                clones,
                json,
            } => commands::done(commands::revoke_agent(&config, &agent, clones, json).await),
            Command::Sites { command } => commands::done(sites::run(&config, command).await),
            Command::Token { command } => commands::done(tokens::run(&config, command).await),
            Command::MoveAgent { agent, site } => {
                commands::done(sites::move_agent(&config, &agent, &site).await)
            }
            Command::Backup { folder } => commands::done(commands::back_up(&config, &folder)),
            Command::Restore { folder } => commands::done(commands::restore(&config, &folder)),
            Command::Samples(args) => commands::done(sample_commands::samples(&config, args).await),
            Command::Query(args) => commands::done(query_commands::query(&config, *args).await),
            Command::Fsck => commands::done(commands::check_store(&config)),
            Command::Passwd { user } => commands::done(commands::passwd(&config, &user).await),
            Command::Paths { command } => commands::done(paths::run(&command)),
            Command::Bgp { command } => commands::done(bgp::statistics(&config, command).await),
            Command::Event { command } => {
                commands::done(event_commands::run(&config, command).await)
            }
            Command::Incident { command } => {
                commands::done(incident_commands::run(&config, command).await)
            }
            Command::Mute { command } => {
                commands::done(incident_commands::mute(&config, command).await)
            }
            Command::Notify { command } => {
                commands::done(notify_commands::run(&config, command).await)
            }
            Command::CheckConfig => commands::done(commands::check_config(&config)),
            Command::Completions { shell } => commands::completions(shell, Cli::command()),
            Command::Openapi => commands::done(commands::openapi()),
        }
    })
}

/// Logs to standard error; `RUST_LOG` chooses what, `info` without it.
fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
