//! The configuration: a file and the environment, turned into values that cannot be wrong.

mod error;
mod proxy;
mod section;
mod sets;
mod target;
#[cfg(test)]
mod tests;
mod vantage;
#[cfg(windows)]
mod windows_proxy;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use error::ConfigError;
pub(crate) use proxy::{Proxy, ProxyError, ProxyRules};
use section::Section;
pub(crate) use target::{Host, Protocols, RequestPath, Service, Target, TargetName};
use url::Url;
pub(crate) use vantage::Vantage;

/// Where the configuration is looked for when the command line names none.
#[cfg(not(windows))]
pub(crate) const DEFAULT_FILE: &str = "/etc/firstmile/agent.toml";
/// Where the configuration is looked for when the command line names none.
#[cfg(windows)]
pub(crate) const DEFAULT_FILE: &str = r"C:\ProgramData\firstmile\agent.toml";

/// Where identity, spool and status are kept when the configuration does not say.
#[cfg(not(windows))]
const DEFAULT_STATE_DIR: &str = "/var/lib/firstmile-agent";
/// Where identity, spool and status are kept when the configuration does not say.
#[cfg(windows)]
const DEFAULT_STATE_DIR: &str = r"C:\ProgramData\firstmile\state";

/// Most targets of one agent: a hard cap, whatever file or plan says.
pub(crate) const MAX_TARGETS: usize = 20;

/// Most flows of a path round: a hard cap.
pub(crate) const MAX_FLOWS: u16 = 8;

/// A collector refuses reports that are older.
const MAX_AGE: Duration = Duration::from_hours(30 * 24);

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// Everything that an administrator can choose.
#[derive(Clone, Debug)]
pub(crate) struct AgentConfig {
    /// Identity, spool and status live here.
    pub(crate) state_dir: PathBuf,
    /// Resolvers to ask; empty: the system's own.
    pub(crate) resolvers: Vec<SocketAddr>,
    /// PEM files trusted besides the system's roots when probing.
    pub(crate) extra_roots: Vec<PathBuf>,
    pub(crate) targets: Vec<Target>,
    pub(crate) plan: Plan,
    pub(crate) spool: SpoolLimits,
    /// Told at enrolment: rules of the collector may place machines by it.
    pub(crate) site_tag: Option<String>,
    /// The page that `doctor` fetches to find a captive portal; `None`: none.
    pub(crate) portal: Option<PortalPage>,
    pub(crate) host: HostSettings,
    /// Ways out of the machine; the first is its own choice.
    pub(crate) vantages: Vec<Vantage>,
    /// The proxies that reports take, and users.
    pub(crate) proxy: ProxyRules,
}

/// A page whose text is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortalPage {
    /// `http` only: a portal cannot answer for `https`.
    pub(crate) url: Url,
    pub(crate) text: String,
}

/// How often to probe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// TCP and ICMP, each target.
    pub(crate) pulse_interval: Duration,
    pub(crate) dns_interval: Duration,
    pub(crate) https_interval: Duration,
    pub(crate) tls_interval: Duration,
    pub(crate) quic_interval: Duration,
    /// Path rounds of all flows and TTLs.
    pub(crate) full_interval: Duration,
    /// Path rounds of the TTLs around the ingress.
    pub(crate) tail_interval: Duration,
    /// Multipath discovery.
    pub(crate) refresh_interval: Duration,
    /// Paths of UDP and ICMP, as evidence beside those of TCP.
    pub(crate) evidence_interval: Duration,
    /// Full rounds back to back at the start.
    pub(crate) learning_rounds: u16,
    pub(crate) trace_flows: u16,
    /// Start of one flow to the start of the next.
    pub(crate) flow_spacing: Duration,
    pub(crate) probe_timeout: Duration,
    pub(crate) burst_rounds: u16,
    pub(crate) burst_interval: Duration,
    pub(crate) upload_interval: Duration,
}

/// What an administrator knows of the machine better than it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostSettings {
    /// Whether it may be elsewhere than at its site.
    pub(crate) roams: bool,
    /// Interfaces that are the site's own line though they look like tunnels.
    pub(crate) not_tunnels: Vec<String>,
}

/// How much to keep while the collector is away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpoolLimits {
    pub(crate) max_bytes: u64,
    pub(crate) max_age: Duration,
}

