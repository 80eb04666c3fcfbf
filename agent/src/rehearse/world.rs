//! The rehearsal's clock and what happens by it: targets that look at their schedules, rounds under way, replies, changes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::network::Network;
use super::{Report, Request, Spread};
use crate::clock;
use crate::probe::budget::HopBudget;
use crate::probe::met::Reply;
use crate::probe::trace::{FlowPath, ProbeId, Step as RoundStep, TraceRound};
use crate::run::plan::{periods, round_plan};
use crate::schedule::desk::BurstDesk;
use crate::schedule::rounds::{Round, Says};
use crate::schedule::view::PathView;
use crate::schedule::{Action, Step, TargetSchedule};

/// From one change to the next, and this much more at random: every burst is over, all rests too.
const CHANGE_EVERY: Duration = Duration::from_mins(10);
const CHANGE_SPREAD: Duration = Duration::from_mins(4);

/// Rounds that confirm.
const CONFIRMING: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Event {
    Look(usize),
    Poll(usize),
    Reply(usize, ProbeId, Reply),
    Change,
}

struct Target {
    schedule: TargetSchedule,
    view: PathView,
    /// The look that is on the list; another one on it is stale.
    wake: Instant,
    looked_at_tail: Instant,
    learnt: Option<Instant>,
    heard: Instant,
    /// Since the last change: the rounds that showed it.
    showing: Vec<Instant>,
}

struct Running {
    target: usize,
    kind: Round,
    round: TraceRound,
    wake: Instant,
}

/// Everything.
pub(super) struct World<'a> {
    request: &'a Request,
    start: Instant,
    now: Instant,
    random: u64,
    events: BTreeMap<(Instant, u64), Event>,
    numbered: u64,
    network: Network,
    budget: HopBudget,
    desk: BurstDesk,
    targets: Vec<Target>,
    running: BTreeMap<usize, Running>,
    changed: Option<Instant>,
    packets: BTreeMap<u64, u64>,
    probes: u64,
    tail_gap: Duration,
    delays: Vec<Duration>,
    first_delays: Vec<Duration>,
    first_seen: Vec<Duration>,
    changes: usize,
}

impl<'a> World<'a> {
    pub(super) fn new(request: &'a Request) -> Self {
        let start = clock::now();
        let mut world = Self {
            request,
            start,
            now: start,
            random: request.seed,
            events: BTreeMap::new(),
            numbered: 0,
            network: Network::default(),
            budget: HopBudget::default(),
            desk: BurstDesk::default(),
            targets: Vec::new(),
            running: BTreeMap::new(),
            changed: None,
            packets: BTreeMap::new(),
            probes: 0,
            tail_gap: Duration::ZERO,
            delays: Vec::new(),
            first_delays: Vec::new(),
            first_seen: Vec::new(),
            changes: 0,
        };
        let periods = periods(&request.target, &request.plan);
        for number in 0..request.targets {
            let schedule = TargetSchedule::new(&periods, start, &mut || uniform(&mut world.random));
            world.targets.push(Target {
                schedule,
                view: PathView::default(),
                wake: start,
                looked_at_tail: start,
                learnt: None,
                heard: start,
                showing: Vec::new(),
            });
            world.at(start, Event::Look(number));
        }
        world
    }

    /// Runs to the end.
    pub(super) fn run(mut self) -> Report {
        let end = self.start + Duration::from_hours(u64::from(self.request.hours));
        while let Some(((at, _), event)) = self.events.pop_first() {
            if at > end {
                break;
            }
            self.now = at;
            match event {
                Event::Look(target) => self.look(target),
                Event::Poll(round) => self.poll(round),
                Event::Reply(round, id, reply) => self.on_reply(round, id, reply),
                Event::Change => self.change(),
            }
        }
        self.report(end)
    }

    fn at(&mut self, when: Instant, event: Event) {
        self.numbered += 1;
        self.events.insert((when, self.numbered), event);
    }

