//! Who stands where: agents by number with the geography of their site, and which protocols are answered there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firstmile_wire::ids::{AgentId, OrganisationId};
use firstmile_wire::v1::Protocol;
use rusqlite::{Row, Transaction, params};
use tracing::error;
use uuid::Uuid;

use super::registry::{agent_no, all, sites};
use super::{engine, forms, registry};
use crate::api::types::GeographyLevel;
use crate::registry::{Site, SiteId};
use crate::rollup::{AgentSet, Cell, Merged};
use crate::store::{
    ByAgent, ProtocolHistory, Scope, StoreError, StoreResult, UNKNOWN_GEOGRAPHY, geography_key,
};

/// Levels of the rollups, in the order of their numbers in the store; `None` is the world.
pub(super) const LEVELS: [Option<GeographyLevel>; 5] = [
    None,
    Some(GeographyLevel::Country),
    Some(GeographyLevel::Subdivision),
    Some(GeographyLevel::Metro),
    Some(GeographyLevel::Site),
];

/// The number of a level in the store.
pub(super) const fn level_number(level: Option<GeographyLevel>) -> u8 {
    match level {
        None => 0,
        Some(GeographyLevel::Country) => 1,
        Some(GeographyLevel::Subdivision) => 2,
        Some(GeographyLevel::Metro) => 3,
        Some(GeographyLevel::Site) => 4,
    }
}

/// The keys of a site at each level of [`LEVELS`]; that of the world is empty.
#[derive(Clone, Debug)]
pub(super) struct Keys([Arc<str>; 5]);

impl Keys {
    fn of(site: &Site) -> Self {
        let key = |level: Option<GeographyLevel>| {
            level.map_or_else(String::new, |level| geography_key(site, level))
        };
        Self(LEVELS.map(|level| key(level).into()))
    }

    /// The key at a level.
    pub(super) fn at(&self, level: Option<GeographyLevel>) -> &Arc<str> {
        let [world, country, subdivision, metro, site] = &self.0;
        match level {
            None => world,
            Some(GeographyLevel::Country) => country,
            Some(GeographyLevel::Subdivision) => subdivision,
            Some(GeographyLevel::Metro) => metro,
            Some(GeographyLevel::Site) => site,
        }
    }
}

/// An agent and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) agent: AgentId,
    pub(super) site: SiteId,
    pub(super) keys: Keys,
}

/// All agents of an organisation.
pub(super) struct Vantage {
    pub(super) places: BTreeMap<u32, Place>,
}

impl Vantage {
    pub(super) fn load(tx: &Transaction<'_>, organisation: &OrganisationId) -> StoreResult<Self> {
        let sites = sites(tx, organisation)?;
        let keys: BTreeMap<_, _> = sites.iter().map(|site| (site.id, Keys::of(site))).collect();
        let sql = "SELECT agent_no, agent, site FROM agent WHERE organisation = ?1";
        let places = all(tx, sql, [organisation.as_str()], |row| place_of(row, &keys))?;
        Ok(Self {
            places: places.into_iter().collect(),
        })
    }