/// Reads the configuration: the named file, or the default one, or the built-in defaults where there is none.
///
/// # Errors
/// See [`ConfigError`]; each is one line with its fix.
pub(crate) fn load(named: Option<&Path>) -> Result<AgentConfig, ConfigError> {
    let file = named.unwrap_or(Path::new(DEFAULT_FILE));
    match std::fs::read_to_string(file) {
        Ok(text) => parse(file, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => {
            parse(file, "")
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(ConfigError::Missing {
            file: file.to_owned(),
        }),
        Err(source) => Err(ConfigError::Unreadable {
            file: file.to_owned(),
            source,
        }),
    }
}

/// The built-in defaults, whatever this machine has configured.
#[cfg(test)]
pub(crate) fn built_in() -> AgentConfig {
    parse(Path::new("built-in"), "").expect("the defaults are valid")
}

/// The log filter of the environment, `RUST_LOG`.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment is read in config/ only, which this is"
)]
pub(crate) fn log_filter() -> Option<String> {
    std::env::var("RUST_LOG")
        .ok()
        .filter(|filter| !filter.is_empty())
}

/// Variables by which programs are told of a proxy, in the order in which they are looked at.
const PROXY_VARIABLES: &[&str] = &[
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// The proxy variables of the environment that are set: name and value.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment is read in config/ only, which this is"
)]
pub(crate) fn proxy_variables() -> Vec<(&'static str, String)> {
    let variables: Vec<_> = PROXY_VARIABLES
        .iter()
        .filter_map(|name| Some((*name, std::env::var(name).ok()?)))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    #[cfg(windows)]
    let variables = windows_proxy::beside(variables);
    variables
}

/// The script that chooses a proxy, where somebody names one: it is not run, which `doctor` says.
#[cfg_attr(
    not(windows),
    expect(
        clippy::disallowed_methods,
        reason = "the environment is read in config/ only, which this is"
    )
)]
pub(crate) fn proxy_script() -> Option<(&'static str, String)> {
    #[cfg(windows)]
    let script = windows_proxy::script().map(|script| (SCRIPT_OF_WINDOWS, script));
    #[cfg(not(windows))]
    let script = std::env::var("auto_proxy")
        .ok()
        .map(|script| ("auto_proxy", script));
    script.filter(|(_, script)| !script.is_empty())
}

/// The name that the script of Windows goes by among the variables.
pub(crate) const SCRIPT_OF_WINDOWS: &str = "proxy script of Windows";

fn parse(file: &Path, text: &str) -> Result<AgentConfig, ConfigError> {
    let table: toml::Table =
        text.parse()
            .map_err(|error: toml::de::Error| ConfigError::Syntax {
                file: file.to_owned(),
                line: error.span().map_or(1, |span| {
                    1 + text
                        .bytes()
                        .take(span.start)
                        .filter(|b| *b == b'\n')
                        .count()
                }),
                problem: error.message().replace('\n', "; "),
            })?;
    let mut root = Section::root(file, table);
    let state_dir = root.take("state_dir", |value| {
        let path = PathBuf::from(section::text(value)?);
        if path.is_absolute() || path.components().count() > 0 {
            Ok(path)
        } else {
            Err("write a directory".to_owned())
        }
    })?;
    let resolvers = root.take("resolvers", |value| section::list(value, resolver))?;
    let extra_roots = root.take("extra_roots", |value| {
        section::list(value, |text| Ok(PathBuf::from(text)))
    })?;
    let vantages = vantage::read(&mut root)?;
    let targets = targets(&mut root, &vantages)?;
    let plan = plan(root.sub("plan")?)?;
    let spool = spool(root.sub("spool")?)?;
    let portal = portal(root.sub("doctor")?)?;
    let site_tag = root.take("site_tag", |value| site_tag(section::text(value)?))?;
    let host = host(root.sub("host")?)?;
    let proxy = ProxyRules::read(root.sub("proxy")?, &proxy_variables())?;
    root.finish()?;
    Ok(AgentConfig {
        state_dir: state_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_STATE_DIR)),
        resolvers: resolvers.unwrap_or_default(),
        extra_roots: extra_roots.unwrap_or_default(),
        targets,
        plan,
        spool,
        site_tag: site_tag.flatten(),
        portal,
        host,
        vantages,
        proxy,
    })
}

/// A tag as the collector's rules have it, or none.
fn site_tag(text: &str) -> Result<Option<String>, String> {
    let good =
        text.chars().count() <= 253 && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if good {
        Ok((!text.is_empty()).then(|| text.to_owned()))
    } else {
        Err("write a tag of at most 253 characters without spaces, such as \"kiosk\", or \"\" for none".to_owned())
    }
}

