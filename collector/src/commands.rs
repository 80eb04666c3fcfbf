//! What each command does.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use firstmile_collector::auth::login::{self, LoginError};
use firstmile_collector::backup;
use firstmile_collector::clock;
use firstmile_collector::config::Config;
use firstmile_collector::geo::{Declared, GeographyError};
use firstmile_collector::registry::Agent;
use firstmile_collector::registry::invite::{Invitation, InviteError, Inviter};
use firstmile_collector::registry::sites_file::SitesFileError;
use firstmile_collector::serve::{self, StartError};
use firstmile_collector::store::Store;
use firstmile_collector::store::embedded;
use firstmile_collector::store::roll_out::RollOut;
use firstmile_wire::ids::{AgentId, OrganisationId};
use firstmile_wire::join::{JoinString, JoinStringError};
use tracing::info;

use super::JoinArgs;
use super::agent_rows::{AgentRow, json_of_revoked, table, text_of_revoked};

/// Exit code of a command that failed.
pub(super) const FAILED: u8 = 1;
/// Exit code of a usage or a configuration that cannot work.
pub(super) const CONFIGURATION: u8 = 2;

/// Says on one line why, and gives the exit code.
pub(super) fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    let line = format!("firstmile-collector: {error:#}\n");
    // Standard error may be closed; the exit code still tells.
    io::stderr()
        .write_all(line.as_bytes())
        .map_or(ExitCode::from(code), |()| ExitCode::from(code))
}

/// The exit code of an outcome.
pub(super) fn done(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, code_of(&error)),
    }
}

/// Whether the same command would fail again until somebody changes it or the configuration.
fn code_of(error: &anyhow::Error) -> u8 {
    let usage = error.is::<GeographyError>()
        || error.is::<JoinStringError>()
        || error.is::<SitesFileError>()
        || matches!(
            error.downcast_ref::<InviteError>(),
            Some(InviteError::Name | InviteError::Life | InviteError::Uses)
        )
        || matches!(
            error.downcast_ref::<LoginError>(),
            Some(LoginError::Length | LoginError::User)
        )
        || error
            .downcast_ref::<StartError>()
            .is_some_and(StartError::is_configuration);
    if usage { CONFIGURATION } else { FAILED }
}

/// Names the configuration in an error that has to be mended there.
fn mended_in(config: &Config, error: StartError) -> anyhow::Error {
    if error.is_configuration() {
        anyhow::Error::from(error).context(config.file.display().to_string())
    } else {
        error.into()
    }
}

/// Serves until a signal to stop comes.
pub(super) async fn serve(config: &Config) -> ExitCode {
    let starting = match Starting::open() {
        Ok(starting) => starting,
        Err(error) => return done(Err(unheard(error))),
    };
    let mut running = match serve::start(config).await {
        Ok(running) => running,
        Err(error) => return done(Err(mended_in(config, error))),
    };
    let mut signals = match starting.and_stops() {
        Ok(signals) => signals,
        Err(error) => {
            running.stop().await;
            return done(Err(unheard(error)));
        }
    };
    let ready = format!(
        "firstmile-collector: dashboard {} ingest https://{} public {}",
        running.dashboard_url, running.ingest_address, running.public_url
    );
    let outcome = print(&ready);
    if outcome.is_ok() {
        while signals.next().await == Asked::Reload {
            running.reload();
        }
    }
    info!("stopping");
    running.stop().await;
    done(outcome)
}

/// What a signal asks for.
#[derive(PartialEq, Eq)]
enum Asked {
    Stop,
    Reload,
}

/// What is said when signals cannot be waited for.
fn unheard(error: io::Error) -> anyhow::Error {
    anyhow::Error::from(error).context("signals cannot be waited for")
}

/// Signals of a start, which may take minutes: SIGHUP is caught, since it would end the program; what asks to stop still ends it.
#[cfg(unix)]
struct Starting(tokio::signal::unix::Signal);

/// Signals of a program at work.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Starting {
    fn open() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::hangup()).map(Self)
    }

    fn and_stops(self) -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: self.0,
        })
    }
}

#[cfg(unix)]
impl Signals {
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}

#[cfg(not(unix))]
struct Starting;

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Starting {
    fn open() -> io::Result<Self> {
        Ok(Self)
    }

    fn and_stops(self) -> io::Result<Signals> {
        Ok(Signals)
    }
}

