//! Answers to [`CellQuery`]: agents weighted, geographies grouped, from cells and rollups as `plan` says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use firstmile_wire::ids::OrganisationId;
use rusqlite::{Row, Transaction, params};

use super::plan::{Holdings, Source, plan};
use super::samples::Samples;
use super::vantage::{Answered, Place, Vantage, cell_of, json_of, level_number, merged_of};
use super::{cell_table, engine, history, registry, sampled};
use crate::api::types::GeographyLevel;
use crate::rollup::{AgentMerge, Cell, FIVE_MINUTES_MS, HOUR_MS, MINUTE_MS, Merged, window_start};
use crate::store::{CellQuery, CellRow, Group, Scope, StoreResult};

/// Up to so many agents are read by agent; more are read by time and sorted out here.
const FEW_AGENTS: usize = 64;

/// Rows by (window, group).
type Rows = BTreeMap<(i64, Arc<str>), Merged>;

/// Answers a query.
pub(super) fn cells(
    tx: &Transaction<'_>,
    samples: &Samples,
    organisation: &OrganisationId,
    query: &CellQuery,
) -> StoreResult<Vec<CellRow>> {
    let vantage = Vantage::load_for(tx, organisation, &query.scope)?;
    let asked = Asked {
        organisation,
        samples,
        query,
        agents: vantage.within(&query.scope),
        vantage: &vantage,
    };
    let mut rows = Rows::new();
    if asked.agents.is_empty() && asked.wanted_rollup().is_none() {
        return Ok(Vec::new());
    }
    let protocol = Some(i32::from(query.protocol));
    let answered = Answered::load(tx, organisation, protocol, vantage.only_site())?;
    let mut merge = AgentMerge::new();
    for (source, span) in asked.spans(tx)? {
        if matches!(source, Source::Cells | Source::Both) {
            add_cells(tx, &asked, &answered, &span, &mut merge)?;
        }
        match source {
            Source::Cells => {}
            Source::Rollup { step_ms } => add_rollups(tx, &asked, step_ms, &span, &mut rows)?,
            Source::Both => add_rollups(tx, &asked, FIVE_MINUTES_MS, &span, &mut rows)?,
        }
    }
    if asked.wanted_rollup().is_none() {
        add_history(tx, &asked, &answered, &mut rows)?;
    }
    for (key, merged) in merge.finish() {
        rows.entry(key).or_default().merge(&merged);
    }
    let row = |((at_unix_ms, group), merged): ((i64, Arc<str>), Merged)| CellRow {
        at_unix_ms,
        group: group.to_string(),
        cell: merged.cell,
        agents: merged.agents.len(),
    };
    Ok(rows.into_iter().map(row).collect())
}

/// A query with what is needed to answer it.
struct Asked<'a> {
    organisation: &'a OrganisationId,
    samples: &'a Samples,
    query: &'a CellQuery,
    vantage: &'a Vantage,
    agents: BTreeSet<u32>,
}

/// Rollup rows that a query reads: of one key or of all, put under their own key or under that of their site.
enum Wanted {
    One(Option<GeographyLevel>, String),
    All(GeographyLevel),
    /// Site rows of the sites in the scope, each put under a key.
    Sites(BTreeMap<String, Arc<str>>),
}