/// A resolver's address; the port is 53 when none is named.
fn resolver(text: &str) -> Result<SocketAddr, String> {
    text.parse::<SocketAddr>()
        .or_else(|_| {
            text.parse::<IpAddr>()
                .map(|address| SocketAddr::new(address, 53))
        })
        .map_err(|_| {
            "write a resolver's address, with or without port, such as \"192.0.2.53:53\"".to_owned()
        })
}

/// The file's own targets, then those of the named sets whose names are not taken yet.
fn targets(root: &mut Section, vantages: &[Vantage]) -> Result<Vec<Target>, ConfigError> {
    let places = |value: &toml::Value| {
        let names = section::list(value, |word| Ok(word.to_owned()))?;
        vantage::places(&names, vantages)
    };
    let all = root.take("vantages", places)?.unwrap_or_else(|| vec![0]);
    let sets = root.take("target_sets", |value| {
        section::list(value, sets::targets_of)
    })?;
    let mut targets: Vec<Target> = Vec::new();
    for (index, section) in root.subs("target")?.into_iter().enumerate() {
        let (target, name) = own_target(section, &all, &places)?;
        if targets.iter().any(|other| other.name == target.name) {
            let key = format!("target[{index}].name");
            return Err(root.refuse(&key, name, "give each target a name of its own"));
        }
        targets.push(target);
    }
    let of_sets = match sets {
        Some(sets) => sets.concat(),
        None => sets::targets_of("m365").map_err(|fix| root.refuse("target_sets", "m365", fix))?,
    };
    for target in of_sets {
        if targets.iter().all(|own| own.name != target.name) {
            targets.push(Target {
                vantages: all.clone(),
                ..target
            });
        }
    }
    if targets.len() > MAX_TARGETS {
        let fix = format!("an agent measures at most {MAX_TARGETS} targets; remove some");
        return Err(root.refuse("target", format!("{} targets", targets.len()), fix));
    }
    if targets.is_empty() {
        return Err(root.refuse(
            "target_sets",
            "[]",
            "name a set, or write a [[target]], so that there is something to measure",
        ));
    }
    Ok(targets)
}

fn own_target(
    mut section: Section,
    all: &[u16],
    places: &impl Fn(&toml::Value) -> Result<Vec<u16>, String>,
) -> Result<(Target, String), ConfigError> {
    let name = section.require("name", "write name = \"…\" in each [[target]]", |v| {
        TargetName::parse(section::text(v)?)
    })?;
    let host = section.require("host", "write host = \"…\" in each [[target]]", |v| {
        Host::parse(section::text(v)?)
    })?;
    let port = section.take("port", |value| section::whole(value, 1, u16::MAX))?;
    let service = section.take("service", |value| Service::parse(section::text(value)?))?;
    let protocols = section.take("protocols", |value| {
        let words = section::list(value, |word| Ok(word.to_owned()))?;
        Protocols::from_words(words.iter().map(String::as_str))
    })?;
    let trace = section.take("trace", section::truth)?;
    let path = section.take("path", |value| RequestPath::parse(section::text(value)?))?;
    let vantages = section.take("vantages", places)?;
    section.finish()?;
    let shown = format!("{:?}", name.as_str());
    let target = Target {
        vantages: vantages.unwrap_or_else(|| all.to_vec()),
        name,
        host,
        port: port.unwrap_or(443),
        service: service.unwrap_or(Service::Custom),
        protocols: protocols.unwrap_or(Protocols::USUAL),
        trace: trace.unwrap_or(true),
        path: path.unwrap_or_else(RequestPath::root),
    };
    Ok((target, shown))
}

