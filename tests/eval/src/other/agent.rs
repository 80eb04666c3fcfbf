//! One agent of the second internet: where its flows go, and what it sends.
#![expect(
    clippy::indexing_slicing,
    reason = "jobs are numbered below the lengths of the arrays beside them, and JSON is indexed by key"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use firstmile_shift::level::Class;
use serde_json::{Value, json};

use super::{EVENTS, LAYERS, MICROSOFT, QUIET_S, Style, one_of};
use crate::chance::{Chance, fixed_share, hash};
use crate::record::EPOCH;

/// A hop as it answers: where, and whether.
type Hop = Option<(IpAddr, u32)>;

/// What decides where a packet goes.
struct Draw {
    flow: u64,
    at: f64,
    packet: u64,
}

/// One agent.
pub(super) struct Agent<'a> {
    style: &'a Style,
    number: u64,
    chance: Chance,
    pub(super) spans: Vec<(Class, f64, f64)>,
    /// Kind, start, end.
    pub(super) nuisances: Vec<(u64, f64, f64)>,
    ingresses: u64,
    widths: Vec<u64>,
    known: BTreeSet<IpAddr>,
    last: BTreeMap<(u64, usize), String>,
}

const REMAP: u64 = 0;
const MEMBER: u64 = 1;
const ALIAS: u64 = 2;
const STORM: u64 = 3;
const SLOW: u64 = 4;
const BLINK: u64 = 5;
const SLEEP: u64 = 6;
pub(super) const KINDS: [&str; 7] = [
    "remap", "member", "alias", "storm", "slow", "blink", "suspend",
];

impl<'a> Agent<'a> {
    pub(super) fn new(style: &'a Style, number: u64) -> Self {
        let mut chance = Chance::new(hash(&[style.seed, 910, number]));
        let end = style.days * 86_400.0 - 3_000.0;
        let mut spans = Vec::new();
        let mut at = QUIET_S + chance.between(600.0, 4_000.0);
        while at < end {
            let class = EVENTS
                .get(usize::try_from(chance.below(6)).unwrap_or(0))
                .copied()
                .unwrap_or(Class::Geo);
            let length = chance.between(300.0, 2_400.0) * (style.tail_s / 30.0);
            spans.push((class, at, at + length));
            at += length + 3_600.0 + chance.exponential(7_200.0);
        }
        let mut nuisances = Vec::new();
        for kind in 0..7_u64 {
            let mut at = QUIET_S + chance.exponential(20_000.0);
            while at < end {
                let length = match kind {
                    BLINK => chance.between(1.0, 8.0),
                    REMAP => 1e9,
                    _ => 300.0 + chance.exponential(3_000.0),
                };
                let near = |(_, from, to): &(Class, f64, f64)| {
                    at < to + 900.0 && at + length.min(9_000.0) > from - 900.0
                };
                if !(kind >= BLINK && spans.iter().any(near)) {
                    nuisances.push((kind, at, at + length));
                }
                at += chance.exponential(60_000.0) + 600.0;
            }
        }
        let ingresses = 1 + chance.below(4);
        let spans = spans
            .into_iter()
            .filter(|span| span.0 != Class::RedundancyLost || ingresses > 1)
            .collect();
        let widths = (0..20)
            .map(|_| one_of(&[1, 1, 2, 2, 3, 8], chance.below(6)))
            .collect();
        Self {
            style,
            number,
            chance,
            spans,
            nuisances,
            ingresses,
            widths,
            known: BTreeSet::new(),
            last: BTreeMap::new(),
        }
    }

    fn class(&self, at: f64) -> Option<Class> {
        let blink = self.active(BLINK, at).is_some();
        let span = self.spans.iter().find(|span| span.1 <= at && at < span.2);
        span.map(|span| span.0).or(blink.then_some(Class::Geo))
    }

    fn active(&self, kind: u64, at: f64) -> Option<&(u64, f64, f64)> {
        self.nuisances
            .iter()
            .find(|one| one.0 == kind && one.1 <= at && at < one.2)
    }

    fn is_at(&self, kind: u64, at: f64) -> bool {
        self.active(kind, at).is_some()
    }

