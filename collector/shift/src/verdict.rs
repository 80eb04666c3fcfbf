//! What one flow says against the baseline, layer by layer.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::book::{Book, Role};
use crate::hop::Seen;
use crate::view::View;

/// One layer of one flow against the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    /// The flow says nothing of it.
    #[default]
    Silent,
    /// The baseline has it.
    Usual,
    /// The baseline does not have it.
    Novel,
}

/// What one flow says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, not the states of a machine"
)]
pub struct Verdict {
    /// Number of the flow.
    pub flow: u16,
    /// When it was seen, Unix seconds.
    pub at: f64,
    /// AS of the first public hop.
    pub uplink: Mark,
    /// The AS of the uplink.
    pub uplink_asn: Option<u32>,
    /// Handoff AS and ASes on the way.
    pub provider: Mark,
    /// The AS that hands over to Microsoft, or the novel one on the way.
    pub provider_asn: Option<u32>,
    /// One foreign hop behind a usual one: as likely a wrong table as another AS.
    pub weak: bool,
    /// The handoff's address is of the baseline, not its AS alone.
    pub familiar: bool,
    /// The novel AS is at the handoff, where every tail round sees it.
    pub at_handoff: bool,
    /// Ingress metro.
    pub metro: Mark,
    /// The metro.
    pub metro_key: u32,
    /// Ingress router.
    pub router: Mark,
    /// The ingress, or the router behind it whose name says the metro.
    pub seen_at: Option<IpAddr>,
    /// The router of the ingress; 0: not seen.
    pub router_key: u32,
    /// Whether it is surely the ingress, and no router behind one that was silent.
    pub entered: bool,
    /// Whether it is sure that a novel ingress is another router and no other address of a known one.
    pub resolved: bool,
    /// Router of the handoff; 0: not seen.
    pub handoff_key: u32,
    /// Router before the handoff; 0: not seen.
    pub upstream_key: u32,
    /// RTT to the ingress, microseconds; 0: not seen.
    pub ingress_us: u32,
}

/// What is known of a flow before it is judged.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    /// TTL of the first public hop.
    pub first_ttl: u8,
    /// Whether the address probed is one that the baseline was made with.
    pub same_target: bool,
    /// The router that the flow used to enter by; 0: not known.
    pub router: u32,
}

impl Before {
    /// Of a flow while the baseline is being made.
    pub const LEARNING: Self = Self {
        first_ttl: u8::MAX,
        same_target: true,
        router: 0,
    };
}

/// Whether it is known which router a flow left, so that a named one is surely another.
fn left_is_resolved(book: &Book, router: u32) -> bool {
    match router {
        0 => book.ingresses_are_resolved(),
        known => book.is_resolved(known),
    }
}

/// Judges one flow.
pub fn judge(view: &View, at: f64, book: &Book, before: Before) -> Verdict {
    let mut verdict = Verdict {
        flow: view.flow,
        at,
        handoff_key: view
            .handoff
            .filter(|_| view.adjacent)
            .map_or(0, |seen| seen.hop.router),
        upstream_key: view.upstream.map_or(0, |seen| seen.hop.router),
        ..Verdict::default()
    };
    uplink(&mut verdict, view, book, before.first_ttl);
    provider(&mut verdict, view, book);
    ingress(&mut verdict, view, book, before);
    metro(&mut verdict, view, book);
    verdict
}

fn uplink(verdict: &mut Verdict, view: &View, book: &Book, first_ttl: u8) {
    let Some((ttl, seen)) = view.first else {
        return;
    };
    let Some(asn) = seen.hop.asn else { return };
    verdict.uplink = if book.knows_uplink(asn) || book.knows(seen.address) {
        Mark::Usual
    } else if ttl <= first_ttl && !book.knows_as_number(asn) {
        Mark::Novel
    } else {
        Mark::Silent
    };
    verdict.uplink_asn = Some(asn);
}

