//! `paths judge`: recorded rounds in, events out, by the live classifier, with the clock of the rounds.
//!
//! The format is that of `docs/design/paths-judge.md`. Pure: lines are strings; the program reads and writes the files.

mod format;
#[cfg(test)]
mod hardships;
mod names;
mod pins;
#[cfg(test)]
mod statements;
#[cfg(test)]
mod tests;
mod timed;
pub mod world;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::fleet::Fleet;
use crate::incident::{IncidentChange, Incidents};
use crate::level::Class;
use crate::memory::PathMemory;
use crate::message::{Plan, Pulse, Round};
use crate::track::{Change, Ending, Phase, Status, Value};
use format::{Message, RoundLine};
use pins::Pins;
use world::{World, WorldFile};

pub use timed::Timed;

/// Reasons for broken lines that are kept; all are counted.
const BROKEN_KEPT: usize = 20;

/// Why a world cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// It is no JSON, or a key is unknown or missing.
    #[error("the world cannot be read")]
    World(#[from] serde_json::Error),
}

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Line, from 1.
    pub line: u64,
    /// Why.
    pub reason: String,
}

/// Judges one recording.
#[derive(Debug)]
pub struct Judge {
    world: World,
    plan: Plan,
    providers: BTreeMap<String, Option<u32>>,
    memories: BTreeMap<String, BTreeMap<String, PathMemory>>,
    pins: BTreeMap<(String, String), Pins>,
    fleet: Fleet,
    incidents: Incidents,
    lines: Vec<Line>,
    rounds: u64,
    read: u64,
    broken: u64,
    broken_kept: Vec<Broken>,
    from_to: Option<(f64, f64)>,
}

/// One line of events.jsonl.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// A moment of an agent's event.
    Event(Box<EventLine>),
    /// A moment of a group's incident.
    Incident(Box<IncidentChange>),
    /// The last line.
    Summary {
        /// What the recording held.
        summary: Summary,
    },
}

/// A moment of an agent's event.
#[derive(Clone, Debug, Serialize)]
pub struct EventLine {
    /// Which moment.
    pub phase: Phase,
    /// Whose path.
    pub agent: String,
    /// To where.
    pub target: String,
    /// What happened.
    pub class: Class,
    /// Claimed, or only possible.
    pub status: Status,
    /// When it was decided.
    pub ts: f64,
    /// When it happened: after the first, before the second.
    pub onset: [f64; 2],
    /// What was before.
    pub from: Option<Value>,
    /// What is now.
    pub to: Option<Value>,
    /// Share of such claims that come true.
    pub confidence: f64,
    /// How often each level could be decided.
    pub observability: Observability,
    /// Why.
    pub reasons: Vec<String>,
    /// The incident it belongs to.
    pub incident: String,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Ending>,
    /// It lasted two minutes at most.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub brief: bool,
    #[serde(skip)]
    started: f64,
}

/// How often each level could be decided, as grades A to D.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Observability {
    /// AS path and handoff.
    pub provider: char,
    /// Ingress metro.
    pub geo: char,
    /// Ingress router.
    pub local: char,
}

/// What the recording held.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Summary {
    /// Agents with rounds.
    pub agents: usize,
    /// Rounds.
    pub rounds: u64,
    /// Events that started.
    pub events: usize,
    /// Moves thought possible.
    pub possible: usize,
    /// Suspicions that went away by themselves.
    pub transients: u64,
    /// Flows that changed places among the usual routers.
    pub remaps: u64,
    /// From the first message to the last.
    pub seconds: f64,
}

impl Judge {
    /// Reads WORLD.json.
    ///
    /// # Errors
    /// [`JudgeError::World`] if it is no JSON or has an unknown key.
    pub fn new(world: &str) -> Result<Self, JudgeError> {
        let file: WorldFile = serde_json::from_str(world.trim_start_matches('\u{feff}'))?;
        let providers = file.agents.iter();
        Ok(Self {
            world: World::new(&file),
            plan: file.plan.plan(),
            providers: providers
                .map(|(id, agent)| (id.clone(), agent.provider_asn))
                .collect(),
            memories: BTreeMap::new(),
            pins: BTreeMap::new(),
            fleet: Fleet::default(),
            incidents: Incidents::default(),
            lines: Vec::new(),
            rounds: 0,
            read: 0,
            broken: 0,
            broken_kept: Vec::new(),
            from_to: None,
        })
    }