    /// What a question in `scope` needs: of one agent there is no need to know where the others stand.
    pub(super) fn load_for(
        tx: &Transaction<'_>,
        organisation: &OrganisationId,
        scope: &Scope,
    ) -> StoreResult<Self> {
        let Scope::Agent(agent) = scope else {
            return Self::load(tx, organisation);
        };
        let site = match registry::agent(tx, organisation, *agent) {
            Ok(agent) => registry::site(tx, organisation, agent.site),
            Err(error) => Err(error),
        };
        let keys = match site {
            Ok(site) => BTreeMap::from([(site.id, Keys::of(&site))]),
            Err(StoreError::NotFound { .. }) => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let sql = "SELECT agent_no, agent, site FROM agent WHERE organisation = ?1 AND agent = ?2";
        let key = params![organisation.as_str(), agent.0.as_bytes()];
        let places = all(tx, sql, key, |row| place_of(row, &keys))?;
        Ok(Self {
            places: places.into_iter().collect(),
        })
    }

    /// The site of all agents, if there is just one.
    pub(super) fn only_site(&self) -> Option<SiteId> {
        let mut sites = self.places.values().map(|place| place.site);
        let first = sites.next()?;
        sites.all(|site| site == first).then_some(first)
    }

    /// Numbers of the agents in a scope.
    pub(super) fn within(&self, scope: &Scope) -> BTreeSet<u32> {
        let inside = |place: &Place| match scope {
            Scope::World => true,
            Scope::Geography(level, key) => **place.keys.at(Some(*level)) == **key,
            Scope::Agent(agent) => place.agent == *agent,
        };
        self.places
            .iter()
            .filter(|(_, place)| inside(place))
            .map(|(number, _)| *number)
            .collect()
    }
}

fn place_of(row: &Row<'_>, keys: &BTreeMap<SiteId, Keys>) -> StoreResult<(u32, Place)> {
    let read = || -> rusqlite::Result<(u32, [u8; 16], [u8; 16])> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    };
    let (number, agent, site) = read().map_err(engine("read agents"))?;
    let site = SiteId(Uuid::from_bytes(site));
    let keys = keys.get(&site).cloned().unwrap_or_else(|| nowhere(site));
    Ok((
        number,
        Place {
            agent: AgentId(Uuid::from_bytes(agent)),
            site,
            keys,
        },
    ))
}

/// An agent whose site is not there: it still counts, for the world and the unknown.
fn nowhere(site: SiteId) -> Keys {
    let unknown: Arc<str> = UNKNOWN_GEOGRAPHY.into();
    Keys([
        Arc::from(""),
        Arc::clone(&unknown),
        Arc::clone(&unknown),
        unknown,
        site.to_string().into(),
    ])
}

/// Which (site, target) ever answered a protocol. What never did is not loss: many networks drop ICMP by policy.
pub(super) struct Answered(BTreeSet<(SiteId, String, i32)>);

impl Answered {
    /// For one protocol or all, at one site or all.
    pub(super) fn load(
        tx: &Transaction<'_>,
        organisation: &OrganisationId,
        protocol: Option<i32>,
        site: Option<SiteId>,
    ) -> StoreResult<Self> {
        let sql = "SELECT DISTINCT agent.site, history.target, history.protocol
            FROM agent CROSS JOIN protocol_history AS history
                ON history.organisation = ?1 AND history.agent_no = agent.agent_no AND history.answered
            WHERE agent.organisation = ?1 AND (?3 IS NULL OR agent.site = ?3)
                AND (?2 IS NULL OR history.protocol = ?2)";
        let found = all(
            tx,
            sql,
            params![
                organisation.as_str(),
                protocol,
                site.map(|site| *site.0.as_bytes())
            ],
            |row| {
                let read = || -> rusqlite::Result<([u8; 16], String, i32)> {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                };
                let (site, target, protocol) = read().map_err(engine("read what protocols did"))?;
                Ok((SiteId(Uuid::from_bytes(site)), target, protocol))
            },
        )?;
        Ok(Self(found.into_iter().collect()))
    }

    /// Whether it ever did.
    pub(super) fn has(&self, site: SiteId, target: &str, protocol: i32) -> bool {
        self.0.contains(&(site, target.to_owned(), protocol))
    }

    /// The probes of a cell as they count there.
    pub(super) fn judge(&self, site: SiteId, target: &str, protocol: i32, cell: Cell) -> Cell {
        let untouched = cell.lost == 0 || self.has(site, target, protocol);
        if untouched {
            cell
        } else {
            cell.where_never_answered()
        }
    }
}

