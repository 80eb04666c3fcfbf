//! A second internet, unlike the first: other lengths, widths, names and habits, so that nothing is fitted to one generator.
//!
//! Paths of 5 to 14 hops, layers of 1 to 8 members of which some balance packet by packet, runs of silent (MPLS) hops, IPv6,
//! names in three styles or none, a twentieth of wrong prefixes, rounds of ICMP beside TCP, thin plans, agents that burst late
//! or not at all, lines that are late, doubled or rubbish. Events last 5 to 40 minutes, one at a time.

mod agent;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firstmile_shift::level::Class;
use serde_json::{Value, json};

use crate::chance::{Chance, fixed_share, hash};
use crate::score::{Nuisance, Truth};

use agent::{Agent, KINDS};

const MICROSOFT: u64 = 0;
/// Layers of ingress routers and of those behind them, by metro.
const LAYERS: (u64, u64) = (100, 120);
const QUIET_S: f64 = 7_200.0;
const EVENTS: [Class; 6] = [
    Class::Geo,
    Class::Local,
    Class::Provider,
    Class::Uplink,
    Class::RedundancyLost,
    Class::Unreachable,
];

/// How this internet is made.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "habits that have nothing to do with each other"
)]
pub(crate) struct Style {
    pub seed: u64,
    v6: bool,
    pub flows: u64,
    tail_s: f64,
    full_s: f64,
    pulse_s: f64,
    bursts: bool,
    whole_bursts: bool,
    private: u64,
    access: u64,
    core: u64,
    inside: u64,
    silent_run: u64,
    naming: u64,
    icmp: bool,
    says_public: bool,
    says_edge: bool,
    says_addr: bool,
    wrong_as: f64,
    disorder: f64,
    pub agents: u64,
    pub days: f64,
}

impl Style {
    /// The style of a seed.
    pub(crate) fn of(seed: u64, agents: u64, days: f64) -> Self {
        let mut chance = Chance::new(hash(&[seed, 900]));
        let mut pick = |from: &[f64]| {
            let index = usize::try_from(chance.below(from.len() as u64)).unwrap_or(0);
            from.get(index).copied().unwrap_or_default()
        };
        let tail_s = pick(&[30.0, 30.0, 30.0, 60.0]);
        let mut style = Self {
            seed,
            v6: pick(&[0.0, 0.0, 1.0]) > 0.0,
            flows: 0,
            tail_s,
            full_s: tail_s * 4.0,
            pulse_s: pick(&[5.0, 5.0, 15.0, 30.0]),
            bursts: pick(&[1.0, 1.0, 1.0, 0.0]) > 0.0,
            whole_bursts: pick(&[0.0, 1.0]) > 0.0,
            private: 0,
            access: 0,
            core: 0,
            inside: 0,
            silent_run: 0,
            naming: 0,
            icmp: pick(&[0.0, 0.0, 1.0]) > 0.0,
            says_public: pick(&[0.0, 1.0, 1.0]) > 0.0,
            says_edge: pick(&[0.0, 1.0, 1.0]) > 0.0,
            says_addr: pick(&[0.0, 1.0]) > 0.0,
            wrong_as: pick(&[0.0, 0.02, 0.05]),
            disorder: pick(&[0.0, 0.002, 0.01]),
            agents,
            days,
        };
        style.flows = one_of(&[8, 8, 4, 16], hash(&[seed, 901]));
        style.private = chance.below(3);
        style.access = 1 + chance.below(2);
        style.core = 1 + chance.below(6);
        style.inside = 1 + chance.below(3);
        style.silent_run = if style.core > 3 { chance.below(3) } else { 0 };
        style.naming = chance.below(3);
        style
    }

    /// An address: network, place (layer and member), interface.
    fn address(&self, network: u64, layer: u64, member: u64, interface: u64) -> IpAddr {
        let octet = |value: u64| u8::try_from(value % 250).unwrap_or(0);
        if self.v6 {
            let word = |value: u64| u16::try_from(value % 65_536).unwrap_or(0);
            return IpAddr::V6(Ipv6Addr::new(
                0x2001,
                0xdb8,
                word(network),
                word(layer),
                word(member),
                0,
                0,
                word(1 + interface),
            ));
        }
        IpAddr::V4(Ipv4Addr::new(
            20 + octet(network),
            octet(layer),
            octet(member),
            octet(1 + interface),
        ))
    }

    fn asn(network: u64) -> u32 {
        64_496 + u32::try_from(network).unwrap_or(0)
    }

    fn metro_name(metro: u64) -> String {
        ["AMS", "FRA", "LON", "PAR", "MAD", "STO", "DUB", "ZRH"]
            .get(usize::try_from(metro % 8).unwrap_or(0))
            .map_or_else(String::new, |name| (*name).to_owned())
    }

    fn name(&self, metro: u64, member: u64, interface: u64, inside: bool) -> String {
        let code = Self::metro_name(metro).to_lowercase();
        let role = if inside { "ibr" } else { "icr" };
        match self.naming {
            0 => format!("ae{interface}-0.{role}{member:02}.{code}2{metro}.ntwk.msn.net"),
            1 => format!(
                "be-{interface}-0-0.{role}{member:02}.{code}{}.ntwk.msn.net",
                10 + metro
            ),
            _ if inside => format!("ae10{interface}-0.ibr{member:02}.{code}30.ntwk.msn.net"),
            _ => format!("xe-0-{interface}-0.{code}-96cbe-{member}a.ntwk.msn.net"),
        }
    }