    /// A target does what is due and puts its next look on the list.
    fn look(&mut self, number: usize) {
        let Some(target) = self.targets.get_mut(number) else {
            return;
        };
        let now = self.now;
        let handoff = target.view.handoff();
        let handoff = handoff.unwrap_or(Network::destination(number));
        if self.desk.news(handoff, now) > Some(target.heard) {
            target.heard = now;
            target.schedule.hear(now);
        }
        loop {
            let (desk, random) = (&mut self.desk, &mut self.random);
            let permit = |ask| desk.permit(ask, handoff, (number, 0), now);
            match target.schedule.poll(now, &mut || uniform(random), permit) {
                Step::Act(Action::Trace(kind)) => {
                    let plan = round_plan(
                        &self.request.plan,
                        target.view.stream(kind),
                        target.view.flows(
                            kind,
                            desk.is_shared(handoff),
                            self.request.plan.trace_flows,
                        ),
                        target.view.known(target.schedule.is_aftermath(now)),
                    );
                    self.numbered += 1;
                    let round = usize::try_from(self.numbered).unwrap_or(usize::MAX);
                    let running = Running {
                        target: number,
                        kind,
                        round: TraceRound::new(plan, now),
                        wake: now,
                    };
                    self.running.insert(round, running);
                    self.events.insert((now, self.numbered), Event::Poll(round));
                }
                Step::Act(_) => self.probes += 1,
                Step::WaitUntil(wake) => {
                    if wake < target.wake || target.wake <= now {
                        target.wake = wake;
                        self.at(wake, Event::Look(number));
                    }
                    return;
                }
            }
        }
    }

    /// A round sends what it may and puts its next turn on the list.
    fn poll(&mut self, number: usize) {
        loop {
            let Some(running) = self.running.get_mut(&number) else {
                return;
            };
            let (now, target) = (self.now, running.target);
            let gate = self.budget.gate(Network::destination(target));
            let mut gate = gate.of(running.round.stream());
            match running.round.poll(now, &mut gate) {
                RoundStep::Transmit(probe) => {
                    let second = now.saturating_duration_since(self.start).as_secs();
                    *self.packets.entry(second).or_default() += 1;
                    let (at, reply) = self.network.send(target, probe.flow, probe.ttl, now);
                    self.at(at, Event::Reply(number, probe.id, reply));
                }
                RoundStep::WaitUntil(wake) => {
                    if wake < running.wake || running.wake <= now {
                        running.wake = wake;
                        self.at(wake, Event::Poll(number));
                    }
                    return;
                }
                RoundStep::Finished => {
                    if let Some(running) = self.running.remove(&number) {
                        self.finish(running.target, running.kind, running.round);
                    }
                    return;
                }
            }
        }
    }

    fn on_reply(&mut self, number: usize, id: ProbeId, reply: Reply) {
        let Some(running) = self.running.get_mut(&number) else {
            return;
        };
        let sent = running.round.under_way(id);
        if running.round.on_reply(id, reply, self.now)
            && let Some((flow, ttl, sent_at)) = sent
        {
            let destination = Network::destination(running.target);
            self.budget
                .learn(destination, flow, ttl, reply.from, sent_at);
        }
        self.poll(number);
    }

    fn finish(&mut self, number: usize, kind: Round, round: TraceRound) {
        let flows = round.into_flows();
        let (now, shown) = (self.now, self.shows_change(&flows));
        let Some(target) = self.targets.get_mut(number) else {
            return;
        };
        let handoff = target.view.handoff();
        let showed = target.view.learn(kind, &flows, Network::is_inside);
        if let (Some(handoff), true) = (
            handoff,
            showed.suspicious && showed.says == Says::Moved && !target.schedule.is_aftermath(now),
        ) {
            self.desk.tell(handoff, now);
            target.heard = now;
        }
        if kind != Round::Refresh {
            if target.learnt.is_some() {
                let gap = now.saturating_duration_since(target.looked_at_tail);
                self.tail_gap = self.tail_gap.max(gap);
            }
            target.looked_at_tail = now;
        }
        if let (Some(changed), true) = (self.changed, shown) {
            if target.showing.is_empty() {
                self.first_seen.push(now.saturating_duration_since(changed));
            }
            target.showing.push(now);
        }
        if target.schedule.on_round(kind, showed, now) {
            self.desk
                .leave((number, 0), target.schedule.has_found(), now);
            target.heard = now;
        }
        if target.learnt.is_none() && !target.schedule.is_learning() {
            target.learnt = Some(now);
            self.begin_changes();
        }
        self.look(number);
    }

