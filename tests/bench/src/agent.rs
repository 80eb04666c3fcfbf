//! The whole agent at work: enrolled at a collector, 20 targets, default plan.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use tempfile::TempDir;

use crate::smaps::{self, Part};
use crate::{clock, door, names, netns, rig};

const TARGETS: u32 = 20;
/// Where the collector listens, in the namespace of the targets.
const COLLECTOR: &str = "198.18.0.2:8443";
const LOOK_MS: u16 = 250;

/// The programs under test.
#[derive(clap::Args, Debug)]
pub(crate) struct Programs {
    /// The agent; with the collector, the whole agent is measured
    #[arg(long, requires = "collector_bin")]
    agent_bin: Option<PathBuf>,
    /// The collector that the agent reports to
    #[arg(long, requires = "agent_bin")]
    collector_bin: Option<PathBuf>,
    /// Probes of each target; names are asked for and paths are traced beside them
    #[arg(long, value_delimiter = ',', default_value = "icmp,tcp,https,tls,quic")]
    protocols: Vec<String>,
    /// Seconds before the whole agent is watched: at start it learns the paths, round after round
    #[arg(long, default_value_t = 180)]
    settle_seconds: u32,
    /// Seconds over which the whole agent is watched
    #[arg(long, default_value_t = 60)]
    watch_seconds: u32,
}

/// What the agent took.
pub(crate) struct Cost {
    pub(crate) rss_mb: f64,
    /// Of it, what is not read from files: heap and stacks.
    pub(crate) anonymous_mb: f64,
    /// What the memory is made of at the end, in KiB.
    pub(crate) parts: BTreeMap<Part, u64>,
    pub(crate) processor_percent: f64,
    pub(crate) open_files_at_rest: usize,
    pub(crate) open_files_most: usize,
}

/// What agents need around them: targets, names, a collector. It ends when this is dropped.
pub(crate) struct Surroundings<'a> {
    programs: &'a Programs,
    agent: &'a Path,
    collector_bin: &'a Path,
    _collector: Program,
    folder: TempDir,
    roots: PathBuf,
    targets: Vec<String>,
}

impl<'a> Surroundings<'a> {
    /// Opens all of it. `None` without programs.
    pub(crate) fn open(programs: &'a Programs) -> anyhow::Result<Option<Self>> {
        let (Some(agent), Some(collector_bin)) = (&programs.agent_bin, &programs.collector_bin)
        else {
            return Ok(None);
        };
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let targets: Vec<String> = (0..TARGETS).map(names::of_target).collect();
        names::open()?;
        let roots = folder.path().join("roots.pem");
        std::fs::write(&roots, door::open(targets.clone())?).context("cannot write the roots")?;
        Ok(Some(Self {
            programs,
            agent,
            collector_bin,
            _collector: start_collector(collector_bin, folder.path())?,
            folder,
            roots,
            targets,
        }))
    }

    /// Runs an agent with all protocols and watches it: while it learns, and then.
    pub(crate) fn watch(&self) -> anyhow::Result<(Cost, Cost)> {
        self.watch_with("agent", &self.programs.protocols)
    }

    /// The same with ICMP alone; paths are traced as well.
    pub(crate) fn watch_icmp(&self) -> anyhow::Result<(Cost, Cost)> {
        self.watch_with("agent-icmp", &["icmp".to_owned()])
    }

    fn watch_with(&self, name: &str, protocols: &[String]) -> anyhow::Result<(Cost, Cost)> {
        let config = self.folder.path().join(format!("{name}.toml"));
        let state = self.folder.path().join(name);
        std::fs::write(&config, self.configuration(&state, protocols)?)
            .context("cannot write a configuration")?;
        enroll(self.agent, self.collector_bin, self.folder.path(), &config)?;
        let mut command = Command::new(self.agent);
        command.arg("run").arg("--config").arg(&config);
        let log = self.folder.path().join(format!("{name}.log"));
        let agent = Program::start(rig::NEAR, command, &log)?;
        let seconds = |count: u32| Duration::from_secs(count.into());
        let learning = agent.watch(seconds(self.programs.settle_seconds))?;
        let steady = agent.watch(seconds(self.programs.watch_seconds))?;
        Ok((learning, steady))
    }

    fn configuration(&self, state: &Path, protocols: &[String]) -> anyhow::Result<String> {
        std::fs::create_dir_all(state).context("cannot make the agent's folder")?;
        let mut text = format!(
            "state_dir = {}\ntarget_sets = []\nextra_roots = [{}]\nresolvers = [\"{}\"]\n",
            quoted(state),
            quoted(&self.roots),
            names::RESOLVER
        );
        let protocols = serde_json::to_string(protocols).context("no protocols")?;
        for (index, target) in self.targets.iter().enumerate() {
            write!(
                text,
                "[[target]]\nname = \"target-{index}\"\nhost = \"{target}\"\nport = 443\nservice = \"m365\"\n\
                 protocols = {protocols}\ntrace = true\n"
            )
            .context("cannot write text")?;
        }
        Ok(text)
    }
}

/// Files that this program was started with, such as a pipe of a shell, and passes on: they are none of the agent's.
fn inherited_files() -> anyhow::Result<usize> {
    let open = std::fs::read_dir("/proc/self/fdinfo").context("no /proc")?;
    let passed_on = open.filter_map(|entry| {
        let path = entry.ok()?.path();
        let number: u32 = path.file_name()?.to_str()?.parse().ok()?;
        let info = std::fs::read_to_string(&path).ok()?;
        (number > 2 && !is_close_on_exec(&info)).then_some(())
    });
    Ok(passed_on.count())
}

