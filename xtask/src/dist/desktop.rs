//! The .msi, by a real msiexec under wine, in the network of the machine on which the collector was installed from its .deb:
//! install, report, upgrade, refuse a downgrade, uninstall.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::check::Measures;
use super::inside::agent_config;
use super::inside::{Host, SOON};
use super::machine::wait_until;
use crate::step::captured;
use crate::windows::Wine;

/// Windows takes a second; wine on a busy machine, half a minute.
const INSTALL: Duration = Duration::from_mins(3);

/// The program, the one before it, and one after.
pub(super) struct Installers {
    pub(super) first: PathBuf,
    pub(super) later: PathBuf,
}

/// Tells the story, chapter by chapter; the collector has to run on `host`.
pub(super) fn tell(measures: &mut Measures, host: &Host, installers: &Installers) -> Result<()> {
    let desktop = Desktop {
        host,
        wine: Wine::fresh("wine-msi")?,
    };
    let installed = measures.chapter("msi_install_ok", "install the .msi", || {
        desktop.install(installers)
    });
    if installed.is_some() {
        let running = measures.chapter(
            "msi_service_running",
            "see the service run and report",
            || desktop.ensure_reports(),
        );
        if let Some(seconds) = running {
            measures.set("msi_install_to_dashboard_s", json!(seconds));
        }
        measures.chapter("msi_upgrade_ok", "upgrade the .msi", || {
            desktop.upgrade(installers)
        });
        measures.chapter("msi_downgrade_refused", "see a downgrade refused", || {
            desktop.downgrade(installers)
        });
        measures.chapter("msi_uninstall_clean", "uninstall the .msi", || {
            desktop.uninstall(installers)
        });
    }
    desktop.wine.end();
    Ok(())
}

/// A Windows in the network of a machine.
struct Desktop<'a> {
    host: &'a Host,
    wine: Wine,
}

