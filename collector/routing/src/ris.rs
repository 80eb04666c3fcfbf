//! Messages of RIS Live, one JSON object each: lenient where its senders are.

use ipnet::IpNet;
use serde_json::Value;

use crate::asn::Asn;
use crate::path::{AsPath, Hop, MAX_HOPS, Route};
use crate::rule::Prefix;

/// Longest message that is read; RIS Live sends a few kilobytes.
pub const MAX_MESSAGE: usize = 4 << 20;
/// Deepest nesting of sets in a path.
const MAX_NESTING: usize = 8;
/// The Only-to-Customer attribute (RFC 9234 §5).
const OTC: u8 = 35;

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Routes came or went.
    Update(Box<Update>),
    /// A peer of the route collector is up or down.
    PeerState {
        /// When, Unix seconds.
        at: Option<f64>,
        /// Whose state.
        peer: Peer,
        /// Whether it is up.
        up: bool,
    },
    /// The server complains of us.
    Error(String),
    /// Something that needs no answer.
    Other,
}

/// Who told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    /// The route collector.
    pub host: String,
    /// The peer's address, or its AS number if the message has no address.
    pub name: String,
    /// The peer's AS.
    pub asn: Option<Asn>,
}

/// Routes that came or went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// When, Unix seconds; not every recording says.
    pub at: Option<f64>,
    /// Who told.
    pub peer: Peer,
    /// The route of all announced prefixes.
    pub route: Route,
    /// Announced.
    pub announced: Vec<IpNet>,
    /// Withdrawn.
    pub withdrawn: Vec<IpNet>,
    /// Parts of the message that could not be read: why, each.
    pub unread: Vec<String>,
}

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RisError {
    /// It is too long to be one.
    #[error("{0} bytes are too many for a message")]
    TooLong(usize),
    /// It is no JSON.
    #[error("it is no JSON")]
    Json(#[from] serde_json::Error),
    /// It is something else.
    #[error("{0}")]
    Shape(&'static str),
    /// Its path cannot be read.
    #[error("the path {0} cannot be read")]
    Path(String),
}

/// Reads one message.
///
/// Lenient: AS numbers may be text, sets may be nested, prefixes may have host bits, `next_hop` may be anything. A prefix that cannot be
/// read does not take the others of its message with it.
///
/// # Errors
/// [`RisError`] if nothing of it can be used.
pub fn decode(text: &str) -> Result<Message, RisError> {
    if text.len() > MAX_MESSAGE {
        return Err(RisError::TooLong(text.len()));
    }
    let message: Value = serde_json::from_str(text)?;
    let kind = message.get("type").and_then(Value::as_str);
    match kind {
        Some("ris_message") => data(message.get("data").unwrap_or(&Value::Null)),
        Some("ris_error") => {
            let said = message.pointer("/data/message").and_then(Value::as_str);
            Ok(Message::Error(said.unwrap_or("without a word").to_owned()))
        }
        Some(_) => Ok(Message::Other),
        None => Err(RisError::Shape("it has no `type`")),
    }
}

fn data(data: &Value) -> Result<Message, RisError> {
    if !data.is_object() {
        return Err(RisError::Shape("its `data` is no object"));
    }
    let has_routes = data.get("announcements").is_some() || data.get("withdrawals").is_some();
    match data.get("type").and_then(Value::as_str) {
        Some("UPDATE") => update(data),
        Some("RIS_PEER_STATE" | "STATE") => Ok(peer_state(data)),
        None if has_routes => update(data),
        None => Err(RisError::Shape("its `data` has no `type`")),
        // OPEN, NOTIFICATION, KEEPALIVE, and what will be invented.
        Some(_) => Ok(Message::Other),
    }
}

fn peer_state(data: &Value) -> Message {
    let state = data
        .get("state")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Message::PeerState {
        at: timestamp(data),
        peer: peer(data),
        up: !matches!(state, "down" | "idle" | "closed"),
    }
}

fn update(data: &Value) -> Result<Message, RisError> {
    let mut update = Update {
        at: timestamp(data),
        peer: peer(data),
        ..Update::default()
    };
    let announcements = list(data, "announcements", &mut update.unread);
    for announcement in announcements {
        let mut unread = Vec::new();
        let texts = list(announcement, "prefixes", &mut unread);
        update.unread.append(&mut unread);
        prefixes(texts, &mut update.announced, &mut update.unread);
    }
    let withdrawals = list(data, "withdrawals", &mut update.unread);
    prefixes(withdrawals, &mut update.withdrawn, &mut update.unread);
    if !update.announced.is_empty() {
        match path(data) {
            Ok(path) => {
                update.route = Route {
                    path,
                    otc: otc(data),
                }
            }
            Err(error) if update.withdrawn.is_empty() => return Err(error),
            Err(error) => {
                update.announced.clear();
                update.unread.push(error.to_string());
            }
        }
    }
    if update.announced.is_empty() && update.withdrawn.is_empty() && !update.unread.is_empty() {
        return Err(RisError::Shape("none of its prefixes can be read"));
    }
    Ok(Message::Update(Box::new(update)))
}

fn list<'a>(of: &'a Value, key: &str, unread: &mut Vec<String>) -> &'a [Value] {
    match of.get(key) {
        None | Some(Value::Null) => &[],
        Some(Value::Array(items)) => items,
        Some(other) => {
            unread.push(format!("`{key}` is {}, not a list", shown(other)));
            &[]
        }
    }
}

