//! Answers to questions about samples: agents weighted, groups made, from samples, cells and rollups as `plan` says, window after
//! window, so that no more of an answer is in memory than has to be.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::Ordering;

use firstmile_wire::ids::OrganisationId;
use rusqlite::{Row, Transaction, params};

use super::extent::{extent, holdings};
use super::naming::{self, Naming, RolledUp, Subject};
use super::plan::{Source, plan};
use super::raw::{Gathering, Rows, Slots, Terms, part_width};
use super::samples::Samples;
use super::vantage::{Answered, Vantage, cell_of, json_of};
use super::{engine, history, sampled};
use crate::rollup::{Cell, FIVE_MINUTES_MS, HOUR_MS, MINUTE_MS, Merged, Weighting, window_start};
use crate::store::questions::{Dimension, Key, Question, RestsOn};
use crate::store::{StoreError, StoreResult};

/// Up to so many agents are read by agent; more are read by time and sorted out here.
const FEW_AGENTS: usize = 64;
/// Slots of one slice of samples, times its parts: some 200 bytes each, and 2 for each sample.
const SLICE_PARTS: usize = 400_000;
/// Rows of a slice of rollups: some kilobytes each.
const SLICE_ROWS: usize = 8_192;
/// Steps that a refusal may name.
const STEPS_MS: [i64; 7] = [
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    30 * MINUTE_MS,
    HOUR_MS,
    2 * HOUR_MS,
    6 * HOUR_MS,
    24 * HOUR_MS,
];

/// Shows what groups come to, window by window.
pub(super) type Emit<'e> = dyn FnMut(i64, Key, Merged) -> StoreResult<()> + 'e;

/// Answers a question, and says what the answer rests on.
pub(super) fn walk(
    tx: &Transaction<'_>,
    samples: &Samples,
    organisation: &OrganisationId,
    question: &Question,
    emit: &mut Emit<'_>,
) -> StoreResult<RestsOn> {
    let vantage = Vantage::load_for(tx, organisation, &question.scope)?;
    let mut asked = Asked {
        organisation,
        samples,
        question,
        agents: vantage.within(&question.scope),
        vantage: &vantage,
        slots: None,
        rests_on: RestsOn::default(),
    };
    if asked.agents.is_empty() && asked.wanted_rollup().is_none() {
        return Ok(asked.rests_on);
    }
    let mut protocols = question.measures.iter().map(|(protocol, _)| *protocol);
    let first = protocols.next().map(i32::from);
    let one = first.filter(|first| protocols.all(|other| i32::from(other) == *first));
    let answered = Answered::load(tx, organisation, one, vantage.only_site())?;
    let mut naming = Naming::load(tx, organisation, question)?;
    let mut rows = Rows::new();
    check_rows(question, asked.geographies())?;
    if asked.wanted_rollup().is_none() {
        asked.add_history(tx, &answered, &mut naming, &mut rows)?;
    }
    for (source, span) in asked.spans(tx)? {
        asked.add_span(tx, &answered, &mut naming, (source, span), &mut rows, emit)?;
    }
    for ((at, key), merged) in rows {
        emit(at, key, merged)?;
    }
    Ok(asked.rests_on)
}

/// A question with what is needed to answer it.
pub(super) struct Asked<'a> {
    pub(super) organisation: &'a OrganisationId,
    samples: &'a Samples,
    pub(super) question: &'a Question,
    pub(super) vantage: &'a Vantage,
    pub(super) agents: BTreeSet<u32>,
    /// Made when the first samples are read.
    slots: Option<Slots>,
    pub(super) rests_on: RestsOn,
}

