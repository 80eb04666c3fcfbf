//! The commands about sites: load them from a file, list them, move an agent.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::Subcommand;
use comfy_table::Table;
use firstmile_collector::clock;
use firstmile_collector::config::Config;
use firstmile_collector::registry::placing::{Newcomer, UNASSIGNED, place};
use firstmile_collector::registry::sites_file::{self, DeclaredSite};
use firstmile_collector::registry::{Site, SiteId};
use firstmile_collector::serve;
use firstmile_collector::store::Store;
use firstmile_collector::store::roll_out::RollOut;
use firstmile_wire::ids::OrganisationId;
use uuid::Uuid;

use super::commands::{agent_named, open_existing_store, print};

/// What can be done with sites.
#[derive(Debug, Subcommand)]
pub(super) enum SitesCommand {
    /// Make and change sites as a CSV file says, with the rules that lead agents to them; sites that are not in it stay.
    Import {
        /// The file; its first line names the columns: name, country, subdivision, metro, latitude, longitude, rules.
        file: PathBuf,
        /// Only say what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// List the sites with their rules.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs a command.
pub(super) async fn run(config: &Config, command: SitesCommand) -> Result<()> {
    match command {
        SitesCommand::Import { file, dry_run } => import(config, &file, dry_run).await,
        SitesCommand::List { json } => list(config, json).await,
    }
}

async fn import(config: &Config, file: &Path, dry_run: bool) -> Result<()> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{} cannot be read", file.display()))?;
    let declared = sites_file::parse(&text).with_context(|| file.display().to_string())?;
    serve::open_authority(config)?; // makes data_dir, as a first start does
    let store = serve::open_store(config).await?;
    let organisation = OrganisationId::default_organisation();
    let known = store.sites(&organisation).await?;
    let (mut made, mut changed, mut same) = (0_u32, 0_u32, 0_u32);
    for one in &declared {
        let before = known.iter().find(|site| site.name == one.name);
        match before {
            None => made += 1,
            Some(site) if site.geography == one.geography => same += 1,
            Some(_) => changed += 1,
        }
        if !dry_run {
            put(&store, &organisation, one, before).await?;
        }
    }
    let placed = if dry_run {
        0
    } else {
        place_unassigned(&store, &organisation).await?
    };
    if !dry_run {
        let line = format!("imported {} sites from a file", declared.len());
        store
            .audit(&organisation, clock::unix_ms(), "command line", &line)
            .await?;
    }
    let verb = if dry_run { "would be" } else { "were" };
    print(&format!(
        "{made} sites {verb} made, {changed} changed, {same} are as before; {placed} agents without a site got one"
    ))
}

async fn put(
    store: &impl Store,
    organisation: &OrganisationId,
    one: &DeclaredSite,
    before: Option<&Site>,
) -> Result<()> {
    let site = Site {
        id: before.map_or_else(|| SiteId(Uuid::new_v4()), |site| site.id),
        organisation: organisation.clone(),
        name: one.name.clone(),
        geography: one.geography.clone(),
    };
    store.put_site(&site).await?;
    store
        .put_site_rules(organisation, site.id, one.rules.clone())
        .await?;
    Ok(())
}

/// Agents that no rule placed so far, by their host names: tag and address were told at enrolment only.
async fn place_unassigned(store: &impl Store, organisation: &OrganisationId) -> Result<u32> {
    let Some(unassigned) = store.site_by_name(organisation, UNASSIGNED).await? else {
        return Ok(0);
    };
    let rules = store.site_rules(organisation).await?;
    let mut placed = 0;
    for agent in store.agents(organisation).await? {
        let newcomer = Newcomer {
            hostname: agent.hostname.clone(),
            ..Newcomer::default()
        };
        if agent.site == unassigned.id
            && let Some(site) = place(&rules, &newcomer)
        {
            let now = clock::unix_ms();
            store
                .move_agent(organisation, agent.id, site, now, "command line")
                .await?;
            placed += 1;
        }
    }
    Ok(placed)
}

async fn list(config: &Config, json: bool) -> Result<()> {
    let store = open_existing_store(config).await?;
    let organisation = OrganisationId::default_organisation();
    let rules = store.site_rules(&organisation).await?;
    let agents = store.agents(&organisation).await?;
    let sites = store.sites(&organisation).await?;
    let of = |site: &Site| {
        let rules = rules.iter().filter(|rule| rule.site == site.id);
        let rules: Vec<String> = rules.map(|rule| rule.rule.to_string()).collect();
        let agents = agents
            .iter()
            .filter(|agent| agent.site == site.id && !agent.revoked);
        (rules, agents.count())
    };
    if json {
        let rows = sites.iter().map(|site| {
            let (rules, agents) = of(site);
            let place = &site.geography;
            serde_json::json!({
                "site_id": site.id.to_string(), "name": site.name, "country": place.country, "subdivision": place.subdivision,
                "metro": place.metro, "latitude": place.latitude, "longitude": place.longitude, "rules": rules, "agents": agents,
            })
        });
        return print(&serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?);
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["SITE", "COUNTRY", "METRO", "AGENTS", "RULES"]);
    for site in &sites {
        let (rules, agents) = of(site);
        let country = site.geography.country.as_deref().unwrap_or("unknown");
        let metro = site.geography.metro.as_deref().unwrap_or("");
        table.add_row([
            site.name.as_str(),
            country,
            metro,
            &agents.to_string(),
            &rules.join(" "),
        ]);
    }
    print(&if sites.is_empty() {
        "there is no site yet".to_owned()
    } else {
        table.trim_fmt()
    })
}

/// Moves an agent to a site that exists.
pub(super) async fn move_agent(config: &Config, wanted: &str, site: &str) -> Result<()> {
    let store = open_existing_store(config).await?;
    let organisation = OrganisationId::default_organisation();
    let agent = agent_named(store.agents(&organisation).await?, wanted)?;
    let found = store.site_by_name(&organisation, site).await?;
    let to = found.ok_or_else(|| {
        anyhow!("there is no site {site:?}; `sites list` lists them, `sites import` makes them")
    })?;
    let moved = store
        .move_agent(
            &organisation,
            agent.id,
            to.id,
            clock::unix_ms(),
            "command line",
        )
        .await?;
    let (host, id) = (&agent.hostname, agent.id);
    print(&if moved {
        format!("{host} ({id}) is at {site} from now on; its recent figures move along")
    } else {
        format!("{host} ({id}) is at {site} already")
    })
}
