//! What a round met: hops, the paths of its flows, and what was silent.

use std::net::IpAddr;
use std::time::Duration;

/// Entries of a label stack that are kept: deeper stacks are not seen in the wild.
pub const MAX_LABELS: usize = 6;

/// Interfaces that are kept beside the first one of a TTL of a flow.
pub const MAX_ALSO: usize = 16;

/// The MPLS label stack of a reply, top first, each entry as received: label, traffic class, bottom bit, TTL (RFC 4950).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    entries: [u32; MAX_LABELS],
    count: u8,
}

impl Labels {
    /// The entries, top first.
    pub fn entries(&self) -> &[u32] {
        self.entries
            .get(..usize::from(self.count))
            .unwrap_or_default()
    }

    /// The stack with one entry more at its bottom; beyond [`MAX_LABELS`] it stays as it is.
    #[must_use]
    pub fn with(mut self, entry: u32) -> Self {
        if let Some(slot) = self.entries.get_mut(usize::from(self.count)) {
            *slot = entry;
            self.count += 1;
        }
        self
    }
}

impl FromIterator<u32> for Labels {
    fn from_iter<T: IntoIterator<Item = u32>>(entries: T) -> Self {
        entries
            .into_iter()
            .take(MAX_LABELS)
            .fold(Self::default(), Self::with)
    }
}

/// What a quoted packet shows was rewritten on the way out: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrites(u8);

impl Rewrites {
    /// Another source address.
    pub const SOURCE: Self = Self(1);
    /// Another source port, or identifier of an echo request.
    pub const SOURCE_PORT: Self = Self(2);
    /// Another destination address.
    pub const DESTINATION: Self = Self(4);
    /// Another destination port.
    pub const DESTINATION_PORT: Self = Self(8);
    /// Another checksum or identification.
    pub const CHECKSUM: Self = Self(16);

    /// The set with `other` in it when `is_so`.
    #[must_use]
    pub const fn with(self, other: Self, is_so: bool) -> Self {
        if is_so { Self(self.0 | other.0) } else { self }
    }

    /// The bits of the wire format.
    pub const fn bits(self) -> u8 {
        self.0
    }
}

/// Who answered, in what role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    /// A router on the way: the TTL ran out there.
    TimeExceeded,
    /// The destination itself.
    Destination,
    /// A router that will not or cannot pass the packet on.
    Barred,
}

/// One reply, as the shell read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Who sent it.
    pub from: IpAddr,
    /// In what role.
    pub kind: ReplyKind,
    /// ICMP type and code, `type * 256 + code`; 0 when the reply was no ICMP message.
    pub icmp: u16,
    /// TTL of the reply as received, 0 when unknown.
    pub reply_ttl: u8,
    /// TTL inside the quoted packet when it is more than the 1 that it should be, else 0.
    pub quoted_ttl: u8,
    /// What the quote shows was rewritten.
    pub rewrites: Rewrites,
    /// Label stack that the packet came with.
    pub mpls: Labels,
}

impl Reply {
    /// A reply of which no more is known than who sent it and why.
    pub fn plain(from: IpAddr, kind: ReplyKind, icmp: u16, reply_ttl: u8) -> Self {
        Self {
            from,
            kind,
            icmp,
            reply_ttl,
            quoted_ttl: 0,
            rewrites: Rewrites::default(),
            mpls: Labels::default(),
        }
    }
}

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Who answered.
    pub address: IpAddr,
    /// Request sent to reply received.
    pub rtt: Duration,
    /// ICMP type and code, `type * 256 + code`; 0 when the reply was no ICMP message.
    pub icmp: u16,
    /// TTL of the reply as received, 0 when unknown.
    pub reply_ttl: u8,
    /// TTL inside the quoted packet when it is more than the 1 that it should be, else 0.
    pub quoted_ttl: u8,
    /// What the quote shows was rewritten.
    pub rewrites: Rewrites,
    /// Label stack that the packet came with.
    pub mpls: Labels,
}

impl Hop {
    /// The hop that a reply shows.
    pub const fn of(reply: &Reply, rtt: Duration) -> Self {
        Self {
            address: reply.from,
            rtt,
            icmp: reply.icmp,
            reply_ttl: reply.reply_ttl,
            quoted_ttl: reply.quoted_ttl,
            rewrites: reply.rewrites,
            mpls: reply.mpls,
        }
    }

    /// A hop of which no more is known than its address and RTT.
    pub fn plain(address: IpAddr, rtt: Duration) -> Self {
        Self::of(&Reply::plain(address, ReplyKind::TimeExceeded, 0, 0), rtt)
    }
}

/// Why a TTL that was asked has no hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Silence {
    /// It answered, or nothing can be said: nothing behind it answered either.
    #[default]
    None,
    /// It answers nobody: no flow of this round or the last ones, while hops behind it answer.
    Silent,
    /// It has answered other flows or rounds, and hops behind it answer: it holds back by rate.
    RateLimited,
}