impl Asked<'_> {
    fn step_ms(&self) -> Option<i64> {
        self.query.step_ms.map(|step| step.max(MINUTE_MS))
    }

    /// Start of the answer's window that a time lies in.
    fn window(&self, at_unix_ms: i64) -> i64 {
        self.step_ms().map_or(self.query.from_unix_ms, |step| {
            window_start(at_unix_ms, step)
        })
    }

    /// The key that a cell goes under.
    fn group(&self, place: &Place, target: &str) -> Arc<str> {
        match self.query.group {
            Group::All => Arc::clone(place.keys.at(None)),
            Group::Geography(level) => Arc::clone(place.keys.at(Some(level))),
            Group::Agent => place.agent.to_string().into(),
            Group::AgentTarget => format!("{}\t{target}", place.agent).into(),
        }
    }

    /// Rollups know geographies, not agents.
    fn wanted_rollup(&self) -> Option<Wanted> {
        match (&self.query.scope, self.query.group) {
            (Scope::Agent(_), _) | (_, Group::Agent | Group::AgentTarget) => None,
            (Scope::World, Group::All) => Some(Wanted::One(None, String::new())),
            (Scope::World, Group::Geography(level)) => Some(Wanted::All(level)),
            (Scope::Geography(level, key), Group::All) => {
                Some(Wanted::One(Some(*level), key.clone()))
            }
            (Scope::Geography(level, key), Group::Geography(by)) if *level == by => {
                Some(Wanted::One(Some(by), key.clone()))
            }
            (Scope::Geography(..), Group::Geography(by)) => {
                let places = self
                    .agents
                    .iter()
                    .filter_map(|number| self.vantage.places.get(number));
                let key =
                    |place: &Place| (place.site.to_string(), Arc::clone(place.keys.at(Some(by))));
                Some(Wanted::Sites(places.map(key).collect()))
            }
        }
    }

    fn spans(&self, tx: &Transaction<'_>) -> StoreResult<Vec<(Source, Range<i64>)>> {
        let query = self.query.from_unix_ms..self.query.to_unix_ms;
        if query.is_empty() {
            return Ok(Vec::new());
        }
        if self.wanted_rollup().is_none() {
            return Ok(vec![(Source::Cells, query)]);
        }
        // However long the question, only what is stored is planned.
        let Some((first, last)) = extent(tx, self.samples, self.organisation)? else {
            return Ok(Vec::new());
        };
        let end = window_start(last, HOUR_MS).saturating_add(HOUR_MS);
        let query = query.start.max(window_start(first, HOUR_MS))..query.end.min(end);
        let holdings = holdings(tx, self.organisation, &query)?;
        Ok(plan(&query, self.step_ms(), &holdings))
    }
}

/// When the oldest sample, cell or rollup begins, and when the newest does.
fn extent(
    tx: &Transaction<'_>,
    samples: &Samples,
    organisation: &OrganisationId,
) -> StoreResult<Option<(i64, i64)>> {
    let end_of = |sql: &str, step_ms: i64| -> StoreResult<Option<i64>> {
        tx.prepare_cached(sql)
            .and_then(|mut find| {
                find.query_row(params![organisation.as_str(), step_ms], |row| row.get(0))
            })
            .map_err(engine("read rollups"))
    };
    let mut extent = cell_table::wider(
        cell_table::extent(tx, organisation)?,
        sampled::extent(tx, samples, organisation)?,
    );
    for step_ms in [FIVE_MINUTES_MS, HOUR_MS] {
        let first = end_of(
            "SELECT min(at_unix_ms) FROM geography_rollup WHERE organisation = ?1 AND step_ms = ?2",
            step_ms,
        )?;
        let last = end_of(
            "SELECT max(at_unix_ms) FROM geography_rollup WHERE organisation = ?1 AND step_ms = ?2",
            step_ms,
        )?;
        extent = cell_table::wider(extent, first.zip(last));
    }
    Ok(extent)
}

/// What the store has in a span.
fn holdings(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    span: &Range<i64>,
) -> StoreResult<Holdings> {
    let dirty = |step: i64| -> StoreResult<BTreeSet<i64>> {
        let sql = "SELECT at_unix_ms FROM rollup_dirty
            WHERE organisation = ?1 AND step_ms = ?2 AND at_unix_ms >= ?3 AND at_unix_ms < ?4";
        let from = window_start(span.start, step);
        let found = registry::all(
            tx,
            sql,
            params![organisation.as_str(), step, from, span.end],
            |row| row.get(0).map_err(engine("read which rollups are due")),
        )?;
        Ok(found.into_iter().collect())
    };
    Ok(Holdings {
        cells_from: super::dirty::horizon(tx, organisation, MINUTE_MS)?,
        five_minutes_from: super::dirty::horizon(tx, organisation, FIVE_MINUTES_MS)?,
        dirty_five_minutes: dirty(FIVE_MINUTES_MS)?,
        dirty_hours: dirty(HOUR_MS)?,
    })
}

/// The keys of (agent, target), each made once and not for every cell.
#[derive(Default)]
struct Groups(HashMap<u32, Vec<(String, Arc<str>)>>);

