//! What the detector says: the start and the end of each thing that is wrong.

use ipnet::IpNet;
use serde::Serialize;

use crate::asn::Asn;
use crate::class::{Class, Severity};
use crate::remedy::Remedy;

/// Paths that a verdict shows.
pub const MAX_EVIDENCE: usize = 5;

/// Start or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It is so from now on.
    Start,
    /// It is so no longer.
    End,
}

/// How something ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The routes that showed it are gone or right.
    #[default]
    Over,
    /// The feed that showed it is gone: nobody knows how it went on.
    OutOfSight,
}

/// One thing that is wrong, or no longer.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// When, Unix seconds, by the clock of the updates.
    pub at: f64,
    /// Start or end.
    pub phase: Phase,
    /// What is wrong.
    pub class: Class,
    /// The prefix that is announced, or gone.
    pub prefix: IpNet,
    /// The registered prefix that it concerns.
    pub matched: Option<IpNet>,
    /// Who does it, if that is known.
    pub offender: Option<Asn>,
    /// How grave it is.
    pub severity: Severity,
    /// Peers that see it, or at its end: that saw it.
    pub peers: usize,
    /// Peers with another route to the prefix, which do not see it.
    pub others: usize,
    /// One sentence.
    pub reason: String,
    /// The paths that show it and how many peers have each, the most frequent first.
    pub evidence: Vec<(String, usize)>,
    /// What speaks against it, one sentence each.
    pub counter: Vec<String>,
    /// Of a start: what the operator can announce against it.
    pub remedy: Option<Remedy>,
    /// Of an end: how.
    pub ending: Ending,
}