/// The agents in a scope, by number.
fn numbers_within(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    scope: &Scope,
) -> StoreResult<Vec<(u32, AgentId)>> {
    match scope {
        Scope::Agent(agent) => {
            let number = agent_no(tx, organisation, *agent)?;
            Ok(number.map(|number| (number, *agent)).into_iter().collect())
        }
        Scope::World => {
            let sql = "SELECT agent_no, agent FROM agent WHERE organisation = ?1";
            all(tx, sql, [organisation.as_str()], |row| {
                let read =
                    || -> rusqlite::Result<(u32, [u8; 16])> { Ok((row.get(0)?, row.get(1)?)) };
                let (number, agent) = read().map_err(engine("read agents"))?;
                Ok((number, AgentId(Uuid::from_bytes(agent))))
            })
        }
        Scope::Geography(..) => {
            let vantage = Vantage::load(tx, organisation)?;
            let inside = vantage.within(scope);
            let places = vantage.places.iter();
            Ok(places
                .filter(|(number, _)| inside.contains(number))
                .map(|(number, place)| (*number, place.agent))
                .collect())
        }
    }
}

/// What `read` finds of each agent in a scope. All of one agent lie together in every table, so this is one short read for each
/// agent of a snapshot that is open anyway.
pub(super) fn of_each<T>(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    scope: &Scope,
    read: impl Fn(u32) -> StoreResult<Vec<T>>,
) -> StoreResult<ByAgent<T>> {
    let mut found = ByAgent::new();
    for (number, agent) in numbers_within(tx, organisation, scope)? {
        let of_agent = read(number)?;
        if !of_agent.is_empty() {
            found.insert(agent, of_agent);
        }
    }
    Ok(found)
}

/// What protocols ever did at each target. A protocol answered for another agent of the site is answered here.
pub(super) fn protocol_histories(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    scope: &Scope,
) -> StoreResult<ByAgent<(String, ProtocolHistory)>> {
    let sql = "SELECT target, protocol, probes, EXISTS (
            SELECT 1 FROM agent AS me CROSS JOIN agent AS other ON other.organisation = ?1 AND other.site = me.site
            CROSS JOIN protocol_history AS theirs ON theirs.organisation = ?1 AND theirs.agent_no = other.agent_no
                AND theirs.target = mine.target AND theirs.protocol = mine.protocol AND theirs.answered
            WHERE me.agent_no = ?2)
        FROM protocol_history AS mine WHERE organisation = ?1 AND agent_no = ?2 ORDER BY target, protocol";
    of_each(tx, organisation, scope, |number| {
        all(tx, sql, params![organisation.as_str(), number], history_of)
    })
}

fn history_of(row: &Row<'_>) -> StoreResult<(String, ProtocolHistory)> {
    let read = || -> rusqlite::Result<(String, i32, i64, bool)> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    };
    let (target, protocol, probes, answered) = read().map_err(engine("read what protocols did"))?;
    let protocol = Protocol::try_from(protocol).map_err(|error| StoreError::Damaged {
        what: "a protocol",
        detail: error.to_string(),
    })?;
    let history = ProtocolHistory {
        protocol,
        answered,
        n: probes.cast_unsigned(),
    };
    Ok((target, history))
}

/// Reads a cell as stored.
pub(super) fn cell_of(bytes: &[u8]) -> StoreResult<Cell> {
    Cell::from_bytes(bytes).map_err(|error| StoreError::Damaged {
        what: "a cell",
        detail: error.to_string(),
    })
}

/// Reads a cell that is to be merged for good. One that is damaged is told and left out: it must not hold up all others.
pub(super) fn cell_or_skip(bytes: &[u8], agent_no: u32, at_unix_ms: i64) -> Option<Cell> {
    match cell_of(bytes) {
        Ok(cell) => Some(cell),
        Err(error) => {
            error!(%error, agent_no, at_unix_ms, "a damaged cell is left out of its rollup");
            None
        }
    }
}

/// Reads a merged cell as stored.
pub(super) fn merged_of(agents: &[u8], cell: &[u8]) -> StoreResult<Merged> {
    let agents = AgentSet::from_bytes(agents).map_err(|error| StoreError::Damaged {
        what: "a set of agents",
        detail: error.to_string(),
    })?;
    Ok(Merged {
        cell: cell_of(cell)?,
        agents,
    })
}

/// A set of agent numbers as a parameter for `json_each`.
pub(super) fn json_of(numbers: &BTreeSet<u32>) -> StoreResult<String> {
    forms::write("agent numbers", numbers)
}