    /// Seconds by which decisions may come later than at the live plan.
    pub(crate) fn slack(&self) -> f64 {
        let tail = if self.bursts {
            self.tail_s
        } else {
            self.tail_s * 3.0
        };
        tail - 30.0 + self.pulse_s * 3.0
    }

    /// WORLD.json.
    pub(crate) fn world(&self) -> Value {
        let mut prefixes = Vec::new();
        let mut ptr = serde_json::Map::new();
        let mut aliases = Vec::new();
        let length = if self.v6 { 80 } else { 24 };
        let (ingress, inside) = LAYERS;
        for metro in 0..8 {
            for member in 0..8 {
                for (layer, behind) in [(ingress + metro, false), (inside + metro, true)] {
                    let all: Vec<IpAddr> = (0..6)
                        .map(|n| self.address(MICROSOFT, layer, member, n))
                        .collect();
                    let lot = fixed_share(&[self.seed, 11, layer, member]);
                    if lot < 0.85 {
                        for (n, address) in (0..).zip(&all) {
                            ptr.insert(
                                address.to_string(),
                                json!(self.name(metro, member, n, behind)),
                            );
                        }
                    } else if lot < 0.93 {
                        aliases.push(json!(all));
                    }
                }
            }
        }
        for network in 0..24 {
            let whole = if self.v6 { 48 } else { 8 };
            let base = self.address(network, 0, 0, 249);
            prefixes.push(json!({"prefix": format!("{base}/{whole}"), "asn": Self::asn(network)}));
            for layer in 0..40 {
                for member in 0..8 {
                    if fixed_share(&[self.seed, 12, network, layer, member]) < self.wrong_as {
                        let base = self.address(network, layer, member, 249);
                        let wrong = Self::asn(1 + hash(&[network, layer]) % 8);
                        prefixes.push(json!({"prefix": format!("{base}/{length}"), "asn": wrong}));
                    }
                }
            }
        }
        let pops: Vec<Value> = (0..8)
            .map(|metro| json!({"code": Self::metro_name(metro), "metro": Self::metro_name(metro)}))
            .collect();
        let agents: serde_json::Map<String, Value> = (0..self.agents)
            .map(|agent| {
                let provider = fixed_share(&[self.seed, 13, agent]) < 0.8;
                let asn = provider.then(|| Self::asn(1 + Self::provider(agent)));
                (format!("a{agent}"), json!({"site": format!("s{agent}"), "country": "NL", "metro": null, "provider_asn": asn}))
            })
            .collect();
        json!({"microsoft_asns": [Self::asn(MICROSOFT)], "prefix_as": prefixes, "ptr": ptr, "aliases": aliases, "pops": pops,
               "agents": agents, "plan": {"flows": self.flows, "tail_s": self.tail_s, "full_s": self.full_s,
               "pulse_s": self.pulse_s, "burst_s": 5, "burst_rounds": 6}})
    }

    const fn provider(agent: u64) -> u64 {
        agent % 3
    }
}

/// The value that a lot falls on.
fn one_of<T: Copy + Default>(from: &[T], lot: u64) -> T {
    let index = usize::try_from(lot % (from.len() as u64).max(1)).unwrap_or(0);
    from.get(index).copied().unwrap_or_default()
}

/// A recording of a second kind, with its truths and nuisances.
pub(crate) fn recording(style: &Style) -> (Vec<String>, Vec<Truth>, Vec<Nuisance>) {
    let mut lines = Vec::new();
    let (mut truths, mut nuisances) = (Vec::new(), Vec::new());
    let mut chance = Chance::new(hash(&[style.seed, 920]));
    for number in 0..style.agents {
        let mut agent = Agent::new(style, number);
        for (at, line) in agent.lines() {
            let late = if chance.happens(style.disorder) {
                chance.between(1.0, 40.0)
            } else {
                0.0
            };
            if chance.happens(style.disorder / 4.0) {
                lines.push((at + 300.0, line.clone()));
                lines.push((at, line.chars().take(line.len() / 2).collect()));
            }
            lines.push((at + late, line));
        }
        for (class, start, end) in agent.spans.clone() {
            let observable = agent.can_see(class, start);
            for (at, start) in [(start, true), (end, false)] {
                truths.push(Truth {
                    agent: number,
                    class,
                    at,
                    start,
                    brief: false,
                    observable,
                });
            }
            nuisances.push(Nuisance {
                agent: number,
                kind: format!("during {}", class.as_str()),
                start,
                end,
            });
        }
        for (kind, start, end) in &agent.nuisances {
            let kind = one_of(&KINDS, *kind).to_owned();
            nuisances.push(Nuisance {
                agent: number,
                kind,
                start: *start,
                end: end.min(start + 900.0),
            });
        }
    }
    lines.sort_by(|one, other| one.0.total_cmp(&other.0));
    (
        lines.into_iter().map(|line| line.1).collect(),
        truths,
        nuisances,
    )
}
