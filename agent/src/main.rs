//! The agent's program: arguments in, exit code out.
//!
//! Exit codes: 0 all went well; 1 failed, or `doctor` found a problem; 2 the configuration or the call is wrong; 3 `once` or
//! `trace` reached nothing.

mod alarm;
mod cli;
mod clock;
mod config;
mod delay;
mod doctor;
mod enroll;
mod host;
mod net;
mod once;
mod probe;
mod rehearse;
mod report;
mod run;
mod schedule;
mod timekeeper;
mod trace;

use std::future::Future;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser as _;
#[cfg(windows)]
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[cfg(windows)]
use crate::cli::ServiceCommand;
use crate::cli::{Arguments, Command};
use crate::config::{AgentConfig, Target};
use crate::delay::Delays;
use crate::enroll::{Identity, Invitation, ObtainError};
use crate::net::tls::{TlsError, probe_roots};
use crate::report::status::Status;
use crate::run::RunError;

/// How a command ended when nothing went wrong with the command itself.
enum Ending {
    Well,
    Failed,
    WrongUsage,
    NothingReached,
}

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    firstmile_sys::allocator::keep_small();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    start_log(&arguments.command);
    #[cfg(windows)]
    if is_run_by_windows(&arguments.command) {
        return be_a_service(arguments.config);
    }
    let config = match config::load(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return complain(&error.into(), 2),
    };
    match dispatch(arguments.command, config, arguments.config.as_deref()) {
        Ok(Ending::Well) => ExitCode::SUCCESS,
        Ok(Ending::Failed) => ExitCode::from(1),
        Ok(Ending::WrongUsage) => ExitCode::from(2),
        Ok(Ending::NothingReached) => ExitCode::from(3),
        Err(error) => {
            let file = arguments.config.as_deref();
            let (error, code) = blame(error, file.unwrap_or(Path::new(config::DEFAULT_FILE)));
            complain(&error, code)
        }
    }
}

/// An error and its exit code: a file that the configuration names and that cannot be used is the configuration's fault.
fn blame(error: anyhow::Error, config: &Path) -> (anyhow::Error, u8) {
    match error.downcast_ref::<TlsError>() {
        Some(tls) if tls.is_of_config() => (error.context(config.display().to_string()), 2),
        Some(_) => (error, 2),
        None => (error, 1),
    }
}

#[cfg_attr(
    not(windows),
    expect(unused_variables, reason = "a service is told of its file")
)]
fn dispatch(command: Command, config: AgentConfig, file: Option<&Path>) -> Result<Ending> {
    match command {
        Command::Run => run_agent(config),
        Command::Once { json } => block_on(once::once(config, json))?,
        Command::Enroll {
            join,
            join_file,
            collector,
            replace,
        } => {
            let text = join_text(join.as_deref(), join_file.as_deref())?;
            enroll_agent(&text, collector.as_deref(), &config, replace)
        }
        Command::Status { json } => show_status(&config, json),
        Command::CheckConfig => check_config(&config),
        Command::Doctor { json } => block_on(doctor::doctor(config, json))?,
        #[cfg(windows)]
        Command::Service { action } => serve(action, &config, file),
        Command::Trace(options) => block_on(trace::trace(config, options))?,
        Command::Rehearse {
            targets,
            hours,
            seed,
            json,
        } => rehearse_plan(config, usize::from(targets), hours, seed, json),
    }
}

fn run_agent(config: AgentConfig) -> Result<Ending> {
    let delays = Delays::default();
    match block_on_watched(run::run(config, delays.clone()), delays)? {
        Ok(()) => Ok(Ending::Well),
        Err(RunError::Tls(error)) if error.is_of_config() => Err(error.into()),
        Err(error) => {
            let usage = error.is_usage();
            complain(&error.into(), 2);
            Ok(if usage {
                Ending::WrongUsage
            } else {
                Ending::Failed
            })
        }
    }
}

#[cfg(windows)]
fn serve(action: ServiceCommand, config: &AgentConfig, file: Option<&Path>) -> Result<Ending> {
    use host::windows::service;
    match action {
        ServiceCommand::Install => service::install(file, &config.state_dir)?,
        ServiceCommand::Uninstall => service::uninstall()?,
        ServiceCommand::Adopt => service::adopt(&config.state_dir)?,
        ServiceCommand::Forget => service::forget()?,
        ServiceCommand::Run => anyhow::bail!("a service reads its configuration when it runs"),
    }
    Ok(Ending::Well)
}