    /// Whether two flows or more met the ingress of now.
    fn shows_change(&self, flows: &[FlowPath]) -> bool {
        let met = |address: IpAddr| self.network.is_current_ingress(address);
        let shows = flows
            .iter()
            .filter(|f| f.answers().any(|(_, hop)| met(hop.address)));
        self.network.generation() > 0 && shows.count() >= 2
    }

    /// The first change comes when all have learnt.
    fn begin_changes(&mut self) {
        if self.targets.iter().all(|target| target.learnt.is_some()) {
            self.next_change();
        }
    }

    fn next_change(&mut self) {
        let wait = CHANGE_EVERY + CHANGE_SPREAD.mul_f64(uniform(&mut self.random));
        self.at(self.now + wait, Event::Change);
    }

    fn change(&mut self) {
        self.book_change();
        self.network.change();
        self.changed = Some(self.now);
        self.next_change();
    }

    /// What became of the last change, now that the next one comes.
    fn book_change(&mut self) {
        let Some(changed) = self.changed.take() else {
            return;
        };
        self.changes += 1;
        let third = |rounds: &Vec<Instant>| {
            let third = rounds.get(CONFIRMING - 1)?;
            Some(third.saturating_duration_since(changed))
        };
        let delays = self.targets.iter().filter_map(|t| third(&t.showing));
        let delays: Vec<Duration> = delays.collect();
        self.first_delays.extend(delays.iter().min());
        self.delays.extend(delays);
        for target in &mut self.targets {
            target.showing.clear();
        }
    }

    fn report(self, end: Instant) -> Report {
        let since = |at: Instant| at.saturating_duration_since(self.start);
        let learnt = self.targets.iter().filter_map(|target| target.learnt);
        let learning = since(learnt.max().unwrap_or(end));
        let after: u64 = self
            .packets
            .range(learning.as_secs() + 1..)
            .map(|(_, packets)| packets)
            .sum();
        let whole = since(end);
        let rate = |count: u64, time: Duration| {
            f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64().max(1.0)
        };
        let asked = u64::try_from(self.changes * self.targets.len()).unwrap_or(u64::MAX);
        let confirmed = u64::try_from(self.delays.len()).unwrap_or(u64::MAX);
        Report {
            targets: self.request.targets,
            hours: self.request.hours,
            seed: self.request.seed,
            path_packets_per_s: rate(after, whole.saturating_sub(learning)),
            path_packets_per_s_max: self.packets.values().max().copied().unwrap_or(0),
            probes_per_s: rate(self.probes, whole),
            hop_packets_per_s_max: u64::try_from(self.network.most_asked()).unwrap_or(u64::MAX),
            learning_s: learning.as_secs_f64(),
            tail_gap_s_max: self.tail_gap.as_secs_f64(),
            changes: self.changes,
            burst_delay_first_s: Spread::of(self.first_delays),
            burst_delay_s: Spread::of(self.delays),
            confirmed_ratio: rate(confirmed, Duration::from_secs(asked)),
            first_seen_s: Spread::of(self.first_seen),
        }
    }
}

/// The next number of a stream, uniform in 0 to 1 (`SplitMix64`): the same rehearsal for the same seed.
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let high = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(u32::MAX);
    f64::from(high) / f64::from(u32::MAX)
}
