//! One flow of a round in terms of networks: uplink, transit, handoff, ingress, what lies behind.
//!
//! Silence is no statement. Wrong tables are expected: one hop of a foreign AS between two hops of one AS is that AS's, a Microsoft
//! address between two hops of a provider is the provider's side of the border (bdrmapIT calls it a third-party or
//! neighbour-numbered interface), and a name of Microsoft's backbone outweighs a prefix.

use std::net::IpAddr;

use crate::hop::{Meaning, Seen};
use crate::message::Flow;
use crate::number::small;

/// What one flow showed.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of one flow, not the states of a machine"
)]
pub struct View {
    /// Number of the flow.
    pub flow: u16,
    /// First public hop that answered, with its TTL: a silent one may have been before it.
    pub first: Option<(u8, Seen)>,
    /// Mapped hops outside Microsoft, in order, with the handoff.
    pub transit: Vec<Seen>,
    /// Last mapped hop before Microsoft.
    pub handoff: Option<Seen>,
    /// Whether the handoff and the ingress are neighbours: no silent hop between them.
    pub adjacent: bool,
    /// The hop before the handoff, where both are neighbours.
    pub upstream: Option<Seen>,
    /// First hop in Microsoft's network.
    pub ingress: Option<Seen>,
    /// Whether the hop before the ingress answered, so that no silent ingress can hide there.
    pub certain: bool,
    /// Whether the path was seen from the first public hop to the ingress without a silent or unmapped one.
    pub unbroken: bool,
    /// Microsoft's hops behind the ingress.
    pub inside: Vec<Seen>,
    /// Whether Microsoft's network or the target answered.
    pub arrived: bool,
    /// Hops that answered.
    pub answered: usize,
    /// Hops asked.
    pub asked: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Net {
    /// Silent, private or unmapped.
    Nothing,
    Microsoft,
    As(u32),
}

/// Reads one flow. `None`: the flow contradicts itself (a loop) or is empty.
pub fn read(flow: &Flow, destination: Option<IpAddr>, meaning: &impl Meaning) -> Option<View> {
    let steps = steps_of(flow, destination, meaning);
    if loops(&steps) {
        return None;
    }
    let nets = networks(&steps);
    let ingress = ingress_at(&steps, &nets);
    let reached = flow.reached
        || destination.is_some_and(|destination| flow.hops.contains(&Some(destination)));
    let mut view = View {
        flow: flow.flow,
        arrived: reached || ingress.is_some(),
        answered: steps.iter().flatten().count(),
        asked: steps.len(),
        first: first_public(flow.first_ttl, &steps),
        ..View::default()
    };
    let end = ingress.unwrap_or(steps.len());
    let mut handoff = None;
    for (index, (step, net)) in steps.iter().zip(&nets).enumerate() {
        match (step, net) {
            (Some(seen), Net::As(asn)) if index < end => {
                let mut seen = *seen;
                seen.hop.asn = Some(*asn);
                seen.hop.microsoft = false;
                view.transit.push(seen);
                handoff = Some((index, seen));
            }
            (Some(seen), _) if Some(index) == ingress => view.ingress = Some(*seen),
            (Some(seen), Net::Microsoft) if index > end => view.inside.push(*seen),
            _ => {}
        }
    }
    let before = |index: usize| index.checked_sub(1).and_then(|index| *steps.get(index)?);
    view.certain = ingress.is_some_and(|index| before(index).is_some());
    if let Some((index, seen)) = handoff.filter(|_| view.arrived) {
        view.handoff = Some(seen);
        view.adjacent = ingress == Some(index + 1);
        view.upstream = before(index);
    }
    view.unbroken = ingress.zip(view.first).is_some_and(|(end, (ttl, _))| {
        let between = nets.get(usize::from(ttl) - 1..end).unwrap_or_default();
        !between.contains(&Net::Nothing)
    });
    (view.asked > 0).then_some(view)
}

fn steps_of(flow: &Flow, destination: Option<IpAddr>, meaning: &impl Meaning) -> Vec<Option<Seen>> {
    let hops = flow.hops.iter().enumerate();
    let before_target = hops.take_while(|(_, hop)| hop.is_none() || **hop != destination);
    before_target
        .map(|(index, hop)| {
            hop.map(|address| Seen {
                address,
                hop: meaning.hop(address),
                rtt_us: flow.rtt_us.get(index).copied().flatten(),
            })
        })
        .collect()
}

/// An address that comes back after another one: the packet ran in a circle, or the answers are not to be believed.
fn loops(steps: &[Option<Seen>]) -> bool {
    steps.iter().enumerate().any(|(index, step)| {
        let Some(seen) = step else { return false };
        let mut other = false;
        steps.iter().skip(index + 1).flatten().any(|later| {
            other |= later.address != seen.address;
            other && later.address == seen.address
        })
    })
}

fn networks(steps: &[Option<Seen>]) -> Vec<Net> {
    let mut nets: Vec<Net> = steps.iter().map(|step| plain(step.as_ref())).collect();
    let known: Vec<usize> = nets
        .iter()
        .enumerate()
        .filter(|(_, net)| **net != Net::Nothing)
        .map(|(index, _)| index)
        .collect();
    for triple in known.windows(3) {
        let [before, here, after] = *triple else {
            continue;
        };
        let named = steps
            .get(here)
            .and_then(Option::as_ref)
            .is_some_and(|seen| seen.hop.named);
        let at = |index: usize| nets.get(index).copied().unwrap_or(Net::Nothing);
        if at(before) == at(after) && at(here) != at(before) && !named {
            let net = at(before);
            if let Some(here) = nets.get_mut(here) {
                *here = net; // one foreign hop inside a network: a border address or a wrong prefix
            }
        }
    }
    nets
}

fn plain(step: Option<&Seen>) -> Net {
    match step {
        Some(seen) if seen.hop.microsoft => Net::Microsoft,
        Some(seen) => seen.hop.asn.map_or(Net::Nothing, Net::As),
        None => Net::Nothing,
    }
}

/// The first Microsoft hop that no provider's hop follows; by its name at once.
fn ingress_at(steps: &[Option<Seen>], nets: &[Net]) -> Option<usize> {
    let named = |index: usize| {
        let step = steps.get(index).and_then(Option::as_ref);
        step.is_some_and(|seen| seen.hop.named && seen.hop.microsoft)
    };
    let first = nets.iter().position(|net| *net == Net::Microsoft)?;
    let earlier = nets.get(..first).unwrap_or_default();
    let later = nets.get(first + 1..).unwrap_or_default();
    let provider = |net: &Net| matches!(net, Net::As(_));
    // Two networks behind a first hop that is Microsoft's: that hop cannot be.
    let impossible =
        !earlier.iter().any(provider) && later.iter().filter(|net| provider(net)).count() >= 2;
    if named(first) && !impossible {
        return Some(first);
    }
    let returns = later
        .iter()
        .position(|net| provider(net) && (impossible || earlier.contains(net)));
    match returns {
        None => Some(first),
        Some(offset) => later
            .iter()
            .enumerate()
            .skip(offset)
            .find(|(_, net)| **net == Net::Microsoft)
            .map(|(index, _)| first + 1 + index),
    }
}

/// The first public hop that answered, if the path was seen from the start.
fn first_public(first_ttl: u8, steps: &[Option<Seen>]) -> Option<(u8, Seen)> {
    if first_ttl > 1 {
        return None;
    }
    let public = |(index, step): (usize, &Option<Seen>)| {
        let seen = step.filter(|seen| !seen.hop.private && !seen.hop.microsoft)?;
        Some((small(index + 1), seen))
    };
    steps.iter().enumerate().find_map(public)
}
