//! The internet of a history: routers, their addresses, what the tables say of them and how they answer.
//!
//! A path has nine hops: CPE, access, three of a provider's core, border, ingress, two of Microsoft's core; behind it the target.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::chance::{fixed_share, hash};

pub(crate) const MICROSOFT: u64 = 0;
pub(crate) const PROVIDERS: u64 = 5;
pub(crate) const METROS: u64 = 6;
pub(crate) const METRO_CODES: [&str; 6] = ["ams", "fra", "lon", "par", "mad", "sto"];
/// Distances between metros in milliseconds of RTT, by position on a line.
const METRO_AT_MS: [f64; 6] = [8.0, 15.0, 12.0, 19.0, 30.0, 24.0];

/// What a network is bad at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stress {
    /// Share of routers that never answer.
    pub silent: f64,
    /// Share of prefixes with a wrong AS.
    pub wrong_as: f64,
    /// Share of Microsoft's routers without a name.
    pub unnamed: f64,
    /// Share of unnamed routers whose addresses are known to be one.
    pub aliases: f64,
    /// Share of answers that get lost.
    pub loss: f64,
    /// Share of answers that routers near the ingress do not give.
    pub limited: f64,
}

impl Default for Stress {
    fn default() -> Self {
        Self {
            silent: 0.06,
            wrong_as: 0.02,
            unnamed: 0.06,
            aliases: 0.7,
            loss: 0.01,
            limited: 0.0,
        }
    }
}

/// A router: network and number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Router {
    pub network: u64,
    pub number: u64,
}

/// The internet.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    pub seed: u64,
    pub stress: Stress,
    /// Raised by each replaced map.
    pub map_version: u64,
}

impl Net {
    /// An ingress of a metro, 0 to 7.
    pub(crate) const fn ingress(metro: u64, index: u64) -> Router {
        Router {
            network: MICROSOFT,
            number: metro * 16 + index,
        }
    }

    /// One of Microsoft's routers behind the ingress: stage 0 or 1, member 0 or 1.
    pub(crate) const fn inner(metro: u64, stage: u64, member: u64) -> Router {
        Router {
            network: MICROSOFT,
            number: metro * 16 + 8 + stage * 2 + member,
        }
    }

    /// A router of a provider's core.
    pub(crate) const fn core(provider: u64, stage: u64, member: u64) -> Router {
        Router {
            network: 1 + provider,
            number: stage * 8 + member,
        }
    }

    /// A provider's border in a metro.
    pub(crate) const fn border(provider: u64, metro: u64, index: u64) -> Router {
        Router {
            network: 1 + provider,
            number: 32 + metro * 4 + index,
        }
    }

    /// The access network's router.
    pub(crate) const fn access(uplink: u64, agent: u64) -> Router {
        Router {
            network: 16 + uplink,
            number: agent % 200,
        }
    }

    /// The AS of a network.
    pub(crate) fn asn(network: u64) -> u32 {
        let offset = u32::try_from(network).unwrap_or(0);
        if network < 16 {
            64_496 + offset
        } else {
            65_536 + offset - 16
        }
    }

    /// An interface of a router.
    pub(crate) fn address(router: Router, interface: u64) -> Ipv4Addr {
        let octet = |value: u64| u8::try_from(value % 250).unwrap_or(0);
        Ipv4Addr::new(
            10,
            octet(router.network),
            octet(router.number),
            octet(1 + interface),
        )
    }

    /// Whether a router never answers.
    pub(crate) fn is_silent(&self, router: Router) -> bool {
        fixed_share(&[self.seed, 1, router.network, router.number]) < self.stress.silent
    }

    /// Whether a router of Microsoft has a name.
    pub(crate) fn is_named(&self, router: Router) -> bool {
        router.network == MICROSOFT
            && fixed_share(&[self.seed, 2, router.number]) >= self.stress.unnamed
    }

    /// Whether the addresses of a router are known to be one router.
    pub(crate) fn is_resolved(&self, router: Router) -> bool {
        self.is_named(router)
            || fixed_share(&[self.seed, 3, router.network, router.number]) < self.stress.aliases
    }

    /// The AS that the table says; a new map mends some errors and makes others.
    pub(crate) fn mapped(&self, router: Router) -> u32 {
        let parts = [self.seed, 4, router.network, router.number];
        let mended = self.map_version > 0
            && fixed_share(&[
                self.seed,
                5,
                self.map_version,
                router.network,
                router.number,
            ]) < 0.02;
        let wrong = fixed_share(&parts) < self.stress.wrong_as;
        if wrong ^ mended {
            Self::asn(1 + hash(&parts) % PROVIDERS)
        } else {
            Self::asn(router.network)
        }
    }

    /// RTT to a hop, milliseconds, without queues.
    pub(crate) fn delay_ms(stage: u64, agent_ms: f64, metro: u64) -> f64 {
        let at = usize::try_from(metro)
            .ok()
            .and_then(|metro| METRO_AT_MS.get(metro))
            .copied()
            .unwrap_or(0.0);
        match stage {
            0 => 0.6,
            1 => agent_ms,
            2..=5 => agent_ms + at * f64::from(u32::try_from(stage).unwrap_or(5)) / 6.0,
            _ => agent_ms + at + 0.2,
        }
    }

    fn routers() -> Vec<Router> {
        let mut all = Vec::new();
        for number in 0..METROS * 16 {
            all.push(Router {
                network: MICROSOFT,
                number,
            });
        }
        for provider in 0..PROVIDERS {
            for number in 0..32 + METROS * 4 {
                all.push(Router {
                    network: 1 + provider,
                    number,
                });
            }
        }
        all
    }

    /// The tables, as members of the WORLD and of a `world` message.
    pub(crate) fn tables(&self) -> BTreeMap<&'static str, String> {
        let mut prefixes = String::new();
        let mut names = String::new();
        let mut aliases = String::new();
        let comma = |text: &mut String| {
            if !text.is_empty() {
                text.push(',');
            }
        };
        let infallible = "a string takes all";
        for router in Self::routers() {
            let base = Self::address(router, 249);
            comma(&mut prefixes);
            write!(
                prefixes,
                r#"{{"prefix":"{base}/24","asn":{}}}"#,
                self.mapped(router)
            )
            .expect(infallible);
            let interfaces = (0..6).map(|interface| Self::address(router, interface).to_string());
            let interfaces: Vec<String> = interfaces.collect();
            if self.is_named(router) {
                let (metro, index) = (router.number / 16, router.number % 16);
                let code = usize::try_from(metro)
                    .ok()
                    .and_then(|metro| METRO_CODES.get(metro))
                    .unwrap_or(&"xxx");
                let role = if index < 8 { "icr" } else { "ibr" };
                for (number, address) in interfaces.iter().enumerate() {
                    comma(&mut names);
                    write!(
                        names,
                        r#""{address}":"ae{number}-0.{role}{index:02}.{code}2{metro}.ntwk.msn.net""#
                    )
                    .expect(infallible);
                }
            } else if self.is_resolved(router) {
                comma(&mut aliases);
                write!(aliases, r#"["{}"]"#, interfaces.join("\",\"")).expect(infallible);
            }
        }
        for network in 16..16 + 8 {
            let asn = Self::asn(network);
            comma(&mut prefixes);
            write!(
                prefixes,
                r#"{{"prefix":"10.{network}.0.0/16","asn":{asn}}}"#
            )
            .expect(infallible);
        }
        BTreeMap::from([
            ("prefix_as", format!("[{prefixes}]")),
            ("ptr", format!("{{{names}}}")),
            ("aliases", format!("[{aliases}]")),
        ])
    }
}