/// Hands the program to Windows, and only then reads the configuration: what is wrong with it is the service's failure, which
/// Windows shows, and after which it starts the service again.
#[cfg(windows)]
fn be_a_service(file: Option<std::path::PathBuf>) -> ExitCode {
    use host::windows::service;
    let work = move || match run_invited(file.as_deref()) {
        Ok(Ending::Well) => 0,
        Ok(Ending::WrongUsage) => 2,
        Ok(Ending::Failed | Ending::NothingReached) => 1,
        Err(error) => {
            let (error, code) = blame(
                error,
                file.as_deref().unwrap_or(Path::new(config::DEFAULT_FILE)),
            );
            complain(&error, code);
            u32::from(code)
        }
    };
    match service::run(work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error.into(), 1),
    }
}

/// The agent as a service: where a join string was left for it, or it has no identity yet, that comes first.
#[cfg(windows)]
fn run_invited(file: Option<&Path>) -> Result<Ending> {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(error) => {
            complain(&error.into(), 2);
            return Ok(Ending::WrongUsage);
        }
    };
    if block_on(host::windows::joining::wait(&config))?? {
        run_agent(config)
    } else {
        Ok(Ending::Well)
    }
}

fn rehearse_plan(
    config: AgentConfig,
    targets: usize,
    hours: u32,
    seed: u64,
    json: bool,
) -> Result<Ending> {
    let target = config.targets.into_iter().next();
    let report = rehearse::rehearse(&rehearse::Request {
        targets,
        hours,
        seed,
        target: target.context("there is no target")?,
        plan: config.plan,
    });
    if json {
        say(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        say(&report.to_text())?;
    }
    Ok(Ending::Well)
}

fn enroll_agent(
    text: &str,
    collector: Option<&str>,
    config: &AgentConfig,
    replace: bool,
) -> Result<Ending> {
    let join = match Invitation::read(text, collector) {
        Ok(invitation) => invitation.join,
        Err(error) => {
            complain(&error.into(), 2);
            return Ok(Ending::WrongUsage);
        }
    };
    if !replace && let Ok(identity) = Identity::load(&config.state_dir) {
        anyhow::bail!(
            "this agent is enrolled already, as {} at {}; add --replace to give that identity up",
            identity.agent_id,
            identity.collector
        );
    }
    let obtained = block_on(enroll::obtain(
        &join,
        &config.state_dir,
        enroll::Newcomer::here(config),
        &config.proxy,
    ))?;
    let identity = match obtained {
        Ok(identity) => identity,
        Err(error @ ObtainError::Running(_)) => {
            complain(&error.into(), 2);
            return Ok(Ending::WrongUsage);
        }
        Err(error) => return Err(error.into()),
    };
    let site = identity.site.as_deref().unwrap_or("no site");
    say(&format!(
        "enrolled as {} ({site}) at {}\n",
        identity.agent_id, identity.collector
    ))?;
    Ok(Ending::Well)
}

/// The join string from the command line, a file, or standard input.
fn join_text(join: Option<&str>, file: Option<&Path>) -> Result<String> {
    match (join, file) {
        (_, Some(file)) => std::fs::read(file)
            .map(|bytes| enroll::text_of(&bytes))
            .with_context(|| format!("cannot read the join string from {}", file.display())),
        (Some("-") | None, None) => {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .context("cannot read the join string from standard input")?;
            Ok(text)
        }
        (Some(text), None) => Ok(text.to_owned()),
    }
}

fn show_status(config: &AgentConfig, json: bool) -> Result<Ending> {
    let status = Status::load(&config.state_dir)?;
    let now = clock::unix_ms();
    if json {
        say(&format!("{}\n", status.to_json(now)?))?;
    } else {
        say(&status.to_text(now))?;
    }
    Ok(match status.not_running(now) {
        None => Ending::Well,
        Some(_) => Ending::Failed,
    })
}

fn check_config(config: &AgentConfig) -> Result<Ending> {
    probe_roots(&config.extra_roots)?;
    let mut lines = vec![format!(
        "the configuration is valid; state in {}; targets: {}",
        config.state_dir.display(),
        config.targets.len()
    )];
    for target in &config.targets {
        let Target {
            name,
            host,
            port,
            service,
            ..
        } = target;
        lines.push(format!("  {name} {host}:{port} ({})", service.as_str()));
    }
    lines.push(String::new());
    say(&lines.join("\n"))?;
    Ok(Ending::Well)
}

/// Runs a command of which nobody has to know how late it runs.
fn block_on<F: Future>(future: F) -> Result<F::Output> {
    block_on_watched(future, Delays::default())
}

/// One thread does all probing: it is cheaper and its times are steadier than those of a pool. Disk waits on others.
/// `delays` hears of each time that the thread sleeps and wakes.
fn block_on_watched<F: Future>(future: F, delays: Delays) -> Result<F::Output> {
    let sleeping = delays.clone();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(4);
    let runtime = builder
        .on_thread_park(move || sleeping.on_sleep())
        .on_thread_unpark(move || delays.on_wake())
        .build()
        .context("cannot start the runtime")?;
    let output = runtime.block_on(with_alarm(future));
    // A thread that hangs in the file system must not keep the program from ending.
    runtime.shutdown_background();
    Ok(output)
}

/// Runs a future beside the alarm that wakes all who wait on this thread.
async fn with_alarm<F: Future>(future: F) -> F::Output {
    #[cfg(target_os = "linux")]
    match alarm::Alarm::open() {
        Ok(alarm) => {
            return tokio::select! {
                biased;
                never = alarm.drive() => match never {},
                output = future => output,
            };
        }
        Err(error) => {
            tracing::debug!(%error, "no timer of our own, those of the runtime are used");
        }
    }
    future.await
}

/// Logs to standard error. What is logged is chosen by targets and levels alone: fields would need a regular-expression
/// engine, which is a fifth of a megabyte in memory.
#[cfg_attr(
    not(windows),
    expect(unused_variables, reason = "a service writes into the Event Log")
)]
fn start_log(command: &Command) {
    let filter = config::log_filter()
        .unwrap_or_else(|| "info,hickory_resolver=error,hickory_net=error".to_owned());
    let ansi = io::IsTerminal::is_terminal(&io::stderr());
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(ansi);
    #[cfg(windows)]
    let layer = layer.and_then(is_service(command).then(|| {
        host::windows::events::open();
        tracing_subscriber::fmt::layer()
            .with_writer(host::windows::events::EventLog)
            .without_time()
            .with_ansi(false)
    }));
    let started = tracing_subscriber::registry()
        .with(layer)
        .with(log_targets(&filter))
        .try_init();
    drop(started);
}