impl Asked<'_> {
    fn step_ms(&self) -> Option<i64> {
        self.question.step_ms
    }

    /// Start of the answer's window that a time lies in.
    pub(super) fn window(&self, at_unix_ms: i64) -> i64 {
        self.step_ms().map_or(self.question.from_unix_ms, |step| {
            window_start(at_unix_ms, step)
        })
    }

    /// Groups that there are by geography alone, each of every measure; 0 where rows are told apart by more than that.
    fn geographies(&self) -> usize {
        let level = match naming::rolled_up(self.question) {
            RolledUp::No => return 0,
            RolledUp::World => None,
            RolledUp::By(level) => Some(level),
        };
        let places = self.agents.iter();
        let places = places.filter_map(|agent| self.vantage.places.get(agent));
        let keys: BTreeSet<&str> = places.map(|place| &**place.keys.at(level)).collect();
        keys.len() * self.question.measures.len()
    }

    fn is_weighted(&self) -> bool {
        self.question.weighting == Weighting::Agent
    }

    fn spans(&self, tx: &Transaction<'_>) -> StoreResult<Vec<(Source, Range<i64>)>> {
        let query = self.question.from_unix_ms..self.question.to_unix_ms;
        if query.is_empty() {
            return Ok(Vec::new());
        }
        // However long the question, only what is stored is planned.
        let Some((first, last)) = extent(tx, self.samples, self.organisation)? else {
            return Ok(Vec::new());
        };
        let end = window_start(last, HOUR_MS).saturating_add(HOUR_MS);
        let query = query.start.max(window_start(first, HOUR_MS))..query.end.min(end);
        if query.is_empty() {
            return Ok(Vec::new());
        }
        if self.wanted_rollup().is_none() {
            return Ok(vec![(Source::Cells, query)]);
        }
        let holdings = holdings(tx, self.organisation, &query)?;
        Ok(plan(&query, self.step_ms(), &holdings))
    }

    /// Adds a span, slice by slice, and shows the windows that are whole.
    fn add_span(
        &mut self,
        tx: &Transaction<'_>,
        answered: &Answered,
        naming: &mut Naming<'_>,
        (source, span): (Source, Range<i64>),
        rows: &mut Rows,
        emit: &mut Emit<'_>,
    ) -> StoreResult<()> {
        let is_raw = matches!(source, Source::Cells | Source::Both);
        if is_raw {
            self.make_slots(tx, answered, naming)?;
        }
        let width = self.slice_ms(is_raw);
        let mut from = span.start;
        while from < span.end {
            self.go_on()?;
            let aligned = window_start(from, FIVE_MINUTES_MS);
            let to = aligned.saturating_add(width).min(span.end);
            let slice = from..to;
            if is_raw {
                self.add_raw(tx, answered, naming, &slice, rows)?;
            }
            match source {
                Source::Cells => {}
                Source::Rollup { step_ms } => {
                    self.add_rollups(tx, naming, step_ms, &slice, rows)?;
                }
                Source::Both => self.add_rollups(tx, naming, FIVE_MINUTES_MS, &slice, rows)?,
            }
            self.go_on()?;
            if self.step_ms().is_some() {
                // What begins before the window of the end is whole.
                let rest = rows.split_off(&(self.window(to), Key::default()));
                for ((at, key), merged) in std::mem::replace(rows, rest) {
                    emit(at, key, merged)?;
                }
            }
            from = to;
        }
        Ok(())
    }

    /// How much is read at a time: whole multiples of five minutes.
    fn slice_ms(&self, is_raw: bool) -> i64 {
        let (budget, each, width) = match &self.slots {
            Some(slots) if is_raw => {
                let width = part_width(self.question, self.is_weighted());
                (SLICE_PARTS, slots.len(), width)
            }
            Some(_) | None => {
                let sites = self.vantage.places.len() * self.question.measures.len();
                let width = self.step_ms().unwrap_or(i64::MAX);
                (SLICE_ROWS, sites, width)
            }
        };
        let parts = i64::try_from(budget / each.max(1)).unwrap_or(1).max(1);
        let width = parts.saturating_mul(width);
        if width >= i64::MAX / 4 {
            return i64::MAX / 4;
        }
        window_start(width, FIVE_MINUTES_MS).max(FIVE_MINUTES_MS)
    }

    /// Fails once nobody waits for the answer.
    fn go_on(&self) -> StoreResult<()> {
        if self.question.stop.load(Ordering::Relaxed) {
            Err(StoreError::Stopped)
        } else {
            Ok(())
        }
    }

    fn make_slots(
        &mut self,
        tx: &Transaction<'_>,
        answered: &Answered,
        naming: &mut Naming<'_>,
    ) -> StoreResult<()> {
        if self.slots.is_some() {
            return Ok(());
        }
        let shown = self.samples.shown(tx)?;
        let dictionary = shown.map(|shown| shown.dictionary).unwrap_or_default();
        let terms = self.terms(answered);
        let agents = self.agents.iter().copied();
        let slots = Slots::of(&terms, naming, agents, &dictionary, self.is_weighted());
        check_rows(self.question, slots.keys())?;
        self.slots = Some(slots);
        Ok(())
    }

    fn terms<'t>(&'t self, answered: &'t Answered) -> Terms<'t> {
        Terms {
            question: self.question,
            vantage: self.vantage,
            answered,
        }
    }

    /// Adds what is in a slice, of samples and of cells.
    fn add_raw(
        &mut self,
        tx: &Transaction<'_>,
        answered: &Answered,
        naming: &mut Naming<'_>,
        slice: &Range<i64>,
        rows: &mut Rows,
    ) -> StoreResult<()> {
        let mut slots = self.slots.take().unwrap_or_default();
        let terms = self.terms(answered);
        let mut late = Vec::new();
        self.each_cell(tx, slice, |at, agent, target, kind, cell| {
            let subject = Subject {
                target,
                destination: None,
                protocol: kind.0,
                phase: kind.1,
            };
            let slot = slots.slot(&terms, naming, agent, &subject);
            late.extend(slot.map(|slot| (at, agent, slot, cell)));
        })?;
        let mut gathering = Gathering::new(&slots, self.question, slice.start);
        for (at, agent, slot, cell) in &late {
            gathering.add(*at, *agent, *slot, cell);
        }
        let damaged = sampled::each_block(
            tx,
            self.samples,
            &sampled::Blocks {
                organisation: self.organisation,
                agents: &self.agents,
                span: slice,
                stop: &self.question.stop,
            },
            |agent, series| slots.wants(agent, series),
            |agent, block| gathering.count(agent, block),
        )?;
        self.rests_on.damaged += damaged;
        self.rests_on.samples += gathering.samples;
        self.rests_on.cells += late.len() as u64;
        gathering.finish(rows);
        self.slots = Some(slots);
        Ok(())
    }

    /// Shows the cells of the table that are wanted.
    fn each_cell(
        &self,
        tx: &Transaction<'_>,
        span: &Range<i64>,
        mut show: impl FnMut(i64, u32, &str, (i32, i32), Cell),
    ) -> StoreResult<()> {
        let few = self.agents.len() <= FEW_AGENTS;
        let sql = if few { CELLS_OF_FEW } else { CELLS };
        let agents = if few {
            json_of(&self.agents)?
        } else {
            String::new()
        };
        let mut statement = tx.prepare_cached(sql).map_err(engine("read cells"))?;
        for (protocol, phase) in &self.question.measures {
            let kind = (i32::from(*protocol), i32::from(*phase));
            let key = params![
                self.organisation.as_str(),
                kind.0,
                kind.1,
                span.start,
                span.end,
                self.question.target,
                agents
            ];
            let mut rows = statement.query(key).map_err(engine("read cells"))?;
            while let Some(row) = rows.next().map_err(engine("read cells"))? {
                let (at, number, target, bytes) = cell_row(row).map_err(engine("read cells"))?;
                if self.agents.contains(&number) {
                    show(at, number, target, kind, cell_of(bytes)?);
                }
            }
        }
        Ok(())
    }

    /// Adds what is left of agents' samples that are deleted.
    fn add_history(
        &mut self,
        tx: &Transaction<'_>,
        answered: &Answered,
        naming: &mut Naming<'_>,
        rows: &mut Rows,
    ) -> StoreResult<()> {
        let question = self.question;
        let tells_targets = question.by.iter().any(|one| {
            !matches!(
                one,
                Dimension::Geography(_) | Dimension::Agent | Dimension::Protocol | Dimension::Phase
            )
        });
        let target = match &question.target {
            Some(target) => Some(target.as_str()),
            None if tells_targets => None,
            None => Some(""),
        };
        for (protocol, phase) in &question.measures {
            let (protocol, phase) = (i32::from(*protocol), i32::from(*phase));
            let wanted = history::Wanted {
                agents: &self.agents,
                protocol,
                phase,
                target,
                span: &(question.from_unix_ms..question.to_unix_ms),
            };
            let mut count = 0;
            history::for_each(
                tx,
                self.organisation,
                &wanted,
                |number, target, at, cell| {
                    let Some(place) = self.vantage.places.get(&number) else {
                        return;
                    };
                    let cell = match target {
                        "" => cell,
                        target => answered.judge(place.site, target, protocol, cell),
                    };
                    let subject = Subject {
                        target,
                        destination: None,
                        protocol,
                        phase,
                    };
                    let key = naming.key(place, &subject);
                    let row = rows.entry((self.window(at), key)).or_default();
                    row.add(number, &cell);
                    count += 1;
                },
            )?;
            self.rests_on.histories += count;
        }
        Ok(())
    }
}