impl Groups {
    fn of(&mut self, asked: &Asked<'_>, number: u32, place: &Place, target: &str) -> Arc<str> {
        if asked.query.group != Group::AgentTarget {
            return asked.group(place, target);
        }
        let of_agent = self.0.entry(number).or_default();
        if let Some((_, group)) = of_agent.iter().find(|(known, _)| known == target) {
            return Arc::clone(group);
        }
        let group = asked.group(place, target);
        of_agent.push((target.to_owned(), Arc::clone(&group)));
        group
    }
}

/// Adds what is in a span, of samples and of cells. A weighting window is whole when the next begins.
fn add_cells(
    tx: &Transaction<'_>,
    asked: &Asked<'_>,
    answered: &Answered,
    span: &Range<i64>,
    merge: &mut AgentMerge<(i64, Arc<str>)>,
) -> StoreResult<()> {
    let (protocol, phase) = (
        i32::from(asked.query.protocol),
        i32::from(asked.query.phase),
    );
    let wanted = sampled::Wanted {
        organisation: asked.organisation,
        agents: &asked.agents,
        kind: Some((protocol, phase)),
        target: asked.query.target.as_deref(),
        span,
    };
    let bucket = |at: i64| (window_start(at, FIVE_MINUTES_MS), asked.window(at));
    let mut cells = sampled::gather(tx, asked.samples, &wanted, bucket)?;
    add_table(tx, asked, &wanted, bucket, &mut cells)?;
    let mut open = None;
    let mut groups = Groups::default();
    for (((window, at), _, _, number, target), cell) in cells {
        if open.replace(window).is_some_and(|before| before != window) {
            merge.close_window();
        }
        if let Some(place) = asked.vantage.places.get(&number) {
            let cell = answered.judge(place.site, &target, protocol, cell);
            let group = groups.of(asked, number, place, &target);
            merge.add((at, group), number, &cell);
        }
    }
    merge.close_window();
    Ok(())
}

/// Adds the cells of the table that are wanted.
fn add_table(
    tx: &Transaction<'_>,
    asked: &Asked<'_>,
    wanted: &sampled::Wanted<'_>,
    bucket: impl Fn(i64) -> (i64, i64),
    cells: &mut BTreeMap<sampled::Key<(i64, i64)>, Cell>,
) -> StoreResult<()> {
    let few = asked.agents.len() <= FEW_AGENTS;
    let sql = if few {
        "SELECT at_unix_ms, agent_no, target, cell FROM agent_cell INDEXED BY agent_cell_by_agent
         WHERE organisation = ?1 AND protocol = ?2 AND phase = ?3 AND at_unix_ms >= ?4 AND at_unix_ms < ?5
             AND (?6 IS NULL OR target = ?6) AND agent_no IN (SELECT value FROM json_each(?7))
         ORDER BY at_unix_ms"
    } else {
        "SELECT at_unix_ms, agent_no, target, cell FROM agent_cell
         WHERE organisation = ?1 AND protocol = ?2 AND phase = ?3 AND at_unix_ms >= ?4 AND at_unix_ms < ?5
             AND (?6 IS NULL OR target = ?6) AND ?7 IS NOT NULL
         ORDER BY at_unix_ms"
    };
    let (protocol, phase) = wanted.kind.unwrap_or_default();
    let agents = if few {
        json_of(&asked.agents)?
    } else {
        String::new()
    };
    let key = params![
        asked.organisation.as_str(),
        protocol,
        phase,
        wanted.span.start,
        wanted.span.end,
        asked.query.target,
        agents
    ];
    let mut statement = tx.prepare_cached(sql).map_err(engine("read cells"))?;
    let mut rows = statement.query(key).map_err(engine("read cells"))?;
    while let Some(row) = rows.next().map_err(engine("read cells"))? {
        let (at, number, target, bytes) = cell_row(row).map_err(engine("read cells"))?;
        if asked.agents.contains(&number) {
            let key = (bucket(at), protocol, phase, number, Arc::from(target));
            cells.entry(key).or_default().merge(&cell_of(bytes)?);
        }
    }
    Ok(())
}

fn cell_row<'a>(row: &'a Row<'_>) -> rusqlite::Result<(i64, u32, &'a str, &'a [u8])> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get_ref(2)?.as_str()?,
        row.get_ref(3)?.as_blob()?,
    ))
}

