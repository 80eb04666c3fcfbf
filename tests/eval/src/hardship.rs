//! What goes wrong between an agent and the collector, or around the agent: bad clocks, lost, late and doubled rounds, paths that
//! cannot be, moves for good.

use std::net::Ipv4Addr;

use clap::ValueEnum;
use firstmile_shift::level::Class;

use crate::chance::{Chance, hash};
use crate::net::Stress;
use crate::record::{Body, Sent};
use crate::script::{Fate, Span, What};

/// Share of messages that are late, doubled or contradict themselves.
const SHARE: f64 = 0.02;
/// Hours by which clocks are off, by agent.
const HOURS_OFF: [f64; 4] = [0.0, 5.0, -3.0, 11.0];
/// When an agent moves, or its site changes provider, for good: seconds after the start.
const FOR_GOOD_S: f64 = 30_000.0;

/// One of them at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Hardship {
    /// A tenth of all answers gets lost
    Loss,
    /// Routers near the ingress answer every second probe
    RateLimits,
    /// Every second round is missing
    HalfMissing,
    /// Clocks are hours off
    Clocks,
    /// Rounds come up to 40 s late, after newer ones
    Disorder,
    /// Rounds come again five minutes later
    Replays,
    /// Flows in which every address comes twice
    Loops,
    /// The target's address is another one each minute
    Rotation,
    /// Each round comes out of the NAT by another address
    Pools,
    /// The site changes its provider for good
    NewProvider,
    /// The agent moves to another site for good
    NewSite,
}

impl Hardship {
    /// How the network is while it lasts.
    pub(crate) fn stress(self, usual: Stress) -> Stress {
        match self {
            Self::Loss => Stress { loss: 0.1, ..usual },
            Self::RateLimits => Stress {
                limited: 0.5,
                ..usual
            },
            Self::HalfMissing
            | Self::Clocks
            | Self::Disorder
            | Self::Replays
            | Self::Loops
            | Self::Rotation
            | Self::Pools
            | Self::NewProvider
            | Self::NewSite => usual,
        }
    }

    /// What the agent lives through.
    pub(crate) fn fate(self, fate: &mut Fate, days: f64) {
        let class = match self {
            Self::Rotation => {
                fate.rotates = fate.split.is_none();
                return;
            }
            Self::NewProvider => Class::Provider,
            Self::NewSite => Class::Uplink,
            Self::Loss
            | Self::RateLimits
            | Self::HalfMissing
            | Self::Clocks
            | Self::Disorder
            | Self::Replays
            | Self::Loops
            | Self::Pools => return,
        };
        fate.spans
            .retain(|span| !matches!(span.what, What::Event(_)));
        fate.spans.push(Span {
            what: What::Event(class),
            start: FOR_GOOD_S + f64::from(u32::try_from(fate.agent).unwrap_or(0)) * 600.0,
            end: (days + 1.0) * 86_400.0,
        });
        fate.spans
            .sort_by(|one, other| one.start.total_cmp(&other.start));
    }

    /// Seconds by which the clock of an agent is off.
    pub(crate) fn clock_off_s(self, agent: u64) -> f64 {
        let index = usize::try_from(agent % 4).unwrap_or(0);
        let hours = HOURS_OFF.get(index).copied().unwrap_or_default();
        if self == Self::Clocks {
            hours * 3_600.0
        } else {
            0.0
        }
    }
}

/// What stands between the agents and the judge.
pub(crate) struct Rim {
    hardship: Option<Hardship>,
    chance: Chance,
    /// When each arrives, and what.
    late: Vec<(f64, Sent)>,
}

impl Rim {
    pub(crate) fn new(seed: u64, hardship: Option<Hardship>) -> Self {
        Self {
            hardship,
            chance: Chance::new(hash(&[seed, 800])),
            late: Vec::new(),
        }
    }

    /// What arrives when this is sent, in order of arrival.
    pub(crate) fn pass(&mut self, mut sent: Sent) -> Vec<Sent> {
        let Some(hardship) = self.hardship else {
            return vec![sent];
        };
        let now = sent.at;
        let (mut due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|late| late.0 <= now);
        self.late = later;
        due.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut out: Vec<Sent> = due.into_iter().map(|late| late.1).collect();
        if matches!(sent.body, Body::World { .. }) {
            out.push(sent);
            return out;
        }
        sent.at += hardship.clock_off_s(sent.agent);
        let is_round = matches!(sent.body, Body::Round { .. });
        let struck = is_round && self.chance.happens(SHARE);
        let missing = hardship == Hardship::HalfMissing && is_round;
        if missing && self.chance.happens(0.5) {
            return out;
        }
        if hardship == Hardship::Disorder && struck {
            self.late.push((now + self.chance.between(1.0, 40.0), sent));
            return out;
        }
        if hardship == Hardship::Replays && struck {
            self.late.push((now + 300.0, sent.clone()));
        }
        if hardship == Hardship::Loops && struck {
            looped(&mut sent);
        }
        if hardship == Hardship::Pools {
            pooled(&mut sent, self.chance.below(200));
        }
        out.push(sent);
        out
    }
}

fn looped(sent: &mut Sent) {
    if let Body::Round { flows, .. } = &mut sent.body {
        for flow in flows {
            flow.hops.extend(flow.hops.clone());
        }
    }
}

fn pooled(sent: &mut Sent, member: u64) {
    if let Body::Round { public, .. } = &mut sent.body {
        let [a, b, c, _] = public.octets();
        *public = Ipv4Addr::new(a, b, c, u8::try_from(20 + member).unwrap_or(20));
    }
}
