//! What routers of our own show of the sessions between partners and Microsoft, for the rules of prefixes. Pure.
//!
//! Only sessions that a router tells by BMP before its policy count: public route collectors show other sessions. A session is complete a
//! minute after it began, since nothing says reliably when a table was sent whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use firstmile_feeds::event::{Event, FeedId, Peer, RouterPeer, Routes};
use firstmile_peering::routes::{Route, Session, Sessions};
use firstmile_routing::detector::PathId;
use firstmile_routing::path::Hop;
use ipnet::IpNet;

use crate::clock;

/// A session tells its table within this time after it began.
const WHOLE_AFTER_S: f64 = 60.0;
/// Routes of one session: a partner announces its customers', not the whole table.
const ROUTES_MAX: usize = 50_000;
/// Routes of all sessions.
const ALL_ROUTES_MAX: usize = 500_000;
/// Sessions that are known, up or down; beyond it, those that have been down for longest are forgotten.
const SESSIONS_MAX: usize = 50_000;
/// The policy bit of a peer's flags: routes after the policy of the router (RFC 7854 §4.2).
const AFTER_POLICY: u8 = 0x40;

/// The sessions as they are.
#[derive(Debug, Default)]
pub(crate) struct SessionTable {
    sessions: BTreeMap<(FeedId, RouterPeer), Known>,
    routes: usize,
    changes: u64,
}

#[derive(Debug)]
struct Known {
    /// When it came to be as it is, up or down.
    began: f64,
    down: bool,
    flaps: u32,
    overflown: bool,
    /// All prefixes of a message share a route.
    routes: BTreeMap<(IpNet, PathId), Arc<Route>>,
}

impl SessionTable {
    /// Takes in what a feed says; `now` in Unix seconds.
    pub(crate) fn apply(&mut self, event: &Event, now: f64) {
        match event {
            Event::Routes(routes) => self.routes(routes, now),
            Event::PeerUp { feed, peer, .. } => {
                if let Some(peer) = counted(peer) {
                    let known = self.known(*feed, peer, now);
                    if known.down {
                        (known.down, known.began) = (false, now);
                    }
                    self.changes += 1;
                }
            }
            Event::PeerDown {
                feed, peer, lost, ..
            } => match counted(peer) {
                Some(peer) if *lost => self.down(&(*feed, peer), now),
                Some(peer) => self.forget(|of, known| (of, known) == (*feed, &peer)),
                None => {}
            },
            Event::OutOfSight { feed, router, .. } => {
                let gone = |known: &RouterPeer| router.is_none_or(|router| known.router == router);
                self.forget(|of, known| of == *feed && gone(known));
            }
            Event::Vrps { .. } | Event::Rules { .. } | Event::Tick { .. } => {}
        }
    }

    /// Grows with each change of a route or a session.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// The sessions by the partner's address, without routes; `now` in Unix seconds.
    pub(crate) fn sessions(&self, now: f64) -> Sessions {
        let mut sessions = Sessions::new();
        for ((_, peer), known) in &self.sessions {
            let session = sessions.entry(peer.address).or_insert_with(|| Session {
                asn: peer.asn.0,
                down: true,
                ..Session::default()
            });
            session.down &= known.down;
            session.flaps += known.flaps;
            session.incomplete |=
                !known.down && (known.overflown || now - known.began < WHOLE_AFTER_S);
        }
        sessions
    }

    /// Puts the routes of these prefixes into the sessions.
    pub(crate) fn add_routes(&self, prefixes: &[IpNet], sessions: &mut Sessions) {
        const LAST: PathId = PathId(u32::MAX);
        for ((_, peer), known) in &self.sessions {
            let Some(session) = sessions.get_mut(&peer.address) else {
                continue;
            };
            for prefix in prefixes {
                let of_prefix = (*prefix, PathId::NONE)..=(*prefix, LAST);
                for (_, route) in known.routes.range(of_prefix) {
                    let kept = session.routes.entry(*prefix);
                    let kept = kept.or_insert_with(|| Route::clone(route));
                    // Two routers, or two paths: the worse one is what has to be mended.
                    if worse(route, kept) {
                        kept.clone_from(route);
                    }
                }
            }
        }
    }

    fn known(&mut self, feed: FeedId, peer: RouterPeer, now: f64) -> &mut Known {
        self.sessions.entry((feed, peer)).or_insert_with(|| Known {
            began: now,
            down: false,
            flaps: 0,
            overflown: false,
            routes: BTreeMap::new(),
        })
    }

