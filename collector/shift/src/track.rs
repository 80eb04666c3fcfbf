//! One question asked round after round: suspected, claimed, over. Hysteresis lives here.

use serde::{Deserialize, Serialize};

use crate::level::Class;

/// What moved, for people and machines: an AS, or the name of a metro or router.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// An AS number.
    Asn(u32),
    /// A metro, a router, a word.
    Name(String),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Asn(asn) => write!(f, "AS{asn}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl From<&str> for Value {
    /// Reads what [`std::fmt::Display`] wrote.
    fn from(text: &str) -> Self {
        let number = text
            .strip_prefix("AS")
            .and_then(|digits| digits.parse().ok());
        number.map_or_else(|| Self::Name(text.to_owned()), Self::Asn)
    }
}

/// Whether it is claimed or only thought possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Claimed.
    Event,
    /// Not sure enough to be claimed.
    Possible,
}

/// Which moment of an event a change tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It was decided.
    Start,
    /// It has lasted long enough to tell people.
    Notify,
    /// It is over.
    End,
}

/// How an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The old path came back.
    Recovery,
    /// The new path has been there for a day: it is the usual one now.
    NewNormal,
    /// It was possible and did not become sure.
    Unconfirmed,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which moment.
    pub phase: Phase,
    /// Claimed or possible.
    pub status: Status,
    /// What happened.
    pub class: Class,
    /// When it was decided, by the messages' time.
    pub at: f64,
    /// When it happened: after the first, before the second.
    pub onset: [f64; 2],
    /// What was before.
    pub from: Option<Value>,
    /// What is now.
    pub to: Option<Value>,
    /// Share of such claims that come true.
    pub confidence: f64,
    /// Why.
    pub reasons: Vec<String>,
    /// How it ended.
    pub ending: Option<Ending>,
    /// Whether it lasted two minutes at most.
    pub brief: bool,
    /// Start of the event that this belongs to: its key within an agent and target.
    pub started: f64,
}

/// Rounds that differ, not yet enough of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Suspicion {
    /// Last moment that showed the old path.
    pub last_good: f64,
    /// The round that showed something else again than this, if one did.
    #[serde(default)]
    pub not_before: f64,
    /// First moment that showed something else.
    pub first_novel: f64,
    /// Whether that round showed the old path too: it ran while the path moved.
    pub mixed: bool,
    /// The round after it.
    pub settled: f64,
    /// Rounds that agree.
    pub agreeing: u8,
    /// Rounds in a row that show the old path again.
    pub failing: u8,
    /// Evidence of the first three agreeing rounds.
    pub score: f32,
    /// A flow that a refresh drew still enters by a router that the pinned flows left.
    #[serde(default)]
    pub others_stay: bool,
    /// Told as possible, as this class.
    pub told: Option<(Class, f32)>,
    /// What moved, for peers: class, from, to.
    pub claim: Option<(Class, Option<Value>, Option<Value>)>,
}

/// A claim that is not over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// What happened.
    pub class: Class,
    /// What was before.
    pub from: Option<Value>,
    /// What is now.
    pub to: Option<Value>,
    /// When it happened.
    pub onset: [f64; 2],
    /// Flows that moved, one bit each.
    pub flows: u32,
    /// When it was decided.
    pub started: f64,
    /// How sure it was.
    pub confidence: f32,
    /// Whether only full rounds show it.
    pub upstream: bool,
    /// Rounds in a row on the old path.
    pub back: u8,
    /// First of them.
    pub first_back: f64,
    /// Last moment on the new path.
    pub last_away: f64,
    /// Whether the hold-down passed.
    pub notified: bool,
    /// Held back while the path flaps: told when it stops, if it is still so.
    pub muted: bool,
}

/// One question.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Track {
    /// Suspected.
    pub suspicion: Option<Box<Suspicion>>,
    /// Claimed.
    pub open: Option<Box<Open>>,
}

/// Lasting no longer than this, seconds, an event is brief: it cannot be told from a path that hunts.
pub const BRIEF_S: f64 = 120.0;
/// People are told of an event that lasted this long, seconds: path hunting lasts 30 to 120 s.
pub const HOLD_DOWN_S: f64 = 90.0;
/// A new path is the usual one after a day.
pub const NEW_NORMAL_S: f64 = 24.0 * 3600.0;

/// A round's time is good to this much, seconds: its packets leave around it.
const SPREAD_S: f64 = 1.0;

impl Suspicion {
    /// When it happened: after the first, before the second.
    pub fn onset(&self) -> [f64; 2] {
        self.onset_after(self.last_good, 0.0)
    }

    /// The same with another last good moment. A round that showed both paths may have gone on for `round_s` seconds.
    pub fn onset_after(&self, last_good: f64, round_s: f64) -> [f64; 2] {
        let until = if self.mixed && self.settled > self.first_novel {
            self.settled.min(self.first_novel + round_s.max(SPREAD_S))
        } else {
            self.first_novel + SPREAD_S
        };
        [last_good - SPREAD_S, until]
    }
}

impl Open {
    /// A round on the new path.
    pub fn away(&mut self, at: f64) {
        self.back = 0;
        self.last_away = at;
    }

    /// A round on the old path; `true` when `enough` in a row were.
    pub fn returned(&mut self, at: f64, enough: u8) -> bool {
        if self.back == 0 {
            self.first_back = at;
        }
        self.back = self.back.saturating_add(1);
        self.back >= enough
    }

    /// What to tell of it.
    pub fn change(&self, phase: Phase, at: f64) -> Change {
        Change {
            phase,
            status: Status::Event,
            class: self.class,
            at,
            onset: self.onset,
            from: self.from.clone(),
            to: self.to.clone(),
            confidence: f64::from(self.confidence),
            reasons: Vec::new(),
            ending: None,
            brief: false,
            started: self.started,
        }
    }

    /// What to tell of its end.
    pub fn over(&self, at: f64, ending: Ending) -> Change {
        let recovered = ending == Ending::Recovery;
        let middle = |span: [f64; 2]| f64::midpoint(span[0], span[1]);
        let lasted = middle([self.last_away, self.first_back]) - middle(self.onset);
        let word = match ending {
            Ending::Recovery => format!("the old path was seen {} times in a row", self.back),
            Ending::NewNormal => "the new path has been there for a day".to_owned(),
            Ending::Unconfirmed => "it did not become sure".to_owned(),
        };
        Change {
            ending: Some(ending),
            brief: recovered && lasted <= BRIEF_S,
            onset: if recovered {
                [self.last_away - SPREAD_S, self.first_back + SPREAD_S]
            } else {
                [self.started, at]
            },
            reasons: vec![word],
            ..self.change(Phase::End, at)
        }
    }
}

impl Track {
    /// Whether nothing is suspected or claimed.
    pub const fn is_quiet(&self) -> bool {
        self.suspicion.is_none() && self.open.is_none()
    }

    /// Takes the suspicion back; what was told as possible ends.
    pub fn drop_suspicion(&mut self, at: f64) -> Option<Change> {
        let suspicion = self.suspicion.take()?;
        let (class, confidence) = suspicion.told?;
        let (_, from, to) = suspicion.claim.clone().unwrap_or((class, None, None));
        Some(Change {
            phase: Phase::End,
            status: Status::Possible,
            class,
            at,
            onset: suspicion.onset(),
            from,
            to,
            confidence: f64::from(confidence),
            reasons: vec!["it did not become sure".to_owned()],
            ending: Some(Ending::Unconfirmed),
            brief: false,
            started: suspicion.first_novel,
        })
    }
}
