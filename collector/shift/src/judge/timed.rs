//! How fast the classifier is: rounds read beforehand, and taken in with nothing else between.

use std::collections::BTreeMap;

use super::JudgeError;
use super::format::{self, Message};
use super::world::{World, WorldFile};
use crate::memory::PathMemory;
use crate::message::{Plan, Round};

/// Rounds read beforehand, so that the classifier's own time can be measured.
#[derive(Debug)]
pub struct Timed {
    world: World,
    plan: Plan,
    rounds: Vec<(String, Round)>,
}

impl Timed {
    /// Reads WORLD.json.
    ///
    /// # Errors
    /// [`JudgeError::World`] if it is no JSON or has an unknown key.
    pub fn new(world: &str) -> Result<Self, JudgeError> {
        let file: WorldFile = serde_json::from_str(world)?;
        Ok(Self {
            world: World::new(&file),
            plan: file.plan.plan(),
            rounds: Vec::new(),
        })
    }

    /// Keeps a round for later; other messages are left out.
    pub fn keep(&mut self, line: &str) {
        if let Ok(Message::Round(line)) = format::parse(line) {
            let round = Round {
                at: line.ts,
                stream: line.stream.into(),
                protocol: line.protocol.unwrap_or_default(),
                destination: line.addr,
                public: line.public,
                edge_metro: line.edge,
                flows: line.flows.into_iter().map(Into::into).collect(),
            };
            self.rounds.push((line.agent + &line.target, round));
        }
    }

    /// Classifies all rounds kept, and says how many there were and how many seconds it took by `clock`.
    pub fn run(&self, clock: &dyn Fn() -> f64) -> (f64, f64) {
        let mut memories: BTreeMap<&str, PathMemory> = BTreeMap::new();
        let start = clock();
        for (path, round) in &self.rounds {
            let memory = memories.entry(path).or_default();
            memory.on_round(round, &self.plan, &self.world, &crate::fleet::Alone);
        }
        (crate::number::real(self.rounds.len()), clock() - start)
    }
}
