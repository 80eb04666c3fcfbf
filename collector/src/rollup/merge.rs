//! Cells of many agents merged so that each agent counts the same in each window.
//!
//! Weights cannot be found after merging: a merged histogram does not know whose probes it holds. So an agent's cells of one
//! window (at most five minutes) are first merged with each other, spread to [`AGENT_WEIGHT`], and only then added to those of
//! other agents. Longer windows add the weights of the short ones.
//!
//! [`AGENT_WEIGHT`]: super::AGENT_WEIGHT

use std::collections::BTreeMap;

use super::agents::AgentSet;
use super::cell::Cell;

/// Cells of several agents, merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Their samples and weights.
    pub cell: Cell,
    /// Who they are.
    pub agents: AgentSet,
}

impl Merged {
    /// Adds a weighted cell of one agent.
    pub fn add(&mut self, agent: u32, cell: &Cell) {
        self.cell.merge(cell);
        // One of which nothing is known stands behind no figure.
        if cell.n() > 0 {
            self.agents.insert(agent);
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.cell.merge(&other.cell);
        self.agents.merge(&other.agents);
    }
}

/// Merges agents' cells by key `K`, one weighting window after the other.
#[derive(Debug)]
pub struct AgentMerge<K> {
    /// The window that is being filled: the cells of each agent, not yet weighted.
    open: BTreeMap<(K, u32), Cell>,
    done: BTreeMap<K, Merged>,
}

impl<K: Ord + Clone> AgentMerge<K> {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            open: BTreeMap::new(),
            done: BTreeMap::new(),
        }
    }

    /// Adds a cell of agent number `agent` to the open window.
    pub fn add(&mut self, key: K, agent: u32, cell: &Cell) {
        self.open.entry((key, agent)).or_default().merge(cell);
    }

    /// Closes the open window: weighs each agent's samples and adds them.
    pub fn close_window(&mut self) {
        for ((key, agent), mut cell) in std::mem::take(&mut self.open) {
            cell.weights = cell.answered.spread();
            self.done.entry(key).or_default().add(agent, &cell);
        }
    }

    /// Closes the open window and gives everything back.
    pub fn finish(mut self) -> BTreeMap<K, Merged> {
        self.close_window();
        self.done
    }
}

impl<K: Ord + Clone> Default for AgentMerge<K> {
    fn default() -> Self {
        Self::new()
    }
}
