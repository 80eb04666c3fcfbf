//! One BMP session, without a socket: octets in, events out.
//!
//! The parser knows no state; what a peer negotiated is kept here: with ADD-PATH (RFC 7911) for a family, prefixes of that family are read
//! with path identifiers. A message that lies about its length or version ends the session, since nothing tells where the next one
//! begins; one that cannot be read is skipped.

use std::collections::HashMap;
use std::net::IpAddr;

use bgpkit_parser::models::capabilities::AddPathSendReceive;
use bgpkit_parser::models::{
    Afi, Attributes, BgpMessage, BgpUpdateMessage, CapabilityValue, Community, MetaCommunity,
    NetworkPrefix, ParamValue,
};
use bgpkit_parser::parser::bgp::parse_bgp_message;
use bgpkit_parser::parser::bmp::messages::{
    BmpPeerType, BmpPerPeerHeader, PeerFlags, PerPeerFlags, parse_peer_up_notification,
    parse_per_peer_header,
};
use bytes::{Buf, Bytes, BytesMut};
use firstmile_routing::asn::Asn;
use firstmile_routing::detector::PathId;
use firstmile_routing::path::Route;
use ipnet::IpNet;

use crate::convert;
use crate::event::{Event, FeedId, Peer, RouterPeer, Routes};

/// Common header: version, length, type (RFC 7854 §4.1).
const HEADER: usize = 6;
/// Why a peer is told to be down: the router only stops to tell of it (RFC 7854 §4.9).
const DE_CONFIGURED: u8 = 5;
/// Longest message: a BGP message has at most 65,535 octets (RFC 8654 §4), a peer up holds two.
pub const MAX_MESSAGE: usize = 1 << 20;
/// Peers of one router; what comes beyond is counted.
const MAX_PEERS: usize = 20_000;
/// Messages kept of a peer that was not announced yet: some routers are early.
const MAX_EARLY: usize = 64;
/// Octets of such messages, of all peers.
const MAX_EARLY_BYTES: usize = 1 << 20;

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BmpError {
    /// It is another protocol, or the router lost its place.
    #[error("the router sent version {0}, this station speaks BMP version 3")]
    Version(u8),
    /// The length cannot be true.
    #[error("the router sent a message of {0} octets: 6 to {MAX_MESSAGE} are possible")]
    Length(u32),
}

/// What happened in a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounters {
    /// Messages.
    pub messages: u64,
    /// Announced prefixes.
    pub announced: u64,
    /// Withdrawn prefixes.
    pub withdrawn: u64,
    /// Messages that could not be read, or not wholly.
    pub unread: u64,
    /// Messages of peers that were never announced, or of too many peers.
    pub refused: u64,
    /// Tables that were sent whole (RFC 4724 §2).
    pub ends_of_rib: u64,
    /// Peers that are up.
    pub peers_up: u64,
}

#[derive(Debug, Default)]
struct PeerState {
    up: bool,
    add_path_v4: bool,
    add_path_v6: bool,
    early: Vec<Bytes>,
}

/// One session with a router.
#[derive(Debug)]
pub struct Session {
    feed: FeedId,
    router: IpAddr,
    buffer: BytesMut,
    peers: HashMap<RouterPeer, PeerState>,
    early_bytes: usize,
    counters: SessionCounters,
}

