//! Agents at work: tail and full rounds, pulses, bursts by the triggers of the design, refreshes, sleep.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::net::Ipv4Addr;

use firstmile_shift::level::Class;

use crate::chance::{Chance, hash};
use crate::hardship::Hardship;
use crate::net::{METRO_CODES, METROS, Net, Router, Stress};
use crate::record::{Body, Sent, SentFlow};
use crate::script::{self, Fate, Now, QUIET_S, Size, Span, What};

const TAIL_S: f64 = 30.0;
const FULL_S: f64 = 120.0;
const PULSE_S: f64 = 5.0;
const BURST_S: f64 = 5.0;
const BURST_ROUNDS: u8 = 6;
const REFRESH_S: f64 = 21_600.0;
const MAP_S: f64 = 43_200.0;
/// Stages of a path that a tail round looks at: ingress-2 to ingress+1.
const TAIL_STAGES: std::ops::Range<u64> = 4..8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    Pulse,
    Tail,
    Full,
    Burst,
    Refresh,
}

const JOBS: [Job; 5] = [Job::Pulse, Job::Tail, Job::Full, Job::Burst, Job::Refresh];

/// One agent at work.
struct Worker {
    fate: Fate,
    chance: Chance,
    /// When each job is due next.
    due: [f64; 5],
    next_span: usize,
    active: Vec<Span>,
    known: HashSet<Ipv4Addr>,
    last: BTreeMap<u64, [Option<Ipv4Addr>; 3]>,
    novel: Vec<u64>,
    burst_left: u8,
    floor_us: f64,
    high: u8,
    lost: u8,
    public: Option<(u64, u64)>,
    edge: Option<&'static str>,
    learned: u8,
}

/// A history in the making.
pub(crate) struct History {
    pub seed: u64,
    pub net: Net,
    pub size: Size,
    pub flows: u64,
    workers: Vec<Worker>,
    /// When each worker has something to do next: times are positive, so that their bits are in order.
    queue: BinaryHeap<Reverse<(u64, usize)>>,
    next_map: f64,
}

impl History {
    pub(crate) fn new(seed: u64, stress: Stress, size: Size, flows: u64) -> Self {
        let workers: Vec<Worker> = script::fates(seed, &size)
            .into_iter()
            .map(|fate| Worker::new(seed, fate))
            .collect();
        let queue = (0..).zip(&workers);
        let queue = queue
            .map(|(index, worker)| Reverse((worker.next_due().to_bits(), index)))
            .collect();
        let net = Net {
            seed,
            stress,
            map_version: 0,
        };
        Self {
            seed,
            net,
            size,
            flows,
            workers,
            queue,
            next_map: MAP_S,
        }
    }

    /// Lets agents live through something that is not of the usual script, and keeps those of one slice only.
    pub(crate) fn with(mut self, hardship: Option<Hardship>, slice: Option<u64>) -> Self {
        let days = self.size.days;
        if let Some(slice) = slice {
            self.workers.retain(|worker| worker.fate.provider == slice);
            let queue = (0..).zip(&self.workers);
            self.queue = queue
                .map(|(index, worker)| Reverse((worker.next_due().to_bits(), index)))
                .collect();
        }
        for worker in &mut self.workers {
            if let Some(hardship) = hardship {
                hardship.fate(&mut worker.fate, days);
            }
        }
        self
    }

    pub(crate) fn fates(&self) -> impl Iterator<Item = &Fate> {
        self.workers.iter().map(|worker| &worker.fate)
    }

