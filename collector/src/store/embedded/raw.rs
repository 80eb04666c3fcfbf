//! Figures out of samples: each block is told once which slots it counts for, its samples go there many at a time, and windows
//! are made of the slots when all is read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use firstmile_columns::Block;
use firstmile_wire::v1::{Outcome, Protocol};

use super::dictionary::{Dictionary, Series};
use super::naming::{Naming, Subject};
use super::vantage::{Answered, Vantage};
use crate::rollup::{
    AgentSet, Cell, Counting, FIVE_MINUTES_MS, Merged, Tally, phases_counted, window_start,
};
use crate::store::questions::{Key, Question};

/// Rows by (window, group).
pub(super) type Rows = BTreeMap<(i64, Key), Merged>;

/// A group, or the part of one agent in it, where each agent has the same weight.
type Slot = (u32, Option<u32>);

/// One slot that a series counts for.
#[derive(Clone, Copy, Debug)]
struct Use {
    slot: u32,
    /// All of its samples; else only those that were not answered: later phases did not come to pass.
    all: bool,
    /// What is not answered is no loss here.
    never_answered: bool,
}

/// Who counts for what.
#[derive(Default)]
pub(super) struct Slots {
    weighted: bool,
    keys: Vec<Key>,
    by_key: HashMap<Key, u32>,
    all: Vec<Slot>,
    by_slot: HashMap<Slot, u32>,
    /// By agent, then by number of the series.
    uses: HashMap<u32, Vec<Vec<Use>>>,
}

/// What the slots of a question are made of.
pub(super) struct Terms<'a> {
    pub(super) question: &'a Question,
    pub(super) vantage: &'a Vantage,
    pub(super) answered: &'a Answered,
}

impl Slots {
    /// Those of the agents that are given.
    pub(super) fn of(
        terms: &Terms<'_>,
        naming: &mut Naming<'_>,
        agents: impl Iterator<Item = u32>,
        dictionary: &Dictionary,
        weighted: bool,
    ) -> Self {
        let mut slots = Self {
            weighted,
            ..Self::default()
        };
        for agent in agents {
            let uses: Vec<Vec<Use>> = dictionary
                .of_agent(agent)
                .map(|(_, series)| slots.uses_of(terms, naming, agent, series))
                .collect();
            slots.uses.insert(agent, uses);
        }
        slots
    }

    /// Groups.
    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether a series counts for anything.
    pub(super) fn wants(&self, agent: u32, series: u32) -> bool {
        !self.uses(agent, series).is_empty()
    }

    fn uses(&self, agent: u32, series: u32) -> &[Use] {
        let of_agent = self.uses.get(&agent);
        let place = usize::try_from(series).unwrap_or(usize::MAX);
        of_agent
            .and_then(|uses| uses.get(place))
            .map_or(&[], Vec::as_slice)
    }

    fn uses_of(
        &mut self,
        terms: &Terms<'_>,
        naming: &mut Naming<'_>,
        agent: u32,
        series: &Series,
    ) -> Vec<Use> {
        let target = terms.question.target.as_deref();
        if target.is_some_and(|target| target != &*series.target) {
            return Vec::new();
        }
        let mut uses = Vec::new();
        for (protocol, phase) in &terms.question.measures {
            let (protocol, phase) = (i32::from(*protocol), i32::from(*phase));
            let all = series.phase == phase;
            if series.protocol != protocol || !(all || misses(series, phase)) {
                continue;
            }
            let subject = Subject {
                target: &series.target,
                destination: series.destination,
                protocol,
                phase,
            };
            let slot = self.slot(terms, naming, agent, &subject);
            uses.extend(slot.map(|(slot, never_answered)| Use {
                slot,
                all,
                never_answered,
            }));
        }
        uses
    }

    /// The slot of what an agent measured, and whether silence is no loss there.
    pub(super) fn slot(
        &mut self,
        terms: &Terms<'_>,
        naming: &mut Naming<'_>,
        agent: u32,
        subject: &Subject<'_>,
    ) -> Option<(u32, bool)> {
        let place = terms.vantage.places.get(&agent)?;
        let answered = &terms.answered;
        let never_answered = !answered.has(place.site, subject.target, subject.protocol);
        let key = naming.key(place, subject);
        let number = if let Some(number) = self.by_key.get(&key) {
            *number
        } else {
            let number = u32::try_from(self.keys.len()).ok()?;
            self.keys.push(Arc::clone(&key));
            self.by_key.insert(key, number);
            number
        };
        let slot = (number, self.weighted.then_some(agent));
        if let Some(known) = self.by_slot.get(&slot) {
            return Some((*known, never_answered));
        }
        let place = u32::try_from(self.all.len()).ok()?;
        self.all.push(slot);
        self.by_slot.insert(slot, place);
        Some((place, never_answered))
    }
}