/// One TTL of one flow that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The TTL, from 1.
    pub ttl: u8,
    /// Who answered first.
    pub hop: Option<Hop>,
    /// Why nobody did.
    pub silence: Silence,
    /// Other interfaces that answered the same flow here: packets, not flows, are balanced.
    pub also: Vec<IpAddr>,
}

/// What one flow met: a place for each TTL that was asked, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowPath {
    /// Number of the flow, from 0.
    pub flow: u16,
    /// First TTL that was to be asked.
    pub first_ttl: u8,
    /// Last TTL that was asked, which may lie beyond the last place.
    pub last_ttl: u8,
    /// The places, up to the end of the flow or the last answer.
    pub hops: Vec<Place>,
    /// TTL at which the destination answered; its place is then the last one.
    pub destination_ttl: Option<u8>,
    /// One router answered at two TTLs that do not follow one another.
    pub loops: bool,
}

impl FlowPath {
    /// The place of a TTL, if it was asked.
    pub fn place(&self, ttl: u8) -> Option<&Place> {
        self.hops.iter().find(|place| place.ttl == ttl)
    }

    /// Who answered at a TTL.
    pub fn hop(&self, ttl: u8) -> Option<&Hop> {
        self.place(ttl).and_then(|place| place.hop.as_ref())
    }

    /// Every answer with its TTL.
    pub fn answers(&self) -> impl DoubleEndedIterator<Item = (u8, &Hop)> {
        self.hops
            .iter()
            .filter_map(|place| Some((place.ttl, place.hop.as_ref()?)))
    }

    /// Whether one router answered at two TTLs that do not follow one another. Two that do are a router that lets a
    /// packet with a TTL of 0 pass, or two of one address.
    pub fn has_loop(&self) -> bool {
        let answers: Vec<(u8, IpAddr)> = self
            .answers()
            .filter(|(ttl, _)| self.destination_ttl != Some(*ttl))
            .map(|(ttl, hop)| (ttl, hop.address))
            .collect();
        let apart = |(index, (ttl, address)): (usize, &(u8, IpAddr))| {
            let before = answers.get(..index).unwrap_or_default();
            let between = |from: u8| {
                before
                    .iter()
                    .any(|(at, other)| *at > from && other != address)
            };
            before
                .iter()
                .any(|(at, other)| other == address && *at + 1 < *ttl && between(*at))
        };
        answers.iter().enumerate().any(apart)
    }
}

/// One TTL of one flow as far as the round has come: what was sent and is settled, answered or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Number of the flow, from 0.
    pub flow: u16,
    /// The TTL, from 1.
    pub ttl: u8,
    /// Packets that are settled.
    pub sent: u8,
    /// Who answered.
    pub hop: Option<Hop>,
    /// Whether the hop is the destination.
    pub is_destination: bool,
}

/// What multipath discovery found at one TTL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MultipathHop {
    /// The TTL, from 1.
    pub ttl: u8,
    /// Every interface that answered there.
    pub addresses: Vec<IpAddr>,
    /// Packets spent on it.
    pub probes: u32,
    /// Packets that were answered.
    pub answered: u32,
    /// The stopping rule was satisfied: at the stated confidence no further interface exists.
    pub complete: bool,
    /// One flow met several interfaces: packets, not flows, are balanced here.
    pub per_packet: bool,
    /// Links to the next TTL: interface here, interface there, each pair met by one flow at least.
    pub links: Vec<(IpAddr, IpAddr)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(hops: &[u8], reached: bool) -> FlowPath {
        let place = |(ttl, last): (u8, &u8)| Place {
            ttl,
            hop: (*last != 0)
                .then(|| Hop::plain(IpAddr::from([198, 51, 100, *last]), Duration::ZERO)),
            silence: Silence::None,
            also: Vec::new(),
        };
        FlowPath {
            flow: 0,
            first_ttl: 1,
            last_ttl: u8::try_from(hops.len()).expect("few"),
            hops: (1..).zip(hops).map(place).collect(),
            destination_ttl: reached.then(|| u8::try_from(hops.len()).expect("few")),
            loops: false,
        }
    }

    #[test]
    fn a_loop_is_a_router_met_again_after_another() {
        for (name, hops, want) in [
            ("a straight path", &[1, 2, 3, 9][..], false),
            ("the same twice in a row", &[1, 2, 2, 9], false),
            ("the same with silence between", &[1, 2, 0, 2, 9], false),
            ("back to one before", &[1, 2, 3, 2, 9], true),
            ("round and round", &[1, 2, 3, 2, 3, 2], true),
        ] {
            assert_eq!(path(hops, true).has_loop(), want, "{name}");
        }
    }

    #[test]
    fn a_stack_keeps_its_first_entries() {
        let labels: Labels = (1..=9).collect();
        assert_eq!(labels.entries(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(Labels::default().entries(), [0_u32; 0]);
    }
}