    /// The WORLD of the judge.
    pub(crate) fn world(&self) -> String {
        let tables = self.net.tables();
        let pops: Vec<String> = METRO_CODES
            .iter()
            .map(|code| format!(r#"{{"code":"{code}","metro":"{}"}}"#, code.to_uppercase()))
            .collect();
        let agents: Vec<String> = self
            .fates()
            .map(|fate| {
                format!(
                    r#""a{}":{{"site":"s{}","country":"NL","metro":null,"provider_asn":{}}}"#,
                    fate.agent,
                    fate.agent,
                    Net::asn(1 + fate.provider)
                )
            })
            .collect();
        let text = |key: &str| tables.get(key).cloned().unwrap_or_default();
        format!(
            r#"{{"microsoft_asns":[{}],"prefix_as":{},"ptr":{},"aliases":{},"pops":[{}],"agents":{{{}}},"plan":{{"flows":{},"tail_s":{TAIL_S},"full_s":{FULL_S},"pulse_s":{PULSE_S},"burst_s":{BURST_S},"burst_rounds":{BURST_ROUNDS}}}}}"#,
            Net::asn(0),
            text("prefix_as"),
            text("ptr"),
            text("aliases"),
            pops.join(","),
            agents.join(","),
            self.flows
        )
    }

    /// The internet with the tables of a time.
    pub(crate) fn net_at(&self, at: f64) -> Net {
        let changes = (1_u32..).take_while(|number| f64::from(*number) * MAP_S <= at);
        let map_version = if self.size.nuisances > 0.0 {
            changes.last().unwrap_or(0)
        } else {
            0
        };
        Net {
            map_version: u64::from(map_version),
            ..self.net.clone()
        }
    }

    /// The next message; `None`: the history is over.
    pub(crate) fn next(&mut self) -> Option<Sent> {
        let Reverse((due, index)) = self.queue.peek().copied()?;
        let at = f64::from_bits(due);
        if at > self.size.days * 86_400.0 {
            return None;
        }
        if at >= self.next_map && self.size.nuisances > 0.0 {
            self.next_map += MAP_S;
            self.net.map_version += 1;
            return Some(Sent {
                agent: 0,
                at,
                body: Body::World {
                    tables: self.net.tables(),
                },
            });
        }
        self.queue.pop();
        let worker = self.workers.get_mut(index)?;
        let sent = worker.work(self.seed, &self.net, self.flows, at);
        self.queue
            .push(Reverse((worker.next_due().to_bits(), index)));
        Some(sent)
    }
}

impl Worker {
    fn new(seed: u64, fate: Fate) -> Self {
        let mut chance = Chance::new(hash(&[seed, 300, fate.agent]));
        let start = chance.between(0.0, 20.0);
        Self {
            due: [start + 200.0, start + 230.0, start, f64::MAX, start + 170.0],
            fate,
            chance,
            next_span: 0,
            active: Vec::new(),
            known: HashSet::new(),
            last: BTreeMap::new(),
            novel: Vec::new(),
            burst_left: 0,
            floor_us: 0.0,
            high: 0,
            lost: 0,
            public: None,
            edge: None,
            learned: 0,
        }
    }

    fn next_due(&self) -> f64 {
        self.due.iter().copied().fold(f64::MAX, f64::min)
    }

    fn work(&mut self, seed: u64, net: &Net, flows: u64, at: f64) -> Sent {
        while let Some(span) = self
            .fate
            .spans
            .get(self.next_span)
            .filter(|span| span.start <= at + 1.0)
        {
            self.active.push(*span);
            self.next_span += 1;
        }
        self.active.retain(|span| span.end + 5.0 > at);
        let asleep = self
            .active
            .iter()
            .find(|span| span.what == What::Suspend && span.start <= at && at < span.end);
        if let Some(span) = asleep {
            let (start, until) = (span.start, span.end);
            for due in self.due.iter_mut().filter(|due| **due < until) {
                *due = until + 0.5 + self.chance.share() * 5.0;
            }
            return Sent {
                agent: self.fate.agent,
                at: start,
                body: Body::Gap { until },
            };
        }
        let job = JOBS
            .into_iter()
            .zip(self.due)
            .min_by(|one, other| one.1.total_cmp(&other.1))
            .map_or(Job::Pulse, |job| job.0);
        self.plan_next(job, at);
        let body = match job {
            Job::Pulse => self.pulse(seed, net, at),
            Job::Tail | Job::Full | Job::Burst | Job::Refresh => {
                self.round(seed, net, flows, at, job)
            }
        };
        Sent {
            agent: self.fate.agent,
            at,
            body,
        }
    }

    fn plan_next(&mut self, job: Job, at: f64) {
        let jitter = self.chance.between(0.9, 1.0);
        let next = match job {
            Job::Pulse => at + PULSE_S * jitter,
            Job::Tail => at + TAIL_S * jitter,
            Job::Full if self.learned < 20 => {
                self.learned += 1;
                at + 8.0
            }
            Job::Full => at + FULL_S * jitter,
            Job::Refresh => at + REFRESH_S * jitter,
            Job::Burst => {
                self.burst_left = self.burst_left.saturating_sub(1);
                if self.burst_left > 0 {
                    at + BURST_S
                } else {
                    self.set_due(Job::Refresh, at + 60.0);
                    f64::MAX
                }
            }
        };
        self.set_due(job, next);
    }

    fn set_due(&mut self, job: Job, at: f64) {
        if let Some(due) = self.due.get_mut(job as usize) {
            *due = at;
        }
    }

    fn trigger(&mut self, at: f64) {
        if at < QUIET_S * 0.5 {
            return;
        }
        if self.burst_left == 0 {
            self.set_due(Job::Burst, at + BURST_S);
        }
        self.burst_left = BURST_ROUNDS;
    }

    fn count(moments: &[f64], at: f64) -> u64 {
        u64::try_from(moments.iter().filter(|moment| **moment <= at).count()).unwrap_or(0)
    }

    /// How flows are spread at a time: it changes with remaps, rebinds and the target's address.
    fn epoch(&self, at: f64) -> u64 {
        self.fate.spread(at) * 10 + self.target(at)
    }

    fn target(&self, at: f64) -> u64 {
        if !self.fate.rotates {
            return 0;
        }
        let minute = f64::floor(at / 60.0).to_bits();
        hash(&[self.fate.agent, minute]) % 4
    }

    fn pulse(&mut self, seed: u64, net: &Net, at: f64) -> Body {
        let now = Now::of(&self.active, at);
        let flip = self.fate.flip(at);
        let (_, metro) = script::way(seed, &self.fate, &now, 0, self.epoch(at), flip);
        if now.class == Some(Class::Unreachable) || self.chance.happens(net.stress.loss * 0.5) {
            // It wraps: through twenty minutes of silence an agent bursts again.
            self.lost = self.lost.wrapping_add(1);
            if self.lost == 2 {
                self.trigger(at);
            }
            return Body::Pulse { rtt_us: None };
        }
        self.lost = 0;
        let queue = if now.slow {
            6.0 + self.chance.exponential(3.0)
        } else {
            self.chance.exponential(0.3)
        };
        let rtt_us = (Net::delay_ms(7, self.fate.access_ms, metro) + 0.4 + queue) * 1_000.0;
        if self.floor_us == 0.0 || rtt_us < self.floor_us {
            self.floor_us = rtt_us;
        }
        let far = (rtt_us - self.floor_us).abs() > 3_000.0;
        self.high = if far { self.high + 1 } else { 0 };
        if self.high == 3 {
            self.trigger(at);
        }
        if self.high > 20 {
            (self.floor_us, self.high) = (rtt_us, 0);
        }
        Body::Pulse {
            rtt_us: Some(micro(rtt_us)),
        }
    }

    fn round(&mut self, seed: u64, net: &Net, flows: u64, at: f64, job: Job) -> Body {
        let head = job != Job::Tail && (job != Job::Burst || self.burst_left == BURST_ROUNDS - 1);
        let chosen: Vec<u64> = match job {
            Job::Refresh => (0..flows * 2).collect(),
            Job::Burst => {
                let novel = self.novel.clone();
                let rest = (0..flows).filter(|flow| !novel.contains(flow));
                novel.iter().copied().chain(rest).take(5).collect()
            }
            Job::Pulse | Job::Tail | Job::Full => (0..flows).collect(),
        };
        let stages = if head { 0..8 } else { TAIL_STAGES };
        let mut sent = Vec::with_capacity(chosen.len());
        for flow in chosen {
            sent.push(self.flow(seed, net, at, flow, stages.clone()));
        }
        let rebinds = Self::count(&self.fate.rebinds, at);
        let now = Now::of(&self.active, at);
        let uplink = if now.class == Some(Class::Uplink) {
            self.fate.uplink + 4
        } else {
            self.fate.uplink
        };
        let edge = head.then(|| self.edge_of(seed, &now, at)).flatten();
        let moved = self
            .public
            .is_some_and(|public| public != (uplink, rebinds))
            || (edge.is_some() && self.edge.is_some() && edge != self.edge);
        self.public = Some((uplink, rebinds));
        self.edge = edge.or(self.edge);
        if self.is_news(&sent) || moved {
            self.trigger(at);
        }
        let octet = |value: u64| u8::try_from(value % 250).unwrap_or(0);
        Body::Round {
            stream: match job {
                Job::Full => "full",
                Job::Burst => "burst",
                Job::Refresh => "refresh",
                Job::Tail | Job::Pulse => "tail",
            },
            flows: sent,
            public: Ipv4Addr::new(
                10,
                octet(16 + uplink),
                octet(self.fate.agent),
                octet(100 + rebinds),
            ),
            edge,
            target: self
                .fate
                .rotates
                .then(|| Ipv4Addr::new(198, 18, 0, octet(self.target(at)))),
        }
    }

    fn edge_of(&mut self, seed: u64, now: &Now, at: f64) -> Option<&'static str> {
        let flip = self.fate.flip(at);
        let flow = 1_000 + self.chance.below(20);
        let (_, metro) = script::way(seed, &self.fate, now, flow, self.epoch(at), flip);
        let metro = if now.class == Some(Class::FrontDoorMoved) {
            (metro + 3) % METROS
        } else {
            metro
        };
        let answered = now.class != Some(Class::Unreachable) && !self.chance.happens(0.02);
        let code = usize::try_from(metro)
            .ok()
            .and_then(|metro| METRO_CODES.get(metro))
            .copied();
        code.filter(|_| answered)
    }

    fn flow(
        &mut self,
        seed: u64,
        net: &Net,
        end: f64,
        flow: u64,
        stages: std::ops::Range<u64>,
    ) -> SentFlow {
        // The flows of a round are sent within the second that ends with its time.
        let at = end - 1.0 + f64::from(u32::try_from(flow % 8).unwrap_or(0)) / 8.0;
        let now = Now::of(&self.active, at);
        let flip = self.fate.flip(at);
        let (routers, metro) = script::way(seed, &self.fate, &now, flow, self.epoch(at), flip);
        let mut hops = Vec::with_capacity(8);
        for stage in stages.clone() {
            hops.push(self.answer(net, &now, stage, &routers, metro));
        }
        SentFlow {
            flow,
            first_ttl: stages.start + 1,
            hops,
        }
    }

    fn answer(
        &mut self,
        net: &Net,
        now: &Now,
        stage: u64,
        routers: &[Router; 7],
        metro: u64,
    ) -> Option<(Ipv4Addr, u32)> {
        let queue = self.chance.exponential(0.25)
            + if self.chance.happens(0.02) {
                self.chance.exponential(8.0)
            } else {
                0.0
            };
        let slow = if now.slow && stage > 3 {
            6.0 + self.chance.exponential(3.0)
        } else {
            0.0
        };
        let rtt_us =
            micro((Net::delay_ms(stage, self.fate.access_ms, metro) + queue + slow) * 1_000.0);
        let lost = self.chance.happens(net.stress.loss);
        let black = now.class == Some(Class::Unreachable) && stage > 2;
        let stormed = now.storm == Some(stage) && self.chance.happens(0.75)
            || net.stress.limited > 0.0
                && TAIL_STAGES.contains(&stage)
                && self.chance.happens(net.stress.limited);
        if lost || black || stormed {
            return None;
        }
        if stage == 0 {
            return Some((Ipv4Addr::new(192, 168, 1, 1), rtt_us));
        }
        let index = usize::try_from(stage - 1).ok()?;
        let router = *routers.get(index)?;
        if net.is_silent(router) {
            return None;
        }
        let before = index.checked_sub(1).and_then(|index| routers.get(index));
        let interface = before.map_or(0, |router| hash(&[router.network, router.number]) % 2);
        let alias = if now.alias && script::is_microsoft(router) {
            3
        } else {
            0
        };
        Some((Net::address(router, interface + alias), rtt_us))
    }

    /// Whether any flow shows an address or a place that this agent did not have there before.
    fn is_news(&mut self, sent: &[SentFlow]) -> bool {
        let mut novel = Vec::new();
        for flow in sent {
            let near_end = |back: usize| {
                let index = flow.hops.len().checked_sub(back)?;
                flow.hops.get(index).copied().flatten().map(|hop| hop.0)
            };
            let place = [near_end(4), near_end(3), near_end(2)];
            let last = self.last.entry(flow.flow).or_default();
            let mut moved = false;
            for (old, new) in last.iter_mut().zip(place) {
                moved |= old.is_some() && new.is_some() && *old != new;
                *old = new.or(*old);
            }
            for (address, _) in flow.hops.iter().flatten() {
                moved |= self.known.insert(*address);
            }
            if moved {
                novel.push(flow.flow);
            }
        }
        let news = !novel.is_empty();
        if news {
            self.novel = novel;
        }
        if self.known.len() > 2_000 {
            self.known.clear();
        }
        news
    }
}

pub(crate) fn micro(value: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an RTT of a simulated path is between 0 and a second"
    )]
    let whole = value.clamp(1.0, 1e9) as u32;
    whole
}