/// Whether a phase counts what of a series was not answered.
fn misses(series: &Series, phase: i32) -> bool {
    let protocol = Protocol::try_from(series.protocol).unwrap_or_default();
    let own = firstmile_wire::v1::Phase::try_from(series.phase).unwrap_or_default();
    phases_counted(protocol, own, Outcome::Timeout)
        .skip(1)
        .any(|counted| i32::from(counted) == phase)
}

/// What one slot has in one part.
#[derive(Debug, Default)]
struct Part {
    counting: Counting,
    /// The same where silence is no loss.
    unheard: Option<Box<Counting>>,
    /// Agents behind it, where slots are not theirs.
    agents: AgentSet,
}

/// Samples of a span while they are read, in parts of equal width; no part lies in two windows of an answer.
pub(super) struct Gathering<'a> {
    slots: &'a Slots,
    question: &'a Question,
    origin: i64,
    width: i64,
    parts: Vec<Vec<Option<Box<Part>>>>,
    /// Samples that were counted.
    pub(super) samples: u64,
}

/// The width of parts for a question.
pub(super) fn part_width(question: &Question, weighted: bool) -> i64 {
    match (question.step_ms, weighted) {
        (None, true) => FIVE_MINUTES_MS,
        (None, false) => i64::MAX,
        (Some(step), false) => step,
        (Some(step), true) => gcd(step, FIVE_MINUTES_MS),
    }
}

const fn gcd(left: i64, right: i64) -> i64 {
    if right == 0 {
        left
    } else {
        gcd(right, left % right)
    }
}

impl<'a> Gathering<'a> {
    /// For samples from `from_unix_ms` on.
    pub(super) fn new(slots: &'a Slots, question: &'a Question, from_unix_ms: i64) -> Self {
        let width = part_width(question, slots.weighted);
        let origin = if width == i64::MAX {
            from_unix_ms
        } else {
            window_start(from_unix_ms, width)
        };
        Self {
            slots,
            question,
            origin,
            width,
            parts: Vec::new(),
            samples: 0,
        }
    }

    /// Counts the samples of a block, which are all of the span.
    pub(super) fn count(&mut self, agent: u32, block: &Block) {
        let slots = self.slots;
        let uses = slots.uses(agent, block.series);
        let (at, outcomes) = (block.at_unix_ms(), block.outcomes());
        let (rtts, marks) = (block.rtts_us(), block.marks());
        let mut from = 0;
        while let Some(first) = at.get(from) {
            let part = first.saturating_sub(self.origin).div_euclid(self.width);
            let begin = self.origin.saturating_add(part.saturating_mul(self.width));
            let end = begin.saturating_add(self.width);
            let rest = at.get(from..).unwrap_or_default();
            let until = rest.iter().position(|at| *at < begin || *at >= end);
            let to = until.map_or(at.len(), |more| from + more.max(1));
            let columns = (
                outcomes.get(from..to).unwrap_or_default(),
                rtts.get(from..to).unwrap_or_default(),
                marks.get(from..to).unwrap_or_default(),
            );
            for one in uses {
                self.count_run(agent, part, *one, columns);
            }
            self.samples += (to - from) as u64;
            from = to;
        }
    }

    fn count_run(&mut self, agent: u32, part: i64, one: Use, columns: (&[u8], &[u32], &[u32])) {
        let weighted = self.slots.weighted;
        let part = self.part(part, one.slot);
        let counting = if one.never_answered {
            part.unheard.get_or_insert_default()
        } else {
            &mut part.counting
        };
        let (outcomes, rtts, marks) = columns;
        let counts = if one.all {
            counting.count_all(outcomes, rtts, marks)
        } else {
            counting.count_unanswered(outcomes, rtts, marks)
        };
        // What is not answered where nothing ever is says nothing of its agent.
        if !weighted && counts && !one.never_answered {
            part.agents.insert(agent);
        }
    }

    /// Adds a cell of the table.
    pub(super) fn add(&mut self, at: i64, agent: u32, slot: (u32, bool), cell: &Cell) {
        let place = at.saturating_sub(self.origin).div_euclid(self.width);
        let weighted = self.slots.weighted;
        let part = self.part(place, slot.0);
        if slot.1 {
            part.unheard.get_or_insert_default().add(cell);
        } else {
            part.counting.add(cell);
        }
        if !weighted && cell.n() > 0 {
            part.agents.insert(agent);
        }
    }

