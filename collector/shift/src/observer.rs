//! Takes rounds, pulses and gaps into the memory of one (agent, target), and says what changed.

use std::net::IpAddr;

use crate::book::Role;
use crate::fleet::Peers;
use crate::hop::{self, Meaning};
use crate::level::Aside;
use crate::memory::PathMemory;
use crate::message::{Plan, Pulse, Round, Stream};
use crate::track::{Change, Phase, Status};
use crate::verdict::{self, Before, Mark, Verdict};
use crate::view::{self, View};
use crate::{edge, flap, flows, path, reach, redundancy};

/// Full rounds that learning takes.
const LEARN_FULL: u16 = 20;
/// Rounds that learning a new normal takes: the path is known, its supports are not.
const RELEARN_ROUNDS: u16 = 20;
/// Counts that a layer needs before anything is novel against it.
const LEARN_SUPPORT: f32 = 20.0;
/// Learning ends by then even where full rounds are rare, seconds.
const LEARN_MAX_S: f64 = 6_000.0;
/// Usual rounds in a row with something new in few flows, until the new is usual.
pub(crate) const NEWCOMER_ROUNDS: u8 = 5;
/// Weight by which a newcomer that waited is known at once.
const NEWCOMER_WEIGHT: f32 = 2.0;
/// A site keeps its public address if it is seen so steadily.
const STEADY_ADDRESS: f32 = 0.7;
/// Decay of how often a level could be decided: a day.
const SEEING_S: f64 = 86_400.0;

/// A round as the tracks see it.
pub(crate) struct Sight<'a, M> {
    pub at: f64,
    pub views: &'a [View],
    pub verdicts: &'a [Verdict],
    /// Whether the flows were seen from the first hop on.
    pub whole: bool,
    pub edge_metro: Option<&'a str>,
    pub aside: Aside,
    pub plan: &'a Plan,
    pub meaning: &'a M,
}

impl PathMemory {
    /// Takes a round in, and says what changed.
    pub fn on_round(
        &mut self,
        round: &Round,
        plan: &Plan,
        meaning: &impl Meaning,
        peers: &impl Peers,
    ) -> Vec<Change> {
        if !self.is_in_time(round.at) {
            return Vec::new();
        }
        if self.generation != Some(meaning.generation()) {
            let changed = self.book.reread(meaning);
            self.rename(&changed);
            self.generation = Some(meaning.generation());
        }
        let same_target = self.note_destination(round.destination);
        let beside = self.is_beside(round.protocol, round.at, plan.tail_s);
        let views = self.views(round, beside, meaning);
        let elapsed = if self.newest > 0.0 {
            round.at - self.newest
        } else {
            0.0
        };
        self.newest = round.at;
        let mut changes = Vec::new();
        if !views.is_empty() && !beside {
            let arrived = views.iter().any(|view| view.arrived);
            changes.extend(reach::on_round(self, round.at, arrived, plan));
        }
        let verdicts: Vec<Verdict> = views
            .iter()
            .map(|view| verdict::judge(view, round.at, &self.book, self.before(view, same_target)))
            .collect();
        let whole = round
            .flows
            .iter()
            .filter(|flow| flow.first_ttl <= 1)
            .count()
            * 2
            > round.flows.len();
        let least = usize::from(plan.flows.clamp(1, 2));
        self.note_seeing(&verdicts, elapsed, least);
        self.note_blind(&verdicts, round.at, least);
        if !self.learned {
            self.learn(round, &views, elapsed, plan.flows, meaning);
            self.note_extras(&flows::extra_flows(&views, plan), round.at);
            return flap::pass(self, changes);
        }
        let aside = Aside {
            least,
            rtt_ms: path::rtt_moved(self, &verdicts, least),
            public_moved: self.public_moved(round, meaning),
            public_asn: round.public.and_then(|public| meaning.hop(public).asn),
        };
        let sight = Sight {
            at: round.at,
            views: &views,
            verdicts: &verdicts,
            whole,
            edge_metro: round.edge_metro.as_deref(),
            aside,
            plan,
            meaning,
        };
        changes.extend(path::on_round(self, &sight, peers));
        changes.extend(edge::on_round(self, &sight));
        if self.path.is_quiet() && self.reach.is_quiet() {
            self.usual_round(round, &sight, elapsed);
            let extra = flows::extra_flows(&views, plan);
            changes.extend(redundancy::on_round(self, round.at, &extra, plan, meaning));
        }
        changes.extend(self.notices(round.at, peers));
        flap::pass(self, changes)
    }

