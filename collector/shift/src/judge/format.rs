//! One line of ROUNDS.jsonl, parsed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::world::PrefixAs;
use crate::message::{Flow, Protocol, Pulse, Stream};

/// Flows of a round, hops of a flow, answers of a hop: more is no traceroute.
const LIST_MAX: usize = 255;

/// A message.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Message {
    Round(RoundLine),
    Pulse(PulseLine),
    Gap(GapLine),
    World(WorldLine),
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct RoundLine {
    pub agent: String,
    pub target: String,
    #[serde(default, deserialize_with = "answer")]
    pub addr: Option<IpAddr>,
    #[serde(default)]
    pub protocol: Option<Protocol>,
    pub ts: f64,
    pub stream: StreamWord,
    #[serde(default, deserialize_with = "answer")]
    pub public: Option<IpAddr>,
    #[serde(default)]
    pub edge: Option<String>,
    pub flows: Vec<FlowLine>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StreamWord {
    Tail,
    Full,
    Burst,
    Refresh,
}

impl From<StreamWord> for Stream {
    fn from(word: StreamWord) -> Self {
        match word {
            StreamWord::Tail => Self::Tail,
            StreamWord::Full => Self::Full,
            StreamWord::Burst => Self::Burst,
            StreamWord::Refresh => Self::Refresh,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct FlowLine {
    pub flow: u16,
    #[serde(default = "one", deserialize_with = "first")]
    pub first_ttl: u8,
    #[serde(deserialize_with = "answers")]
    pub hops: Vec<Option<IpAddr>>,
    #[serde(default, deserialize_with = "or_default")]
    pub rtt_us: Vec<Option<f64>>,
    #[serde(default, deserialize_with = "or_default")]
    pub reached: bool,
    #[serde(default)]
    pub repeat: Option<Vec<Option<Answers>>>,
}

/// Who answered at one TTL.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Answers(#[serde(deserialize_with = "answers")] Vec<Option<IpAddr>>);

/// `null` is what is not said.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn first<'de, D: Deserializer<'de>>(from: D) -> Result<u8, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(one()))
}

fn answer<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpAddr>, D::Error> {
    let text: Option<Cow<'de, str>> = Option::deserialize(from)?;
    address(text.as_deref()).map_err(D::Error::custom)
}

fn answers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Option<IpAddr>>, D::Error> {
    let texts: Option<Vec<Option<Cow<'de, str>>>> = Option::deserialize(from)?;
    let texts = texts.unwrap_or_default();
    let read = texts.iter().map(|text| address(text.as_deref()));
    read.collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// An address without its zone (RFC 4007 §11); IPv4 mapped into IPv6 is IPv4 (RFC 4291 §2.5.5.2); `*` is silence.
fn address(text: Option<&str>) -> Result<Option<IpAddr>, String> {
    let Some(text) = text
        .map(str::trim)
        .filter(|text| !matches!(*text, "" | "*"))
    else {
        return Ok(None);
    };
    let bare = text.split_once('%').map_or(text, |(bare, _)| bare);
    let read: Result<IpAddr, _> = bare.parse();
    read.map(|address| Some(address.to_canonical()))
        .map_err(|_| format!("{text:?} is no address"))
}

const fn one() -> u8 {
    1
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct PulseLine {
    pub agent: String,
    pub target: String,
    pub ts: f64,
    #[serde(default)]
    pub flow: u16,
    #[serde(default)]
    pub rtt_us: Option<f64>,
    #[serde(default)]
    pub reply_ttl: Option<u8>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct GapLine {
    pub agent: String,
    pub ts: f64,
    pub until: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct WorldLine {
    pub ts: f64,
    #[serde(default)]
    pub prefix_as: Option<Vec<PrefixAs>>,
    #[serde(default)]
    pub ptr: Option<BTreeMap<IpAddr, String>>,
    #[serde(default)]
    pub aliases: Option<Vec<Vec<IpAddr>>>,
}

/// Reads a line.
///
/// # Errors
/// One sentence: no JSON, a key missing, a value that cannot be.
pub(super) fn parse(line: &str) -> Result<Message, String> {
    let line = line.trim_start_matches('\u{feff}'); // files put together from others may have a mark anywhere
    let message: Message = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let at = match &message {
        Message::Round(round) => round.ts,
        Message::Pulse(pulse) => pulse.ts,
        Message::Gap(gap) => gap.ts,
        Message::World(world) => world.ts,
    };
    if !at.is_finite() || at < 0.0 {
        return Err(format!("ts {at} is no time"));
    }
    if let Message::Round(round) = &message {
        let long = |flow: &FlowLine| flow.hops.len() > LIST_MAX || flow.rtt_us.len() > LIST_MAX;
        if round.flows.len() > LIST_MAX || round.flows.iter().any(long) {
            return Err(format!("more than {LIST_MAX} flows or hops"));
        }
    }
    Ok(message)
}

impl From<FlowLine> for Flow {
    fn from(line: FlowLine) -> Self {
        Self {
            flow: line.flow,
            first_ttl: line.first_ttl,
            hops: line.hops,
            rtt_us: line
                .rtt_us
                .into_iter()
                .map(|rtt| rtt.and_then(microseconds))
                .collect(),
            reached: line.reached,
            repeat: line
                .repeat
                .unwrap_or_default()
                .into_iter()
                .map(|answers| answers.map_or_else(Vec::new, |answers| answers.0))
                .collect(),
        }
    }
}

impl From<&PulseLine> for Pulse {
    fn from(line: &PulseLine) -> Self {
        Self {
            flow: line.flow,
            rtt_us: line.rtt_us.and_then(microseconds),
            reply_ttl: line.reply_ttl,
        }
    }
}

/// Whole microseconds; `None`: no RTT can be that.
fn microseconds(value: f64) -> Option<u32> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked"
    )]
    let whole = (0.0..4e9).contains(&value).then_some(value as u32);
    whole.filter(|value| *value > 0)
}
