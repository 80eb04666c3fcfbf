//! `[routing]`: what is registered, and which feeds tell of routes.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use toml::Value;
use url::Url;

use super::keys::{ConfigError, Section, Setting};
use super::values::{PlainPath, text_of};

/// What is registered, and which feeds tell of routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// Prefixes, own ASes, relations, when verdicts start and end: a file as `bgp judge` reads it. Without it nothing is watched.
    pub rules: Option<PathBuf>,
    /// MRT files or folders, read at the start: the routes as they are.
    pub tables: Vec<PathBuf>,
    /// Where routers send BMP to.
    pub bmp_listen: Option<SocketAddr>,
    /// Routers that may.
    pub bmp_routers: Vec<IpNet>,
    /// RIS Live.
    pub ris_live: Option<Url>,
    /// A prefix that changes all the time, by which a dead feed is noticed.
    pub ris_canary: Option<IpNet>,
    /// An RPKI validator that speaks RTR.
    pub rtr: Option<String>,
    /// A JSON file of RPKI payloads.
    pub vrp_file: Option<PathBuf>,
}

struct Net(IpNet);
struct FeedUrl(Url);
struct HostPort(String);

impl Setting for Net {
    const LIKE: &'static str = "\"192.0.2.1\" or \"192.0.2.0/24\"";
    fn read(value: &Value) -> Result<Self, String> {
        let text = text_of(value)?;
        let net = text.parse::<IpNet>().ok();
        let host = || text.parse::<IpAddr>().ok().map(IpNet::from);
        net.or_else(host)
            .map(|net| Self(net.trunc()))
            .ok_or_else(|| "this is neither an address nor a prefix".to_owned())
    }
}

impl Setting for FeedUrl {
    const LIKE: &'static str = "\"wss://ris-live.ripe.net/v1/ws/?client=example\"";
    fn read(value: &Value) -> Result<Self, String> {
        let url =
            Url::parse(text_of(value)?).map_err(|error| format!("this is no URL ({error})"))?;
        match url.scheme() {
            "ws" | "wss" if url.has_host() => Ok(Self(url)),
            _ => Err("RIS Live is spoken over ws or wss".to_owned()),
        }
    }
}

impl Setting for HostPort {
    const LIKE: &'static str = "\"validator.example.net:3323\"";
    fn read(value: &Value) -> Result<Self, String> {
        let text = text_of(value)?;
        let (host, port) = text
            .rsplit_once(':')
            .ok_or("a host and a port are needed")?;
        if host.is_empty() || port.parse::<u16>().map_or(true, |port| port == 0) {
            return Err("this is no host with a port".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl Routing {
    pub(super) fn read(mut section: Section<'_>, folder: &Path) -> Result<Self, ConfigError> {
        let rules = section.take::<PlainPath>("rules")?;
        let tables = section.take_list::<PlainPath>("tables")?;
        let bmp_listen = section.take("bmp_listen")?;
        let bmp_routers = section.take_list::<Net>("bmp_routers")?;
        let ris_live = section.take::<FeedUrl>("ris_live")?;
        let ris_canary = section.take::<Net>("ris_canary")?;
        let rtr = section.take::<HostPort>("rtr")?;
        let vrp_file = section.take::<PlainPath>("vrp_file")?;
        let feeds = bmp_listen.is_some() || ris_live.is_some();
        if rules.is_none() && (feeds || rtr.is_some() || vrp_file.is_some()) {
            let fix =
                "name the file that says what is registered, such as rules = \"routing.json\"";
            return Err(section.refuse(
                "rules",
                "absent",
                "feeds without rules judge nothing",
                fix,
            ));
        }
        if bmp_listen.is_some() && bmp_routers.as_ref().is_none_or(Vec::is_empty) {
            let fix = "list the routers, such as bmp_routers = [\"192.0.2.1\"]";
            let why = "BMP has no authentication: only listed routers are let in";
            return Err(section.refuse("bmp_routers", "absent", why, fix));
        }
        section.finish()?;
        let path = |path: PlainPath| folder.join(path.0);
        Ok(Self {
            rules: rules.map(path),
            tables: tables.unwrap_or_default().into_iter().map(path).collect(),
            bmp_listen,
            bmp_routers: bmp_routers
                .unwrap_or_default()
                .into_iter()
                .map(|net| net.0)
                .collect(),
            ris_live: ris_live.map(|url| url.0),
            ris_canary: ris_canary.map(|net| net.0),
            rtr: rtr.map(|server| server.0),
            vrp_file: vrp_file.map(path),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn routing(text: &str) -> Result<Routing, ConfigError> {
        Config::parse(text, Path::new("/etc/example.toml")).map(|config| config.routing)
    }

    #[test]
    fn feeds_need_rules_and_bmp_needs_a_list_of_routers() {
        assert_eq!(routing("").ok(), Some(Routing::default()));
        let all = "[routing]\nrules = \"r.json\"\ntables = [\"rib.gz\"]\nbmp_listen = \"127.0.0.1:11019\"\n\
            bmp_routers = [\"192.0.2.1\", \"2001:db8::/64\"]\nris_live = \"wss://feed.example/ws\"\nris_canary = \"198.51.100.0/24\"\n\
            rtr = \"[2001:db8::1]:3323\"\nvrp_file = \"/var/vrps.json\"\n";
        let all = routing(all).expect("all keys");
        assert_eq!(all.rules, Some("/etc/r.json".into()));
        assert_eq!(all.vrp_file, Some("/var/vrps.json".into()));
        assert_eq!(all.bmp_routers.len(), 2);
        for text in [
            "[routing]\nris_live = \"wss://feed.example/ws\"",
            "[routing]\nrtr = \"validator:3323\"",
            "[routing]\nrules = \"r\"\nbmp_listen = \"127.0.0.1:1\"",
            "[routing]\nrules = \"r\"\nbmp_listen = \"127.0.0.1:1\"\nbmp_routers = []",
            "[routing]\nrules = \"r\"\nris_live = \"https://feed.example\"",
            "[routing]\nrules = \"r\"\nrtr = \"validator\"",
            "[routing]\nrules = \"r\"\nrtr = \"validator:0\"",
            "[routing]\nrule = \"r\"",
        ] {
            assert!(routing(text).is_err(), "{text}");
        }
    }
}