#[cfg(not(unix))]
impl Signals {
    async fn next(&mut self) -> Asked {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "signals cannot be waited for");
        }
        Asked::Stop
    }
}

/// Prints a join string. Works beside a running collector, and before its first start.
pub(super) async fn join_string(config: &Config, args: JoinArgs) -> Result<()> {
    let geography = Declared {
        country: args.country,
        subdivision: args.subdivision,
        metro: args.metro,
        latitude: args.latitude,
        longitude: args.longitude,
    };
    let geography = geography
        .parse()
        .context("the site cannot be declared so")?;
    let authority = serve::open_authority(config)?;
    let store: Arc<dyn Store> = Arc::new(serve::open_store(config).await?);
    let desk = Inviter::new(
        Arc::clone(&store),
        config.ingest.public_url.clone(),
        authority.hash(),
    );
    let organisation = OrganisationId::default_organisation();
    let invitation = Invitation {
        site: args.site,
        geography,
        life: args.expires,
        uses: args.uses,
    };
    let now_unix_ms = clock::unix_ms();
    let invited = desk.invite(&organisation, invitation, now_unix_ms).await?;
    let of = invited.site.as_ref().map_or_else(
        || "agents placed by rules".to_owned(),
        |site| format!("site {}", site.name),
    );
    let line = format!("made a join string for {of}, good for {} agents", args.uses);
    store
        .audit(&organisation, now_unix_ms, "command line", &line)
        .await?;
    if !args.json {
        return print(&invited.join.to_string());
    }
    print(&serde_json::to_string_pretty(&serde_json::json!({
        "join_string": invited.join.to_string(),
        "site_id": invited.site.as_ref().map(|site| site.id.to_string()),
        "site": invited.site.as_ref().map(|site| site.name.clone()),
        "uses": args.uses,
        "expires_unix_ms": invited.expires_unix_ms,
    }))?)
}

/// Takes a join string back.
pub(super) async fn revoke_join_string(config: &Config, text: String) -> Result<()> {
    let text = if text == "-" {
        io::read_to_string(io::stdin()).context("standard input cannot be read")?
    } else {
        text
    };
    let join: JoinString = text.parse()?;
    let store: Arc<dyn Store> = Arc::new(serve::open_store(config).await?);
    let desk = Inviter::new(store, join.collector, join.ca);
    let organisation = OrganisationId::default_organisation();
    let now_unix_ms = clock::unix_ms();
    let revoked = desk
        .revoke(&organisation, &join.secret, now_unix_ms, "command line")
        .await?;
    match revoked {
        None => bail!("this collector made no such join string; was it made by another one?"),
        Some(grant) if grant.uses > 0 => {
            print("the join string is taken back; the agents that it let in stay enrolled")
        }
        Some(_) => print("the join string is taken back"),
    }
}

/// Refuses an agent from now on, and `with_clones` those that were cloned from its machine: who has the machine's key may have
/// made them.
pub(super) async fn revoke_agent(
    config: &Config,
    wanted: &str,
    with_clones: bool,
    json: bool,
) -> Result<()> {
    let store = open_existing_store(config).await?;
    let organisation = OrganisationId::default_organisation();
    let now_unix_ms = clock::unix_ms();
    let revoke = async |id| {
        let revoking = store.revoke_agent(&organisation, id, now_unix_ms, "command line");
        revoking.await
    };
    let agents = store.agents(&organisation).await?;
    let mut agent = agent_named(agents.clone(), wanted)?;
    let fresh = revoke(agent.id).await?;
    agent.revoked = true;
    let ids = store.clones_of(&organisation, agent.id).await?;
    let in_service = |one: &Agent| !one.revoked && ids.contains(&one.id);
    let mut clones: Vec<Agent> = agents.into_iter().filter(in_service).collect();
    for clone in clones.iter_mut().filter(|_| with_clones) {
        revoke(clone.id).await?;
        clone.revoked = true;
    }
    let sites = store.sites(&organisation).await?;
    let row = |agent| AgentRow::of(agent, &sites, now_unix_ms);
    let rows: Vec<_> = clones.iter().map(row).collect();
    print(&if json {
        json_of_revoked(&row(&agent), &rows)?
    } else {
        text_of_revoked(&row(&agent), fresh, with_clones, &rows)
    })
}

