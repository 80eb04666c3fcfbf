//! `bgp judge`: recorded updates in, verdicts out, by the live detector, with the clock of the updates.
//!
//! The format is that of `docs/design/bgp-judge.md`. Pure: lines are strings; the program reads and writes the files.

mod rules_file;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use ipnet::IpNet;
use serde::Serialize;

use crate::asn::Asn;
use crate::class::{Class, Severity};
use crate::detector::{Detector, PeerId};
use crate::ris::{self, Message, Peer, Update};
use crate::verdict::{Phase, Verdict};
use crate::vrp::Vrps;

pub use rules_file::{RulesError, RulesFile};

/// Reasons for broken lines that are kept; all are counted.
const BROKEN_KEPT: usize = 20;
/// Peers that are told apart.
const MAX_PEERS: usize = 1_000_000;

/// A line that could not be read, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Line, from 1.
    pub line: u64,
    /// Why.
    pub reason: String,
}

/// One line of verdicts.jsonl.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Index of the update, from 0; null if there was none.
    pub after: Option<u64>,
    /// Clock of the update.
    pub ts: f64,
    /// Start or end.
    pub phase: Phase,
    /// What is wrong.
    pub class: Class,
    /// The prefix that is announced, or gone.
    pub prefix: IpNet,
    /// The registered prefix.
    pub matched: Option<IpNet>,
    /// Who does it.
    pub offender: Option<Asn>,
    /// How grave it is.
    pub severity: Severity,
    /// Peers that see it, or saw it.
    pub peers: usize,
    /// One sentence.
    pub reason: String,
}

impl Line {
    /// The line of a verdict that followed from the update of this index.
    pub fn of(after: Option<u64>, verdict: Verdict) -> Self {
        Self {
            after,
            ts: verdict.at,
            phase: verdict.phase,
            class: verdict.class,
            prefix: verdict.prefix,
            matched: verdict.matched,
            offender: verdict.offender,
            severity: verdict.severity,
            peers: verdict.peers,
            reason: verdict.reason,
        }
    }
}

/// Judges one recording.
#[derive(Debug)]
pub struct Judge {
    detector: Detector,
    vrps_after: Option<Vrps>,
    peers: HashMap<Peer, PeerId>,
    read: u64,
    last: Option<u64>,
    clock: f64,
    broken: u64,
    broken_kept: Vec<Broken>,
}

impl Judge {
    /// A judge by the rules of this file.
    ///
    /// # Errors
    /// [`RulesError`] if a key is unknown or a value makes no sense.
    pub fn new(rules: &str) -> Result<Self, RulesError> {
        let (detector, vrps_after) = RulesFile::read(rules)?.build()?;
        Ok(Self {
            detector,
            vrps_after,
            peers: HashMap::new(),
            read: 0,
            last: None,
            clock: 0.0,
            broken: 0,
            broken_kept: Vec::new(),
        })
    }

    /// Reads one line and says what follows from it. Every line counts for the index, a broken one too.
    pub fn line(&mut self, text: &str) -> Vec<Line> {
        let index = self.read;
        self.read += 1;
        if text.trim().is_empty() {
            return Vec::new();
        }
        match ris::decode(text) {
            Ok(Message::Update(update)) => {
                self.last = Some(index);
                self.update(&update);
            }
            Ok(Message::PeerState {
                at,
                peer,
                up: false,
            }) => {
                self.last = Some(index);
                self.tick(at);
                let id = self.peer(&peer);
                self.detector.peer_down(self.clock, id, false);
            }
            Ok(Message::PeerState { .. } | Message::Error(_) | Message::Other) => {}
            Err(error) => self.note_broken(with_cause(&error)),
        }
        self.drain(Some(index))
    }

    /// The end of the recording: RPKI changes, if the rules say so.
    pub fn finish(&mut self) -> Vec<Line> {
        if let Some(vrps) = self.vrps_after.take() {
            self.detector.replace_vrps(self.clock, vrps);
        }
        self.drain(self.last)
    }

    /// How many lines could not be read, or not wholly, and the first of them.
    pub fn broken(&self) -> (u64, &[Broken]) {
        (self.broken, &self.broken_kept)
    }

    fn update(&mut self, update: &Update) {
        self.tick(update.at);
        let Peer { host, name, asn } = &update.peer;
        if self.detector.registry().mute.holds(&[host, name], *asn) {
            return;
        }
        let peer = self.peer(&update.peer);
        // RFC 4271 §3.1: a prefix in both fields is announced.
        for prefix in &update.withdrawn {
            if !update.announced.contains(prefix) {
                self.detector.withdraw(self.clock, peer, *prefix);
            }
        }
        for prefix in &update.announced {
            self.detector
                .announce(self.clock, peer, *prefix, &update.route);
        }
        if !update.unread.is_empty() {
            self.note_broken(update.unread.join("; "));
        }
    }

    fn tick(&mut self, at: Option<f64>) {
        if let Some(at) = at {
            self.clock = at;
            self.detector.advance(at);
        }
    }

    fn peer(&mut self, peer: &Peer) -> PeerId {
        if let Some(id) = self.peers.get(peer) {
            return *id;
        }
        let next = self.peers.len().min(MAX_PEERS);
        let id = PeerId(u32::try_from(next).unwrap_or(u32::MAX));
        if next < MAX_PEERS {
            self.peers.insert(peer.clone(), id);
        }
        id
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

    fn drain(&mut self, after: Option<u64>) -> Vec<Line> {
        let verdicts = self.detector.take_verdicts();
        verdicts
            .into_iter()
            .map(|verdict| Line::of(after, verdict))
            .collect()
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
