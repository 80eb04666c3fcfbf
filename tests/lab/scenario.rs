//! The scenario file: what the simulated internet consists of, and what can be made to happen to it.
//!
//! Pure. A [`Scenario`] that exists is consistent: names are unique, and whatever is named exists.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use ipnet::Ipv4Net;
use serde::{Deserialize, Deserializer, Serialize};

use crate::twin;

/// The scenario that runs when none is named.
pub(crate) const BASE: &str = include_str!("../scenarios/base.toml");

/// A whole scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// Whether equally good paths are all used, each flow taking one; else one path carries all.
    #[serde(default)]
    pub(crate) multipath: bool,
    /// What the agents do otherwise than in every lab: keys of their `[plan]`.
    #[serde(default)]
    pub(crate) plan: toml::Table,
    #[serde(rename = "as")]
    pub(crate) systems: Vec<AutonomousSystem>,
    #[serde(rename = "router")]
    pub(crate) routers: Vec<Router>,
    #[serde(rename = "link")]
    pub(crate) links: Vec<Link>,
    pub(crate) anycast: Anycast,
    #[serde(rename = "front_door")]
    pub(crate) front_doors: Vec<FrontDoor>,
    #[serde(rename = "edge")]
    pub(crate) edges: Vec<Edge>,
    #[serde(rename = "site")]
    pub(crate) sites: Vec<Site>,
    #[serde(rename = "event", default)]
    pub(crate) events: Vec<Event>,
}

/// An autonomous system and the addresses of its routers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AutonomousSystem {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) infrastructure: Ipv4Net,
}

/// A router. Its `dns` name is what a traceroute shows for all its addresses.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Router {
    pub(crate) name: String,
    #[serde(rename = "as")]
    pub(crate) asn: u32,
    pub(crate) dns: String,
    pub(crate) metro: Option<String>,
    #[serde(default)]
    pub(crate) reflector: bool,
    #[serde(default)]
    pub(crate) answers: Answers,
}

/// How often a router tells a prober that the TTL has run out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// Always.
    #[default]
    Always,
    /// Six at once, then once a second to each host: what Linux does by default.
    Seldom,
    /// Never.
    Never,
}

/// What the first end of a link is to the second, where they belong to different systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Relation {
    /// Neither pays: own routes and those of customers are exchanged.
    Peer,
    /// The first end pays the second and hears everything from it.
    Customer,
}

/// A link between two routers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    pub(crate) between: [String; 2],
    /// Absent inside one system.
    pub(crate) relation: Option<Relation>,
    #[serde(deserialize_with = "duration")]
    pub(crate) delay: Duration,
    #[serde(default, deserialize_with = "duration")]
    pub(crate) jitter: Duration,
    #[serde(default)]
    pub(crate) loss_ratio: f64,
    /// Taken off the local preference of what is heard over this link; 20 inside a system, 0 between systems.
    pub(crate) cost: Option<u32>,
}

/// The prefix that all metros announce.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Anycast {
    pub(crate) prefix: Ipv4Net,
    #[serde(rename = "as")]
    pub(crate) asn: u32,
    /// Address of a name server beside the front doors, which agents then ask too.
    pub(crate) resolver: Option<Ipv4Addr>,
}

/// A name that sites measure.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FrontDoor {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) service: String,
    /// Names that the host is an alias of, one after the other; the last has the addresses.
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    #[serde(default = "usual_protocols")]
    pub(crate) protocols: Vec<String>,
}

/// The machine that answers for all front doors in one metro.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edge {
    pub(crate) name: String,
    pub(crate) metro: String,
    pub(crate) router: String,
    /// Name of the server in `x-msedge-ref`, such as `AMS04EDGE0317`.
    pub(crate) server: String,
    #[serde(deserialize_with = "duration")]
    pub(crate) delay: Duration,
}

/// A branch site: a router of its own, and a host with an agent behind it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Site {
    pub(crate) name: String,
    #[serde(rename = "as")]
    pub(crate) asn: u32,
    pub(crate) prefix: Ipv4Net,
    pub(crate) country: String,
    pub(crate) subdivision: String,
    pub(crate) metro: String,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    pub(crate) uplinks: Vec<Uplink>,
}

/// An access link of a site.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Uplink {
    pub(crate) to: String,
    #[serde(deserialize_with = "duration")]
    pub(crate) delay: Duration,
    #[serde(default, deserialize_with = "duration")]
    pub(crate) jitter: Duration,
    #[serde(default)]
    pub(crate) loss_ratio: f64,
}

/// How a failed link behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Both ends lose carrier and know at once.
    #[default]
    Down,
    /// Packets vanish, the ends notice by their timers only.
    Blackhole,
}