/// Adds what is left of agents' cells that are deleted.
fn add_history(
    tx: &Transaction<'_>,
    asked: &Asked<'_>,
    answered: &Answered,
    rows: &mut Rows,
) -> StoreResult<()> {
    let protocol = i32::from(asked.query.protocol);
    let target = match (&asked.query.target, asked.query.group) {
        (Some(target), _) => Some(target.as_str()),
        (None, Group::AgentTarget) => None,
        (None, Group::All | Group::Agent | Group::Geography(_)) => Some(""),
    };
    let wanted = history::Wanted {
        agents: &asked.agents,
        protocol,
        phase: i32::from(asked.query.phase),
        target,
        span: &(asked.query.from_unix_ms..asked.query.to_unix_ms),
    };
    history::for_each(
        tx,
        asked.organisation,
        &wanted,
        |number, target, at, cell| {
            let place = asked.vantage.places.get(&number);
            if let Some(place) = place {
                let cell = match target {
                    "" => cell,
                    target => answered.judge(place.site, target, protocol, cell),
                };
                let row = rows
                    .entry((asked.window(at), asked.group(place, target)))
                    .or_default();
                row.add(number, &cell);
            }
        },
    )
}

/// Adds rollup rows of a span.
fn add_rollups(
    tx: &Transaction<'_>,
    asked: &Asked<'_>,
    step_ms: i64,
    span: &Range<i64>,
    rows: &mut Rows,
) -> StoreResult<()> {
    // `CROSS JOIN`: for each key one stretch of the primary key, in this order of loops.
    let one = "SELECT geography, at_unix_ms, agents, cell FROM geography_rollup
        WHERE organisation = ?1 AND step_ms = ?2 AND level = ?3 AND protocol = ?4 AND phase = ?5 AND target = ?6
            AND at_unix_ms >= ?7 AND at_unix_ms < ?8 AND geography = ?9";
    let many = "SELECT rollup.geography, rollup.at_unix_ms, rollup.agents, rollup.cell
        FROM geography CROSS JOIN geography_rollup AS rollup ON rollup.organisation = ?1 AND rollup.step_ms = ?2
            AND rollup.level = ?3 AND rollup.protocol = ?4 AND rollup.phase = ?5 AND rollup.target = ?6
            AND rollup.geography = geography.geography AND rollup.at_unix_ms >= ?7 AND rollup.at_unix_ms < ?8
        WHERE geography.organisation = ?1 AND geography.level = ?3
            AND (?9 IS NULL OR geography.geography IN (SELECT value FROM json_each(?9)))";
    let Some(wanted) = asked.wanted_rollup() else {
        return Ok(());
    };
    let (sql, level, filter) = match &wanted {
        Wanted::One(level, key) => (one, *level, Some(key.clone())),
        Wanted::All(level) => (many, Some(*level), None),
        Wanted::Sites(keys) => {
            let sites = keys.keys().collect::<Vec<_>>();
            (
                many,
                Some(GeographyLevel::Site),
                Some(super::forms::write("sites", &sites)?),
            )
        }
    };
    let key = params![
        asked.organisation.as_str(),
        step_ms,
        level_number(level),
        i32::from(asked.query.protocol),
        i32::from(asked.query.phase),
        asked.query.target.as_deref().unwrap_or_default(),
        span.start,
        span.end,
        filter
    ];
    let mut statement = tx.prepare_cached(sql).map_err(engine("read rollups"))?;
    let mut found = statement.query(key).map_err(engine("read rollups"))?;
    while let Some(row) = found.next().map_err(engine("read rollups"))? {
        let (geography, at, agents, cell) = rollup_row(row).map_err(engine("read rollups"))?;
        let group = match (&wanted, asked.query.group) {
            (_, Group::All) => Arc::from(""),
            (Wanted::Sites(keys), _) => keys
                .get(geography)
                .cloned()
                .unwrap_or_else(|| Arc::from(geography)),
            (Wanted::One(..) | Wanted::All(_), _) => Arc::from(geography),
        };
        rows.entry((asked.window(at), group))
            .or_default()
            .merge(&merged_of(agents, cell)?);
    }
    Ok(())
}

fn rollup_row<'a>(row: &'a Row<'_>) -> rusqlite::Result<(&'a str, i64, &'a [u8], &'a [u8])> {
    Ok((
        row.get_ref(0)?.as_str()?,
        row.get(1)?,
        row.get_ref(2)?.as_blob()?,
        row.get_ref(3)?.as_blob()?,
    ))
}