    fn routes(&mut self, said: &Routes, now: f64) {
        let Some(peer) = counted(&said.peer) else {
            return;
        };
        let room = ALL_ROUTES_MAX.saturating_sub(self.routes);
        let known = self.known(said.feed, peer, now);
        let before = known.routes.len();
        for prefix in &said.withdrawn {
            known.routes.remove(&(*prefix, said.path));
        }
        let most = ROUTES_MAX.min(before + room);
        let route = Arc::new(route_of(said));
        for prefix in &said.announced {
            let key = (*prefix, said.path);
            if known.routes.len() >= most && !known.routes.contains_key(&key) {
                known.overflown = true;
                continue;
            }
            known.routes.insert(key, Arc::clone(&route));
        }
        let after = known.routes.len();
        self.routes = self.routes + after - before;
        self.changes += 1;
    }

    /// A session that ended stays known: its routes are gone, which is not the same as not being seen. One that never was up is none.
    fn down(&mut self, key: &(FeedId, RouterPeer), now: f64) {
        let Some(known) = self.sessions.get_mut(key) else {
            return;
        };
        if !known.down {
            known.began = now;
        }
        self.routes -= known.routes.len();
        known.routes.clear();
        known.flaps += u32::from(!known.down);
        (known.down, known.overflown) = (true, false);
        self.changes += 1;
        if self.sessions.len() > SESSIONS_MAX {
            self.forget_long_down();
        }
    }

    /// Forgets half of the sessions that are down, the older ones, so that it is seldom done.
    fn forget_long_down(&mut self) {
        let down = self.sessions.values().filter(|known| known.down);
        let mut since: Vec<f64> = down.map(|known| known.began).collect();
        since.sort_by(f64::total_cmp);
        if let Some(middle) = since.get(since.len() / 2) {
            self.sessions
                .retain(|_, known| !known.down || known.began > *middle);
        }
    }

    fn forget(&mut self, is_gone: impl Fn(FeedId, &RouterPeer) -> bool) {
        let before = self.sessions.len();
        let mut freed = 0;
        self.sessions.retain(|(feed, peer), known| {
            let gone = is_gone(*feed, peer);
            freed += if gone { known.routes.len() } else { 0 };
            !gone
        });
        self.routes -= freed;
        self.changes += u64::from(before != self.sessions.len());
    }
}

/// A session of a router of ours, before policy.
fn counted(peer: &Peer) -> Option<RouterPeer> {
    /// Global and RD instance peers (RFC 7854 §4.2).
    const REAL: [u8; 2] = [0, 1];
    match peer {
        Peer::Router(peer) if peer.flags & AFTER_POLICY == 0 && REAL.contains(&peer.kind) => {
            Some(*peer)
        }
        Peer::Router(_) | Peer::Recorded { .. } | Peer::RouteCollector { .. } => None,
    }
}

fn route_of(said: &Routes) -> Route {
    let hops = said.route.path.hops().iter();
    Route {
        path: hops.flat_map(Hop::members).map(|asn| asn.0).collect(),
        communities: said.communities.clone(),
        received_unix_ms: clock::from_seconds(said.at),
    }
}

