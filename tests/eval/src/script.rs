//! What happens to each agent: events with their truth, and everything that looks like one.

use firstmile_shift::level::Class;

use crate::chance::{Chance, hash};
use crate::net::{METROS, MICROSOFT, Net, PROVIDERS, Router};

/// Seconds without events at the start: the classifier learns.
pub(crate) const QUIET_S: f64 = 5_400.0;

/// Something that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// An event of a class.
    Event(Class),
    /// Another metro for a few seconds.
    Blink,
    /// A member of a provider's core is another one.
    Member(u64),
    /// Microsoft's routers answer from another interface.
    Alias,
    /// A stage of the path answers little.
    Storm(u64),
    /// Queues, no other path.
    Slow,
    /// The agent sleeps.
    Suspend,
}

/// A span of time in which something holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub what: What,
    pub start: f64,
    pub end: f64,
}

/// An agent and its fate.
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    pub agent: u64,
    pub provider: u64,
    pub uplink: u64,
    pub metro: u64,
    pub access_ms: f64,
    /// Ingress routers that carry the agent.
    pub ingresses: u64,
    pub borders: u64,
    /// Members of each stage of a provider's core.
    pub cores: [u64; 3],
    /// Share of flows that go to a second metro, if the anycast is split here.
    pub split: Option<f64>,
    /// The target's addresses rotate every minute.
    pub rotates: bool,
    pub spans: Vec<Span>,
    /// Moments at which flows are spread afresh.
    pub remaps: Vec<f64>,
    /// Moments at which the NAT gives another address, and flows are spread afresh.
    pub rebinds: Vec<f64>,
    /// Moments at which flows change sides of a split.
    pub flips: Vec<f64>,
}

/// How long and how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub agents: u64,
    pub days: f64,
    /// Events of each class in an agent-day; 0: nuisances alone.
    pub events: f64,
    /// Nuisances of each kind in an agent-day, as a factor.
    pub nuisances: f64,
}

const GROUPED: [Class; 3] = [Class::Local, Class::Geo, Class::Provider];
const ALONE: [Class; 8] = [
    Class::Local,
    Class::Geo,
    Class::Provider,
    Class::Uplink,
    Class::RedundancyLost,
    Class::Unreachable,
    Class::PartialGeo,
    Class::FrontDoorMoved,
];

/// Fates of all agents.
pub(crate) fn fates(seed: u64, size: &Size) -> Vec<Fate> {
    (0..size.agents)
        .map(|agent| fate(seed, agent, size))
        .collect()
}

fn fate(seed: u64, agent: u64, size: &Size) -> Fate {
    let mut chance = Chance::new(hash(&[seed, 100, agent]));
    let provider = agent % 4;
    let metro = (agent / 4) % 2 + provider % 3;
    let split = chance.happens(0.12).then(|| chance.between(0.25, 0.45));
    let mut fate = Fate {
        agent,
        provider,
        uplink: chance.below(4),
        metro,
        access_ms: chance.between(1.0, 9.0),
        ingresses: [1, 2, 2, 2, 3]
            .get(usize::try_from(chance.below(5)).unwrap_or(0))
            .copied()
            .unwrap_or(2),
        borders: 1 + chance.below(2),
        cores: [
            1 + chance.below(3),
            1 + chance.below(3),
            1 + chance.below(2),
        ],
        split,
        rotates: chance.happens(0.1) && split.is_none(),
        spans: Vec::new(),
        remaps: moments(&mut chance, 0.7 * size.nuisances, size.days),
        rebinds: moments(&mut chance, 0.4 * size.nuisances, size.days),
        flips: Vec::new(),
    };
    if split.is_some() {
        fate.flips = moments(&mut chance, 1.0 * size.nuisances, size.days);
    }
    let mut events = grouped(seed, &fate, size);
    for class in ALONE {
        let fits = match class {
            Class::RedundancyLost => fate.ingresses > 1,
            Class::PartialGeo => split.is_some(),
            Class::Uplink
            | Class::Unreachable
            | Class::Provider
            | Class::Geo
            | Class::Local
            | Class::Flapping
            | Class::FrontDoorMoved => true,
        };
        let rate = if class == Class::PartialGeo {
            1.5
        } else {
            0.35
        };
        if fits {
            let starts = moments(&mut chance, rate * size.events, size.days);
            let spans = starts
                .into_iter()
                .map(|start| lasting(&mut chance, class, start));
            events.extend(spans.collect::<Vec<_>>());
        }
    }
    fate.spans = apart(events);
    nuisances(&mut fate, &mut chance, size);
    fate.spans
        .sort_by(|one, other| one.start.total_cmp(&other.start));
    fate
}