fn provider(verdict: &mut Verdict, view: &View, book: &Book) {
    let is_novel = |seen: &&Seen| {
        let unknown = seen.hop.asn.is_some_and(|asn| !book.knows_as_number(asn));
        unknown && !book.knows(seen.address)
    };
    let novel: Vec<&Seen> = view.transit.iter().filter(is_novel).collect();
    verdict.provider_asn = view.handoff.and_then(|seen| seen.hop.asn);
    if let Some(first) = novel.first() {
        // A member of the provider's core that was replaced makes the next router answer from another interface: the AS
        // beside it is what says that the provider is the usual one.
        let usual = |seen: &Seen| {
            let carries = seen.hop.asn.is_some_and(|asn| book.knows_as_number(asn));
            carries || book.knows(seen.address)
        };
        let from_usual = view.transit.iter().any(usual);
        let at_handoff = |seen: &&&Seen| {
            view.handoff
                .is_some_and(|last| last.address == seen.address)
        };
        verdict.provider = Mark::Novel;
        verdict.at_handoff = novel.iter().any(|seen| at_handoff(&seen)) || view.handoff.is_none();
        // One member of the provider's core before a silent border may be wrongly mapped too.
        let lone = novel.len() < 2 && (from_usual || !view.adjacent);
        let at_start = view
            .first
            .is_some_and(|(_, seen)| seen.address == first.address);
        verdict.weak = lone && (at_start || !replaces(view, book));
        if !verdict.at_handoff {
            verdict.provider_asn = first.hop.asn;
        }
        return;
    }
    let Some(handoff) = view.handoff else {
        return;
    };
    let asn = handoff.hop.asn.unwrap_or_default();
    verdict.familiar = book.knows(handoff.address);
    let fresh_border =
        !book.knows(handoff.address) || view.ingress.is_some_and(|seen| !book.knows(seen.address));
    if book.knows_handoff(asn) || book.knows_as(handoff.address, Role::Handoff) {
        verdict.provider = Mark::Usual;
    } else if view.adjacent && fresh_border && book.support(Role::Handoff) > 0.0 {
        verdict.provider = Mark::Novel;
        verdict.at_handoff = true;
        verdict.weak = view.upstream.is_some_and(|seen| book.knows(seen.address));
    }
}

/// Whether an AS that carried the whole path is gone from it, and no silent hop could hide it: then a foreign hop took its
/// place, and is no wrongly mapped member of a usual network.
fn replaces(view: &View, book: &Book) -> bool {
    let here = |asn: u32| {
        let mut seen = view.transit.iter();
        seen.any(|seen| seen.hop.asn == Some(asn))
    };
    view.unbroken && book.carriers().any(|asn| !here(asn))
}

fn ingress(verdict: &mut Verdict, view: &View, book: &Book, before: Before) {
    let Some(seen) = view.ingress else { return };
    let behind = book.knows_as(seen.address, Role::Inside);
    if !view.certain && behind && !book.knows_as(seen.address, Role::Ingress) {
        return; // the ingress is silent, this is the router behind it
    }
    let by_name = seen.hop.named && !seen.hop.backbone;
    verdict.entered = by_name || (view.certain && !seen.hop.backbone);
    if book.knows(seen.address) || book.knows_router(seen.hop.router) {
        verdict.router = Mark::Usual;
        verdict.router_key = seen.hop.router;
        verdict.seen_at = Some(seen.address);
        verdict.ingress_us = seen.rtt_us.unwrap_or_default();
        return;
    }
    if !before.same_target {
        return; // another address of the target may have routers of its own
    }
    verdict.router = Mark::Novel;
    verdict.router_key = seen.hop.router;
    verdict.seen_at = Some(seen.address);
    verdict.ingress_us = seen.rtt_us.unwrap_or_default();
    verdict.resolved =
        seen.hop.resolved && left_is_resolved(book, before.router) && (view.certain || by_name);
}

fn metro(verdict: &mut Verdict, view: &View, book: &Book) {
    let placed = view
        .ingress
        .iter()
        .chain(&view.inside)
        .find(|seen| seen.hop.metro.is_some());
    let Some((seen, metro)) = placed.and_then(|seen| Some((seen, seen.hop.metro?))) else {
        return;
    };
    verdict.metro_key = metro.get();
    verdict.metro = if book.knows_metro(metro) || book.knows(seen.address) {
        Mark::Usual
    } else if book.knows_its_metro() {
        Mark::Novel
    } else {
        Mark::Silent
    };
    if verdict.metro == Mark::Novel || verdict.seen_at.is_none() {
        verdict.seen_at = Some(seen.address);
    }
}