    /// Takes one line of ROUNDS.jsonl in; a broken one is counted and skipped.
    pub fn line(&mut self, line: &str) {
        self.read += 1;
        if line.trim().is_empty() {
            return;
        }
        match format::parse(line) {
            Ok(message) => self.take_in(message),
            Err(reason) => self.note_broken(reason),
        }
    }

    /// Counts a line that could not even be taken in.
    pub fn refuse(&mut self, reason: &str) {
        self.read += 1;
        self.note_broken(reason.to_owned());
    }

    fn note_broken(&mut self, reason: String) {
        self.broken += 1;
        if self.broken_kept.len() < BROKEN_KEPT {
            self.broken_kept.push(Broken {
                line: self.read,
                reason,
            });
        }
    }

    fn take_in(&mut self, message: Message) {
        match message {
            Message::Round(mut line) => {
                let key = (line.agent.clone(), line.target.clone());
                let pins = self.pins.entry(key.clone()).or_default();
                let plan = pins.number(line.stream.into(), &mut line.flows, &self.plan);
                let round = self.read_round(line);
                self.round_by(&plan, &key.0, &key.1, &round);
            }
            Message::Pulse(line) => {
                self.pulse(&line.agent, &line.target, line.ts, &Pulse::from(&line));
            }
            Message::Gap(line) => self.gap(&line.agent, line.ts, line.until),
            Message::World(line) => {
                self.world.replace(
                    line.prefix_as.as_deref(),
                    line.ptr.as_ref(),
                    line.aliases.as_deref(),
                );
            }
        }
    }

    fn read_round(&self, line: RoundLine) -> Round {
        let edge = line.edge.as_deref();
        Round {
            at: line.ts,
            stream: line.stream.into(),
            protocol: line.protocol.unwrap_or_default(),
            destination: line.addr,
            public: line.public,
            edge_metro: edge
                .and_then(|code| self.world.edge_metro(code))
                .map(str::to_owned),
            flows: line.flows.into_iter().map(Into::into).collect(),
        }
    }

    fn note_time(&mut self, at: f64) {
        let (from, to) = self.from_to.unwrap_or((at, at));
        self.from_to = Some((from.min(at), to.max(at)));
    }

    /// Takes a round in, as [`Self::line`] does once it has read it.
    pub fn round(&mut self, agent: &str, target: &str, round: &Round) {
        let plan = self.plan;
        self.round_by(&plan, agent, target, round);
    }

    fn round_by(&mut self, plan: &Plan, agent: &str, target: &str, round: &Round) {
        self.note_time(round.at);
        self.rounds += 1;
        let provider = self.provider(agent, target);
        let memory = memory_of(&mut self.memories, agent, target);
        let peers = self.fleet.seen_by(agent, provider.unwrap_or(0));
        let changes = memory.on_round(round, plan, &self.world, &peers);
        if let Some((_, claim)) = memory.claim() {
            self.fleet
                .note(provider.unwrap_or(0), &claim.clone(), agent, round.at);
        }
        for change in &changes {
            if change.phase == Phase::Start && change.status == Status::Event {
                let claim = (change.class, change.from.clone(), change.to.clone());
                self.fleet
                    .note(provider.unwrap_or(0), &claim, agent, round.at);
            }
        }
        self.tell(agent, target, changes);
    }

    /// Takes a pulse in, as [`Self::line`] does once it has read it.
    pub fn pulse(&mut self, agent: &str, target: &str, at: f64, pulse: &Pulse) {
        self.note_time(at);
        let memory = memory_of(&mut self.memories, agent, target);
        let changes = memory.on_pulse(at, pulse, &self.plan);
        self.tell(agent, target, changes);
    }

    /// Takes a gap in, as [`Self::line`] does once it has read it.
    pub fn gap(&mut self, agent: &str, at: f64, until: f64) {
        self.note_time(at);
        let Some(targets) = self.memories.get_mut(agent) else {
            return;
        };
        let mut told = Vec::new();
        for (target, memory) in targets {
            told.push((target.clone(), memory.on_gap(at, until)));
        }
        for (target, changes) in told {
            self.tell(agent, &target, changes);
        }
    }

    /// The agent's provider as the world says, or as its path was learnt.
    fn provider(&self, agent: &str, target: &str) -> Option<u32> {
        let declared = self.providers.get(agent).copied().flatten();
        declared.or_else(|| self.memories.get(agent)?.get(target)?.usual_provider())
    }