/// Events that a whole group (provider and metro) sees within two seconds.
fn grouped(seed: u64, fate: &Fate, size: &Size) -> Vec<Span> {
    let mut events = Vec::new();
    for (number, class) in (0..).zip(GROUPED) {
        let mut chance = Chance::new(hash(&[seed, 200 + number, fate.provider, fate.metro]));
        for start in moments(&mut chance, 0.12 * size.events, size.days) {
            let span = lasting(&mut chance, class, start);
            let jitter = f64::from(
                u32::try_from(hash(&[seed, fate.agent, start.to_bits()]) % 2_000).unwrap_or(0),
            ) / 1_000.0;
            events.push(Span {
                start: span.start + jitter,
                end: span.end + jitter,
                ..span
            });
        }
    }
    events
}

fn lasting(chance: &mut Chance, class: Class, start: f64) -> Span {
    let may_be_brief = matches!(class, Class::Local | Class::Geo | Class::Provider);
    let length = if may_be_brief && chance.happens(0.12) {
        chance.between(10.0, 120.0)
    } else {
        240.0 + chance.exponential(2_400.0)
    };
    Span {
        what: What::Event(class),
        start,
        end: start + length,
    }
}

fn moments(chance: &mut Chance, per_day: f64, days: f64) -> Vec<f64> {
    let mut at = QUIET_S;
    let mut all = Vec::new();
    if per_day <= 0.0 {
        return all;
    }
    loop {
        at += chance.exponential(86_400.0 / per_day);
        if at > days * 86_400.0 - 600.0 {
            return all;
        }
        all.push(at);
    }
}

/// One event at a time, half an hour apart.
fn apart(mut events: Vec<Span>) -> Vec<Span> {
    events.sort_by(|one, other| one.start.total_cmp(&other.start));
    let mut free = 0.0;
    events.retain(|span| {
        let fits = span.start >= free;
        if fits {
            free = span.end + 1_800.0;
        }
        fits
    });
    events
}

/// Draws what a nuisance is and how long it lasts.
type Draw = fn(&mut Chance) -> (What, f64);

fn nuisances(fate: &mut Fate, chance: &mut Chance, size: &Size) {
    let kinds: [(f64, Draw); 6] = [
        (1.0, |chance| (What::Blink, chance.between(1.0, 8.0))),
        (1.0, |chance| {
            (
                What::Member(chance.below(3)),
                300.0 + chance.exponential(7_200.0),
            )
        }),
        (0.6, |chance| {
            (What::Alias, 120.0 + chance.exponential(3_600.0))
        }),
        (0.8, |chance| {
            (
                What::Storm(4 + chance.below(3)),
                300.0 + chance.exponential(1_800.0),
            )
        }),
        (1.5, |chance| {
            (What::Slow, 300.0 + chance.exponential(2_400.0))
        }),
        (0.4, |chance| {
            (What::Suspend, chance.between(300.0, 7_200.0))
        }),
    ];
    let events: Vec<Span> = fate.spans.clone();
    for (rate, make) in kinds {
        for start in moments(chance, rate * size.nuisances, size.days) {
            let (what, length) = make(chance);
            let end = start + length;
            let near = |event: &&Span| start < event.end + 600.0 && end > event.start - 600.0;
            let alone = matches!(what, What::Blink | What::Suspend);
            if !alone || !events.iter().any(|event| near(&event)) {
                fate.spans.push(Span { what, start, end });
            }
        }
    }
}

/// What holds for an agent at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub class: Option<Class>,
    pub member: Option<u64>,
    pub alias: bool,
    pub storm: Option<u64>,
    pub slow: bool,
}