fn prefixes(texts: &[Value], into: &mut Vec<IpNet>, unread: &mut Vec<String>) {
    for text in texts {
        match text.as_str().and_then(Prefix::parse) {
            Some(prefix) => into.push(prefix.0),
            None => unread.push(format!("{} is no prefix", shown(text))),
        }
    }
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

fn path(data: &Value) -> Result<AsPath, RisError> {
    let words: Vec<Value>;
    let items = match data.get("path") {
        Some(Value::Array(items)) => items,
        // As routers print it: `64496 64497 {64498,64499}`.
        Some(Value::String(text)) => {
            words = text.split_whitespace().map(Value::from).collect();
            &words
        }
        _ => return Err(RisError::Shape("it announces prefixes without a `path`")),
    };
    let bad = || RisError::Path(shown(data.get("path").unwrap_or(&Value::Null)));
    if items.len() > MAX_HOPS {
        return Err(bad());
    }
    let hop = |item: &Value| {
        let mut members = Vec::new();
        if let Some(set) = item.as_str().and_then(set_in_words) {
            members.extend(set.map(Asn::parse).collect::<Option<Vec<_>>>()?);
            return Some(Hop::Set(members.into()));
        }
        if !item.is_array() {
            return Asn::from_json(item).map(Hop::As);
        }
        collect_set(item, 0, &mut members)?;
        members.dedup();
        Some(Hop::Set(members.into()))
    };
    let hops: Option<Vec<Hop>> = items.iter().map(hop).collect();
    hops.map(AsPath::new).ok_or_else(bad)
}

/// The members of a set as routers print it: `{64498,64499}`.
fn set_in_words(text: &str) -> Option<impl Iterator<Item = &str>> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    Some(inside.split([',', ' ']).filter(|word| !word.is_empty()))
}

fn collect_set(item: &Value, depth: usize, into: &mut Vec<Asn>) -> Option<()> {
    if let Value::Array(items) = item {
        let below = |item| collect_set(item, depth + 1, into);
        return (depth < MAX_NESTING).then(|| items.iter().try_for_each(below))?;
    }
    into.push(Asn::from_json(item)?);
    (into.len() <= MAX_HOPS).then_some(())
}

fn peer(data: &Value) -> Peer {
    let text = |key: &str| match data.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let asn = data.get("peer_asn").and_then(Asn::from_json);
    let address = text("peer");
    let name = match (address.is_empty(), asn) {
        (true, Some(asn)) => asn.to_string(),
        _ => address,
    };
    Peer {
        host: text("host"),
        name,
        asn,
    }
}

fn timestamp(data: &Value) -> Option<f64> {
    let value = match data.get("timestamp")? {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    value.is_finite().then_some(value)
}

/// Only-to-Customer: given in words, or in the BGP message of `raw`.
fn otc(data: &Value) -> Option<Asn> {
    let said = ["otc", "only_to_customer"]
        .iter()
        .find_map(|key| data.get(*key).and_then(Asn::from_json));
    said.or_else(|| otc_of_hex(data.get("raw")?.as_str()?))
}

fn otc_of_hex(hex: &str) -> Option<Asn> {
    let digits = hex.trim().as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() > 2 * 65_535 {
        return None;
    }
    let nibble = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|n| u8::try_from(n).ok())
    };
    let bytes: Option<Vec<u8>> = digits
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
            _ => None,
        })
        .collect();
    otc_of_update(&bytes?)
}

/// Finds Only-to-Customer in a BGP UPDATE (RFC 4271 §4.3; RFC 9234 §5).
pub fn otc_of_update(message: &[u8]) -> Option<Asn> {
    const HEADER: usize = 19;
    const UPDATE: u8 = 2;
    const EXTENDED_LENGTH: u8 = 0x10;
    let (header, rest) = message.split_at_checked(HEADER)?;
    if header.last() != Some(&UPDATE) {
        return None;
    }
    let (withdrawn, rest) = take_u16(rest)?;
    let (attributes, rest) = take_u16(rest.get(withdrawn..)?)?;
    let mut attributes = rest.get(..attributes)?;
    while let [flags, kind, rest @ ..] = attributes {
        let (length, value) = if flags & EXTENDED_LENGTH != 0 {
            take_u16(rest)?
        } else {
            let (length, value) = rest.split_first()?;
            (usize::from(*length), value)
        };
        let (value, rest) = value.split_at_checked(length)?;
        if *kind == OTC {
            return Some(Asn(u32::from_be_bytes(value.try_into().ok()?)));
        }
        attributes = rest;
    }
    None
}

fn take_u16(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<2>()?;
    Some((usize::from(u16::from_be_bytes(*number)), rest))
}
