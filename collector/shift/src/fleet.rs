//! What other agents of a group see at the same time: two of them within two minutes are near-proof.

use std::collections::{BTreeMap, VecDeque};

use crate::level::Class;
use crate::track::Value;

/// A move: class, from, to.
pub type Claim = (Class, Option<Value>, Option<Value>);

/// Whom an agent can ask.
pub trait Peers {
    /// Other agents of the group with the same move within two minutes.
    fn agreeing(&self, claim: &Claim, at: f64) -> usize;
}

/// An agent without peers.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Peers for Alone {
    fn agreeing(&self, _: &Claim, _: f64) -> usize {
        0
    }
}

/// Moves so near to each other are one, seconds.
const TOGETHER_S: f64 = 120.0;
/// Moves kept of each group: an outage of a provider with a thousand agents needs no more to be proven.
const KEPT: usize = 64;

/// The fleet: recent moves, by group (provider and class of move).
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    groups: BTreeMap<(u32, Claim), VecDeque<(String, f64)>>,
}

impl Fleet {
    /// Notes what an agent of `provider` suspects.
    pub fn note(&mut self, provider: u32, claim: &Claim, agent: &str, at: f64) {
        let group = self.groups.entry((provider, claim.clone())).or_default();
        match group.iter_mut().find(|(known, _)| known == agent) {
            Some((_, newest)) => *newest = at,
            None => group.push_back((agent.to_owned(), at)),
        }
        if group.len() > KEPT {
            group.pop_front();
        }
        if self.groups.len() > 4 * KEPT {
            self.groups.retain(|_, group| {
                group
                    .iter()
                    .any(|(_, then)| (at - then).abs() <= TOGETHER_S)
            });
        }
    }

    /// What one agent sees of the others.
    pub const fn seen_by<'a>(&'a self, agent: &'a str, provider: u32) -> Others<'a> {
        Others {
            fleet: self,
            agent,
            provider,
        }
    }
}

/// The fleet without the agent that asks.
#[derive(Clone, Copy, Debug)]
pub struct Others<'a> {
    fleet: &'a Fleet,
    agent: &'a str,
    provider: u32,
}

impl Peers for Others<'_> {
    fn agreeing(&self, claim: &Claim, at: f64) -> usize {
        let group = self.fleet.groups.get(&(self.provider, claim.clone()));
        let near =
            |(agent, then): &&(String, f64)| agent != self.agent && (at - then).abs() <= TOGETHER_S;
        group.map_or(0, |group| group.iter().filter(near).count())
    }
}
