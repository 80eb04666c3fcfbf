//! `firstmile-lab`: a simulated internet with agents on all sites. Exit codes: 0 ok, 1 failed, 2 wrong usage.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use firstmile_lab::check::{self, CheckOptions};
use firstmile_lab::control::{Outcome, Request, ask};
use firstmile_lab::inside;
use firstmile_lab::outer::{Lab, Options};
use firstmile_lab::score::{self, ScoreOptions};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(
    name = "firstmile-lab",
    version,
    about = "A simulated internet with agents on all sites"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring the lab up and keep it until Ctrl-C
    Up(Up),
    /// Make something happen in a running lab: pop-down, pop-up, …; `list` names all; `link NAME delay=20ms` changes a link
    Event {
        /// Name of the event and its arguments
        #[arg(required = true)]
        event: Vec<String>,
        #[command(flatten)]
        state: State,
    },
    /// Change how a link behaves: delay=20ms, jitter=1ms, loss=0.1, blackhole=true
    Link {
        /// Name of the link, such as a-ams:icr01-ams
        name: String,
        /// What to change
        #[arg(required = true)]
        changes: Vec<String>,
        #[command(flatten)]
        state: State,
    },
    /// Show the true paths and RTTs of a running lab
    Status(State),
    /// Run a program on a machine of a running lab, such as `on paris-pc -- ip route`; it may take a minute
    On {
        /// The machine: a site's router by the site's name, its host with `-pc`, or a router
        machine: String,
        /// The program and its arguments
        #[arg(required = true, last = true)]
        command: Vec<String>,
        #[command(flatten)]
        state: State,
    },
    /// Bring up a lab of its own and compare what is measured with the truth
    Check(Check),
    /// Bring up a lab of its own, make paths move again and again, and score what is flagged
    Score(Score),
    /// Answer echo requests as nobody should, in the current namespace; the addresses are its own, to lie with
    #[command(hide = true)]
    Hostile {
        /// IPv4 and IPv6 address to answer at, then those to lie with
        #[arg(num_args = 4, required = true)]
        addresses: Vec<std::net::IpAddr>,
        #[arg(long, value_parser = humantime::parse_duration)]
        duration: Duration,
    },
    /// Internal: leave for new namespaces
    #[command(hide = true)]
    Enter(Inside),
    /// Internal: the process inside
    #[command(hide = true)]
    Inside(Inside),
    /// Internal: run a program that ends when its parent does
    #[command(hide = true)]
    Leash {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[derive(Args)]
struct State {
    /// State directory of the lab
    #[arg(long, default_value = "target/lab")]
    state: PathBuf,
}

#[derive(Args)]
struct Binaries {
    /// The program firstmile-agent
    #[arg(long)]
    agent_bin: PathBuf,
    /// The program firstmile-collector
    #[arg(long)]
    collector_bin: PathBuf,
    /// Scenario file; the base scenario when absent
    #[arg(long)]
    scenario: Option<PathBuf>,
}

#[derive(Args)]
struct Up {
    #[command(flatten)]
    state: State,
    #[command(flatten)]
    binaries: Binaries,
    /// Where the dashboard is served
    #[arg(long, default_value = "127.0.0.1:8080")]
    dashboard: SocketAddr,
}

#[derive(Args)]
struct Check {
    #[command(flatten)]
    binaries: Binaries,
    /// Where the figures are written
    #[arg(long, default_value = "target/lab-check.json")]
    json: PathBuf,
    /// How long nothing must be flagged
    #[arg(long, default_value = "5m", value_parser = humantime::parse_duration)]
    quiet: Duration,
}

#[derive(Args)]
struct Score {
    #[command(flatten)]
    binaries: Binaries,
    /// Where the figures are written
    #[arg(long, default_value = "target/bench/lab-shift.json")]
    json: PathBuf,
    /// How often each move is made
    #[arg(long, default_value_t = 1)]
    repetitions: u32,
    /// Which moves are made
    #[arg(long, value_delimiter = ',', default_values_t = score::EVENTS.map(str::to_owned))]
    events: Vec<String>,
}

#[derive(Args, Clone)]
struct Inside {
    #[arg(long)]
    state: PathBuf,
    #[arg(long)]
    agent_bin: PathBuf,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("firstmile-lab: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(arguments) => runtime()?
            .block_on(up(arguments))
            .map(|()| ExitCode::SUCCESS),
        Command::Check(arguments) => runtime()?.block_on(check(arguments)),
        Command::Score(arguments) => runtime()?.block_on(score_moves(arguments)),
        Command::Event { event, state } => tell(&state, &request(&event)?),
        Command::Link {
            name,
            changes,
            state,
        } => tell(&state, &Request::Link { name, changes }),
        Command::On {
            machine,
            command,
            state,
        } => on(&state, machine, command),
        Command::Status(state) => tell(&state, &Request::Status),
        Command::Hostile {
            addresses,
            duration,
        } => {
            let [four, six, other_four, other_six] = addresses.as_slice() else {
                bail!("four addresses");
            };
            let (own, others) = ([*four, *six], [*other_four, *other_six]);
            let requests = firstmile_lab::hostile::answer(own, others, duration)?;
            say(&format!("{requests} requests"));
            Ok(ExitCode::SUCCESS)
        }
        Command::Enter(arguments) => enter(&arguments),
        Command::Inside(arguments) => {
            inside::run(&arguments.state, &arguments.agent_bin, &say).map(|()| ExitCode::SUCCESS)
        }
        Command::Leash { command } => leash(&command),
    }
}

fn request(event: &[String]) -> anyhow::Result<Request> {
    match event {
        [verb, name, changes @ ..] if verb == "link" && !changes.is_empty() => Ok(Request::Link {
            name: name.clone(),
            changes: changes.to_vec(),
        }),
        [name] => Ok(Request::Event { name: name.clone() }),
        [..] => bail!("an event is one word, or: link NAME delay=20ms"),
    }
}

fn tell(state: &State, request: &Request) -> anyhow::Result<ExitCode> {
    let said: String = ask(&state.state, request)?;
    say(said.trim_end());
    Ok(ExitCode::SUCCESS)
}

fn on(state: &State, machine: String, command: Vec<String>) -> anyhow::Result<ExitCode> {
    let request = Request::Run {
        machine,
        command,
        limit_ms: 60_000,
    };
    let outcome: Outcome = ask(&state.state, &request)?;
    say(outcome.stdout.trim_end());
    complain(outcome.stderr.trim_end());
    let code = outcome.code.and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

async fn up(arguments: Up) -> anyhow::Result<()> {
    let options = options(
        arguments.state.state,
        arguments.binaries,
        arguments.dashboard,
    )?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let progress = |text: &str| say(&format!("lab: {text}"));
    let mut lab = tokio::select! {
        lab = Lab::start(options, &progress) => lab?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    let events: String = lab
        .ask(Request::Event {
            name: "list".to_owned(),
        })
        .await?;
    say(&format!(
        "\ndashboard {}\n\nWhat can happen (cargo xtask lab event NAME):\n{events}\nCtrl-C ends the lab.",
        lab.dashboard()
    ));
    let broken = tokio::select! {
        error = lab.broken() => Some(error),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    progress("ending");
    lab.stop().await;
    broken.map_or(Ok(()), Err)
}

async fn check(arguments: Check) -> anyhow::Result<ExitCode> {
    let state = tempfile::tempdir().context("cannot make a directory for the lab")?;
    let options = options(
        state.path().join("lab"),
        arguments.binaries,
        SocketAddr::from(([127, 0, 0, 1], 0)),
    )?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let progress = |text: &str| say(&format!("check: {text}"));
    let check = CheckOptions {
        lab: options,
        quiet: arguments.quiet,
    };
    let report = tokio::select! {
        report = check::run(check, &progress) => report,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    };
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            let kept = state.keep();
            return Err(error.context(format!("the logs are kept in {}", kept.display())));
        }
    };
    say(&report.table());
    report.write(&arguments.json)?;
    if report.passed() {
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("logs are kept in {}", state.keep().display()));
    Ok(ExitCode::FAILURE)
}

async fn score_moves(arguments: Score) -> anyhow::Result<ExitCode> {
    let state = tempfile::tempdir().context("cannot make a directory for the lab")?;
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let lab = options(state.path().join("lab"), arguments.binaries, nowhere)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let progress = |text: &str| say(&format!("score: {text}"));
    let options = ScoreOptions {
        lab,
        repetitions: arguments.repetitions,
        events: arguments.events,
    };
    let figures = tokio::select! {
        figures = score::run(options, &progress) => figures,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    };
    let figures = match figures {
        Ok(figures) => figures,
        Err(error) => {
            let kept = state.keep();
            return Err(error.context(format!("the logs are kept in {}", kept.display())));
        }
    };
    for (key, value) in figures.as_object().into_iter().flatten() {
        if !value.is_array() {
            say(&format!("{key:28} {value}"));
        }
    }
    score::write(&figures, &arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

fn options(state: PathBuf, binaries: Binaries, dashboard: SocketAddr) -> anyhow::Result<Options> {
    let lab = std::env::current_exe().context("cannot find the own program")?;
    let absolute = |path: PathBuf| {
        std::path::absolute(&path).with_context(|| format!("cannot find {}", path.display()))
    };
    Ok(Options {
        state: absolute(state)?,
        lab,
        agent: absolute(binaries.agent_bin)?,
        collector: absolute(binaries.collector_bin)?,
        dashboard,
        scenario: binaries.scenario,
        collector_more: String::new(),
    })
}

/// Leaves for the new namespaces; this process has one thread, as that demands.
fn enter(arguments: &Inside) -> anyhow::Result<ExitCode> {
    let text = |path: &PathBuf| {
        path.to_str()
            .map(str::to_owned)
            .context("a path is not UTF-8")
    };
    let (state, agent) = (text(&arguments.state)?, text(&arguments.agent_bin)?);
    let arguments = ["inside", "--state", &state, "--agent-bin", &agent].map(str::to_owned);
    let status = inside::enter(&arguments)?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn leash(command: &[String]) -> anyhow::Result<ExitCode> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
        .context("cannot tie the program to its parent")?;
    let [program, arguments @ ..] = command else {
        bail!("nothing to run")
    };
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {program}"))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        bail!("a TLS provider is installed already");
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")
}

/// Whoever read may have left, as `head` does: that must not end the lab out of order.
fn say(text: &str) {
    writeln!(std::io::stdout(), "{text}").ok();
}

fn complain(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}