/// Reads `flags:`, octal (proc(5)); `O_CLOEXEC` is 02000000.
fn is_close_on_exec(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & 0o2_000_000 != 0)
}

fn start_collector(program: &Path, folder: &Path) -> anyhow::Result<Program> {
    let text = format!(
        "data_dir = {}\n[ingest]\nlisten = \"{COLLECTOR}\"\npublic_url = \"https://{COLLECTOR}\"\n[dashboard]\nlisten = \"127.0.0.1:8080\"\n",
        quoted(&folder.join("collector"))
    );
    std::fs::write(collector_file(folder), text)
        .context("cannot write the collector's configuration")?;
    let mut command = Command::new(program);
    command
        .arg("serve")
        .arg("--config")
        .arg(collector_file(folder));
    Program::start(rig::FAR, command, &folder.join("collector.log"))
}

fn enroll(agent: &Path, collector: &Path, folder: &Path, config: &Path) -> anyhow::Result<()> {
    let mut last = String::new();
    // The collector is ready when it hands out join strings and takes one.
    for _ in 0..40 {
        clock::pass(LOOK_MS);
        let mut ask = Command::new(collector);
        ask.args(["join-string", "--site", "bench", "--config"])
            .arg(collector_file(folder));
        let output = ask.output().context("cannot start the collector")?;
        let join = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let mut enroll = Command::new(agent);
        enroll
            .arg("enroll")
            .arg(&join)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null());
        let output = netns::inside(rig::NEAR, move || {
            enroll.output().context("cannot start the agent")
        })?;
        if output.status.success() {
            return Ok(());
        }
        last = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    anyhow::bail!("the agent could not enrol: {}", last.trim())
}

/// A path as a TOML string, whose escapes are those of JSON.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.display().to_string()).to_string()
}

fn collector_file(folder: &Path) -> PathBuf {
    folder.join("collector.toml")
}

/// A running program; it ends when this is dropped.
struct Program {
    child: Child,
    /// As the kernel names it.
    executable: String,
    inherited_files: usize,
}

impl Program {
    fn start(namespace: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::create(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file);
        let executable = std::fs::canonicalize(command.get_program())
            .with_context(|| format!("there is no {}", command.get_program().display()))?
            .display()
            .to_string();
        let child = netns::inside(namespace, move || {
            command
                .spawn()
                .with_context(|| format!("cannot start {}", command.get_program().display()))
        })?;
        Ok(Self {
            child,
            executable,
            inherited_files: inherited_files()?,
        })
    }

    fn watch(&self, span: Duration) -> anyhow::Result<Cost> {
        let (started, before) = (clock::monotonic(), self.processor_seconds()?);
        let (mut rss_kib, mut anonymous_kib, mut files) = (0.0f64, 0.0f64, Vec::new());
        while clock::monotonic().saturating_sub(started) < span {
            clock::pass(LOOK_MS);
            rss_kib = rss_kib.max(self.kib("VmRSS:")?);
            anonymous_kib = anonymous_kib.max(self.kib("RssAnon:")?);
            files.push(self.open_files()?);
        }
        let seconds = clock::monotonic().saturating_sub(started).as_secs_f64();
        files.sort_unstable();
        Ok(Cost {
            rss_mb: rss_kib / 1_024.0,
            anonymous_mb: anonymous_kib / 1_024.0,
            parts: smaps::parts(&self.read("smaps")?, &self.executable),
            processor_percent: (self.processor_seconds()? - before) * 100.0 / seconds,
            open_files_at_rest: files.first().copied().unwrap_or(0),
            open_files_most: files.last().copied().unwrap_or(0),
        })
    }

    fn proc(&self, name: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.child.id().to_string())
            .join(name)
    }

    fn read(&self, name: &str) -> anyhow::Result<String> {
        std::fs::read_to_string(self.proc(name)).context("the program has ended")
    }

    /// User and system time: fields 14 and 15 of stat (proc(5)), after the name in parentheses.
    fn processor_seconds(&self) -> anyhow::Result<f64> {
        let stat = self.read("stat")?;
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |at: usize| {
            fields
                .get(at)
                .and_then(|field| field.parse::<f64>().ok())
                .context("/proc/PID/stat is short")
        };
        let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        let per_second = f64::from(i32::try_from(per_second).unwrap_or(100));
        Ok((ticks(11)? + ticks(12)?) / per_second)
    }

    fn kib(&self, name: &str) -> anyhow::Result<f64> {
        let status = self.read("status")?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .context("the program has ended")?;
        line.trim()
            .trim_end_matches(" kB")
            .parse()
            .with_context(|| format!("{name} is no number"))
    }

    fn open_files(&self) -> anyhow::Result<usize> {
        let open = std::fs::read_dir(self.proc("fd")).context("the program has ended")?;
        Ok(open.count().saturating_sub(self.inherited_files))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let id = i32::try_from(self.child.id()).map(Pid::from_raw);
        if let Ok(id) = id {
            kill(id, Signal::SIGTERM).ok();
        }
        self.child.wait().ok();
    }
}

/// Notes why there are no figures, for people.
pub(crate) const NOT_MEASURED: &str = "not measured without --agent-bin and --collector-bin: rss_mb, cpu_pct, open_files of the whole agent";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_closed_on_exec_are_told_apart() {
        for (info, want) in [
            ("pos:\t0\nflags:\t02100002\nmnt_id:\t15\n", true),
            ("pos:\t0\nflags:\t0100002\nmnt_id:\t15\n", false),
            ("", false),
        ] {
            assert_eq!(is_close_on_exec(info), want, "{info:?}");
        }
    }
}