    /// Takes a pulse in, and says what changed.
    pub fn on_pulse(&mut self, at: f64, pulse: &Pulse, plan: &Plan) -> Vec<Change> {
        let mut changes: Vec<Change> = reach::on_pulse(self, at, pulse, plan).into_iter().collect();
        changes.extend(self.notices(at, &crate::fleet::Alone));
        flap::pass(self, changes)
    }

    /// The agent was suspended: what was suspected before is not what comes after.
    pub fn on_gap(&mut self, at: f64, until: f64) -> Vec<Change> {
        if !(at.is_finite() && until.is_finite()) {
            return Vec::new();
        }
        self.pulses.lost = 0;
        self.pulses.short = 0;
        self.reach.suspicion = None;
        Vec::new()
    }

    fn before(&self, view: &View, same_target: bool) -> Before {
        let flow = self.flows.iter().find(|flow| flow.flow == view.flow);
        Before {
            first_ttl: self.first_ttl,
            same_target,
            router: flow.map_or(0, |flow| flow.usual[0]),
        }
    }

    /// A replaced table calls routers by other keys: flows are where they were.
    fn rename(&mut self, changed: &[(u32, u32)]) {
        if changed.is_empty() {
            return;
        }
        let renamed = |key: &mut u32| {
            let new = changed.iter().find(|(old, _)| old == key);
            if let Some((_, new)) = new {
                *key = *new;
            }
        };
        for flow in &mut self.flows {
            flow.usual.iter_mut().for_each(renamed);
            flow.now.iter_mut().for_each(renamed);
            // One key may have become two: flows are pinned again when they were seen to be.
            flow.hold = flow.hold.map(|hold| hold.min(0.5));
        }
        for extra in &mut self.extras {
            extra.keys.iter_mut().for_each(renamed);
        }
        renamed(&mut self.spare_key);
        self.spare.suspicion = None;
    }

    fn views(&mut self, round: &Round, beside: bool, meaning: &impl Meaning) -> Vec<View> {
        if round.public.is_some() {
            self.note_address(round);
        }
        let offset = if beside { round.protocol.offset() } else { 0 };
        let mut views = Vec::with_capacity(round.flows.len());
        for flow in &round.flows {
            match view::read(flow, self.destination, meaning) {
                Some(view) => views.push(View {
                    flow: view.flow.saturating_add(offset),
                    ..view
                }),
                None => self.tally.loops += u32::from(!flow.hops.is_empty()),
            }
        }
        views
    }

    /// Another public address of a site that keeps its own is another translation, which may spread flows afresh; of a site
    /// that comes out of a pool it says nothing.
    fn note_address(&mut self, round: &Round) {
        if round.public == self.public {
            self.public_hold += (1.0 - self.public_hold) * 0.1;
            return;
        }
        if self.public_hold >= STEADY_ADDRESS {
            self.public_moved_at = round.at;
            self.extras.clear();
        }
        self.public_hold *= 0.9;
        self.public = round.public;
    }

    fn learn(
        &mut self,
        round: &Round,
        views: &[View],
        elapsed: f64,
        flows: u16,
        meaning: &impl Meaning,
    ) {
        if self.rounds == 0 {
            self.began = round.at;
        }
        self.rounds = self.rounds.saturating_add(1);
        match round.stream {
            Stream::Full => self.full_rounds = self.full_rounds.saturating_add(1),
            Stream::Refresh => self.refreshes = self.refreshes.saturating_add(1),
            Stream::Tail | Stream::Burst => {}
        }
        self.take_in(round, views, elapsed, 1.0, meaning);
        self.note_public(round, meaning);
        self.note_edge(round.edge_metro.as_deref());
        self.note_good(round.at, true);
        for view in views.iter().filter(|view| view.flow < flows) {
            let verdict = verdict::judge(view, round.at, &self.book, Before::LEARNING);
            self.note_flow(&verdict, round.at);
        }
        let enough = self
            .book
            .support(Role::Ingress)
            .max(self.book.support(Role::Handoff))
            >= LEARN_SUPPORT;
        let seen_enough = if self.relearning {
            self.rounds >= RELEARN_ROUNDS
        } else {
            self.full_rounds >= LEARN_FULL && self.refreshes >= 1
        };
        let late = round.at - self.began >= LEARN_MAX_S && self.rounds >= 8;
        // Where nothing near the ingress answers, supports never come: edge and RTT are what there is to know.
        let seen_all = seen_enough && self.full_rounds >= 2 * LEARN_FULL;
        self.learned = (seen_enough && enough) || seen_all || late;
    }

