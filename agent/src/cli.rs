//! The words of the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::trace;

/// Measures how far this machine is from Microsoft's nearest edge, by which path, and when that changes.
#[derive(Parser)]
#[command(name = "firstmile-agent", version, about)]
pub(crate) struct Arguments {
    /// Configuration file [default: /etc/firstmile/agent.toml, or the built-in defaults where there is none]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Measure and report until stopped
    Run,
    /// Measure every target once and print a table; needs no collector
    Once {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Get an identity from a collector
    Enroll {
        /// The join string; `-` reads it from standard input
        #[arg(value_name = "JOIN STRING", required_unless_present = "join_file")]
        join: Option<String>,
        /// Read the join string from a file, so that it is in no process list
        #[arg(long, value_name = "FILE", conflicts_with = "join")]
        join_file: Option<PathBuf>,
        /// The collector's address from here, where it is another than the join string says
        #[arg(long, value_name = "URL")]
        collector: Option<String>,
        /// Give up the identity that this agent has
        #[arg(long)]
        replace: bool,
    },
    /// Tell how the running agent is doing
    Status {
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
    /// Check the configuration and print what it amounts to
    CheckConfig,
    /// Look for what keeps this machine from measuring well, and say what to change
    Doctor {
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
    Trace(trace::Options),
    /// Run hours of the plan on a virtual clock and a made-up network, and state what it sends and how soon it confirms
    #[command(hide = true)]
    Rehearse {
        /// Targets
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=20))]
        targets: u16,
        /// Hours
        #[arg(long, value_name = "H", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=48))]
        hours: u32,
        /// The same numbers come of the same seed
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
    /// Be a service of Windows
    #[cfg(windows)]
    Service {
        #[command(subcommand)]
        action: ServiceCommand,
    },
}

/// What to do with the service.
#[cfg(windows)]
#[derive(Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Put it in: it starts with Windows, and again when it fails. Wants an administrator
    Install,
    /// Stop it and take it out; identity and reports stay. Wants an administrator
    Uninstall,
    /// What Windows calls
    Run,
    /// What the installer calls when it has put the service in: folders, and what happens when the service fails
    #[command(hide = true)]
    Adopt,
    /// What the installer calls when it takes everything away: configuration, identity and reports
    #[command(hide = true)]
    Forget,
}

#[cfg(all(test, unix))]
mod tests {
    use std::path::Path;

    use clap::CommandFactory as _;
    use clap_complete::Shell;

    use super::*;

    /// They are generated here, so that the program itself need not carry the means to.
    #[test]
    fn the_packaged_completions_are_of_these_commands() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/completions");
        let write = std::env::var_os("FIRSTMILE_WRITE_COMPLETIONS").is_some();
        let fresh = tempfile::tempdir().expect("a folder");
        for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
            let mut command = Arguments::command();
            let made =
                clap_complete::generate_to(shell, &mut command, "firstmile-agent", fresh.path())
                    .expect("completions");
            let packaged = folder.join(made.file_name().expect("a name"));
            let wanted = std::fs::read_to_string(&made).expect("text");
            if write {
                std::fs::write(&packaged, &wanted).expect("written");
            }
            assert!(
                std::fs::read_to_string(&packaged).is_ok_and(|text| text == wanted),
                "{} is of other commands; write it anew: FIRSTMILE_WRITE_COMPLETIONS=1 cargo test -p firstmile-agent completions",
                packaged.display()
            );
        }
    }
}
