//! The detector with its peers: events of feeds in, verdicts out.

use std::collections::HashMap;
use std::net::IpAddr;

use firstmile_routing::detector::{Detector, PeerId};
use firstmile_routing::path::Route;
use firstmile_routing::verdict::Verdict;
use ipnet::IpNet;

use crate::event::{Event, FeedId, Peer, Routes};

/// Peers that are told apart; what comes beyond is refused and counted.
pub const MAX_PEERS: usize = 1_000_000;

/// The detector with its peers.
#[derive(Debug)]
pub struct Watch {
    detector: Detector,
    peers: HashMap<(FeedId, Peer), PeerId>,
    peers_refused: u64,
}

impl Watch {
    /// Watches with this detector.
    pub fn new(detector: Detector) -> Self {
        Self {
            detector,
            peers: HashMap::new(),
            peers_refused: 0,
        }
    }

    /// The detector.
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// Peers that are known, and events refused because there were too many.
    pub fn peers(&self) -> (usize, u64) {
        (self.peers.len(), self.peers_refused)
    }

    /// Takes an event in and says what follows.
    pub fn apply(&mut self, event: Event) -> Vec<Verdict> {
        match event {
            Event::Routes(routes) => self.routes(&routes),
            Event::PeerDown {
                feed,
                at,
                peer,
                lost,
            } => self.down(at, lost, |of, known| {
                of == feed && same_session(known, &peer)
            }),
            Event::OutOfSight { feed, at, router } => self.down(at, false, |of, known| {
                of == feed && router.is_none_or(|router| is_at(known, router))
            }),
            Event::Vrps { at, vrps } => self.detector.replace_vrps(at, *vrps),
        }
        self.detector.take_verdicts()
    }

    /// The number of a peer; `None` if there are too many.
    pub fn peer(&mut self, feed: FeedId, peer: Peer) -> Option<PeerId> {
        let key = (feed, peer);
        if let Some(id) = self.peers.get(&key) {
            return Some(*id);
        }
        if self.peers.len() >= MAX_PEERS {
            self.peers_refused += 1;
            return None;
        }
        let id = PeerId(u32::try_from(self.peers.len()).ok()?);
        self.peers.insert(key, id);
        Some(id)
    }

    /// An announcement of a peer that is known already.
    pub fn announce(&mut self, at: f64, peer: PeerId, prefix: IpNet, route: &Route) {
        self.detector.announce(at, peer, prefix, route);
    }

    /// A withdrawal of a peer that is known already.
    pub fn withdraw(&mut self, at: f64, peer: PeerId, prefix: IpNet) {
        self.detector.withdraw(at, peer, prefix);
    }

    /// The verdicts since the last call.
    pub fn take_verdicts(&mut self) -> Vec<Verdict> {
        self.detector.take_verdicts()
    }

    fn routes(&mut self, routes: &Routes) {
        let Some(peer) = self.peer(routes.feed, routes.peer.clone()) else {
            return;
        };
        for prefix in &routes.withdrawn {
            if !routes.announced.contains(prefix) {
                self.detector.withdraw(routes.at, peer, *prefix);
            }
        }
        for prefix in &routes.announced {
            self.detector
                .announce(routes.at, peer, *prefix, &routes.route);
        }
    }

    fn down(&mut self, at: f64, lost: bool, concerns: impl Fn(FeedId, &Peer) -> bool) {
        let mut down: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|((feed, peer), _)| concerns(*feed, peer))
            .map(|(_, id)| *id)
            .collect();
        down.sort_unstable();
        for peer in down {
            self.detector.peer_down(at, peer, lost);
        }
    }
}

/// Whether `known` is `peer`, or one of its paths.
fn same_session(known: &Peer, peer: &Peer) -> bool {
    match (known, peer) {
        (Peer::Router(known), Peer::Router(peer)) => {
            let mut of_path = *peer;
            of_path.path = known.path;
            *known == of_path
        }
        _ => known == peer,
    }
}

fn is_at(known: &Peer, router: IpAddr) -> bool {
    matches!(known, Peer::Router(peer) if peer.router == router)
}