impl Session {
    /// A new session with the router at this address.
    pub fn new(feed: FeedId, router: IpAddr) -> Self {
        Self {
            feed,
            router,
            buffer: BytesMut::new(),
            peers: HashMap::new(),
            early_bytes: 0,
            counters: SessionCounters::default(),
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> SessionCounters {
        self.counters
    }

    /// Takes octets in, in whatever pieces they come; `now` in Unix seconds, for messages without a time.
    ///
    /// # Errors
    /// [`BmpError`]: nothing more can be read from this connection.
    pub fn push(
        &mut self,
        octets: &[u8],
        now: f64,
        events: &mut Vec<Event>,
    ) -> Result<(), BmpError> {
        self.buffer.extend_from_slice(octets);
        while let Some((header, _)) = self.buffer.split_first_chunk::<HEADER>() {
            let [version, a, b, c, d, kind] = *header;
            if version != 3 {
                return Err(BmpError::Version(version));
            }
            let said = u32::from_be_bytes([a, b, c, d]);
            let length = usize::try_from(said).unwrap_or(usize::MAX);
            if !(HEADER..=MAX_MESSAGE).contains(&length) {
                return Err(BmpError::Length(said));
            }
            if self.buffer.len() < length {
                self.buffer.reserve(length - self.buffer.len());
                break;
            }
            let mut message = self.buffer.split_to(length).freeze();
            message.advance(HEADER);
            self.counters.messages += 1;
            self.message(kind, message, now, events);
        }
        Ok(())
    }

    /// The connection is gone: what the router said no longer counts.
    pub fn closed(&self, now: f64) -> Event {
        Event::OutOfSight {
            feed: self.feed,
            at: now,
            router: Some(self.router),
        }
    }

    fn message(&mut self, kind: u8, mut body: Bytes, now: f64, events: &mut Vec<Event>) {
        const ROUTE_MONITORING: u8 = 0;
        const PEER_DOWN: u8 = 2;
        const PEER_UP: u8 = 3;
        if !matches!(kind, ROUTE_MONITORING | PEER_DOWN | PEER_UP) {
            // Statistics, initiation, termination, mirroring: nothing to judge. What is unknown is skipped (RFC 7854 §4.1).
            if kind > 6 {
                self.counters.unread += 1;
            }
            return;
        }
        let whole = body.clone();
        let Ok(header) = parse_per_peer_header(&mut body) else {
            self.counters.unread += 1;
            return;
        };
        let peer = self.peer(&header);
        if is_outgoing(&header) {
            // What the router sends to its peers is our own doing (RFC 8671).
            return;
        }
        match kind {
            PEER_UP => self.peer_up(peer, &header, body, now, events),
            PEER_DOWN => {
                let lost = body.first() != Some(&DE_CONFIGURED);
                self.peer_down(peer, lost, at(&header, now), events);
            }
            _ => self.monitoring(peer, &header, body, whole, now, events),
        }
    }

    fn peer(&self, header: &BmpPerPeerHeader) -> RouterPeer {
        RouterPeer {
            router: self.router,
            kind: u8::from(header.peer_type),
            flags: match header.peer_flags {
                PerPeerFlags::PeerFlags(flags) => flags.bits(),
                PerPeerFlags::LocalRibPeerFlags(flags) => flags.bits(),
            },
            distinguisher: header.peer_distinguisher,
            address: header.peer_ip,
            asn: Asn(header.peer_asn.to_u32()),
        }
    }

    fn peer_up(
        &mut self,
        peer: RouterPeer,
        header: &BmpPerPeerHeader,
        mut body: Bytes,
        now: f64,
        events: &mut Vec<Event>,
    ) {
        let opens = parse_peer_up_notification(
            &mut body,
            &header.afi(),
            &header.asn_length(),
            Some(&header.peer_type),
        );
        let Ok(opens) = opens else {
            self.counters.unread += 1;
            return;
        };
        // A second peer up without a peer down in between: the first session is over.
        if self.peers.get(&peer).is_some_and(|state| state.up) {
            self.peer_down(peer, true, at(header, now), events);
        }
        if !self.peers.contains_key(&peer) && self.peers.len() >= MAX_PEERS {
            self.counters.refused += 1;
            return;
        }
        let received = add_path(&opens.received_open, AddPathSendReceive::Send);
        let sent = add_path(&opens.sent_open, AddPathSendReceive::Receive);
        let state = self.peers.entry(peer).or_default();
        state.up = true;
        state.add_path_v4 = received.0 && sent.0;
        state.add_path_v6 = received.1 && sent.1;
        self.counters.peers_up += 1;
        events.push(Event::PeerUp {
            feed: self.feed,
            at: at(header, now),
            peer: Peer::Router(peer),
        });
        let early = std::mem::take(&mut state.early);
        for mut body in early {
            self.early_bytes = self.early_bytes.saturating_sub(body.len());
            if let Ok(header) = parse_per_peer_header(&mut body) {
                self.update(peer, &header, body, now, events);
            }
        }
    }

    fn peer_down(&mut self, peer: RouterPeer, lost: bool, at: f64, events: &mut Vec<Event>) {
        let state = self.peers.remove(&peer).unwrap_or_default();
        let early: usize = state.early.iter().map(Bytes::len).sum();
        self.early_bytes = self.early_bytes.saturating_sub(early);
        // FRR announces the end of peers that it never announced.
        if state.up {
            self.counters.peers_up = self.counters.peers_up.saturating_sub(1);
            events.push(Event::PeerDown {
                feed: self.feed,
                at,
                peer: Peer::Router(peer),
                lost,
            });
        }
    }

    fn monitoring(
        &mut self,
        peer: RouterPeer,
        header: &BmpPerPeerHeader,
        body: Bytes,
        whole: Bytes,
        now: f64,
        events: &mut Vec<Event>,
    ) {
        let known = self.peers.get(&peer);
        if known.is_some_and(|state| state.up) {
            self.update(peer, header, body, now, events);
            return;
        }
        let room = known.map_or(self.peers.len() < MAX_PEERS, |state| {
            state.early.len() < MAX_EARLY
        });
        if !room || self.early_bytes + whole.len() > MAX_EARLY_BYTES {
            self.counters.refused += 1;
            return;
        }
        self.early_bytes += whole.len();
        self.peers.entry(peer).or_default().early.push(whole);
    }

    fn update(
        &mut self,
        peer: RouterPeer,
        header: &BmpPerPeerHeader,
        mut body: Bytes,
        now: f64,
        events: &mut Vec<Event>,
    ) {
        let Some(state) = self.peers.get(&peer) else {
            return;
        };
        let six = carries_multiprotocol_six(&body);
        let with_path_ids = if six {
            state.add_path_v6
        } else {
            state.add_path_v4
        };
        let message = parse_bgp_message(&mut body, with_path_ids, &header.asn_length());
        let Ok(BgpMessage::Update(update)) = message else {
            self.counters.unread += 1;
            return;
        };
        if update.attributes.has_validation_warnings() {
            self.counters.unread += 1;
        }
        if update.is_end_of_rib() {
            self.counters.ends_of_rib += 1;
            return;
        }
        self.routes(peer, at(header, now), &update, events);
    }

    fn routes(
        &mut self,
        peer: RouterPeer,
        at: f64,
        update: &BgpUpdateMessage,
        events: &mut Vec<Event>,
    ) {
        let attributes = &update.attributes;
        let announced = attributes
            .get_reachable_nlri()
            .map(|nlri| nlri.prefixes.iter());
        let announced = update
            .announced_prefixes
            .iter()
            .chain(announced.into_iter().flatten());
        let withdrawn = attributes
            .get_unreachable_nlri()
            .map(|nlri| nlri.prefixes.iter());
        let withdrawn = update
            .withdrawn_prefixes
            .iter()
            .chain(withdrawn.into_iter().flatten());
        let mut said = Said::default();
        for prefix in announced {
            self.counters.announced += 1;
            said.of(prefix).0.push(prefix.prefix.trunc());
        }
        for prefix in withdrawn {
            self.counters.withdrawn += 1;
            said.of(prefix).1.push(prefix.prefix.trunc());
        }
        let route = Route {
            path: attributes
                .effective_as_path()
                .map(|path| convert::path(&path))
                .unwrap_or_default(),
            otc: attributes.only_to_customer().map(|asn| Asn(asn.to_u32())),
        };
        let communities = plain_communities(attributes);
        for (path, (announced, withdrawn)) in said.0 {
            events.push(Event::Routes(Box::new(Routes {
                feed: self.feed,
                at,
                peer: Peer::Router(peer),
                path,
                withdrawn,
                announced,
                route: route.clone(),
                communities: Some(communities.clone()),
            })));
        }
    }
}

/// Announced and withdrawn prefixes by path identifier, in order: what is said of one path says nothing of the others.
#[derive(Default)]
struct Said(Vec<(PathId, Prefixes)>);

/// Announced and withdrawn.
type Prefixes = (Vec<IpNet>, Vec<IpNet>);

impl Said {
    fn of(&mut self, prefix: &NetworkPrefix) -> &mut Prefixes {
        let path = PathId(prefix.path_id.unwrap_or_default());
        // Mostly there is one.
        let place = match self.0.last() {
            Some((last, _)) if *last == path => self.0.len() - 1,
            Some(_) | None => match self.0.binary_search_by_key(&path, |(path, _)| *path) {
                Ok(place) => place,
                Err(place) => {
                    self.0.insert(place, (path, Prefixes::default()));
                    place
                }
            },
        };
        &mut self.0.get_mut(place).expect("it was found or made").1
    }
}

fn is_outgoing(header: &BmpPerPeerHeader) -> bool {
    match header.peer_flags {
        PerPeerFlags::PeerFlags(flags) => {
            header.peer_type != BmpPeerType::LocalRib && flags.contains(PeerFlags::IS_ADJ_RIB_OUT)
        }
        PerPeerFlags::LocalRibPeerFlags(_) => false,
    }
}

/// Time of a message; routers may leave it zero (RFC 7854 §4.2), and one whose clock is wrong is not believed further than this.
fn at(header: &BmpPerPeerHeader, now: f64) -> f64 {
    /// A table that is sent at the start carries the times at which its routes were learnt, so the past is not bounded as tightly.
    const BEHIND_S: f64 = 30.0 * 86_400.0;
    const AHEAD_S: f64 = 300.0;
    if header.timestamp > 0.0 && header.timestamp.is_finite() {
        header.timestamp.clamp(now - BEHIND_S, now + AHEAD_S)
    } else {
        now
    }
}

/// Communities of two halves (RFC 1997); extended and large ones are other attributes.
fn plain_communities(attributes: &Attributes) -> Vec<(u16, u16)> {
    let plain = |community: MetaCommunity| match community {
        MetaCommunity::Plain(Community::Custom(asn, value)) => {
            Some((u16::try_from(asn.to_u32()).ok()?, value))
        }
        MetaCommunity::Plain(Community::NoExport) => Some((0xFFFF, 0xFF01)),
        MetaCommunity::Plain(Community::NoAdvertise) => Some((0xFFFF, 0xFF02)),
        MetaCommunity::Plain(Community::NoExportSubConfed) => Some((0xFFFF, 0xFF03)),
        MetaCommunity::Extended(_) | MetaCommunity::Ipv6Extended(_) | MetaCommunity::Large(_) => {
            None
        }
    };
    attributes.iter_communities().filter_map(plain).collect()
}

/// Whether an OPEN offers this direction of ADD-PATH, for IPv4 and for IPv6.
fn add_path(open: &BgpMessage, direction: AddPathSendReceive) -> (bool, bool) {
    let BgpMessage::Open(open) = open else {
        return (false, false);
    };
    let mut offered = (false, false);
    for parameter in &open.opt_params {
        let ParamValue::Capacities(capabilities) = &parameter.param_value else {
            continue;
        };
        for capability in capabilities {
            let CapabilityValue::AddPath(value) = &capability.value else {
                continue;
            };
            for family in &value.address_families {
                let offers = family.send_receive == direction
                    || family.send_receive == AddPathSendReceive::SendReceive;
                match family.afi {
                    Afi::Ipv4 => offered.0 |= offers,
                    Afi::Ipv6 => offered.1 |= offers,
                    Afi::LinkState => {}
                }
            }
        }
    }
    offered
}

/// Whether a BGP UPDATE carries its prefixes in multiprotocol attributes for IPv6 (RFC 4760 §3, §4).
fn carries_multiprotocol_six(message: &[u8]) -> bool {
    const BGP_HEADER: usize = 19;
    const EXTENDED_LENGTH: u8 = 0x10;
    let take = |bytes: &[u8]| -> Option<usize> {
        Some(usize::from(u16::from_be_bytes(*bytes.first_chunk()?)))
    };
    let inner = || -> Option<bool> {
        let body = message.get(BGP_HEADER..)?;
        let withdrawn = take(body)?;
        let rest = body.get(2 + withdrawn..)?;
        let mut attributes = rest.get(2..)?.get(..take(rest)?)?;
        while let [flags, kind, rest @ ..] = attributes {
            let (length, skip) = if flags & EXTENDED_LENGTH != 0 {
                (take(rest)?, 2)
            } else {
                (usize::from(*rest.first()?), 1)
            };
            let value = rest.get(skip..)?.get(..length)?;
            if matches!(kind, 14 | 15) {
                return Some(take(value)? == 2);
            }
            attributes = rest.get(skip + length..)?;
        }
        Some(false)
    };
    inner().unwrap_or(false)
}
