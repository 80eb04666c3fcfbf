//! The commands about events: what one agent saw of one target.

use anyhow::{Result, bail};
use clap::Subcommand;
use comfy_table::Table;
use firstmile_collector::api::types::{Event, EventClass, PathIdentity};
use firstmile_collector::clock;
use firstmile_collector::config::Config;
use firstmile_collector::notify::core::notice::utc;
use firstmile_collector::store::{EventQuery, Store};
use firstmile_wire::ids::OrganisationId;

use super::commands::{open_existing_store, print};

/// Most events of one list: the newest.
const LISTED: u32 = 500;
const DAY_MS: i64 = 24 * 3_600_000;

/// What can be done with events.
#[derive(Debug, Subcommand)]
pub(super) enum EventCommand {
    /// List the newest events.
    List {
        /// Those that were open at any time of the last days.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=400))]
        days: u16,
        /// Only those that go on.
        #[arg(long)]
        open: bool,
        /// Only of this class, such as `geo`, `latency` or `site_silent`.
        #[arg(long)]
        class: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one event with its reasons.
    Show {
        /// Its identity.
        event: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs a command.
pub(super) async fn run(config: &Config, command: EventCommand) -> Result<()> {
    let store = open_existing_store(config).await?;
    match command {
        EventCommand::List {
            days,
            open,
            class,
            json,
        } => {
            let class = class.as_deref().map(class_of).transpose()?;
            list(&store, days, open, class, json).await
        }
        EventCommand::Show { event, json } => {
            let organisation = OrganisationId::default_organisation();
            let event = store.event(&organisation, &event).await?;
            if json {
                return print(&serde_json::to_string_pretty(&event)?);
            }
            print(&shown(&event))
        }
    }
}

fn class_of(word: &str) -> Result<EventClass> {
    match serde_json::from_value(serde_json::Value::from(word)) {
        Ok(class) => Ok(class),
        Err(_) => bail!(
            "there is no class {word}; `GET /api/v1/event-types` and docs/operations/notifications.md list them"
        ),
    }
}

async fn list(
    store: &impl Store,
    days: u16,
    open: bool,
    class: Option<EventClass>,
    json: bool,
) -> Result<()> {
    let query = EventQuery {
        from_unix_ms: clock::unix_ms() - i64::from(days) * DAY_MS,
        to_unix_ms: i64::MAX,
        open: open.then_some(true),
        agent: None,
        limit: LISTED,
    };
    let organisation = OrganisationId::default_organisation();
    let mut events = store.events(&organisation, &query).await?;
    events.retain(|event| class.is_none_or(|class| event.class == class));
    if json {
        return print(&serde_json::to_string_pretty(&events)?);
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["BEGAN", "STATE", "CLASS", "EVENT", "WHAT"]);
    for event in &events {
        table.add_row([
            &utc(event.first_novel_unix_ms),
            event.state.as_str(),
            event.class.as_str(),
            &event.event_id,
            &event.text,
        ]);
    }
    print(&if events.is_empty() {
        "no event".to_owned()
    } else {
        table.trim_fmt()
    })
}

fn shown(event: &Event) -> String {
    let mut lines = vec![event.text.clone()];
    let mut line = |key: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            lines.push(format!("{key:<11} {value}"));
        }
    };
    line("class", Some(event.class.as_str().to_owned()));
    line("state", Some(event.state.clone()));
    line(
        "agent",
        Some(format!("{} at {}", event.agent_id, event.site_name)),
    );
    line("provider", event.provider_asn.map(|asn| format!("AS{asn}")));
    line("from", event.from.clone());
    line("to", event.to.clone());
    line(
        "began",
        Some(format!(
            "after {}, before {}",
            utc(event.last_good_unix_ms),
            utc(event.first_novel_unix_ms)
        )),
    );
    line("decided", Some(utc(event.detected_unix_ms)));
    let ending = event.ending.clone().unwrap_or_default();
    line(
        "ended",
        event
            .ended_unix_ms
            .map(|at| format!("{}, {ending}", utc(at))),
    );
    let sure = |confidence: f64| format!("{confidence:.2}");
    line("confidence", event.confidence.map(sure));
    line("path before", Some(path(&event.before)));
    line("path after", Some(path(&event.after)));
    line("incident", event.incident_id.clone());
    for reason in &event.reasons {
        line("because", Some(reason.clone()));
    }
    lines.join("\n")
}

fn path(identity: &PathIdentity) -> String {
    let systems = identity.as_path.iter().map(|asn| format!("AS{asn}"));
    let systems: Vec<String> = systems.collect();
    let places = [&identity.ingress_metros, &identity.ingress_routers];
    let places = places.into_iter().flatten().cloned();
    systems
        .into_iter()
        .chain(places)
        .collect::<Vec<_>>()
        .join(" ")
}