    /// The member of a layer that a flow takes. A remap changes the hash of one layer, or of all; some layers balance packets.
    fn spread(&self, draw: &Draw, layer: u64, width: u64) -> u64 {
        let seed = self.style.seed;
        let remaps = self
            .nuisances
            .iter()
            .filter(|one| one.0 == REMAP && one.1 <= draw.at);
        let of_layer = remaps
            .map(|one| one.1.to_bits())
            .filter(|epoch| epoch.is_multiple_of(3) || epoch % 5 == layer % 5);
        let by_packet = fixed_share(&[seed, 14, self.number, layer]) < 0.03 && layer < 90;
        let key = if by_packet { draw.packet } else { draw.flow };
        hash(&[seed, self.number, layer, key, of_layer.count() as u64]) % width.max(1)
    }

    /// Network, layer, member and delay of each router of a flow's way.
    fn routers(&self, draw: &Draw) -> Vec<(u64, u64, u64, f64)> {
        let style = self.style;
        let class = self.class(draw.at);
        let away = |wanted: Class, by: u64| if class == Some(wanted) { by } else { 0 };
        let provider =
            Style::provider(self.number) + away(Class::Provider, 3) + away(Class::Uplink, 5);
        let network = 1 + provider % 8;
        let uplink = 10 + away(Class::Uplink, 4) + self.number % 4;
        let metro = self.number % 4 + away(Class::Geo, 4);
        let distance = u32::try_from(hash(&[style.seed, metro]) % 20).unwrap_or(0);
        let base_ms = 3.0 + f64::from(distance) + if metro < 4 { 0.0 } else { 4.0 };
        let mut all: Vec<(u64, u64, u64, f64)> = (0..style.access)
            .map(|layer| (uplink, layer, self.number % 200, 1.0))
            .collect();
        let replaced = self
            .active(MEMBER, draw.at)
            .map(|one| one.1.to_bits() % style.core);
        for layer in 0..style.core {
            let member = self.spread(draw, layer, one_of(&self.widths, layer));
            let new = replaced == Some(layer) && member == 0;
            all.push((
                network,
                layer + 4,
                if new { 9 } else { member },
                base_ms * 0.3,
            ));
        }
        let borders = 1 + hash(&[style.seed, self.number, 16]) % 3;
        all.push((
            network,
            20 + metro,
            self.spread(draw, 90, borders),
            base_ms * 0.8,
        ));
        let usual = self.spread(draw, 91, self.ingresses);
        let ingress = match (class, usual) {
            (Some(Class::Local), usual) => 4 + usual,
            (Some(Class::RedundancyLost), 0) => 1 + self.spread(draw, 92, self.ingresses - 1),
            (_, usual) => usual,
        };
        all.push((MICROSOFT, LAYERS.0 + metro, ingress, base_ms));
        for layer in 0..style.inside {
            let member = layer * 2 + self.spread(draw, 93 + layer, 2);
            all.push((MICROSOFT, LAYERS.1 + metro, member, base_ms + 0.2));
        }
        all
    }