fn worse(new: &Route, kept: &Route) -> bool {
    let count = |route: &Route| route.communities.as_ref().map_or(0, Vec::len);
    (new.path.len(), usize::MAX - count(new)) > (kept.path.len(), usize::MAX - count(kept))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use firstmile_routing::asn::Asn;
    use firstmile_routing::path::{AsPath, Route as Way};

    use super::*;

    fn peer(last: u8, flags: u8) -> Peer {
        Peer::Router(RouterPeer {
            router: IpAddr::from([203, 0, 113, 1]),
            kind: 0,
            flags,
            distinguisher: 0,
            address: IpAddr::from([192, 0, 2, last]),
            asn: Asn(64_500),
        })
    }

    fn routes(peer: Peer, announced: &[&str], withdrawn: &[&str]) -> Event {
        let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Event::Routes(Box::new(Routes {
            feed: FeedId(1),
            at: 10.0,
            peer,
            path: PathId::NONE,
            withdrawn: nets(withdrawn),
            announced: nets(announced),
            route: Way::new(AsPath::of(&[64_500, 64_501])),
            communities: Some(vec![(8075, 8007)]),
        }))
    }

    fn seen(table: &SessionTable, now: f64, prefixes: &[IpNet]) -> Sessions {
        let mut sessions = table.sessions(now);
        table.add_routes(prefixes, &mut sessions);
        sessions
    }

    #[test]
    fn a_session_shows_what_its_router_heard_before_policy() {
        let mut table = SessionTable::default();
        let prefix: IpNet = "198.51.100.0/24".parse().unwrap();
        let announced = ["198.51.100.0/24", "203.0.113.0/24"];
        table.apply(&routes(peer(1, 0), &announced, &[]), 10.0);
        table.apply(&routes(peer(2, AFTER_POLICY), &announced, &[]), 10.0);
        let sessions = seen(&table, 11.0, &[prefix]);
        assert!(sessions.keys().eq(&[IpAddr::from([192, 0, 2, 1])]));
        let session = sessions.values().next().unwrap();
        assert!(session.incomplete, "it has just begun");
        assert_eq!(session.routes.len(), 1, "only what was asked for");
        let route = &session.routes[&prefix];
        assert_eq!(route.path, [64_500, 64_501]);
        assert_eq!(route.communities.as_deref(), Some(&[(8075, 8007)][..]));
        assert_eq!(route.received_unix_ms, 10_000);
        let later = seen(&table, 100.0, &[prefix]);
        assert!(!later.values().next().unwrap().incomplete);
        let before = table.changes();
        table.apply(&routes(peer(1, 0), &[], &["198.51.100.0/24"]), 200.0);
        assert!(table.changes() > before, "a route went");
        let sessions = seen(&table, 201.0, &[prefix]);
        assert!(sessions.values().next().unwrap().routes.is_empty());
    }

    #[test]
    fn a_session_that_is_down_is_known_to_be_and_its_flaps_are_counted() {
        let mut table = SessionTable::default();
        let prefix: IpNet = "198.51.100.0/24".parse().unwrap();
        let down = Event::PeerDown {
            feed: FeedId(1),
            at: 300.0,
            peer: peer(1, 0),
            lost: true,
        };
        table.apply(&down, 5.0);
        assert!(table.sessions(5.0).is_empty(), "it never was up");
        for flaps in 1..=2 {
            let up = Event::PeerUp {
                feed: FeedId(1),
                at: 10.0,
                peer: peer(1, 0),
            };
            table.apply(&up, 10.0);
            table.apply(&routes(peer(1, 0), &["198.51.100.0/24"], &[]), 10.0);
            let sessions = seen(&table, 100.0, &[prefix]);
            let session = sessions.values().next().unwrap();
            assert!(!session.down && session.routes.len() == 1);
            table.apply(&down, 300.0);
            table.apply(&down, 300.0);
            let sessions = seen(&table, 301.0, &[prefix]);
            let session = sessions.values().next().unwrap();
            assert!(session.down && session.routes.is_empty() && !session.incomplete);
            assert_eq!(session.flaps, flaps);
            assert_eq!(table.routes, 0);
        }
        let away = Event::OutOfSight {
            feed: FeedId(1),
            at: 400.0,
            router: None,
        };
        table.apply(&away, 400.0);
        assert!(table.sessions(401.0).is_empty(), "nobody knows");
    }

    #[test]
    fn a_session_that_is_no_longer_shown_is_not_down_but_unseen() {
        let mut table = SessionTable::default();
        let prefix: IpNet = "198.51.100.0/24".parse().unwrap();
        table.apply(&routes(peer(1, 0), &["198.51.100.0/24"], &[]), 10.0);
        assert_eq!(seen(&table, 100.0, &[prefix]).len(), 1);
        let unseen = Event::PeerDown {
            feed: FeedId(1),
            at: 300.0,
            peer: peer(1, 0),
            lost: false,
        };
        table.apply(&unseen, 300.0);
        assert!(seen(&table, 301.0, &[prefix]).is_empty());
        assert_eq!(table.routes, 0);
    }

    #[test]
    fn those_that_are_down_for_longest_are_forgotten_when_there_are_too_many() {
        let mut table = SessionTable::default();
        let numbered = |asn: u32| {
            let Peer::Router(of) = peer(1, 0) else {
                unreachable!()
            };
            Peer::Router(RouterPeer {
                asn: Asn(asn),
                ..of
            })
        };
        let most = u32::try_from(SESSIONS_MAX).unwrap();
        for asn in 0..2 * most {
            let (feed, at) = (FeedId(1), f64::from(asn));
            let peer = numbered(asn);
            let up = Event::PeerUp {
                feed,
                at,
                peer: peer.clone(),
            };
            table.apply(&up, at);
            let down = Event::PeerDown {
                feed,
                at,
                peer,
                lost: true,
            };
            table.apply(&down, at);
        }
        assert!(table.sessions.len() <= SESSIONS_MAX);
        let last = (FeedId(1), counted(&numbered(2 * most - 1)).unwrap());
        assert!(table.sessions.contains_key(&last));
    }

    #[test]
    fn what_does_not_fit_makes_a_session_incomplete_and_leaves_with_it() {
        let mut table = SessionTable::default();
        let many: Vec<String> = (0..=ROUTES_MAX)
            .map(|index| format!("2001:db8:{:x}:{:x}::/64", index >> 16, index & 0xFFFF))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        table.apply(&routes(peer(1, 0), &many, &[]), 10.0);
        let sessions = table.sessions(1_000.0);
        assert!(sessions.values().next().unwrap().incomplete);
        assert_eq!(table.routes, ROUTES_MAX);
        let away = Event::OutOfSight {
            feed: FeedId(1),
            at: 1_000.0,
            router: None,
        };
        table.apply(&away, 1_000.0);
        assert_eq!(table.routes, 0);
    }
}