/// The agent with this id, or with this host name: of several, the only one that is not revoked.
pub(super) fn agent_named(agents: Vec<Agent>, wanted: &str) -> Result<Agent> {
    let wanted = wanted.trim();
    if let Ok(id) = wanted.parse::<AgentId>() {
        return agents
            .into_iter()
            .find(|agent| agent.id == id)
            .ok_or_else(|| anyhow!("there is no agent {id}; `agents` lists them"));
    }
    let of_host = |agent: &Agent| agent.hostname.eq_ignore_ascii_case(wanted);
    let (in_service, revoked): (Vec<Agent>, Vec<Agent>) = agents
        .into_iter()
        .filter(of_host)
        .partition(|agent| !agent.revoked);
    let candidates = if in_service.is_empty() {
        revoked
    } else {
        in_service
    };
    if candidates.len() > 1 {
        let ids: Vec<String> = candidates
            .iter()
            .map(|agent| agent.id.to_string())
            .collect();
        bail!(
            "{} agents have the host name {wanted}; name one by its id: {}",
            ids.len(),
            ids.join(", ")
        );
    }
    candidates
        .into_iter()
        .next()
        .ok_or_else(|| anyhow!("no agent has the host name {wanted}; `agents` lists them"))
}

/// The store of a collector that was started once; a question makes none.
pub(super) async fn open_existing_store(config: &Config) -> Result<impl Store> {
    if !config.data_dir.is_dir() {
        bail!(
            "there is no collector in {}; start one, or name its configuration",
            config.data_dir.display()
        );
    }
    Ok(serve::open_store(config).await?)
}

/// Reads all that is stored, and says what is damaged.
pub(super) fn check_store(config: &Config) -> Result<()> {
    let checked = embedded::check(&config.data_dir)?;
    for fault in &checked.faults {
        print(&format!("{}: {fault}", embedded::FILE_NAME))?;
    }
    for (path, fault) in &checked.days.faults {
        print(&format!("{}: {fault}", path.display()))?;
    }
    let days = &checked.days;
    print(&format!(
        "read {} days of samples: {} chunks, {} samples",
        days.files, days.chunks, days.rows
    ))?;
    if !checked.is_sound() {
        bail!(
            "the store in {} is damaged; what can be read is served, and a backup brings the rest back",
            config.data_dir.display()
        );
    }
    Ok(())
}

/// Lists the agents of the default organisation.
pub(super) async fn agents(config: &Config, json: bool) -> Result<()> {
    let store = open_existing_store(config).await?;
    let organisation = OrganisationId::default_organisation();
    let agents = store.agents(&organisation).await?;
    let sites = store.sites(&organisation).await?;
    let now_unix_ms = clock::unix_ms();
    let rows: Vec<AgentRow<'_>> = agents
        .iter()
        .map(|agent| AgentRow::of(agent, &sites, now_unix_ms).planned(agent, &config.rollout))
        .collect();
    if json {
        return print(&serde_json::to_string_pretty(&rows)?);
    }
    print(&table(&rows, now_unix_ms))
}

/// Copies the whole collector into a folder.
pub(super) fn back_up(config: &Config, folder: &Path) -> Result<()> {
    let manifest = backup::back_up(&config.data_dir, folder, clock::unix_ms())?;
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    let files = manifest.files.len();
    print(&format!(
        "backed up {} into {}: {files} files, {bytes} bytes. It holds the key of the certificate authority: keep it as secret.",
        config.data_dir.display(),
        folder.display()
    ))
}

/// Puts a backup into the data folder.
pub(super) fn restore(config: &Config, folder: &Path) -> Result<()> {
    let manifest = backup::restore(folder, &config.data_dir)?;
    let taken = jiff::Timestamp::from_millisecond(manifest.created_unix_ms)
        .map_or_else(|_| "an unknown time".to_owned(), |time| time.to_string());
    print(&format!(
        "restored the backup of {taken} into {}; start the collector. Reports that agents sent since then and were acknowledged \
         are gone with the old store; everything later comes by itself.",
        config.data_dir.display()
    ))
}

