//! One thing that may be wrong, and the peers that say so: when it starts and when it ends.

use ipnet::IpNet;

use crate::asn::Asn;
use crate::class::Class;
use crate::detector::PeerId;

/// What makes two findings the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) prefix: IpNet,
    pub(crate) class: Class,
    pub(crate) offender: Option<Asn>,
}

/// How many peers have to agree, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Agreement {
    pub(crate) peers: usize,
    pub(crate) window_s: Option<f64>,
    pub(crate) end_pct: f64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: f64,
    gone: bool,
}

/// The peers that see or saw it.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) matched: Option<IpNet>,
    pub(crate) reason: String,
    /// Sorted by peer.
    peers: Vec<(PeerId, Seen)>,
    started: bool,
    gone: usize,
}

impl Instance {
    pub(crate) fn new(matched: Option<IpNet>, reason: String) -> Self {
        Self {
            matched,
            reason,
            peers: Vec::new(),
            started: false,
            gone: 0,
        }
    }

    /// A peer sees it. Returns whether it starts now.
    pub(crate) fn join(&mut self, peer: PeerId, at: f64, agreement: Agreement) -> bool {
        let now = Seen { at, gone: false };
        match self.place(peer) {
            Ok(index) => {
                if let Some((_, seen)) = self.peers.get_mut(index) {
                    self.gone -= usize::from(seen.gone);
                    *seen = now;
                }
            }
            Err(index) => self.peers.insert(index, (peer, now)),
        }
        if self.started {
            return false;
        }
        if agreement.peers <= 1 {
            self.started = true;
            return true;
        }
        let fresh = |(_, seen): &&(PeerId, Seen)| {
            agreement
                .window_s
                .is_none_or(|window| (at - seen.at).abs() <= window)
        };
        self.started = self.peers.iter().filter(fresh).count() >= agreement.peers;
        self.started
    }

    /// A peer sees it no longer. Returns whether it ends now.
    pub(crate) fn leave(&mut self, peer: PeerId, agreement: Agreement) -> bool {
        let place = self.place(peer);
        if !self.started {
            if let Ok(index) = place {
                self.peers.remove(index);
            }
            return false;
        }
        if let Ok(index) = place
            && let Some((_, seen)) = self.peers.get_mut(index)
            && !seen.gone
        {
            seen.gone = true;
            self.gone += 1;
        }
        share_pct(self.gone, self.peers.len()) >= agreement.end_pct
    }

    /// Whether no peer sees it and it never started.
    pub(crate) fn is_void(&self) -> bool {
        !self.started && self.peers.is_empty()
    }

    /// Whether it has started.
    pub(crate) fn is_started(&self) -> bool {
        self.started
    }

    /// Peers that saw it since it began.
    pub(crate) fn seen(&self) -> usize {
        self.peers.len()
    }

    /// Whether `peer` sees it now.
    pub(crate) fn is_seen_by(&self, peer: PeerId) -> bool {
        let seen = self.place(peer).ok().and_then(|at| self.peers.get(at));
        seen.is_some_and(|(_, seen)| !seen.gone)
    }

    /// Where a peer is, or belongs.
    fn place(&self, peer: PeerId) -> Result<usize, usize> {
        // Many peers at once come in their order.
        if self.peers.last().is_some_and(|(last, _)| *last < peer) {
            return Err(self.peers.len());
        }
        self.peers.binary_search_by_key(&peer, |(peer, _)| *peer)
    }
}

/// How many of a hundred; rounded up by less than one in a million, so that 80 % of five is four.
fn share_pct(part: usize, whole: usize) -> f64 {
    let as_f64 = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    as_f64(part) * 100.0 / as_f64(whole).max(1.0) + 1e-6
}
