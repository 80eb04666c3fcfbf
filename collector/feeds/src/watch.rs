//! The detector with its peers: events of feeds in, verdicts out.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use firstmile_routing::allow::Mute;
use firstmile_routing::counts::RouteCounts;
use firstmile_routing::detector::{Detector, Options, PeerId};
use firstmile_routing::examine::Registry;
use firstmile_routing::path::Route;
use firstmile_routing::verdict::Verdict;
use ipnet::IpNet;

use crate::counting::Counting;
use crate::event::{Event, FeedId, Peer, Routes};

/// Peers that are told apart; what comes beyond is refused and counted.
pub const MAX_PEERS: usize = 1_000_000;

/// The detector with its peers.
#[derive(Debug)]
pub struct Watch {
    detector: Detector,
    peers: HashMap<(FeedId, Peer), PeerId>,
    /// Numbers of peers that are out of sight, of which nothing is kept.
    free: Vec<PeerId>,
    peers_refused: u64,
    counting: Option<Counting>,
}

impl Watch {
    /// Watches with this detector.
    pub fn new(detector: Detector) -> Self {
        Self {
            detector,
            peers: HashMap::new(),
            free: Vec::new(),
            peers_refused: 0,
            counting: None,
        }
    }

    /// The detector.
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// Counts from now on how routes to registered prefixes come and go: of events, not of recordings that are replayed.
    pub fn count(&mut self) {
        let counting = self.counting.get_or_insert_default();
        counting.replace(self.detector.registry());
    }

    /// What was counted since the last call, by prefix.
    pub fn take_counts(&mut self) -> Vec<(IpNet, RouteCounts)> {
        let counting = self.counting.as_mut();
        counting.map(Counting::take).unwrap_or_default()
    }

    /// What it judges by.
    pub fn into_rules(self) -> (Registry, Options) {
        self.detector.into_rules()
    }

    /// Peers that are known, and events refused because there were too many.
    pub fn peers(&self) -> (usize, u64) {
        (self.peers.len(), self.peers_refused)
    }

    /// Takes an event in and says what follows.
    pub fn apply(&mut self, event: Event) -> Vec<Verdict> {
        match event {
            Event::Routes(routes) => self.routes(&routes),
            Event::PeerUp { .. } => {}
            Event::Rules { at, rules } => {
                let (registry, options) = *rules;
                self.detector.replace_rules(at, registry, options);
                if let Some(counting) = &mut self.counting {
                    counting.replace(self.detector.registry());
                }
                let mute = &self.detector.registry().mute;
                let muted = self.peers.keys().map(|(_, peer)| peer);
                let muted = muted.filter(|peer| is_muted(mute, peer)).cloned();
                let muted: HashSet<Peer> = muted.collect();
                self.out_of_sight(at, |_, peer| muted.contains(peer));
            }
            Event::Tick { at } => {
                self.detector.tick(at);
                if let Some(counting) = &mut self.counting {
                    let seen = |prefix: &IpNet| self.detector.peers_with_route_to(prefix);
                    counting.look(at, self.peers.len(), seen);
                }
            }
            Event::PeerDown {
                feed,
                at,
                peer,
                lost,
            } => {
                // The number stays the peer's: what it lost is told as lost until it says otherwise.
                let down: BTreeSet<PeerId> =
                    self.peers.get(&(feed, peer)).copied().into_iter().collect();
                self.detector.peers_down(at, &down, lost);
            }
            Event::OutOfSight { feed, at, router } => self.out_of_sight(at, |of, known| {
                of == feed && router.is_none_or(|router| is_at(known, router))
            }),
            Event::Vrps { at, vrps } => self.detector.replace_vrps(at, *vrps),
        }
        self.detector.take_verdicts()
    }

    /// The number of a peer; `None` if it is muted, or there are too many.
    pub fn peer(&mut self, feed: FeedId, peer: Peer) -> Option<PeerId> {
        if is_muted(&self.detector.registry().mute, &peer) {
            return None;
        }
        let key = (feed, peer);
        if let Some(id) = self.peers.get(&key) {
            return Some(*id);
        }
        if self.peers.len() >= MAX_PEERS {
            self.peers_refused += 1;
            return None;
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None => PeerId(u32::try_from(self.peers.len()).ok()?),
        };
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
        if let Some(counting) = &mut self.counting {
            counting.hear(routes);
        }
        let (at, path) = (routes.at, routes.path);
        if !routes.withdrawn.is_empty() {
            let announced: HashSet<&IpNet> = routes.announced.iter().collect();
            for prefix in &routes.withdrawn {
                if !announced.contains(prefix) {
                    self.detector.withdraw_path(at, peer, path, *prefix);
                }
            }
        }
        for prefix in &routes.announced {
            self.detector
                .announce_path(at, peer, path, *prefix, &routes.route);
        }
    }

    /// Peers whose word no longer counts: nothing of them is kept, their numbers are free again.
    fn out_of_sight(&mut self, at: f64, concerns: impl Fn(FeedId, &Peer) -> bool) {
        let gone: BTreeSet<PeerId> = self
            .peers
            .extract_if(|(feed, peer), _| concerns(*feed, peer))
            .map(|(_, id)| id)
            .collect();
        self.detector.peers_down(at, &gone, false);
        self.free.extend(gone);
    }
}

fn is_at(known: &Peer, router: IpAddr) -> bool {
    matches!(known, Peer::Router(peer) if peer.router == router)
}

fn is_muted(mute: &Mute, peer: &Peer) -> bool {
    if mute.is_empty() {
        return false;
    }
    match peer {
        Peer::Recorded { address, asn } => mute.holds(&[&address.to_string()], Some(*asn)),
        Peer::RouteCollector { host, name } => mute.holds(&[host, name], None),
        Peer::Router(peer) => mute.holds(&[&peer.address.to_string()], Some(peer.asn)),
    }
}
