//! Whether TCP is answered by something nearer than the edge can be: a SYN proxy, a security gateway, an accelerator.
//!
//! Pure. The rule, with its reasons, is in `docs/design/terminated-locally.md`. The verdict is reached at the end of a path
//! round, from what was seen since the one before, so that a path that has just become shorter is not called a proxy.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::trace::FlowPath;

/// Rounds that have to have met an ingress router before its least RTT counts: the replies of routers come late as they
/// please, and the least of several is near the truth.
const ROUNDS: u32 = 3;

/// By how much TCP has to be nearer than the ingress at least, and by which part of the ingress's RTT.
const MARGIN: Duration = Duration::from_millis(2);
const MARGIN_PART: u32 = 4;

/// Routers that the reply to TCP has to have crossed less than the reply to an echo request, at least: two ways back of
/// one host differ by two or three.
const FEWER_ROUTERS: u8 = 4;

/// Ingress routers remembered: eight flows enter by as many at most.
const MAX_INGRESSES: usize = 8;

/// All that the verdict rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Least RTT of TCP since the last round.
    pub(crate) tcp: Option<Duration>,
    /// Least RTT of the nearest ingress router.
    pub(crate) ingress: Option<Duration>,
    /// Routers that the reply to a SYN has crossed.
    pub(crate) tcp_routers: Option<u8>,
    /// Routers that the reply to an echo request has crossed.
    pub(crate) echo_routers: Option<u8>,
    /// TTL of the farthest router that was met on the way.
    pub(crate) met_routers: u8,
}

/// Why TCP is held to be answered on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// TCP comes back before it can have reached Microsoft's network.
    BelowIngress { tcp: Duration, ingress: Duration },
    /// The reply to TCP has crossed fewer routers than there are.
    FewRouters { tcp: u8, others: u8 },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowIngress { tcp, ingress } => {
                write!(f, "it takes {tcp:?}, the ingress router {ingress:?}")
            }
            Self::FewRouters { tcp, others } => write!(
                f,
                "its replies have crossed {tcp} routers, those of others {others}"
            ),
        }
    }
}

impl Evidence {
    /// Whether TCP is answered on the way; `None` when nothing says so.
    pub(crate) fn judge(&self) -> Option<Why> {
        if let (Some(tcp), Some(ingress)) = (self.tcp, self.ingress) {
            let margin = MARGIN.max(ingress / MARGIN_PART);
            if tcp + margin < ingress {
                return Some(Why::BelowIngress { tcp, ingress });
            }
        }
        let tcp = self.tcp_routers?;
        let few = |others: u8| Some(Why::FewRouters { tcp, others });
        if let Some(echo) = self.echo_routers
            && tcp.saturating_add(FEWER_ROUTERS) <= echo
        {
            return few(echo);
        }
        // A way back may be much shorter than the way there, but hardly half as long.
        let met = self.met_routers;
        if tcp.saturating_mul(2).saturating_add(FEWER_ROUTERS) <= met {
            return few(met);
        }
        None
    }
}

/// Routers that a reply has crossed, from the TTL that it came with: hosts start at 64, 128 or 255. `None`
/// for 0, which stands for unknown.
pub(crate) const fn routers_crossed(ttl: u8) -> Option<u8> {
    match ttl {
        0 => None,
        1..=64 => Some(64 - ttl),
        65..=128 => Some(128 - ttl),
        129..=255 => Some(255 - ttl),
    }
}

/// What is known of one destination.
#[derive(Debug, Default)]
pub(crate) struct Nearness {
    evidence: Evidence,
    /// Least RTT of each ingress router of the last round, and in how many rounds in a row it was met.
    ingresses: BTreeMap<IpAddr, (Duration, u32)>,
    verdict: Option<Why>,
}

impl Nearness {
    /// The verdict of the last round.
    pub(crate) const fn verdict(&self) -> Option<Why> {
        self.verdict
    }

    /// Books the RTT of an answered TCP connect.
    pub(crate) fn on_tcp(&mut self, rtt: Duration) {
        let least = self.evidence.tcp.map_or(rtt, |least| least.min(rtt));
        self.evidence.tcp = Some(least);
    }

    /// Books the TTL of an echo reply.
    pub(crate) fn on_echo(&mut self, reply_ttl: u8) {
        self.evidence.echo_routers = routers_crossed(reply_ttl).or(self.evidence.echo_routers);
    }

    /// Books a round, of SYN packets or others; `is_inside` says which routers are Microsoft's. True when the verdict is
    /// another one.
    pub(crate) fn on_round(
        &mut self,
        flows: &[FlowPath],
        is_of_syns: bool,
        is_inside: impl Fn(IpAddr) -> bool,
    ) -> bool {
        self.book_ingresses(flows, is_inside);
        // A loop, or a path that comes to no end, has routers at TTLs that say nothing of how far the destination is.
        let whole = (flows.iter()).filter(|flow| flow.destination_ttl.is_some() && !flow.loops);
        let router = |flow: &FlowPath| {
            (flow.answers())
                .filter(|(ttl, _)| flow.destination_ttl != Some(*ttl))
                .map(|(ttl, _)| ttl)
                .max()
        };
        if let Some(met) = whole.filter_map(router).max() {
            self.evidence.met_routers = met;
        }
        if is_of_syns {
            let reply =
                |flow: &FlowPath| routers_crossed(flow.hop(flow.destination_ttl?)?.reply_ttl);
            // The longest way back: one near answer of several is not enough.
            let crossed = flows.iter().filter_map(reply).max();
            self.evidence.tcp_routers = crossed.or(self.evidence.tcp_routers);
        }
        let settled = self
            .ingresses
            .values()
            .filter(|(_, rounds)| *rounds >= ROUNDS);
        self.evidence.ingress = settled.map(|(least, _)| *least).min();
        let before = self.verdict.is_some();
        self.verdict = self.evidence.judge();
        self.evidence.tcp = None;
        before != self.verdict.is_some()
    }

    /// Only routers of this round stay: after a change of path the figures of the old one say nothing.
    fn book_ingresses(&mut self, flows: &[FlowPath], is_inside: impl Fn(IpAddr) -> bool) {
        let entries = flows
            .iter()
            .filter_map(|flow| flow.answers().find(|(_, hop)| is_inside(hop.address)));
        let mut now: BTreeMap<IpAddr, Duration> = BTreeMap::new();
        for (_, hop) in entries {
            let least = now.entry(hop.address).or_insert(hop.rtt);
            *least = (*least).min(hop.rtt);
        }
        if now.is_empty() {
            return;
        }
        let before = std::mem::take(&mut self.ingresses);
        for (address, rtt) in now.into_iter().take(MAX_INGRESSES) {
            let (least, rounds) = before.get(&address).copied().unwrap_or((rtt, 0));
            self.ingresses
                .insert(address, (least.min(rtt), rounds.saturating_add(1)));
        }
    }
}

#[cfg(test)]
#[path = "nearness_tests.rs"]
mod tests;