/// Sets the dashboard's login.
pub(super) async fn passwd(config: &Config, user: &str) -> Result<()> {
    serve::open_authority(config)?; // makes data_dir, as a first start does
    let password = read_password().await?;
    login::set_login(&config.data_dir, user, &password)?;
    print(&format!(
        "login {user} set; restart the collector to use it"
    ))
}

/// One line of standard input. On a terminal it is typed without echo where `stty` can switch it off; Ctrl-C gives it back.
async fn read_password() -> Result<String> {
    let on_terminal = io::stdin().is_terminal();
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    // Listens from here on: what is hidden has to be shown again.
    let early = futures::poll!(&mut interrupted);
    let hidden = on_terminal && early.is_pending() && stty("-echo");
    let asked = if on_terminal {
        io::stderr().write_all(b"password: ")
    } else {
        Ok(())
    };
    let read = match asked.context("the terminal cannot be written to") {
        Ok(()) => tokio::select! {
            read = line_of_input() => read,
            _ = interrupted => Err(anyhow!("interrupted; the login stays as it is")),
        },
        Err(error) => Err(error),
    };
    if hidden {
        stty("echo");
        io::stderr()
            .write_all(b"\n")
            .context("the terminal cannot be written to")?;
    }
    let line = read?;
    if line.is_empty() {
        return Err(anyhow!("no password came; write it to standard input"));
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads on a thread of its own: no runtime waits for it when the process ends before the line does.
async fn line_of_input() -> Result<String> {
    let (done, line) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line).map(|_| line);
        // Nobody waits after an interrupt.
        drop(done.send(read));
    });
    line.await
        .context("the password cannot be read")?
        .context("the password cannot be read")
}

fn stty(mode: &str) -> bool {
    std::process::Command::new("stty")
        .arg(mode)
        .status()
        .is_ok_and(|status| status.success())
}

/// The configuration was read before any command; what is left are the files that it names, and the login.
pub(super) fn check_config(config: &Config) -> Result<()> {
    serve::check(config).map_err(|error| mended_in(config, error))?;
    print("the configuration is good")
}

/// Prints what a shell completes `command` by.
pub(super) fn completions(shell: clap_complete::Shell, mut command: clap::Command) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "firstmile-collector", &mut text);
    done(print(&String::from_utf8_lossy(&text)))
}

/// Prints the document that `docs/openapi.json` is checked against.
pub(super) fn openapi() -> Result<()> {
    print(firstmile_collector::api::openapi::document_json().trim_end())
}

pub(super) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("standard output cannot be written to")
}

#[cfg(test)]
mod tests {
    use firstmile_collector::registry::SiteId;
    use uuid::Uuid;

    use super::*;

    fn agent(number: u128, hostname: &str, revoked: bool) -> Agent {
        Agent {
            id: AgentId(Uuid::from_u128(number)),
            organisation: OrganisationId::default_organisation(),
            site: SiteId(Uuid::from_u128(9)),
            hostname: hostname.to_owned(),
            version: "0.1.0".to_owned(),
            os: None,
            icmp_capability: None,
            enrolled_unix_ms: 0,
            last_seen_unix_ms: None,
            spool_dropped_reports: 0,
            revoked,
            usual_gap_ms: 0,
        }
    }

    #[test]
    fn an_agent_is_named_by_its_id_or_by_a_host_name_that_is_its_own() {
        let agents = [
            agent(1, "one.example", false),
            agent(2, "two.example", false),
            agent(3, "two.example", false),
            agent(4, "new.example", true),
            agent(5, "new.example", false),
            agent(6, "gone.example", true),
        ];
        let second = agents[1].id.to_string();
        for (wanted, want) in [
            (second.as_str(), Ok(2)),
            ("one.example", Ok(1)),
            (" ONE.example\n", Ok(1)),
            ("two.example", Err("2 agents have the host name")),
            ("new.example", Ok(5)),
            ("gone.example", Ok(6)),
            ("no.example", Err("no agent has the host name")),
            (
                "00000000-0000-0000-0000-0000000000ff",
                Err("there is no agent"),
            ),
        ] {
            match (agent_named(agents.to_vec(), wanted), want) {
                (Ok(found), Ok(number)) => assert_eq!(found.id.0.as_u128(), number, "{wanted}"),
                (Err(error), Err(text)) => assert!(error.to_string().starts_with(text), "{error}"),
                (found, _) => panic!("{wanted}: {found:?}"),
            }
        }
    }
}
