//! What the collector would know: WORLD.json, and the tables that it becomes.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;

use super::names;
use crate::hop::{self, Hop, Meaning};
use crate::message::Plan;

/// Addresses whose meaning is kept at hand; beyond it all are looked up again.
const CACHE_MAX: usize = 1 << 18;

/// WORLD.json. Keys that are not listed are an error: a misspelt one must not silently be a default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldFile {
    /// The ASes that are Microsoft's.
    pub microsoft_asns: Vec<u32>,
    /// Address to AS.
    pub prefix_as: Vec<PrefixAs>,
    /// Names of addresses.
    pub ptr: BTreeMap<IpAddr, String>,
    /// Addresses of one router.
    pub aliases: Vec<Vec<IpAddr>>,
    /// Edge codes and their metros.
    pub pops: Vec<Pop>,
    /// The agents.
    pub agents: BTreeMap<String, Agent>,
    /// How they measure.
    pub plan: PlanFile,
}

/// A prefix and its origin.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefixAs {
    /// The prefix.
    pub prefix: IpNet,
    /// Its origin AS.
    pub asn: u32,
}

/// An edge code and its metro.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pop {
    /// The code.
    pub code: String,
    /// The metro.
    pub metro: String,
}

/// An agent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Agent {
    /// Its site.
    pub site: Option<String>,
    /// Country of the site.
    pub country: Option<String>,
    /// Metro of the site.
    pub metro: Option<String>,
    /// Its provider.
    pub provider_asn: Option<u32>,
}

/// How agents measure.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlanFile {
    flows: Option<u16>,
    tail_s: Option<f64>,
    full_s: Option<f64>,
    pulse_s: Option<f64>,
    burst_s: Option<f64>,
    burst_rounds: Option<u8>,
}

impl PlanFile {
    /// The plan, with what is not said as by default.
    pub fn plan(&self) -> Plan {
        let usual = Plan::default();
        let seconds = |value: Option<f64>, usual: f64| {
            value
                .filter(|value| value.is_finite() && *value > 0.0)
                .unwrap_or(usual)
        };
        Plan {
            flows: self.flows.unwrap_or(usual.flows).max(1),
            tail_s: seconds(self.tail_s, usual.tail_s),
            full_s: seconds(self.full_s, usual.full_s),
            pulse_s: seconds(self.pulse_s, usual.pulse_s),
            burst_s: seconds(self.burst_s, usual.burst_s),
            burst_rounds: self.burst_rounds.unwrap_or(usual.burst_rounds),
        }
    }
}

/// The tables.
#[derive(Debug, Default)]
pub struct World {
    microsoft: Vec<u32>,
    prefixes: BTreeMap<u8, HashMap<IpNet, u32>>,
    ptr: BTreeMap<IpAddr, String>,
    aliases: HashMap<IpAddr, u32>,
    alias_names: HashMap<u32, String>,
    /// Metros by edge code, by a code's letters and by their own name; two metros of one key are none.
    pops: BTreeMap<String, Option<String>>,
    generation: u32,
    cache: RefCell<HashMap<IpAddr, Hop>>,
}

impl World {
    /// Makes the tables.
    pub fn new(file: &WorldFile) -> Self {
        let mut world = Self {
            microsoft: file.microsoft_asns.clone(),
            pops: read_pops(&file.pops),
            ptr: file.ptr.clone(),
            ..Self::default()
        };
        world.read_prefixes(&file.prefix_as);
        world.read_aliases(&file.aliases);
        world
    }

    /// Replaces tables while running.
    pub fn replace(
        &mut self,
        prefix_as: Option<&[PrefixAs]>,
        ptr: Option<&BTreeMap<IpAddr, String>>,
        aliases: Option<&[Vec<IpAddr>]>,
    ) {
        if let Some(prefix_as) = prefix_as {
            self.read_prefixes(prefix_as);
        }
        if let Some(ptr) = ptr {
            self.ptr.clone_from(ptr);
        }
        if let Some(aliases) = aliases {
            self.read_aliases(aliases);
        }
        self.generation = self.generation.wrapping_add(1);
        self.cache.borrow_mut().clear();
    }

    /// The metro of an edge code.
    pub fn edge_metro(&self, code: &str) -> Option<&str> {
        let code = code.to_ascii_lowercase();
        let by = |key: &str| self.pops.get(key)?.as_deref();
        by(&code).or_else(|| by(names::letters(&code)))
    }

