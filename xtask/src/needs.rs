//! What has to be on the machine, and how it gets there.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::{captured, run};

/// A Debian package and the program that shows that it is there.
pub(crate) struct Package {
    /// Name for apt.
    pub(crate) name: &'static str,
    /// Program that it brings.
    pub(crate) program: &'static str,
    /// What needs it.
    pub(crate) why: &'static str,
}

/// What building needs.
pub(crate) const BUILD: &[Package] = &[Package {
    name: "gcc",
    program: "cc",
    why: "C parts of SQLite, zstd and ring",
}];

/// What the lab needs.
pub(crate) const LAB: &[Package] = &[
    Package {
        name: "bird2",
        program: "bird",
        why: "BGP between the lab's routers",
    },
    Package {
        name: "dnsmasq-base",
        program: "dnsmasq",
        why: "names of front doors and routers in the lab",
    },
    Package {
        name: "iproute2",
        program: "ip",
        why: "the lab's links and addresses",
    },
];

/// What the tests of feeds need: real speakers of BGP with BMP, a real server of RTR.
pub(crate) const ROUTING: &[Package] = &[
    Package {
        name: "frr",
        program: "vtysh",
        why: "BGP with BMP by another maker, for the tests of feeds",
    },
    Package {
        name: "gobgpd",
        program: "gobgpd",
        why: "BGP with BMP, for the tests of feeds",
    },
    Package {
        name: "stayrtr",
        program: "stayrtr",
        why: "RPKI, for the tests of feeds",
    },
];

/// What the tests of difficult sites need beyond the lab.
pub(crate) const SITE: &[Package] = &[
    Package {
        name: "nftables",
        program: "nft",
        why: "what a packet of a vantage point carries",
    },
    Package {
        name: "tayga",
        program: "tayga",
        why: "the NAT64 of a site without IPv4",
    },
    Package {
        name: "tinyproxy-bin",
        program: "tinyproxy",
        why: "a proxy that wants a password",
    },
    Package {
        name: "unbound",
        program: "unbound",
        why: "the DNS64 of a site without IPv4",
    },
];

/// What the published client of `Microsoft.Peering` needs.
pub(crate) const SCRIPTS: &[Package] = &[Package {
    name: "python3-pip",
    program: "pip3",
    why: "the client that scripts for Microsoft.Peering use",
}];

/// What notifications are sent to in the tests.
pub(crate) const NOTIFY: &[Package] = &[
    Package {
        name: "prometheus-alertmanager",
        program: "prometheus-alertmanager",
        why: "an alert that is shown and resolved",
    },
    Package {
        name: "python3-aiosmtpd",
        program: "aiosmtpd",
        why: "a mail server",
    },
    Package {
        name: "rsyslog",
        program: "rsyslogd",
        why: "a receiver of syslog",
    },
];

/// What the browser tests need beyond the lab.
pub(crate) const BROWSER: &[Package] = &[Package {
    name: "chromium",
    program: "chromium",
    why: "the dashboard's tests in a real browser",
}];

/// The oldest Node.js that builds the dashboard.
const NODE_MAJOR: u32 = 20;

/// Checks that Node.js and npm are there and new enough.
pub(crate) fn node() -> Result<()> {
    let advice = "install Node.js 20 or later with npm 11 (the dashboard is built with them)";
    let version = captured(Command::new("node").arg("--version")).context(advice)?;
    let major: u32 = version
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .unwrap_or(0);
    if major < NODE_MAJOR {
        bail!("node {version} is too old; {advice}");
    }
    captured(Command::new("npm").arg("--version"))
        .context(advice)
        .map(drop)
}

/// Says which packages are missing, with the command that installs them.
pub(crate) fn require(packages: &[&Package]) -> Result<()> {
    let missing: Vec<_> = packages
        .iter()
        .filter(|package| !has(package.program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let reasons: Vec<String> = missing
        .iter()
        .map(|p| format!("  {} ({})", p.name, p.why))
        .collect();
    let names: Vec<_> = missing.iter().map(|p| p.name).collect();
    bail!(
        "missing Debian packages:\n{}\ninstall them: sudo apt-get install {}",
        reasons.join("\n"),
        names.join(" ")
    );
}

/// Installs missing packages with apt, as root or with sudo; else says which are missing.
pub(crate) fn install(packages: &[&Package]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|p| !has(p.program))
        .map(|p| p.name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let root = nix::unistd::geteuid().is_root();
    if !has("apt-get") || !(root || has("sudo")) {
        return require(packages);
    }
    println!("    installing {}", missing.join(" "));
    let apt = |arguments: &[&str]| {
        let mut command = if root {
            Command::new("apt-get")
        } else {
            Command::new("sudo")
        };
        if !root {
            command.args(["-n", "apt-get"]);
        }
        command
            .args(["-o", "DPkg::Lock::Timeout=300", "-qq"])
            .args(arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let by_hand = format!(
        "cannot install missing packages; by hand: sudo apt-get install {}",
        missing.join(" ")
    );
    run(&mut apt(&["update"])).context(by_hand.clone())?;
    run(apt(&["install", "-y", "--no-install-recommends"]).args(&missing)).context(by_hand)?;
    require(packages)
}

/// Whether a program is on the path, or where Debian keeps programs for root.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(
            ["/usr/sbin", "/sbin"]
                .iter()
                .map(Path::new)
                .map(Path::to_path_buf),
        )
        .any(|folder| folder.join(program).is_file())
}