const CELLS_OF_FEW: &str = "SELECT at_unix_ms, agent_no, target, cell FROM agent_cell INDEXED BY agent_cell_by_agent
     WHERE organisation = ?1 AND protocol = ?2 AND phase = ?3 AND at_unix_ms >= ?4 AND at_unix_ms < ?5
         AND (?6 IS NULL OR target = ?6) AND agent_no IN (SELECT value FROM json_each(?7))
     ORDER BY at_unix_ms";
const CELLS: &str = "SELECT at_unix_ms, agent_no, target, cell FROM agent_cell
     WHERE organisation = ?1 AND protocol = ?2 AND phase = ?3 AND at_unix_ms >= ?4 AND at_unix_ms < ?5
         AND (?6 IS NULL OR target = ?6) AND ?7 IS NOT NULL
     ORDER BY at_unix_ms";

/// Refuses what would be more than an answer may be, and names the nearest step that is not.
fn check_rows(question: &Question, groups: usize) -> StoreResult<()> {
    let span = question.to_unix_ms.saturating_sub(question.from_unix_ms);
    let rows_at = |step: i64| {
        let windows = usize::try_from(span / step + 1).unwrap_or(usize::MAX);
        windows.saturating_mul(groups)
    };
    let rows = question.step_ms.map_or(groups, rows_at);
    let is_unknown = groups == 0;
    let allowed = question.rows_max;
    if is_unknown || rows <= allowed {
        return Ok(());
    }
    let wider = |step: &&i64| question.step_ms.is_some_and(|asked| **step > asked);
    let mut steps = STEPS_MS.iter().filter(wider);
    let nearest = match steps.find(|step| rows_at(**step) <= allowed) {
        Some(step) => format!("the nearest step that is allowed is {} s", step / 1_000),
        None if groups <= allowed => "ask without a step, or for a shorter time".to_owned(),
        None => "ask for fewer groups".to_owned(),
    };
    Err(StoreError::TooMuch {
        rows,
        allowed,
        nearest,
    })
}

fn cell_row<'a>(row: &'a Row<'_>) -> rusqlite::Result<(i64, u32, &'a str, &'a [u8])> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get_ref(2)?.as_str()?,
        row.get_ref(3)?.as_blob()?,
    ))
}