    fn read_prefixes(&mut self, prefix_as: &[PrefixAs]) {
        self.prefixes.clear();
        for one in prefix_as {
            let of_length = self.prefixes.entry(one.prefix.prefix_len()).or_default();
            of_length.insert(one.prefix.trunc(), one.asn);
        }
    }

    fn read_aliases(&mut self, aliases: &[Vec<IpAddr>]) {
        self.aliases.clear();
        self.alias_names.clear();
        for set in aliases {
            let named = set
                .iter()
                .find_map(|address| names::router(self.ptr.get(address)?));
            let Some(least) = set.iter().min() else {
                continue;
            };
            let key = match &named {
                Some(router) => hop::key_of(router.key.as_bytes()),
                None => hop::address_key(*least),
            };
            let name = named.map_or_else(|| least.to_string(), |router| router.key);
            self.alias_names.insert(key, name);
            self.aliases
                .extend(set.iter().map(|address| (*address, key)));
        }
    }

    fn asn(&self, address: IpAddr) -> Option<u32> {
        self.prefixes.iter().rev().find_map(|(length, of_length)| {
            let network = IpNet::new(address, *length).ok()?.trunc();
            of_length.get(&network).copied()
        })
    }

    /// The metro of a name. A place that the list of edges does not have is a place all the same, by its letters.
    fn metro_of(&self, router: &names::Router) -> String {
        let by = |key: &String| self.pops.get(key)?.clone();
        by(&router.place)
            .or_else(|| by(&router.code))
            .unwrap_or_else(|| router.code.to_ascii_uppercase())
    }

    fn name_of(&self, address: IpAddr) -> Option<names::Router> {
        names::router(self.ptr.get(&address)?)
    }

    fn look_up(&self, address: IpAddr) -> Hop {
        let named = self.name_of(address);
        let asn = self.asn(address);
        let alias = self.aliases.get(&address).copied();
        let by_name = named
            .as_ref()
            .map(|router| hop::key_of(router.key.as_bytes()));
        Hop {
            asn: asn.or_else(|| named.as_ref().and(self.microsoft.first().copied())),
            router: by_name
                .or(alias)
                .unwrap_or_else(|| hop::address_key(address)),
            metro: named
                .as_ref()
                .map(|router| hop::place_key(&self.metro_of(router))),
            microsoft: named.is_some() || asn.is_some_and(|asn| self.microsoft.contains(&asn)),
            named: named.is_some(),
            backbone: named.is_some_and(|router| router.backbone),
            resolved: by_name.or(alias).is_some(),
            private: asn.is_none() && is_private(address),
        }
    }
}

impl Meaning for World {
    fn hop(&self, address: IpAddr) -> Hop {
        let mut cache = self.cache.borrow_mut();
        if cache.len() >= CACHE_MAX {
            cache.clear();
        }
        *cache
            .entry(address)
            .or_insert_with(|| self.look_up(address))
    }

    fn generation(&self) -> u32 {
        self.generation
    }

    fn router_name(&self, address: IpAddr) -> String {
        if let Some(router) = self.name_of(address) {
            return router.key;
        }
        let alias = self
            .aliases
            .get(&address)
            .and_then(|key| self.alias_names.get(key));
        alias.cloned().unwrap_or_else(|| address.to_string())
    }

    fn metro_name(&self, address: IpAddr) -> Option<String> {
        Some(self.metro_of(&self.name_of(address)?))
    }
}

fn read_pops(pops: &[Pop]) -> BTreeMap<String, Option<String>> {
    let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
    for pop in pops {
        known.insert(pop.code.to_ascii_lowercase(), Some(pop.metro.clone()));
    }
    let mut more: BTreeMap<String, Option<String>> = BTreeMap::new();
    for pop in pops {
        let code = pop.code.to_ascii_lowercase();
        let metro = pop.metro.to_ascii_lowercase();
        for key in [names::letters(&code).to_owned(), metro] {
            let same = |old: &Option<String>| old.as_ref() == Some(&pop.metro);
            let new = match more.get(&key) {
                Some(old) if !same(old) => None,
                Some(_) | None => Some(pop.metro.clone()),
            };
            more.insert(key, new);
        }
    }
    for (key, metro) in more {
        known.entry(key).or_insert(metro);
    }
    known
}

/// RFC 1918, RFC 6598 §7, RFC 4193, link-local, loopback.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private()
                || v4.is_link_local()
                || v4.is_loopback()
                || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}