    /// Hops of a flow, without silence of the moment.
    fn way(&mut self, flow: u64, at: f64) -> Vec<Hop> {
        let style = self.style;
        let packet = self.chance.next();
        let alias = if self.is_at(ALIAS, at) { 2 } else { 0 };
        let mut hops: Vec<Hop> = (0..style.private)
            .map(|_| Some((IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1)), 500)))
            .collect();
        let mut last = 7;
        for (network, layer, member, ms) in self.routers(&Draw { flow, at, packet }) {
            let of_microsoft = if network == MICROSOFT { alias } else { 0 };
            let interface = hash(&[last, layer]) % 2 + of_microsoft;
            last = hash(&[network, layer, member]);
            let silent = fixed_share(&[style.seed, 15, network, layer, member]) < 0.05;
            let rtt = crate::sim::micro(ms * 1_000.0);
            hops.push((!silent).then(|| (style.address(network, layer, member, interface), rtt)));
        }
        let run = style.private + style.access;
        for index in run..run + style.silent_run {
            let hop = usize::try_from(index)
                .ok()
                .and_then(|index| hops.get_mut(index));
            if let Some(hop) = hop {
                *hop = None;
            }
        }
        hops
    }

    /// Whether what answers lets an event be seen and named: ingress and border of six of eight flows, before and after.
    pub(super) fn can_see(&mut self, class: Class, start: f64) -> bool {
        let style = self.style;
        let index = usize::try_from(style.private + style.access + style.core).unwrap_or(0);

        let world = style.world();
        let no_names = serde_json::Map::new();
        let names = world["ptr"].as_object().unwrap_or(&no_names);
        for at in [start - 5.0, start + 5.0] {
            let mut good = 0;
            for flow in 0..style.flows {
                let way = self.way(flow, at);
                let hop = |index: usize| way.get(index).copied().flatten().map(|hop| hop.0);
                let (border, ingress) = (hop(index), hop(index + 1));
                let known = ingress.is_some_and(|address| names.contains_key(&address.to_string()));
                good += u64::from(border.is_some() && known);
            }
            if good * 4 < style.flows * 3 {
                return class == Class::Unreachable;
            }
        }
        match class {
            Class::Uplink => style.says_public || style.whole_bursts,
            // A router that carried none of the flows, or all, is not seen to go.
            Class::RedundancyLost => {
                let lost = self.at_lost_router(start - 5.0);
                style.flows >= 8 && (1..style.flows).contains(&lost)
            }
            Class::Unreachable
            | Class::Provider
            | Class::Geo
            | Class::PartialGeo
            | Class::Local
            | Class::Flapping
            | Class::FrontDoorMoved => true,
        }
    }

    /// Flows that enter by the router that redundancy loses.
    fn at_lost_router(&self, at: f64) -> u64 {
        let enters = |flow: &u64| {
            let draw = Draw {
                flow: *flow,
                at,
                packet: 0,
            };
            let way = self.routers(&draw);
            let ingress = way.iter().find(|router| router.0 == MICROSOFT);
            ingress.is_some_and(|router| router.2 == 0)
        };
        let count = (0..self.style.flows).filter(enters).count();
        u64::try_from(count).unwrap_or(0)
    }

    fn round(&mut self, stream: &str, at: f64, icmp: bool) -> Value {
        let style = self.style;
        let head =
            stream == "full" || stream == "refresh" || (stream == "burst" && style.whole_bursts);
        let count = if stream == "refresh" {
            style.flows * 2
        } else {
            style.flows
        };
        let before = usize::try_from(style.private + style.access + style.core).unwrap_or(0);
        let first = if head { 0 } else { before.saturating_sub(1) };
        let black = self.class(at) == Some(Class::Unreachable);
        let slow = self.active(SLOW, at).is_some();
        let storm = self.active(STORM, at).map(|one| {
            usize::try_from(one.1.to_bits() % 4).unwrap_or(0) + before.saturating_sub(1)
        });
        let mut flows = Vec::new();
        for flow in 0..count {
            let moment = at - 1.0 + f64::from(u32::try_from(flow % 8).unwrap_or(0)) / 8.0;
            let way = self.way(if icmp { 0 } else { flow }, moment);
            let end = if head {
                way.len()
            } else {
                (before + 3).min(way.len())
            };
            let mut hops = Vec::new();
            let mut rtts = Vec::new();
            for (index, hop) in way.iter().enumerate().take(end).skip(first) {
                let lost = self.chance.happens(0.01)
                    || (black && index >= before)
                    || (storm == Some(index) && self.chance.happens(0.75));
                let hop = hop.filter(|_| !lost);
                let queue = self.chance.exponential(0.3)
                    + if slow {
                        5.0 + self.chance.exponential(2.0)
                    } else {
                        0.0
                    };
                hops.push(hop.map(|hop| hop.0));
                rtts.push(hop.map(|hop| hop.1 + crate::sim::micro(queue * 1_000.0)));
            }
            flows.push(json!({"flow": flow, "first_ttl": first + 1, "hops": hops, "rtt_us": rtts, "reached": head && !black}));
        }
        let uplink = if self.class(at) == Some(Class::Uplink) {
            14
        } else {
            10
        } + self.number % 4;
        let mut line = json!({"kind": "round", "agent": format!("a{}", self.number), "target": "edge", "ts": EPOCH + at, "stream": stream,
                              "public": null, "edge": null, "flows": flows});
        if style.says_public {
            line["public"] = json!(style.address(uplink, 200, self.number, at.to_bits() % 3));
        }
        if style.says_edge && head && !black {
            let metro = if self.class(at) == Some(Class::Geo) {
                self.number % 4 + 4
            } else {
                self.number % 4
            };
            line["edge"] = json!(Style::metro_name(metro));
        }
        if style.says_addr {
            line["addr"] = json!(style.address(MICROSOFT, 200, 1, 0));
        }
        if icmp {
            line["protocol"] = json!("icmp");
        }
        line
    }

    /// Whether a round shows an address that this agent has not met, or a flow at another one near its end than before.
    fn is_news(&mut self, line: &Value) -> bool {
        let mut news = false;
        for flow in line["flows"].as_array().into_iter().flatten() {
            let first = flow["first_ttl"]
                .as_u64()
                .and_then(|ttl| usize::try_from(ttl).ok())
                .unwrap_or(1);
            let number = flow["flow"].as_u64().unwrap_or(0);
            let hops = flow["hops"].as_array().into_iter().flatten();
            for (ttl, address) in (first..)
                .zip(hops)
                .filter_map(|(ttl, hop)| Some((ttl, hop.as_str()?.to_owned())))
            {
                if let Ok(address) = address.parse() {
                    news |= self.known.insert(address);
                }
                let tail = ttl + 4
                    > usize::try_from(self.style.private + self.style.access + self.style.core)
                        .unwrap_or(0);
                let before = self.last.insert((number, ttl), address.clone());
                news |= tail && before.is_some_and(|before| before != address);
            }
        }
        news
    }

    fn pulse(&mut self, at: f64) -> Value {
        let black = self.class(at) == Some(Class::Unreachable);
        let way = self.way(0, at);
        let slow = if self.active(SLOW, at).is_some() {
            6.0
        } else {
            0.0
        };
        let queue = crate::sim::micro((self.chance.exponential(0.3) + slow) * 1_000.0);
        let rtt = way.last().copied().flatten().map(|hop| hop.1 + queue);
        let lost = black || self.chance.happens(0.005);
        json!({"kind": "pulse", "agent": format!("a{}", self.number), "target": "edge", "ts": EPOCH + at, "flow": 0,
               "rtt_us": rtt.unwrap_or(20_000 + queue).to_string().parse::<u32>().ok().filter(|_| !lost), "reply_ttl": 57})
    }

    /// All that the agent sends: time and line.
    pub(super) fn lines(&mut self) -> Vec<(f64, String)> {
        let style = self.style;
        let mut out = Vec::new();
        let jitter = |chance: &mut Chance, every: f64| every * chance.between(0.9, 1.0);
        let mut due = [5.0, 200.0, 300.0, f64::MAX, 250.0];
        let (mut fulls, mut bursts, mut last_lost) = (0, 0_u32, 0);
        loop {
            let (job, at) = (0..5)
                .zip(due)
                .min_by(|one, other| one.1.total_cmp(&other.1))
                .unwrap_or((0, f64::MAX));
            if at > style.days * 86_400.0 {
                return out;
            }
            if let Some(sleep) = self.active(SLEEP, at).copied() {
                let gap = json!({"kind": "gap", "agent": format!("a{}", self.number), "ts": EPOCH + sleep.1, "until": EPOCH + sleep.2});
                out.push((at, gap.to_string()));
                due = due.map(|due| {
                    if due < sleep.2 {
                        sleep.2 + self.chance.between(0.5, 9.0)
                    } else {
                        due
                    }
                });
                continue;
            }
            let stream = ["pulse", "full", "tail", "burst", "refresh"][job];
            due[job] = match job {
                0 => at + jitter(&mut self.chance, style.pulse_s),
                1 if fulls < 20 => at + 10.0,
                1 => at + jitter(&mut self.chance, style.full_s),
                2 => at + jitter(&mut self.chance, style.tail_s),
                3 if bursts > 1 => at + 5.0,
                3 => f64::MAX,
                _ => at + 21_600.0,
            };
            fulls += u32::from(job == 1);
            bursts = if job == 3 { bursts - 1 } else { bursts };
            if job == 0 {
                let line = self.pulse(at);
                last_lost = if line["rtt_us"].is_null() {
                    last_lost + 1
                } else {
                    0
                };
                if last_lost == 2 && bursts == 0 && style.bursts {
                    (bursts, due[3]) = (6, at + 3.0);
                }
                out.push((at, line.to_string()));
                continue;
            }
            let line = self.round(stream, at, false);
            let news = self.is_news(&line);
            if news && bursts == 0 && style.bursts && at > QUIET_S / 2.0 {
                (bursts, due[3]) = (6, at + 5.0);
                due[4] = due[4].min(at + 90.0);
            }
            out.push((at, line.to_string()));
            if style.icmp && job != 3 {
                let line = self.round(stream, at + 2.0, true);
                out.push((at + 2.0, line.to_string()));
            }
        }
    }
}