/// Something that can fail: `<name>-down` fails it, `<name>-up` repairs it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) routers: Vec<String>,
    pub(crate) routers_of_metro: Option<String>,
    pub(crate) routers_of_as: Option<u32>,
    #[serde(default)]
    pub(crate) links: Vec<String>,
    #[serde(default)]
    pub(crate) fault: Fault,
}

fn usual_protocols() -> Vec<String> {
    ["icmp", "tcp", "https"].map(str::to_owned).to_vec()
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

impl Scenario {
    /// Reads a scenario and checks that all it names exists.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let scenario: Self = toml::from_str(text).context("the scenario is not understood")?;
        scenario.check_names()?;
        scenario.check_references()?;
        Ok(scenario)
    }

    /// The router of that name.
    pub(crate) fn router(&self, name: &str) -> anyhow::Result<&Router> {
        let found = self.routers.iter().find(|router| router.name == name);
        found.with_context(|| format!("there is no router `{name}`"))
    }

    /// The address of a front door in each family.
    pub(crate) fn addresses_of(&self, door: &FrontDoor) -> [IpAddr; 2] {
        self.anycast_addresses(door.address)
    }

    /// The address of the front doors' name server in each family.
    pub(crate) fn resolver(&self) -> Option<[IpAddr; 2]> {
        let address = self.anycast.resolver?;
        Some(self.anycast_addresses(address))
    }

    fn anycast_addresses(&self, four: Ipv4Addr) -> [IpAddr; 2] {
        let six = twin::address(self.anycast.prefix, four);
        [four.into(), six.into()]
    }

    fn check_names(&self) -> anyhow::Result<()> {
        let mut seen = BTreeSet::new();
        let names = (self.routers.iter().map(|router| &router.name))
            .chain(self.edges.iter().map(|edge| &edge.name))
            .chain(self.sites.iter().map(|site| &site.name));
        for name in names {
            // It becomes the name of an interface, which Linux limits to 15 bytes, and of a session in BIRD.
            let plain = name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            let fits = (3..=15).contains(&name.len())
                && name.starts_with(|first: char| first.is_ascii_lowercase());
            ensure!(
                plain && fits && name != "mgmt",
                "`{name}` must be 3 to 15 small letters, digits and hyphens"
            );
            ensure!(seen.insert(name), "the name `{name}` is used twice");
        }
        for site in &self.sites {
            ensure!(
                site.name.len() <= 12,
                "the name of site `{}` must have at most 12 letters",
                site.name
            );
        }
        Ok(())
    }

    fn check_references(&self) -> anyhow::Result<()> {
        let known = |asn| self.systems.iter().any(|system| system.number == asn);
        for router in &self.routers {
            ensure!(
                known(router.asn),
                "router `{}`: there is no AS {}",
                router.name,
                router.asn
            );
        }
        for link in &self.links {
            let [from, to] = &link.between;
            let same = self.router(from)?.asn == self.router(to)?.asn;
            if same == link.relation.is_some() {
                bail!(
                    "link {from}:{to}: `relation` belongs to links between two systems, and to all of them"
                );
            }
        }
        for edge in &self.edges {
            self.router(&edge.router)
                .with_context(|| format!("edge `{}`", edge.name))?;
        }
        for site in &self.sites {
            ensure!(
                !site.uplinks.is_empty(),
                "site `{}` has no uplink",
                site.name
            );
            for uplink in &site.uplinks {
                self.router(&uplink.to)
                    .with_context(|| format!("site `{}`", site.name))?;
            }
        }
        for event in &self.events {
            for router in &event.routers {
                self.router(router)
                    .with_context(|| format!("event `{}`", event.name))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_scenario_is_consistent() {
        let base = Scenario::parse(BASE).unwrap();
        assert_eq!(base.sites.len(), 6);
        assert_eq!(base.edges.len(), 2);
    }

    #[test]
    fn the_scenario_of_equal_paths_is_consistent() {
        let ecmp = Scenario::parse(include_str!("../scenarios/ecmp.toml")).unwrap();
        assert!(ecmp.multipath && ecmp.resolver().is_some());
    }

    #[test]
    fn what_is_named_must_exist() {
        for (name, from, to) in [
            (
                "unknown key",
                "name = \"base\"",
                "name = \"base\"\ncolour = 1",
            ),
            ("unknown router", "to = \"a-ams\"", "to = \"a-xxx\""),
            ("name twice", "name = \"b-lon\"\nas", "name = \"b-fra\"\nas"),
            ("bad delay", "delay = \"150us\"", "delay = \"150\""),
            ("relation inside a system", "relation = \"peer\"", "#"),
        ] {
            assert!(
                Scenario::parse(&BASE.replacen(from, to, 1)).is_err(),
                "{name}"
            );
        }
    }
}
