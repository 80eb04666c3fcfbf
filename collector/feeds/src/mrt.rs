//! MRT files (RFC 6396): updates and tables, plain, gzip or bzip2; replayed on the clock of their records.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bgpkit_parser::BgpkitParser;
use bgpkit_parser::models::{self as wire, ElemType};
use firstmile_routing::asn::Asn;
use firstmile_routing::detector::PeerId;
use firstmile_routing::path::Route;
use firstmile_routing::verdict::Verdict;
use ipnet::IpNet;

use crate::convert;
use crate::event::{FeedId, Peer};
use crate::watch::Watch;

/// What a replay read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Announced prefixes.
    pub announced: u64,
    /// Withdrawn prefixes.
    pub withdrawn: u64,
    /// Records that could not be read.
    pub unread: u64,
    /// Clock of the last record, Unix seconds.
    pub clock: f64,
}

/// The files of a folder in the order of their names, or the one file.
///
/// # Errors
/// If the folder cannot be read.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?.path();
        if entry.is_file() {
            files.push(entry);
        }
    }
    files.sort();
    Ok(files)
}

/// Opens a file, and unpacks it if its first octets say that it is packed.
///
/// # Errors
/// If it cannot be read.
pub fn open(path: &Path) -> io::Result<Box<dyn Read + Send>> {
    let mut file = File::open(path)?;
    let mut magic = [0; 3];
    let mut filled = 0;
    while let Some(rest) = magic.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            read => filled += read,
        }
    }
    let start = io::Cursor::new(magic.get(..filled).unwrap_or_default().to_vec());
    let whole = BufReader::with_capacity(1 << 18, start.chain(file));
    Ok(match magic {
        [0x1f, 0x8b, _] => Box::new(BufReader::with_capacity(
            1 << 18,
            flate2::read::MultiGzDecoder::new(whole),
        )),
        [b'B', b'Z', b'h'] => Box::new(BufReader::with_capacity(
            1 << 18,
            bzip2::read::MultiBzDecoder::new(whole),
        )),
        _ => Box::new(whole),
    })
}

/// Reads all records into the watch and hands each verdict on. The clock never goes back, whatever a record says.
///
/// Only-to-Customer is read when relations are known that it can break; without them the quicker reader does.
pub fn replay(
    reader: impl Read,
    feed: FeedId,
    watch: &mut Watch,
    tally: &mut Tally,
    mut tell: impl FnMut(Verdict),
) {
    let parser = BgpkitParser::from_reader(reader).disable_warnings();
    let mut replay = Replay {
        feed,
        tally,
        last_peer: None,
        last_path: None,
    };
    if watch.detector().registry().relations.is_empty() {
        for route in parser.into_fallible_route_iter() {
            match route {
                Ok(route) => replay.route(watch, &route),
                Err(_) => replay.tally.unread += 1,
            }
            watch.take_verdicts().into_iter().for_each(&mut tell);
        }
    } else {
        for element in parser.into_fallible_elem_iter() {
            match element {
                Ok(element) => replay.element(watch, &element),
                Err(_) => replay.tally.unread += 1,
            }
            watch.take_verdicts().into_iter().for_each(&mut tell);
        }
    }
}

struct Replay<'a> {
    feed: FeedId,
    tally: &'a mut Tally,
    last_peer: Option<((std::net::IpAddr, wire::Asn), PeerId)>,
    last_path: Option<(Arc<wire::AsPath>, Route)>,
}

impl Replay<'_> {
    fn route(&mut self, watch: &mut Watch, from: &wire::BgpRouteElem) {
        self.tick(from.timestamp);
        let prefix = from.prefix.prefix.trunc();
        match from.elem_type {
            ElemType::WITHDRAW => self.withdraw(watch, from.peer_ip, from.peer_asn, prefix),
            ElemType::ANNOUNCE => {
                self.tally.announced += 1;
                if !concerns(watch, &prefix) {
                    return;
                }
                let Some(peer) = self.peer(watch, from.peer_ip, from.peer_asn) else {
                    return;
                };
                let clock = self.tally.clock;
                let route = self.shared_route(from.as_path.as_ref());
                watch.announce(clock, peer, prefix, route);
            }
        }
    }

    fn element(&mut self, watch: &mut Watch, from: &wire::BgpElem) {
        self.tick(from.timestamp);
        let prefix = from.prefix.prefix.trunc();
        match from.elem_type {
            ElemType::WITHDRAW => self.withdraw(watch, from.peer_ip, from.peer_asn, prefix),
            ElemType::ANNOUNCE => {
                self.tally.announced += 1;
                if !concerns(watch, &prefix) {
                    return;
                }
                let Some(peer) = self.peer(watch, from.peer_ip, from.peer_asn) else {
                    return;
                };
                let path = from.as_path.as_ref().map(convert::path);
                let route = Route {
                    path: path.unwrap_or_default(),
                    otc: from.only_to_customer.map(|asn| Asn(asn.to_u32())),
                };
                watch.announce(self.tally.clock, peer, prefix, &route);
            }
        }
    }

    fn withdraw(&mut self, watch: &mut Watch, ip: std::net::IpAddr, asn: wire::Asn, prefix: IpNet) {
        self.tally.withdrawn += 1;
        if concerns(watch, &prefix)
            && let Some(peer) = self.peer(watch, ip, asn)
        {
            watch.withdraw(self.tally.clock, peer, prefix);
        }
    }

    /// All prefixes of a message share a path: it is converted once.
    fn shared_route(&mut self, path: Option<&Arc<wire::AsPath>>) -> &Route {
        let Some(path) = path else {
            return &self.last_path.insert((Arc::default(), Route::default())).1;
        };
        let same = self
            .last_path
            .as_ref()
            .is_some_and(|(last, _)| Arc::ptr_eq(last, path));
        if !same {
            self.last_path = None;
        }
        &self
            .last_path
            .get_or_insert_with(|| (Arc::clone(path), Route::new(convert::path(path))))
            .1
    }

    fn peer(&mut self, watch: &mut Watch, ip: std::net::IpAddr, asn: wire::Asn) -> Option<PeerId> {
        if let Some((last, id)) = self.last_peer
            && last == (ip, asn)
        {
            return Some(id);
        }
        let peer = Peer::Recorded {
            address: ip,
            asn: Asn(asn.to_u32()),
        };
        let id = watch.peer(self.feed, peer)?;
        self.last_peer = Some(((ip, asn), id));
        Some(id)
    }

    fn tick(&mut self, at: f64) {
        if at > self.tally.clock {
            self.tally.clock = at;
        }
    }
}

/// Whether a prefix can matter before its path is looked at: the cheap half of the detector's own question.
fn concerns(watch: &Watch, prefix: &IpNet) -> bool {
    let registry = watch.detector().registry();
    registry.rules.covers(prefix)
        || !registry.asns.is_empty()
        || registry.bogons.block(prefix).is_some()
}
