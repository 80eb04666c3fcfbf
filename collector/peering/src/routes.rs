//! What connected routing feeds show of the sessions between partners and Microsoft.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// A route as a session received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The AS path, the peer first, prepends and all; an `AS_SET` by each of its members.
    pub path: Vec<u32>,
    /// Communities (RFC 1997), `None` where the feed does not show them.
    pub communities: Option<Vec<(u16, u16)>>,
    /// When it was received.
    pub received_unix_ms: i64,
}

/// One session that a feed shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The peer's AS.
    pub asn: u32,
    /// What it announces now.
    pub routes: BTreeMap<IpNet, Route>,
    /// Not all of its routes are here: it has just begun, or announces more than is kept. What is not here may be announced.
    pub incomplete: bool,
    /// The router says that it is down.
    pub down: bool,
    /// How often it went down while the feed showed it.
    pub flaps: u32,
}

/// All sessions that feeds show, by the peer's address.
pub type Sessions = BTreeMap<IpAddr, Session>;