    fn part(&mut self, part: i64, slot: u32) -> &mut Part {
        // Nothing before the origin is asked for.
        let part = usize::try_from(part).unwrap_or(0);
        if self.parts.len() <= part {
            self.parts.resize_with(part + 1, Vec::new);
        }
        let slot = slot as usize;
        let slots = self.slots.len().max(slot + 1);
        let parts = self.parts.get_mut(part);
        let parts = parts.expect("there are as many as were asked for just now");
        if parts.len() <= slot {
            parts.resize_with(slots, || None);
        }
        let place = parts.get_mut(slot);
        place
            .expect("there are as many as were asked for just now")
            .get_or_insert_default()
    }

    /// Puts everything into the windows of the answer.
    pub(super) fn finish(self, rows: &mut Rows) {
        let (slots, question) = (self.slots, self.question);
        let mut order: Vec<usize> = (0..slots.len()).collect();
        order.sort_by_key(|slot| slots.all.get(*slot).copied());
        let mut open: Vec<Option<Box<Part>>> = Vec::new();
        let mut at_window = None;
        let mut begin = self.origin;
        for parts in self.parts {
            let window = question
                .step_ms
                .map_or(question.from_unix_ms, |step| window_start(begin, step));
            let weighting = window_start(begin, FIVE_MINUTES_MS);
            let now = (window, slots.weighted.then_some(weighting));
            if let Some((before, _)) = at_window.replace(now).filter(|before| *before != now) {
                close(&mut open, slots, &order, before, rows);
            }
            merge_into(&mut open, parts);
            begin = begin.saturating_add(self.width);
        }
        if let Some((window, _)) = at_window {
            close(&mut open, slots, &order, window, rows);
        }
    }
}

fn merge_into(open: &mut Vec<Option<Box<Part>>>, parts: Vec<Option<Box<Part>>>) {
    if open.len() < parts.len() {
        open.resize_with(parts.len(), || None);
    }
    for (open, part) in open.iter_mut().zip(parts) {
        match (open.as_mut(), part) {
            (_, None) => {}
            (None, Some(part)) => *open = Some(part),
            (Some(open), Some(part)) => open.merge(&part),
        }
    }
}

impl Part {
    fn merge(&mut self, other: &Self) {
        self.counting.merge(&other.counting);
        if let Some(unheard) = &other.unheard {
            self.unheard.get_or_insert_default().merge(unheard);
        }
        self.agents.merge(&other.agents);
    }

    /// With what was not answered where nothing ever is.
    fn whole(self) -> (Counting, AgentSet) {
        let mut counting = self.counting;
        if let Some(unheard) = self.unheard {
            counting.add(&unheard.cell().where_never_answered());
        }
        (counting, self.agents)
    }
}

/// Puts what is open into one window: group by group, each agent with its weight.
fn close(
    open: &mut [Option<Box<Part>>],
    slots: &Slots,
    order: &[usize],
    window: i64,
    rows: &mut Rows,
) {
    let mut group: Option<(u32, Group)> = None;
    for slot in order {
        let Some(part) = open.get_mut(*slot).and_then(Option::take) else {
            continue;
        };
        let Some((key, agent)) = slots.all.get(*slot).copied() else {
            continue;
        };
        if group.as_ref().is_some_and(|(known, _)| *known != key)
            && let Some((key, group)) = group.take()
        {
            group.put(slots, key, window, rows);
        }
        let (_, into) = group.get_or_insert_with(|| (key, Group::default()));
        into.add(agent, *part);
    }
    if let Some((key, group)) = group {
        group.put(slots, key, window, rows);
    }
}

/// One group of one window.
#[derive(Default)]
struct Group {
    counting: Counting,
    weights: Tally,
    agents: AgentSet,
}

impl Group {
    fn add(&mut self, agent: Option<u32>, part: Part) {
        let (mut counting, agents) = part.whole();
        let Some(agent) = agent else {
            self.agents.merge(&agents);
            self.counting = counting;
            return;
        };
        counting.weigh(&mut self.weights);
        if counting.counts() {
            self.agents.insert(agent);
        }
        self.counting.merge(&counting);
    }

    fn put(self, slots: &Slots, key: u32, window: i64, rows: &mut Rows) {
        let Some(key) = slots.keys.get(key as usize) else {
            return;
        };
        let mut cell = self.counting.cell();
        cell.weights = self.weights.histogram();
        let merged = Merged {
            cell,
            agents: self.agents,
        };
        put(rows, (window, Arc::clone(key)), merged);
    }
}

/// Adds to a row, or makes it.
pub(super) fn put(rows: &mut Rows, row: (i64, Key), merged: Merged) {
    match rows.entry(row) {
        std::collections::btree_map::Entry::Vacant(room) => {
            room.insert(merged);
        }
        std::collections::btree_map::Entry::Occupied(mut there) => {
            there.get_mut().merge(&merged);
        }
    }
}