impl Now {
    pub(crate) fn of(active: &[Span], at: f64) -> Self {
        let mut now = Self {
            class: None,
            member: None,
            alias: false,
            storm: None,
            slow: false,
        };
        for span in active
            .iter()
            .filter(|span| span.start <= at && at < span.end)
        {
            match span.what {
                What::Event(class) => now.class = Some(class),
                What::Blink => now.class = Some(Class::Geo),
                What::Member(stage) => now.member = Some(stage),
                What::Alias => now.alias = true,
                What::Storm(stage) => now.storm = Some(stage),
                What::Slow => now.slow = true,
                What::Suspend => {}
            }
        }
        now
    }
}

/// The way of one flow: routers of stages 1 to 7, and the metro.
pub(crate) fn way(
    seed: u64,
    fate: &Fate,
    now: &Now,
    flow: u64,
    epoch: u64,
    flip: u64,
) -> ([Router; 7], u64) {
    let spread =
        |stage: u64, width: u64| hash(&[seed, fate.agent, stage, flow, epoch]) % width.max(1);
    let class = now.class;
    let uplink = if class == Some(Class::Uplink) {
        fate.uplink + 4
    } else {
        fate.uplink
    };
    let provider = match class {
        Some(Class::Provider) => (fate.provider + 1) % PROVIDERS,
        Some(Class::Uplink) => (fate.provider + 2) % PROVIDERS,
        _ => fate.provider,
    };
    let second = fate
        .split
        .is_some_and(|share| goes_second(seed, fate.agent, flow, flip, share));
    let metro = match (second, class) {
        (_, Some(Class::Geo)) => (fate.metro + 2) % METROS,
        (true, Some(Class::PartialGeo)) => (fate.metro + 3) % METROS,
        (true, _) => (fate.metro + 1) % METROS,
        (false, _) => fate.metro,
    };
    let ingress = match class {
        Some(Class::Local) => 4 + spread(5, fate.ingresses),
        Some(Class::RedundancyLost) => {
            let chosen = spread(5, fate.ingresses);
            if chosen == 0 {
                1 + spread(55, fate.ingresses - 1)
            } else {
                chosen
            }
        }
        _ => spread(5, fate.ingresses),
    };
    let core = |stage: u64| {
        let width = usize::try_from(stage)
            .ok()
            .and_then(|stage| fate.cores.get(stage))
            .copied()
            .unwrap_or(1);
        let member = spread(10 + stage, width);
        let other = now.member == Some(stage) && member == 0;
        Net::core(provider, stage, if other { 7 } else { member })
    };
    let routers = [
        Net::access(uplink, fate.agent),
        core(0),
        core(1),
        core(2),
        Net::border(provider, metro, spread(4, fate.borders)),
        Net::ingress(metro, ingress),
        Net::inner(metro, 0, spread(6, 2)),
    ];
    (routers, metro)
}

/// Whether a flow goes to the second metro of a split: two or three of the pinned ones, others by chance.
fn goes_second(seed: u64, agent: u64, flow: u64, flip: u64, share: f64) -> bool {
    let lot = |flow: u64| hash(&[seed, agent, 77, flow, flip]);
    if flow >= 8 {
        return crate::chance::fixed_share(&[seed, agent, 78, flow, flip]) < share;
    }
    let before = (0..8).filter(|other| lot(*other) < lot(flow)).count();
    before < if share < 0.35 { 2 } else { 3 }
}

impl Fate {
    /// How flows are spread at a time, apart from the target's address.
    pub(crate) fn spread(&self, at: f64) -> u64 {
        count(&self.remaps, at) * 1_000 + count(&self.rebinds, at)
    }

    /// On which side of a split flows are at a time.
    pub(crate) fn flip(&self, at: f64) -> u64 {
        count(&self.flips, at)
    }
}

fn count(moments: &[f64], at: f64) -> u64 {
    let past = moments.iter().filter(|moment| **moment <= at).count();
    u64::try_from(past).unwrap_or(0)
}

