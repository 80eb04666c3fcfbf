//! What feeds say.

use std::net::IpAddr;

use firstmile_routing::asn::Asn;
use firstmile_routing::detector::{Options, PathId};
use firstmile_routing::examine::Registry;
use firstmile_routing::path::Route;
use firstmile_routing::vrp::Vrps;
use ipnet::IpNet;

/// Number of a feed, in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedId(pub u16);

/// Who tells.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// A peer of a recording.
    Recorded {
        /// Its address.
        address: IpAddr,
        /// Its AS.
        asn: Asn,
    },
    /// A peer of a public route collector.
    RouteCollector {
        /// The route collector.
        host: String,
        /// The peer's address.
        name: String,
    },
    /// A peer of a router that speaks BMP (RFC 7854 §4.2; RFC 9069 §4.1).
    Router(RouterPeer),
}

/// A peer of a router that speaks BMP: everything that tells two of its sessions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterPeer {
    /// The router.
    pub router: IpAddr,
    /// Peer type.
    pub kind: u8,
    /// Peer flags: before or after policy, in or out.
    pub flags: u8,
    /// Peer distinguisher.
    pub distinguisher: u64,
    /// Peer address.
    pub address: IpAddr,
    /// Peer AS.
    pub asn: Asn,
}

/// What a feed says.
#[derive(Clone, Debug)]
pub enum Event {
    /// Routes came or went.
    Routes(Box<Routes>),
    /// A session of a peer began; what it announces comes after.
    PeerUp {
        /// From which feed.
        feed: FeedId,
        /// When, Unix seconds.
        at: f64,
        /// Whose.
        peer: Peer,
    },
    /// A session of a peer ended.
    PeerDown {
        /// From which feed.
        feed: FeedId,
        /// When, Unix seconds.
        at: f64,
        /// Whose.
        peer: Peer,
        /// Its prefixes are gone from there, not only from our sight.
        lost: bool,
    },
    /// A router, or a whole feed without `router`, is out of sight: what it said no longer counts.
    OutOfSight {
        /// Which feed.
        feed: FeedId,
        /// When, Unix seconds.
        at: f64,
        /// Which router of it.
        router: Option<IpAddr>,
    },
    /// The operator registered something else.
    Rules {
        /// When, Unix seconds.
        at: f64,
        /// What to judge by from now on.
        rules: Box<(Registry, Options)>,
    },
    /// Time goes on.
    Tick {
        /// What time it is, Unix seconds.
        at: f64,
    },
    /// RPKI, whole.
    Vrps {
        /// When, Unix seconds.
        at: f64,
        /// All payloads.
        vrps: Box<Vrps>,
    },
}

/// Routes that came or went.
#[derive(Clone, Debug)]
pub struct Routes {
    /// From which feed.
    pub feed: FeedId,
    /// When, Unix seconds.
    pub at: f64,
    /// Who tells.
    pub peer: Peer,
    /// Which of several paths (RFC 7911 §3).
    pub path: PathId,
    /// Withdrawn, first.
    pub withdrawn: Vec<IpNet>,
    /// Announced, all with the same route.
    pub announced: Vec<IpNet>,
    /// The route.
    pub route: Route,
    /// Its communities (RFC 1997), `None` where the feed does not show them.
    pub communities: Option<Vec<(u16, u16)>>,
}