    fn tell(&mut self, agent: &str, target: &str, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let provider = self.provider(agent, target);
        for change in changes {
            let claimed = change.status == Status::Event && change.class != Class::Flapping;
            let (incident, group) = if claimed {
                self.incidents.take_in(provider, agent, target, &change)
            } else {
                (
                    Incidents::default()
                        .take_in(provider, agent, target, &change)
                        .0,
                    None,
                )
            };
            if change.brief {
                self.mark_brief(agent, target, &change);
            }
            let grades = self.grades(agent, target);
            self.lines.push(Line::Event(Box::new(event_line(
                agent, target, change, grades, incident,
            ))));
            self.lines
                .extend(group.map(|group| Line::Incident(Box::new(group))));
        }
    }

    /// A start that is known to be brief by now says so.
    fn mark_brief(&mut self, agent: &str, target: &str, end: &Change) {
        for line in self.lines.iter_mut().rev() {
            if let Line::Event(event) = line {
                let same =
                    event.agent == agent && event.target == target && event.class == end.class;
                if same && (event.started - end.started).abs() < 0.001 {
                    event.brief = true;
                    if event.phase == Phase::Start {
                        return;
                    }
                }
            }
        }
    }

    fn grades(&self, agent: &str, target: &str) -> [char; 3] {
        let memory = self
            .memories
            .get(agent)
            .and_then(|targets| targets.get(target));
        memory.map_or(['D'; 3], PathMemory::grades)
    }

    /// Lines that could not be read: how many, and the first of them.
    pub fn broken(&self) -> (u64, &[Broken]) {
        (self.broken, &self.broken_kept)
    }

    /// Largest memory of one agent and target, bytes.
    pub fn state_bytes(&self) -> usize {
        self.memories
            .values()
            .flat_map(BTreeMap::values)
            .map(PathMemory::bytes)
            .max()
            .unwrap_or(0)
    }

    /// How each level of each path could be seen: agent, target, grades of provider, geo, local.
    pub fn observability(&self) -> Vec<(&str, &str, [char; 3])> {
        let mut all = Vec::new();
        for (agent, targets) in &self.memories {
            for (target, memory) in targets {
                all.push((agent.as_str(), target.as_str(), memory.grades()));
            }
        }
        all
    }

    /// All lines, the summary last.
    pub fn finish(mut self) -> Vec<Line> {
        let starts = |status: Status| {
            let of = |line: &&Line| matches!(line, Line::Event(event) if event.phase == Phase::Start && event.status == status);
            self.lines.iter().filter(of).count()
        };
        let memories = || self.memories.values().flat_map(BTreeMap::values);
        let agents: BTreeSet<&String> = self.memories.keys().collect();
        let summary = Summary {
            agents: agents.len(),
            rounds: self.rounds,
            events: starts(Status::Event),
            possible: starts(Status::Possible),
            transients: memories()
                .map(|memory| u64::from(memory.tally().transients))
                .sum(),
            remaps: memories()
                .map(|memory| u64::from(memory.tally().remaps))
                .sum(),
            seconds: self.from_to.map_or(0.0, |(from, to)| to - from),
        };
        self.lines.push(Line::Summary { summary });
        self.lines
    }
}

/// The memory of an agent and target.
fn memory_of<'a>(
    memories: &'a mut BTreeMap<String, BTreeMap<String, PathMemory>>,
    agent: &str,
    target: &str,
) -> &'a mut PathMemory {
    let targets = memories.entry(agent.to_owned()).or_default();
    targets.entry(target.to_owned()).or_default()
}

fn event_line(
    agent: &str,
    target: &str,
    change: Change,
    grades: [char; 3],
    incident: String,
) -> EventLine {
    let [provider, geo, local] = grades;
    EventLine {
        phase: change.phase,
        agent: agent.to_owned(),
        target: target.to_owned(),
        class: change.class,
        status: change.status,
        ts: change.at,
        onset: change.onset,
        from: change.from,
        to: change.to,
        confidence: (change.confidence * 1_000.0).round() / 1_000.0,
        observability: Observability {
            provider,
            geo,
            local,
        },
        reasons: change.reasons,
        incident,
        end: change.ending,
        brief: change.brief,
        started: change.started,
    }
}
