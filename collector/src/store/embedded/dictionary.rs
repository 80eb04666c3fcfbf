//! What the numbers of series stand for: each agent's are counted from 0, and never change.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use rusqlite::{Connection, Transaction, params};

use super::engine;
use super::paths::Subject;
use crate::ingest::batch::Sample;
use crate::store::StoreResult;

/// Series of one agent with a destination of their own; what is beyond it goes without. The default plan has some dozens, and
/// names resolve to other addresses over the months.
const MAX_SERIES: usize = 4_096;
/// Series of one agent at all. What is beyond it is kept as one-minute cells.
const MAX_SERIES_WITHOUT: usize = 6_144;

/// What a series stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Series {
    pub(super) target: Arc<str>,
    pub(super) destination: Option<IpAddr>,
    /// Wire numbers.
    pub(super) protocol: i32,
    pub(super) phase: i32,
}

/// The series of one agent, by number.
#[derive(Clone, Debug, Default)]
struct OfAgent {
    series: Vec<Series>,
    numbers: HashMap<Series, u32>,
}

/// What every series of every agent stands for.
#[derive(Clone, Debug, Default)]
pub(super) struct Dictionary(HashMap<u32, Arc<OfAgent>>);

impl Dictionary {
    /// What a number stands for.
    pub(super) fn series(&self, agent: u32, number: u32) -> Option<&Series> {
        let of_agent = self.0.get(&agent)?;
        of_agent.series.get(usize::try_from(number).ok()?)
    }

    /// The series of an agent, with their numbers.
    pub(super) fn of_agent(&self, agent: u32) -> impl Iterator<Item = (u32, &Series)> {
        let of_agent = self.0.get(&agent).into_iter();
        of_agent.flat_map(|of_agent| (0u32..).zip(&of_agent.series))
    }

    /// All that is stored.
    pub(super) fn load(connection: &Connection) -> StoreResult<Self> {
        let failed = || engine("read what its series stand for");
        let mut select = connection
            .prepare("SELECT agent_no, target, destination, protocol, phase FROM sample_series ORDER BY agent_no, series_no")
            .map_err(failed())?;
        let mut rows = select.query([]).map_err(failed())?;
        let (mut all, mut names) = (Self::default(), BTreeMap::<String, Arc<str>>::new());
        while let Some(row) = rows.next().map_err(failed())? {
            let read = || -> rusqlite::Result<(u32, String, String, i32, i32)> {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            };
            let (agent, target, destination, protocol, phase) = read().map_err(failed())?;
            let target = names
                .entry(target)
                .or_insert_with_key(|name| name.as_str().into());
            let series = Series {
                target: Arc::clone(target),
                destination: destination.parse().ok(),
                protocol,
                phase,
            };
            all.add(agent, series);
        }
        Ok(all)
    }

    /// Gives the next number of an agent to a series.
    pub(super) fn add(&mut self, agent: u32, series: Series) {
        let of_agent = Arc::make_mut(self.0.entry(agent).or_default());
        if let Ok(number) = u32::try_from(of_agent.series.len()) {
            of_agent.numbers.entry(series.clone()).or_insert(number);
            of_agent.series.push(series);
        }
    }
}

/// Gives the series of one agent their numbers.
pub(super) struct Numbering {
    dictionary: Arc<Dictionary>,
    count: usize,
    agent: u32,
    new: Vec<(u32, Series)>,
    added: HashMap<Series, u32>,
}

impl Numbering {
    /// For the next report of an agent.
    pub(super) fn new(dictionary: Arc<Dictionary>, agent: u32) -> Self {
        let count = dictionary
            .0
            .get(&agent)
            .map_or(0, |of_agent| of_agent.series.len());
        Self {
            dictionary,
            count,
            agent,
            new: Vec::new(),
            added: HashMap::new(),
        }
    }

    /// The number of a sample's series; a new one is written. `None`: there are too many.
    pub(super) fn number(
        &mut self,
        tx: &Transaction<'_>,
        subject: Subject<'_>,
        sample: &Sample,
    ) -> StoreResult<Option<u32>> {
        let mut series = Series {
            target: Arc::clone(&sample.target),
            destination: sample.destination,
            protocol: i32::from(sample.protocol),
            phase: i32::from(sample.phase),
        };
        if let Some(number) = self.known(&series) {
            return Ok(Some(number));
        }
        if self.count >= MAX_SERIES {
            series.destination = None;
            if let Some(number) = self.known(&series) {
                return Ok(Some(number));
            }
        }
        let Some(number) = u32::try_from(self.count)
            .ok()
            .filter(|_| self.count < MAX_SERIES_WITHOUT)
        else {
            return Ok(None);
        };
        tx.prepare_cached(
            "INSERT INTO sample_series (organisation, agent_no, series_no, target, destination, protocol, phase)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .and_then(|mut put| {
            let destination = series.destination.map(|address| address.to_string());
            put.execute(params![
                subject.organisation.as_str(),
                subject.agent_no,
                number,
                &*series.target,
                destination.unwrap_or_default(),
                series.protocol,
                series.phase
            ])
        })
        .map_err(engine("write what a series stands for"))?;
        self.count += 1;
        self.added.insert(series.clone(), number);
        self.new.push((self.agent, series));
        Ok(Some(number))
    }

    /// Those that were new, in order; they are to be added to the dictionary once they are committed.
    pub(super) fn new_ones(self) -> Vec<(u32, Series)> {
        self.new
    }

    fn known(&self, series: &Series) -> Option<u32> {
        let of_agent = self.dictionary.0.get(&self.agent);
        let known = of_agent.and_then(|of_agent| of_agent.numbers.get(series));
        known.or_else(|| self.added.get(series)).copied()
    }
}