    /// Takes the addresses of a round into the baseline.
    fn take_in(
        &mut self,
        round: &Round,
        views: &[View],
        elapsed: f64,
        weight: f32,
        meaning: &impl Meaning,
    ) {
        self.book.fade(elapsed);
        let refresh = round.stream == Stream::Refresh;
        for flow in round.flows.iter().filter(|_| refresh) {
            for other in flows::repeats(flow) {
                if let Some(view) = view::read(&other, self.destination, meaning) {
                    self.book.admit(&view, weight, true);
                }
            }
        }
        for view in views {
            self.book.admit(view, weight, refresh);
            if let Some((ttl, _)) = view.first {
                self.first_ttl = if self.first_ttl == 0 {
                    ttl
                } else {
                    self.first_ttl.min(ttl)
                };
            }
        }
    }

    fn usual_round(&mut self, round: &Round, sight: &Sight<'_, impl Meaning>, elapsed: f64) {
        let novel = |verdict: &Verdict| {
            [
                verdict.provider,
                verdict.metro,
                verdict.router,
                verdict.uplink,
            ]
            .contains(&Mark::Novel)
        };
        let any_novel = sight.verdicts.iter().any(novel);
        let waited = self.admit_now || self.newcomers >= NEWCOMER_ROUNDS;
        if any_novel && !waited {
            self.newcomers += 1;
            let usual: Vec<View> = sight
                .views
                .iter()
                .zip(sight.verdicts)
                .filter(|(_, verdict)| !novel(verdict))
                .map(|(view, _)| view.clone())
                .collect();
            self.take_in(round, &usual, elapsed, 1.0, sight.meaning);
        } else {
            let weight = if any_novel { NEWCOMER_WEIGHT } else { 1.0 };
            self.take_in(round, sight.views, elapsed, weight, sight.meaning);
            if !any_novel {
                self.newcomers = self.newcomers.saturating_sub(1);
            }
            self.admit_now = false;
        }
        if self.edge.is_quiet() {
            self.note_edge(round.edge_metro.as_deref());
        }
        self.note_public(round, sight.meaning);
        self.good_of(sight);
        for verdict in sight
            .verdicts
            .iter()
            .filter(|verdict| verdict.flow < sight.plan.flows)
        {
            self.note_flow(verdict, round.at);
        }
    }

    fn good_of(&mut self, sight: &Sight<'_, impl Meaning>) {
        let shows = |pick: fn(&Verdict) -> Mark| {
            let usual = sight
                .verdicts
                .iter()
                .any(|verdict| pick(verdict) == Mark::Usual);
            usual
                && !sight
                    .verdicts
                    .iter()
                    .any(|verdict| pick(verdict) == Mark::Novel)
        };
        let handoff = shows(|verdict| verdict.provider);
        if sight.whole && handoff {
            self.good.full = sight.at;
        }
        if handoff {
            self.good.handoff = sight.at;
        }
        if shows(|verdict| verdict.router)
            && !sight
                .verdicts
                .iter()
                .any(|verdict| verdict.metro == Mark::Novel)
        {
            self.good.ingress = sight.at;
        }
    }

    fn note_good(&mut self, at: f64, whole: bool) {
        self.good.handoff = at;
        self.good.ingress = at;
        self.good.edge = at;
        if whole {
            self.good.full = at;
        }
    }