fn plan(mut section: Section) -> Result<Plan, ConfigError> {
    let mut time = |key, default: Duration, min: Duration, max: Duration| {
        section
            .take(key, |value| section::duration(value, min, max))
            .map(|found| found.unwrap_or(default))
    };
    let pulse_interval = time("pulse_interval", 5 * SECOND, SECOND, HOUR)?;
    let dns_interval = time("dns_interval", 60 * SECOND, 5 * SECOND, 24 * HOUR)?;
    let https_interval = time("https_interval", 300 * SECOND, 5 * SECOND, 24 * HOUR)?;
    let tls_interval = time("tls_interval", 300 * SECOND, 5 * SECOND, 24 * HOUR)?;
    let quic_interval = time("quic_interval", 300 * SECOND, 5 * SECOND, 24 * HOUR)?;
    let tail_interval = time("tail_interval", 30 * SECOND, 10 * SECOND, HOUR)?;
    let refresh_interval = time("refresh_interval", 6 * HOUR, HOUR / 6, 168 * HOUR)?;
    let evidence_interval = time("evidence_interval", HOUR, 10 * SECOND, 24 * HOUR)?;
    let flow_spacing = time("flow_spacing", SECOND, SECOND / 100, 5 * SECOND)?;
    let probe_timeout = time("probe_timeout", 2 * SECOND, SECOND / 10, 30 * SECOND)?;
    let burst_interval = time("burst_interval", 5 * SECOND, 2 * SECOND, HOUR)?;
    let upload_interval = time("upload_interval", 30 * SECOND, SECOND, HOUR)?;
    let trace_flows = section.take("trace_flows", |value| section::whole(value, 1, MAX_FLOWS))?;
    let burst_rounds = section.take("burst_rounds", |value| section::whole(value, 0, 12))?;
    let learning_rounds = section.take("learning_rounds", |value| section::whole(value, 1, 60))?;
    let full_interval = full_interval(&mut section)?;
    section.finish()?;
    Ok(Plan {
        pulse_interval,
        dns_interval,
        https_interval,
        tls_interval,
        quic_interval,
        full_interval,
        tail_interval,
        refresh_interval,
        evidence_interval,
        learning_rounds: learning_rounds.unwrap_or(20),
        trace_flows: trace_flows.unwrap_or(MAX_FLOWS),
        flow_spacing,
        probe_timeout,
        burst_rounds: burst_rounds.unwrap_or(6),
        burst_interval,
        upload_interval,
    })
}

fn host(mut section: Section) -> Result<HostSettings, ConfigError> {
    let roams = section.take("roams", section::truth)?;
    let not_tunnels = section.take("not_tunnels", |value| {
        section::list(value, |text| Ok(text.to_owned()))
    })?;
    section.finish()?;
    Ok(HostSettings {
        roams: roams.unwrap_or(true),
        not_tunnels: not_tunnels.unwrap_or_default(),
    })
}

/// `full_interval`, or `trace_interval` as it was called when there were no tails.
fn full_interval(section: &mut Section) -> Result<Duration, ConfigError> {
    let parse = |value: &toml::Value| section::duration(value, 10 * SECOND, 24 * HOUR);
    let full = section.take("full_interval", parse)?;
    let old = section.take("trace_interval", parse)?;
    if full.is_some()
        && let Some(old) = old
    {
        let shown = format!("{:?}", humantime::format_duration(old).to_string());
        let fix = "it is the old name of full_interval: remove it";
        return Err(section.refuse("trace_interval", shown, fix));
    }
    Ok(full.or(old).unwrap_or(120 * SECOND))
}

fn spool(mut section: Section) -> Result<SpoolLimits, ConfigError> {
    let max_bytes = section.take("max_bytes", |value| {
        section::bytes(value, 1 << 20, 64 << 30)
    })?;
    let max_age = section.take("max_age", |value| section::duration(value, HOUR, MAX_AGE))?;
    section.finish()?;
    Ok(SpoolLimits {
        max_bytes: max_bytes.unwrap_or(64 << 20),
        max_age: max_age.unwrap_or(72 * HOUR),
    })
}

/// Windows' own test page: public, tiny, and allowed wherever Windows works.
const PORTAL_URL: &str = "http://www.msftconnecttest.com/connecttest.txt";
const PORTAL_TEXT: &str = "Microsoft Connect Test";

fn portal(mut section: Section) -> Result<Option<PortalPage>, ConfigError> {
    let url = section.take("portal_url", |value| match section::text(value)? {
        "" => Ok(None),
        text => Url::parse(text)
            .ok()
            .filter(|url| url.scheme() == "http" && url.has_host())
            .map(Some)
            .ok_or_else(|| "write an http:// URL, or \"\" for none".to_owned()),
    })?;
    let text = section.take("portal_text", |value| Ok(section::text(value)?.to_owned()))?;
    section.finish()?;
    let url = url.unwrap_or_else(|| Url::parse(PORTAL_URL).ok());
    Ok(url.map(|url| PortalPage {
        url,
        text: text.unwrap_or_else(|| PORTAL_TEXT.to_owned()),
    }))
}
