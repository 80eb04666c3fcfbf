//! Which rounds are compared at all.
//!
//! TCP flows take the way of users' traffic; ICMP and UDP may be hashed apart from it. So rounds of different packets are
//! never pooled, and where TCP rounds can be had the others are evidence only. A refresh of the same packets tells the
//! classifier what else the path has; it begins nothing.

use firstmile_wire::v1::{TraceKind, TraceStream};

use crate::ingest::batch::{Flow, Round};

/// What to do with a round, given the packets of the rounds that were compared before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparability {
    /// Compare it.
    Compare,
    /// Compare it with nothing: what was learnt is of packets that are worth less.
    Anew,
    /// Keep it as evidence.
    Evidence,
}

/// How `round` stands to what was compared `before` ([`super::PathMemory::kind`]).
pub fn comparability(before: i32, round: &Round) -> Comparability {
    let before = TraceKind::try_from(before).unwrap_or_default();
    match before {
        TraceKind::Unspecified if round.stream == TraceStream::Refresh => Comparability::Evidence,
        TraceKind::Unspecified => Comparability::Compare,
        _ if before == round.kind => Comparability::Compare,
        _ if round.stream == TraceStream::Refresh => Comparability::Evidence,
        _ if round.kind == TraceKind::Tcp => Comparability::Anew,
        TraceKind::Tcp | TraceKind::Udp | TraceKind::Icmp => Comparability::Evidence,
    }
}

/// Whether any flow of the round was asked for from its first hop on.
pub fn is_whole(round: &Round) -> bool {
    let from_first_hop = |flow: &Flow| flow.hops.first().is_none_or(|hop| hop.ttl == 1);
    round.flows.iter().any(from_first_hop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn round(kind: TraceKind, stream: TraceStream) -> Round {
        Round {
            at_unix_ms: 0,
            target: Arc::from("exchange"),
            destination: [192, 0, 2, 1].into(),
            kind,
            burst: false,
            stream,
            nat64: None,
            flows: vec![],
        }
    }

    #[test]
    fn packets_are_never_pooled_and_tcp_is_preferred() {
        use Comparability::{Anew, Compare, Evidence};
        use TraceKind::{Icmp, Tcp, Udp, Unspecified};
        for (before, kind, want) in [
            (Unspecified, Icmp, Compare),
            (Unspecified, Tcp, Compare),
            (Tcp, Tcp, Compare),
            (Tcp, Icmp, Evidence),
            (Tcp, Udp, Evidence),
            (Icmp, Icmp, Compare),
            (Icmp, Udp, Evidence),
            (Icmp, Tcp, Anew),
            (Udp, Tcp, Anew),
        ] {
            for stream in [TraceStream::Full, TraceStream::Tail, TraceStream::Burst] {
                let got = comparability(before.into(), &round(kind, stream));
                assert_eq!(got, want, "{kind:?} after {before:?}");
            }
            let refresh = round(kind, TraceStream::Refresh);
            let want = if before == kind { Compare } else { Evidence };
            assert_eq!(
                comparability(before.into(), &refresh),
                want,
                "a refresh begins nothing"
            );
        }
    }
}