    pub(crate) fn note_flow(&mut self, verdict: &Verdict, at: f64) {
        let frozen = !self.spare.is_quiet();
        let extras_at = self.extras_at;
        let (mut moved, mut outdated) = (0, false);
        let Some(flow) = self.flow(verdict.flow) else {
            return;
        };
        let keys = [
            if verdict.entered {
                verdict.router_key
            } else {
                0
            },
            verdict.handoff_key,
            verdict.upstream_key,
        ];
        for (layer, key) in keys.into_iter().enumerate() {
            if key != 0 {
                let since = flow.moved_at.get(layer).copied().unwrap_or_default();
                let settled = flows::note_layer(flow, layer, key, at, frozen);
                outdated |= settled && extras_at < since;
                moved += u32::from(settled && layer == 0);
            }
        }
        if verdict.handoff_key != 0 && verdict.upstream_key == 0 {
            flows::note_silent(flow, 2);
        }
        if verdict.ingress_us > 0 && verdict.router == Mark::Usual {
            flow.floor_us = reach::lowered(flow.floor_us, verdict.ingress_us);
        }
        self.tally.remaps += moved;
        if outdated {
            self.extras.clear(); // what moved these flows may have moved those
        }
    }

    fn public_moved(&self, round: &Round, meaning: &impl Meaning) -> Option<bool> {
        let network = network_of(round.public?, meaning);
        (!self.uplinks.is_empty()).then(|| {
            !self
                .uplinks
                .iter()
                .any(|known| known.value == network && known.count >= 2.0)
        })
    }

    fn note_public(&mut self, round: &Round, meaning: &impl Meaning) {
        if let Some(public) = round.public {
            flows::count(&mut self.uplinks, &network_of(public, meaning));
        }
    }

    fn note_edge(&mut self, metro: Option<&str>) {
        if let Some(metro) = metro {
            flows::count(&mut self.edges, &metro.to_owned());
            self.good.edge = self.newest;
        }
    }

    fn note_seeing(&mut self, verdicts: &[Verdict], elapsed: f64, least: usize) {
        let able = |pick: fn(&Verdict) -> bool| {
            verdicts.iter().filter(|verdict| pick(verdict)).count() >= least
        };
        let could = [
            able(|verdict| verdict.provider != Mark::Silent),
            able(|verdict| verdict.metro != Mark::Silent),
            able(|verdict| verdict.router != Mark::Silent),
        ];
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a factor between 0 and 1 loses only digits"
        )]
        let fade = (-elapsed.clamp(0.0, 300.0) / SEEING_S).exp() as f32;
        for (seeing, could) in self.seeing.iter_mut().zip(could) {
            seeing.able = seeing.able * fade + if could { 1.0 } else { 0.0 };
            seeing.rounds = seeing.rounds * fade + 1.0;
        }
    }

    fn note_blind(&mut self, verdicts: &[Verdict], at: f64, least: usize) {
        let says = |verdict: &&Verdict| {
            [verdict.provider, verdict.metro, verdict.router]
                .iter()
                .any(|mark| *mark != Mark::Silent)
        };
        if verdicts.iter().filter(says).count() >= least {
            self.blind_since = None;
        } else if self.blind_since.is_none() {
            self.blind_since = Some(at);
        }
    }

    /// Events that have lasted as long as the hold-down asks, or that a second agent agrees with.
    fn notices(&mut self, at: f64, peers: &impl Peers) -> Vec<Change> {
        let tracks = [
            &mut self.path,
            &mut self.reach,
            &mut self.edge,
            &mut self.spare,
        ];
        let opens = tracks.into_iter().filter_map(|track| track.open.as_mut());
        opens
            .filter_map(|open| {
                let claim = (open.class, open.from.clone(), open.to.clone());
                let lasted = at - open.onset[1] >= crate::track::HOLD_DOWN_S && open.back == 0;
                let at_once = open.class == crate::level::Class::Unreachable;
                let due = !open.notified
                    && !open.muted
                    && (lasted || at_once || peers.agreeing(&claim, at) > 0);
                due.then(|| {
                    open.notified = true;
                    open.change(Phase::Notify, at)
                })
            })
            .collect()
    }
}

/// The network of a public address: its AS, or its block where no table has it.
fn network_of(public: IpAddr, meaning: &impl Meaning) -> u32 {
    meaning.hop(public).asn.unwrap_or_else(|| match public {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            hop::key_of(&[a, b, c])
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            hop::key_of(&[a, b, c].map(u16::to_be_bytes).concat())
        }
    })
}

/// A change that claims something.
pub(crate) fn is_claim(change: &Change) -> bool {
    change.status == Status::Event && change.phase != Phase::Notify
}
