//! The reference stream in the order in which a collector gets it: half an hour at a time.

use firstmile_columns::Row;

use crate::reference::Agent;

/// Rounds of an agent in half an hour.
const ROUNDS: usize = 60;

/// One sample of the stream.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) agent: u32,
    pub(crate) series: u32,
    pub(crate) row: Row,
    pub(crate) scheduling_delay_us: u32,
}

/// All agents.
pub(crate) struct Stream {
    agents: Vec<Agent>,
}

impl Stream {
    pub(crate) fn new(agents: u32, seed: u64) -> Self {
        let agents = (0..agents).map(|number| Agent::new(seed, number)).collect();
        Self { agents }
    }

    /// The metro of each agent, by number.
    pub(crate) fn metros(&self) -> Vec<u32> {
        self.agents.iter().map(|agent| agent.metro).collect()
    }

    /// The next half hour, in pushes of 12: two rounds of one agent after two of the next.
    pub(crate) fn half_hour(&mut self) -> Vec<Arrival> {
        let mut of_agents: Vec<Vec<Arrival>> = Vec::with_capacity(self.agents.len());
        for (number, agent) in (0u32..).zip(&mut self.agents) {
            let rounds = (0..ROUNDS).flat_map(|_| agent.round());
            let arrivals = rounds.map(|(series, row, scheduling_delay_us)| Arrival {
                agent: number,
                series,
                row,
                scheduling_delay_us,
            });
            of_agents.push(arrivals.collect());
        }
        let pushes = ROUNDS / 2;
        let mut arrivals = Vec::with_capacity(of_agents.iter().map(Vec::len).sum());
        for push in 0..pushes {
            for of_agent in &of_agents {
                let each = of_agent.len() / pushes;
                arrivals.extend(of_agent.iter().skip(push * each).take(each));
            }
        }
        arrivals
    }
}