impl Desktop<'_> {
    /// As a roll-out has it: configuration first, then silently, with the join string as a property.
    fn install(&self, installers: &Installers) -> Result<()> {
        let mut boot = self.command(&["wineboot", "--init"]);
        // What it starts lives on, and would keep a pipe open.
        boot.stdout(Stdio::null()).stderr(Stdio::null());
        crate::step::run(&mut boot)?;
        self.wine.complete()?;
        // What was put in while wine made itself is gone afterwards; and services end with the last command unless somebody
        // keeps Windows up.
        self.wine.end();
        self.keep_up()?;
        let home = self.home();
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        fs::write(home.join("agent.toml"), agent_config())
            .context("cannot write the agent's configuration")?;
        let join = self.host.join_string("Desktop")?;
        let log = self.msiexec("/i", &installers.first, &[&format!("JOIN={join}")])?;
        // Wine knows no hidden properties and lists all; an action that told its data would be seen beside that list.
        let registry = self.registry(r"HKLM\Software\Firstmile")?;
        let told = log
            .lines()
            .chain(registry.lines())
            .any(|line| line.contains(&join) && !line.starts_with("Property("));
        ensure!(
            !told,
            "the join string is in the installer's log or the registry"
        );
        wait_until("the join string to be used and erased", SOON, || {
            Ok((!self.home().join("state/join").exists() && self.agent().is_some()).then_some(()))
        })?;
        for name in ["firstmile-agent.exe", "Firstmile doctor.lnk"] {
            ensure!(!self.find(name)?.is_empty(), "there is no {name}");
        }
        let source = self.registry(
            r"HKLM\System\CurrentControlSet\Services\EventLog\Application\firstmile-agent",
        )?;
        ensure!(
            source.contains("EventCreate.exe"),
            "the source of the Event Log is not registered: {source}"
        );
        let service = self.registry(r"HKLM\System\CurrentControlSet\Services\firstmile-agent")?;
        ensure!(
            service.contains("LocalService") && service.contains("service run"),
            "the service is another one: {service}"
        );
        Ok(())
    }

    /// Gives back the age of the newest sample's agent, in the API, in seconds since it enrolled.
    fn ensure_reports(&self) -> Result<f64> {
        self.ensure_running()?;
        let agent = self.agent().context("the agent has no identity")?;
        let seen = wait_until("the agent's samples in the API", SOON, || {
            Ok(self.in_api(&agent)?.filter(|agent| {
                let targets = agent.get("targets").and_then(Value::as_array);
                targets.is_some_and(|targets| !targets.is_empty())
            }))
        })?;
        let at = |key: &str| {
            seen.get(key)
                .and_then(Value::as_f64)
                .with_context(|| format!("the API tells no {key}"))
        };
        Ok(((at("last_seen_unix_ms")? - at("enrolled_unix_ms")?) / 10.0).round() / 100.0)
    }

    fn upgrade(&self, installers: &Installers) -> Result<()> {
        let before = self.agent().context("the agent has no identity")?;
        // A transform says JOIN each time; only the first install uses it.
        let join = self.host.join_string("Elsewhere")?;
        self.msiexec("/i", &installers.later, &[&format!("JOIN={join}")])?;
        self.ensure_running()?;
        ensure!(
            self.agent().as_ref() == Some(&before) && !self.home().join("state/join").exists(),
            "the upgrade changed the agent's identity"
        );
        let config = fs::read_to_string(self.home().join("agent.toml"))
            .context("the upgrade took the configuration")?;
        ensure!(
            config == agent_config(),
            "the upgrade changed the configuration"
        );
        let products = self.products()?;
        ensure!(products == 1, "{products} products are installed, not one");
        self.ensure_new_reports(&before)
    }

    fn downgrade(&self, installers: &Installers) -> Result<()> {
        let before = self.agent();
        let outcome = self.try_msiexec("/i", &installers.first, &[])?;
        ensure!(
            outcome.code != Some(0),
            "an older version was installed over a newer one"
        );
        ensure!(
            outcome.log.contains("DOWNGRADE"),
            "the installer's log does not say why it refuses"
        );
        self.ensure_running()?;
        ensure!(
            self.agent() == before && self.products()? == 1,
            "a refused downgrade changed something"
        );
        Ok(())
    }

    /// With KEEPSTATE the next install goes on as the same agent; without it nothing is left.
    fn uninstall(&self, installers: &Installers) -> Result<()> {
        let before = self.agent().context("the agent has no identity")?;
        self.msiexec("/x", &installers.later, &["KEEPSTATE=1"])?;
        ensure!(
            self.agent().as_ref() == Some(&before),
            "the uninstall took the state that it was asked to keep"
        );
        self.msiexec("/i", &installers.later, &[])?;
        self.ensure_running()?;
        self.ensure_new_reports(&before)?;
        self.msiexec("/x", &installers.later, &[])?;
        let asked = self.command(&["sc", "query", "firstmile-agent"]).output();
        let asked = asked.context("cannot start wine")?;
        ensure!(!asked.status.success(), "the service is still there");
        let left = self.find("*firstmile*")?;
        ensure!(left.is_empty(), "left after the uninstall:\n{left}");
        for key in [
            r"HKLM\Software\Firstmile",
            r"HKLM\System\CurrentControlSet\Services\firstmile-agent",
            r"HKLM\System\CurrentControlSet\Services\EventLog\Application\firstmile-agent",
        ] {
            let left = self.registry(key)?;
            ensure!(left.is_empty(), "left in the registry:\n{left}");
        }
        ensure!(self.products()? == 0, "the product is still listed");
        Ok(())
    }

    /// Files of a name, but those that wine keeps of its own builds.
    fn find(&self, name: &str) -> Result<String> {
        captured(
            Command::new("find")
                .arg(self.wine.drive_c())
                .args(["-iname", name])
                .args(["-not", "-path", "*/windows/Installer/*"]),
        )
    }

    fn ensure_running(&self) -> Result<()> {
        wait_until("the service to run", SOON, || {
            let told = self.command(&["sc", "query", "firstmile-agent"]).output();
            let told = told.context("cannot start wine")?;
            let told = String::from_utf8_lossy(&told.stdout);
            Ok(told.contains("RUNNING").then_some(()))
        })
    }

    fn ensure_new_reports(&self, agent: &str) -> Result<()> {
        let seen = || -> Result<Option<i64>> {
            let agent = self.in_api(agent)?;
            Ok(agent.and_then(|agent| agent.get("last_seen_unix_ms")?.as_i64()))
        };
        let before = seen()?;
        wait_until("newer reports in the API", SOON, || {
            Ok(seen()?.filter(|at| Some(*at) > before))
        })
        .map(drop)
    }

    fn in_api(&self, agent: &str) -> Result<Option<Value>> {
        self.host.api(&format!("agents/{agent}"))
    }

    /// The identity that the agent has.
    fn agent(&self) -> Option<String> {
        let file = self.home().join("state/identity/identity.json");
        let identity: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        Some(identity.get("agent_id")?.as_str()?.to_owned())
    }

    fn home(&self) -> PathBuf {
        self.wine.drive_c().join("ProgramData/firstmile")
    }

    /// How many products of this name Windows lists.
    fn products(&self) -> Result<usize> {
        let list = self.registry(r"HKLM\Software\Microsoft\Windows\CurrentVersion\Uninstall /s")?;
        Ok(list.matches("Firstmile agent").count())
    }

    /// A key's values; nothing when there is no key.
    fn registry(&self, key: &str) -> Result<String> {
        let words = ["reg", "query"].into_iter().chain(key.split(" /"));
        let words: Vec<String> = words
            .enumerate()
            .map(|(at, word)| {
                if at > 2 {
                    format!("/{word}")
                } else {
                    word.to_owned()
                }
            })
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let told = self.command(&words).output().context("cannot start wine")?;
        Ok(if told.status.success() {
            String::from_utf8_lossy(&told.stdout).trim().to_owned()
        } else {
            String::new()
        })
    }

    /// Runs the installer silently and gives back its log.
    fn msiexec(&self, verb: &str, msi: &Path, properties: &[&str]) -> Result<String> {
        let outcome = self.try_msiexec(verb, msi, properties)?;
        if outcome.code != Some(0) {
            let file = self.wine.drive_c().join("msiexec.log");
            println!("{}", outcome.said);
            anyhow::bail!(
                "msiexec {verb} {} ended with {:?}; its log: {}",
                msi.display(),
                outcome.code,
                file.display()
            );
        }
        Ok(outcome.log)
    }

    fn try_msiexec(&self, verb: &str, msi: &Path, properties: &[&str]) -> Result<Outcome> {
        let path = format!("Z:{}", msi.display()).replace('/', "\\");
        let mut words = vec!["msiexec", verb, &path, "/qn", "/l*v", r"C:\msiexec.log"];
        words.extend(properties);
        let mut command = self.command(&words);
        let limit = INSTALL.as_secs().to_string();
        let mut limited = Command::new("timeout");
        limited
            .arg(limit)
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                limited.env(name, value);
            }
        }
        if verb == "/i" {
            // Windows tells the version that is removed for an upgrade by a property of this name; wine does not.
            limited.env("UPGRADINGPRODUCTCODE", "1");
        }
        command = limited;
        let file = self.wine.drive_c().join("msiexec-output.log");
        let output =
            fs::File::create(&file).with_context(|| format!("cannot write {}", file.display()))?;
        let errors = output.try_clone().context("cannot share msiexec's log")?;
        let status = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .status()
            .context("cannot start msiexec")?;
        let read = |name: &str| fs::read(self.wine.drive_c().join(name)).map(|bytes| plain(&bytes));
        Ok(Outcome {
            code: status.code(),
            log: read("msiexec.log").unwrap_or_default(),
            said: read("msiexec-output.log").unwrap_or_default(),
        })
    }

    fn keep_up(&self) -> Result<()> {
        let mut server = self.within("wineserver");
        server.arg("-p").stdout(Stdio::null()).stderr(Stdio::null());
        crate::step::run(&mut server)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.within("wine");
        command.args(words).stdin(Stdio::null());
        command
    }

    /// A program in the machine's network, and nothing else of the machine.
    fn within(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.host.leader().to_string(), "--net", "--"])
            .arg(program);
        self.wine.enter(&mut command);
        command
    }
}

/// How msiexec ended, its log, and what else was said.
struct Outcome {
    code: Option<i32>,
    log: String,
    said: String,
}

/// A log of Windows, in UTF-16 or not, as text to look into.
fn plain(bytes: &[u8]) -> String {
    let bytes: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