/// The ways of the eight flows, and what the tables and the routers let be seen of them.
struct Ways<'a> {
    net: &'a Net,
    ways: Vec<([Router; 7], u64)>,
}

const CORE: usize = 3;
const BORDER: usize = 4;
const INGRESS: usize = 5;

impl Ways<'_> {
    fn speaks(&self, routers: &[Router; 7], index: usize) -> bool {
        routers
            .get(index)
            .is_some_and(|router| !self.net.is_silent(*router))
    }

    fn mapped(&self, routers: &[Router; 7], index: usize) -> bool {
        let right = |router: &Router| self.net.mapped(*router) == Net::asn(router.network);
        routers.get(index).is_some_and(right)
    }

    fn enters(&self, routers: &[Router; 7]) -> bool {
        self.speaks(routers, INGRESS) && self.speaks(routers, BORDER)
    }

    fn is_local(&self, routers: &[Router; 7]) -> bool {
        let resolved = routers
            .get(INGRESS)
            .is_some_and(|router| self.net.is_resolved(*router));
        self.enters(routers) && resolved && self.mapped(routers, INGRESS)
    }

    fn is_placed(&self, routers: &[Router; 7]) -> bool {
        let named = routers
            .get(INGRESS)
            .is_some_and(|router| self.net.is_named(*router));
        self.speaks(routers, INGRESS) && named
    }

    fn shows_provider(&self, routers: &[Router; 7]) -> bool {
        let core = self.speaks(routers, CORE) && self.mapped(routers, CORE);
        core && self.mapped(routers, BORDER) && self.enters(routers)
    }

    fn count(&self, good: fn(&Self, &[Router; 7]) -> bool) -> usize {
        self.ways
            .iter()
            .filter(|(routers, _)| good(self, routers))
            .count()
    }
}

/// Whether six of the eight flows are good, before and after.
fn both<'a>(
    before: &Ways<'a>,
    after: &Ways<'a>,
    good: fn(&Ways<'a>, &[Router; 7]) -> bool,
) -> bool {
    before.count(good) >= 6 && after.count(good) >= 6
}

/// Whether the tables and the routers let an event that starts `at` a time be seen and named.
pub(crate) fn observable(seed: u64, net: &Net, fate: &Fate, class: Class, at: f64) -> bool {
    let ways = |class: Option<Class>| {
        let now = Now {
            class,
            member: None,
            alias: false,
            storm: None,
            slow: false,
        };
        let (epoch, flip) = (fate.spread(at) * 10, fate.flip(at));
        let ways = (0..8)
            .map(|flow| way(seed, fate, &now, flow, epoch, flip))
            .collect();
        Ways { net, ways }
    };
    let (before, after) = (ways(None), ways(Some(class)));
    match class {
        Class::Local => both(&before, &after, Ways::is_local),
        Class::Geo | Class::PartialGeo => {
            let new =
                |(_, metro): &&([Router; 7], u64)| !before.ways.iter().any(|(_, old)| old == metro);
            let moved: Vec<_> = after.ways.iter().filter(new).collect();
            let placed = moved
                .iter()
                .filter(|(routers, _)| after.is_placed(routers))
                .count();
            before.count(Ways::is_placed) >= 6 && moved.len() >= 2 && placed == moved.len()
        }
        Class::Provider => both(&before, &after, Ways::shows_provider),
        Class::Uplink => {
            both(&before, &after, Ways::shows_provider)
                && after.count(|ways, routers| ways.speaks(routers, 0)) == 8
        }
        Class::RedundancyLost => {
            let lost = |(routers, _): &&([Router; 7], u64)| {
                routers.get(INGRESS) == Some(&Net::ingress(fate.metro, 0))
            };
            let lost = before.ways.iter().filter(lost).count();
            let steady = !fate.rotates && fate.split.is_none();
            (1..=7).contains(&lost) && steady && before.count(Ways::enters) == 8
        }
        Class::FrontDoorMoved => before.count(Ways::enters) >= 6,
        Class::Unreachable | Class::Flapping => true,
    }
}

/// The network that is Microsoft's.
pub(crate) const fn is_microsoft(router: Router) -> bool {
    router.network == MICROSOFT
}
