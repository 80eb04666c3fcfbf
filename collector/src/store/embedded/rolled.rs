//! What rollups say to a question: rows of one geography, of all of a level, or of the sites of a scope.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use rusqlite::{Row, Transaction, params};

use super::cells::Asked;
use super::naming::{self, Naming, RolledUp};
use super::raw::{Rows, put};
use super::vantage::{level_number, merged_of};
use super::{engine, forms};
use crate::api::types::GeographyLevel;
use crate::store::{Scope, StoreResult};

// `CROSS JOIN`: for each key one stretch of the primary key, in this order of loops.
const ONE: &str = "SELECT geography, at_unix_ms, agents, cell FROM geography_rollup
    WHERE organisation = ?1 AND step_ms = ?2 AND level = ?3 AND protocol = ?4 AND phase = ?5 AND target = ?6
        AND at_unix_ms >= ?7 AND at_unix_ms < ?8 AND geography = ?9";
const MANY: &str = "SELECT rollup.geography, rollup.at_unix_ms, rollup.agents, rollup.cell
    FROM geography CROSS JOIN geography_rollup AS rollup ON rollup.organisation = ?1 AND rollup.step_ms = ?2
        AND rollup.level = ?3 AND rollup.protocol = ?4 AND rollup.phase = ?5 AND rollup.target = ?6
        AND rollup.geography = geography.geography AND rollup.at_unix_ms >= ?7 AND rollup.at_unix_ms < ?8
    WHERE geography.organisation = ?1 AND geography.level = ?3
        AND (?9 IS NULL OR geography.geography IN (SELECT value FROM json_each(?9)))";

/// Rollup rows that a question reads: of one key or of all, put under their own key or under that of their site.
pub(super) enum Wanted {
    One(Option<GeographyLevel>, String),
    All(GeographyLevel),
    /// Site rows of the sites in the scope, each put under a key.
    Sites(BTreeMap<String, Arc<str>>),
}

impl Asked<'_> {
    /// Rollups know geographies, not agents.
    pub(super) fn wanted_rollup(&self) -> Option<Wanted> {
        if self.question.raw {
            return None;
        }
        match (&self.question.scope, naming::rolled_up(self.question)) {
            (Scope::Agent(_), _) | (_, RolledUp::No) => None,
            (Scope::World, RolledUp::World) => Some(Wanted::One(None, String::new())),
            (Scope::World, RolledUp::By(level)) => Some(Wanted::All(level)),
            (Scope::Geography(level, key), RolledUp::World) => {
                Some(Wanted::One(Some(*level), key.clone()))
            }
            (Scope::Geography(level, key), RolledUp::By(by)) if *level == by => {
                Some(Wanted::One(Some(by), key.clone()))
            }
            (Scope::Geography(..), RolledUp::By(by)) => {
                let places = self.agents.iter();
                let places = places.filter_map(|number| self.vantage.places.get(number));
                let keys = places
                    .map(|place| (place.site.to_string(), Arc::clone(place.keys.at(Some(by)))));
                Some(Wanted::Sites(keys.collect()))
            }
        }
    }

    /// Adds rollup rows of a span.
    pub(super) fn add_rollups(
        &mut self,
        tx: &Transaction<'_>,
        naming: &Naming<'_>,
        step_ms: i64,
        span: &Range<i64>,
        rows: &mut Rows,
    ) -> StoreResult<()> {
        let Some(wanted) = self.wanted_rollup() else {
            return Ok(());
        };
        for (protocol, phase) in &self.question.measures {
            let kind = (i32::from(*protocol), i32::from(*phase));
            self.rests_on.rollups +=
                self.add_kind(tx, naming, &wanted, (step_ms, kind), span, rows)?;
        }
        Ok(())
    }

    /// Says how many there are.
    fn add_kind(
        &self,
        tx: &Transaction<'_>,
        naming: &Naming<'_>,
        wanted: &Wanted,
        (step_ms, (protocol, phase)): (i64, (i32, i32)),
        span: &Range<i64>,
        rows: &mut Rows,
    ) -> StoreResult<u64> {
        let (sql, level, filter) = match wanted {
            Wanted::One(level, key) => (ONE, *level, Some(key.clone())),
            Wanted::All(level) => (MANY, Some(*level), None),
            Wanted::Sites(keys) => {
                let sites = keys.keys().collect::<Vec<_>>();
                let sites = forms::write("sites", &sites)?;
                (MANY, Some(GeographyLevel::Site), Some(sites))
            }
        };
        let key = params![
            self.organisation.as_str(),
            step_ms,
            level_number(level),
            protocol,
            phase,
            self.question.target.as_deref().unwrap_or_default(),
            span.start,
            span.end,
            filter
        ];
        let mut statement = tx.prepare_cached(sql).map_err(engine("read rollups"))?;
        let mut found = statement.query(key).map_err(engine("read rollups"))?;
        let (mut count, mut last) = (0, None);
        while let Some(row) = found.next().map_err(engine("read rollups"))? {
            let (geography, at, agents, cell) = rollup_row(row).map_err(engine("read rollups"))?;
            // Rows of one geography follow each other.
            let known = last
                .take()
                .filter(|(known, _): &(Arc<str>, _)| **known == *geography);
            let (_, group) = last.insert(known.unwrap_or_else(|| {
                let own: Arc<str> = geography.into();
                let shown = match wanted {
                    Wanted::Sites(keys) => keys.get(geography).cloned(),
                    Wanted::One(..) | Wanted::All(_) => None,
                };
                let shown = shown.unwrap_or_else(|| Arc::clone(&own));
                (own, naming.of_geography(&shown, protocol, phase))
            }));
            put(
                rows,
                (self.window(at), Arc::clone(group)),
                merged_of(agents, cell)?,
            );
            count += 1;
        }
        Ok(count)
    }
}

fn rollup_row<'a>(row: &'a Row<'_>) -> rusqlite::Result<(&'a str, i64, &'a [u8], &'a [u8])> {
    Ok((
        row.get_ref(0)?.as_str()?,
        row.get(1)?,
        row.get_ref(2)?.as_blob()?,
        row.get_ref(3)?.as_blob()?,
    ))
}
