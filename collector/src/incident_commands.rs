//! The commands about incidents: look after one, note, mute, take the evidence along.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use comfy_table::Table;
use firstmile_collector::clock;
use firstmile_collector::config::Config;
use firstmile_collector::evidence::{gather, page};
use firstmile_collector::incident::{EVENTS_MAX, unseen};
use firstmile_collector::notify::core::mute::{Covers, Weekly, Window, WindowWish};
use firstmile_collector::notify::core::notice::utc;
use firstmile_collector::notify::watch::zone;
use firstmile_collector::store::desk::{Desk, Doing, KeptWindow, Note};
use firstmile_collector::store::incidents::{IncidentQuery, Incidents};
use firstmile_collector::store::{Store, StoreError};
use firstmile_wire::ids::OrganisationId;
use uuid::Uuid;

use super::commands::{open_existing_store, print};

/// What can be done with incidents.
#[derive(Debug, Subcommand)]
pub(super) enum IncidentCommand {
    /// List the incidents of the last 30 days, newest first.
    List {
        /// Only those that go on.
        #[arg(long)]
        open: bool,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show an incident: what it says, why, what happened when, and what people said of it.
    Show {
        /// Its identity.
        incident: String,
        /// As JSON, with its events.
        #[arg(long)]
        json: bool,
    },
    /// Note that somebody looks after an incident.
    #[command(visible_alias = "ack")]
    Acknowledge {
        /// Its identity.
        incident: String,
        /// Nobody does any more.
        #[arg(long)]
        undo: bool,
    },
    /// Write a note to an incident.
    Note {
        /// Its identity.
        incident: String,
        /// What it says.
        text: String,
    },
    /// Write the evidence of an incident into one HTML file that opens without an account or a network.
    Evidence {
        /// Its identity.
        incident: String,
        /// The file; it must not exist yet.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// For your own use: with addresses inside the sites, and agents of other providers in the same country.
        #[arg(long)]
        full: bool,
    },
}

/// What can be done with change windows.
#[derive(Debug, Subcommand)]
pub(super) enum MuteCommand {
    /// Make a window: incidents in it are recorded and not told.
    Add(Box<MuteArgs>),
    /// List the windows.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take a window away.
    Remove {
        /// Its identity.
        window: String,
    },
}

/// A window.
#[derive(Debug, Args)]
pub(super) struct MuteArgs {
    /// Why, for people.
    #[arg(long)]
    reason: String,
    /// Only this incident.
    #[arg(long)]
    incident: Option<String>,
    /// Only this site, by its name.
    #[arg(long)]
    site: Option<String>,
    /// Only this country.
    #[arg(long, value_name = "CODE")]
    geography: Option<String>,
    /// Only this provider, by its AS number.
    #[arg(long, value_name = "ASN")]
    provider: Option<u32>,
    /// Once: from now on, for so long.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "weekly")]
    lasting: Option<Duration>,
    /// Each week: days on which it starts, such as `sat,sun`.
    #[arg(long, value_delimiter = ',', requires = "start", requires = "minutes")]
    weekly: Vec<String>,
    /// Local time at which it starts, such as 22:00.
    #[arg(long)]
    start: Option<String>,
    /// How long it lasts, 1 to 1440 minutes.
    #[arg(long)]
    minutes: Option<u32>,
    /// IANA time zone; without it that of each site.
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
}

fn organisation() -> OrganisationId {
    OrganisationId::default_organisation()
}

fn by() -> Doing {
    Doing {
        at_unix_ms: clock::unix_ms(),
        who: "command line".to_owned(),
    }
}

/// Runs a command about incidents.
pub(super) async fn run(config: &Config, command: IncidentCommand) -> Result<()> {
    let store = open_existing_store(config).await?;
    match command {
        IncidentCommand::List { open, json } => list(&store, open, json).await,
        IncidentCommand::Show { incident, json } => show(&store, &incident, json).await,
        IncidentCommand::Acknowledge { incident, undo } => {
            store.incident(&organisation(), &incident).await?;
            let changed = store
                .acknowledge(&organisation(), &incident, by(), !undo)
                .await?;
            print(match (changed, undo) {
                (true, false) => "acknowledged",
                (true, true) => "nobody looks after it any more",
                (false, false) => "somebody acknowledged it before",
                (false, true) => "nobody had acknowledged it",
            })
        }
        IncidentCommand::Note { incident, text } => {
            store.incident(&organisation(), &incident).await?;
            let note = Note { by: by(), text };
            store.add_note(&organisation(), &incident, note).await?;
            print("noted")
        }
        IncidentCommand::Evidence {
            incident,
            out,
            full,
        } => {
            let now_unix_ms = clock::unix_ms();
            let gathered =
                gather::gather(&store, &organisation(), &incident, full, now_unix_ms).await?;
            let mut file = std::fs::File::create_new(&out)
                .with_context(|| format!("{} cannot be made", out.display()))?;
            std::io::Write::write_all(&mut file, page::page(&gathered).as_bytes())
                .with_context(|| format!("{} cannot be written", out.display()))?;
            print(&format!("wrote {}", out.display()))
        }
    }
}

async fn list(store: &impl Store, open: bool, json: bool) -> Result<()> {
    let now_unix_ms = clock::unix_ms();
    let query = IncidentQuery {
        from_unix_ms: now_unix_ms - 30 * 24 * 3_600_000,
        to_unix_ms: i64::MAX,
        open: open.then_some(true),
        agent: None,
        limit: 200,
    };
    let incidents = store.incidents(&organisation(), &query).await?;
    if json {
        return print(&serde_json::to_string_pretty(&incidents)?);
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["BEGAN", "STATE", "CLASS", "AGENTS", "INCIDENT", "WHAT"]);
    for incident in &incidents {
        table.add_row([
            utc(incident.onset_to_unix_ms),
            incident.state.clone(),
            incident.class.as_str().to_owned(),
            incident.agents_total.to_string(),
            incident.incident_id.clone(),
            incident.text.clone(),
        ]);
    }
    print(&if incidents.is_empty() {
        "no incident".to_owned()
    } else {
        table.trim_fmt()
    })
}

/// Runs a command about change windows.
pub(super) async fn mute(config: &Config, command: MuteCommand) -> Result<()> {
    let store = open_existing_store(config).await?;
    match command {
        MuteCommand::Add(args) => {
            let wish = wish_of(&store, *args).await?;
            Window::of(&wish, zone)?;
            let id = Uuid::new_v4().to_string();
            let kept = KeptWindow {
                id: id.clone(),
                by: by(),
                wish,
            };
            store.put_window(&organisation(), kept).await?;
            print(&id)
        }
        MuteCommand::List { json } => list_windows(&store, json).await,
        MuteCommand::Remove { window } => {
            if store.delete_window(&organisation(), &window, by()).await? {
                return print("removed");
            }
            bail!("there is no change window {window}; `mute list` lists them")
        }
    }
}

async fn wish_of(store: &impl Store, args: MuteArgs) -> Result<WindowWish> {
    let site_id = match &args.site {
        None => None,
        Some(name) => {
            let site = store.site_by_name(&organisation(), name).await?;
            let site = site.ok_or_else(|| StoreError::NotFound {
                what: "site",
                key: name.clone(),
            })?;
            Some(site.id.to_string())
        }
    };
    let now_unix_ms = clock::unix_ms();
    let millis = |lasting: Duration| i64::try_from(lasting.as_millis()).unwrap_or(i64::MAX);
    let weekly = (!args.weekly.is_empty()).then(|| Weekly {
        days: args.weekly,
        start: args.start.unwrap_or_default(),
        minutes: args.minutes.unwrap_or_default(),
        time_zone: args.zone,
    });
    Ok(WindowWish {
        reason: args.reason,
        covers: Covers {
            incident_id: args.incident,
            site_id,
            geography: args.geography,
            provider_asn: args.provider,
        },
        from_unix_ms: args.lasting.map(|_| now_unix_ms),
        to_unix_ms: args
            .lasting
            .map(|lasting| now_unix_ms.saturating_add(millis(lasting))),
        weekly,
    })
}

async fn show(store: &impl Store, id: &str, json: bool) -> Result<()> {
    let incident = store.incident(&organisation(), id).await?;
    let events = store
        .incident_events(&organisation(), id, EVENTS_MAX)
        .await?;
    let marks = store.marks(&organisation(), id).await?;
    let unseen = unseen(&events);
    if json {
        let doing = |by: &Doing| serde_json::json!({ "who": by.who, "at_unix_ms": by.at_unix_ms });
        let notes: Vec<_> = marks
            .notes
            .iter()
            .map(|note| serde_json::json!({ "by": doing(&note.by), "text": note.text }))
            .collect();
        return print(&serde_json::to_string_pretty(&serde_json::json!({
            "incident": incident,
            "events": events,
            "unseen": unseen,
            "acknowledged": marks.acknowledged.as_ref().map(doing),
            "notes": notes,
        }))?);
    }
    let mut lines = vec![
        incident.text.clone(),
        format!(
            "{}, {}, {} of {} agents still in it",
            incident.class.as_str(),
            incident.state,
            incident.agents_open,
            incident.agents_total
        ),
    ];
    let mut part = |title: &str, of: Vec<String>| {
        if !of.is_empty() {
            lines.push(format!("\n{title}"));
            lines.extend(of.into_iter().map(|line| format!("  {line}")));
        }
    };
    part("why", incident.reasons.clone());
    let when = |at: i64, text: &str| format!("{}  {text}", utc(at));
    let timeline = incident.timeline.iter();
    let timeline = timeline.map(|entry| when(entry.at_unix_ms, &entry.text));
    part("what happened", timeline.collect());
    part("not seen", unseen);
    let looked_after = marks.acknowledged.iter();
    let said = looked_after.map(|by| when(by.at_unix_ms, &format!("{} looks after it", by.who)));
    let notes = marks.notes.iter();
    let notes = notes.map(|note| {
        when(
            note.by.at_unix_ms,
            &format!("{}: {}", note.by.who, note.text),
        )
    });
    part("what people said", said.chain(notes).collect());
    print(&lines.join("\n"))
}

async fn list_windows(store: &impl Store, json: bool) -> Result<()> {
    let windows = store.windows(&organisation()).await?;
    if json {
        let rows: Vec<_> = windows
            .iter()
            .map(|kept| {
                serde_json::json!({ "window_id": kept.id, "created_unix_ms": kept.by.at_unix_ms, "who": kept.by.who, "window": kept.wish })
            })
            .collect();
        return print(&serde_json::to_string_pretty(&rows)?);
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["WINDOW", "NOW", "WHEN", "REASON", "MADE BY"]);
    let now_unix_ms = clock::unix_ms();
    for kept in &windows {
        let holds =
            Window::of(&kept.wish, zone).is_ok_and(|window| window.holds(now_unix_ms, None));
        let when = match (&kept.wish.weekly, kept.wish.to_unix_ms) {
            (Some(weekly), _) => format!(
                "{} {} for {} min, {}",
                weekly.days.join(","),
                weekly.start,
                weekly.minutes,
                weekly.time_zone.as_deref().unwrap_or("local time")
            ),
            (None, Some(to)) => format!("until {}", utc(to)),
            (None, None) => "?".to_owned(),
        };
        table.add_row([
            kept.id.as_str(),
            if holds { "holds" } else { "rests" },
            &when,
            &kept.wish.reason,
            &kept.by.who,
        ]);
    }
    print(&if windows.is_empty() {
        "no change window".to_owned()
    } else {
        table.trim_fmt()
    })
}