/// Whether nobody sees what is printed: Windows or its installer called.
#[cfg(windows)]
const fn is_service(command: &Command) -> bool {
    matches!(command, Command::Service { .. })
}

#[cfg(windows)]
const fn is_run_by_windows(command: &Command) -> bool {
    matches!(
        command,
        Command::Service {
            action: ServiceCommand::Run
        }
    )
}

/// Reads `level` and `target=level`, separated by commas; what is neither is left out.
fn log_targets(filter: &str) -> Targets {
    let directives = filter
        .split(',')
        .filter(|directive| directive.parse::<Targets>().is_ok());
    let known = directives.collect::<Vec<_>>().join(",");
    known.parse().unwrap_or_else(|_| {
        // Each was read by itself, so all of them are read together.
        Targets::new().with_default(tracing::Level::INFO)
    })
}

/// Prints to standard output; a reader that has gone away is no failure of ours.
fn say(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints an error with its causes on one line; of a service it goes into the log as well.
fn complain(error: &anyhow::Error, code: u8) -> ExitCode {
    #[cfg(windows)]
    host::windows::events::tell_service(&format!("{error:#}"));
    drop(writeln!(io::stderr().lock(), "firstmile-agent: {error:#}"));
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_log_is_chosen_by_target_and_level_and_what_is_neither_is_left_out() {
        for (filter, ours, others) in [
            ("info", Level::INFO, Level::INFO),
            ("warn,firstmile_agent=debug", Level::DEBUG, Level::WARN),
            ("firstmile_agent=trace,info", Level::TRACE, Level::INFO),
            ("info,firstmile_agent=loud", Level::INFO, Level::INFO),
        ] {
            let targets = log_targets(filter);
            for (target, most) in [("firstmile_agent::run", ours), ("h2", others)] {
                for level in [
                    Level::ERROR,
                    Level::WARN,
                    Level::INFO,
                    Level::DEBUG,
                    Level::TRACE,
                ] {
                    let want = level <= most;
                    assert_eq!(
                        targets.would_enable(target, &level),
                        want,
                        "{filter} {target} {level}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_file_that_the_configuration_names_is_refused_with_file_and_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let empty = directory.path().join("empty.pem");
        std::fs::write(&empty, b"").expect("a file");
        for missing in [directory.path().join("missing.pem"), empty] {
            let error = probe_roots(std::slice::from_ref(&missing)).expect_err("no certificate");
            let (error, code) = blame(error.into(), Path::new("agent.toml"));
            let line = format!("{error:#}");
            let want = format!("agent.toml: extra_roots = [{missing:?}]: ");
            assert!(line.starts_with(&want), "{line:?} lacks {want:?}");
            assert!(line.contains("name a PEM file"), "{line}");
            assert_eq!(code, 2);
        }
    }
}
