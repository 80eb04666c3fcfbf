//! The machine over a stretch of time: what was seen of it turned into a [`v1::HostContext`].
//!
//! Pure: no clock, no socket. Counts of the interface are told as what came within the stretch; a counter that went back
//! (the interface was made anew) starts from zero.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use firstmile_wire::nat64::Nat64Prefix;
use firstmile_wire::v1;

use super::look::interface::LinkCounts;
use super::roaming::NetworkId;
use crate::probe::{Outcome, address_bytes, micros};

/// RTTs of the gateway that are kept of one stretch: a minute at a look each second.
const MAX_RTTS: usize = 64;

/// Where the machine is in the network. A change of it is told at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The interface of the default route, empty without one.
    pub(crate) interface: String,
    pub(crate) kind: v1::InterfaceKind,
    /// The router next to the machine, under a tunnel the one that the tunnel goes by.
    pub(crate) gateway: Option<IpAddr>,
    /// The first router with a public address on the way out.
    pub(crate) first_public: Option<IpAddr>,
    pub(crate) network: Option<NetworkId>,
    pub(crate) roaming: bool,
    /// Targets, by index, whose packets leave through a tunnel.
    pub(crate) tunnelled: Vec<usize>,
    pub(crate) tunnel_interface: String,
    /// `host:port` of the proxy that users are told to take.
    pub(crate) proxy: String,
    pub(crate) nat64: Option<Nat64Prefix>,
    /// A page whose text is known came back as something else.
    pub(crate) captive_portal: bool,
}

/// What the operating system says of the machine at the end of a stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) cpu_permille: u32,
    pub(crate) memory_available_bytes: u64,
    pub(crate) own_cpu_permille: u32,
    pub(crate) own_rss_bytes: u64,
    pub(crate) scheduling_delay_max: Duration,
    pub(crate) interface_speed_mbps: u32,
}

/// A stretch under way.
#[derive(Debug)]
pub(crate) struct Stretch {
    pub(crate) from: Instant,
    counts: LinkCounts,
    sent: u32,
    lost: u32,
    rtts: Vec<Duration>,
}

impl Stretch {
    /// A stretch from now on; `counts` are those of the interface at its start.
    pub(crate) const fn new(from: Instant, counts: LinkCounts) -> Self {
        Self {
            from,
            counts,
            sent: 0,
            lost: 0,
            rtts: Vec::new(),
        }
    }

    /// Books one echo request to the gateway. What was never sent is no loss.
    pub(crate) fn on_gateway(&mut self, outcome: Outcome) {
        if let Some(rtt) = outcome.rtt() {
            self.sent += 1;
            if self.rtts.len() < MAX_RTTS {
                self.rtts.push(rtt);
            }
        } else if outcome.is_lost() {
            self.sent += 1;
            self.lost += 1;
        }
    }

    /// The message for the stretch up to `now`, but for its start, which is relative to the report it travels in.
    pub(crate) fn into_wire(
        mut self,
        now: Instant,
        place: &Place,
        counts: LinkCounts,
        load: Load,
    ) -> v1::HostContext {
        self.rtts.sort_unstable();
        let span = now.saturating_duration_since(self.from);
        let since = |later: u64, earlier: u64| {
            let more = later.checked_sub(earlier).unwrap_or(later);
            u32::try_from(more).unwrap_or(u32::MAX)
        };
        let before = self.counts;
        let index = |target: &usize| u32::try_from(*target).unwrap_or(u32::MAX);
        v1::HostContext {
            at_offset_ms: 0,
            span_ms: u32::try_from(span.as_millis()).unwrap_or(u32::MAX),
            cpu_permille: load.cpu_permille,
            memory_available_bytes: load.memory_available_bytes,
            own_cpu_permille: load.own_cpu_permille,
            own_rss_bytes: load.own_rss_bytes,
            scheduling_delay_max_us: micros(load.scheduling_delay_max),
            interface: place.interface.clone(),
            interface_kind: place.kind.into(),
            interface_speed_mbps: load.interface_speed_mbps,
            receive_errors: since(counts.receive_errors, before.receive_errors),
            transmit_errors: since(counts.transmit_errors, before.transmit_errors),
            receive_drops: since(counts.receive_drops, before.receive_drops),
            transmit_drops: since(counts.transmit_drops, before.transmit_drops),
            gateway: place.gateway.map(address_bytes).unwrap_or_default(),
            gateway_sent: self.sent,
            gateway_lost: self.lost,
            gateway_rtt_min_us: self.rtts.first().copied().map_or(0, micros),
            gateway_rtt_median_us: median(&self.rtts).map_or(0, micros),
            network_id: place.network.map(Vec::from).unwrap_or_default(),
            tunnelled_targets: place.tunnelled.iter().map(index).collect(),
            tunnel_interface: place.tunnel_interface.clone(),
            proxy: place.proxy.clone(),
            captive_portal: place.captive_portal,
            nat64_prefix: place
                .nat64
                .map(|prefix| prefix.address().octets().to_vec())
                .unwrap_or_default(),
            nat64_prefix_bits: place.nat64.map_or(0, |prefix| u32::from(prefix.bits())),
            roaming: place.roaming,
            first_public_hop: place.first_public.map(address_bytes).unwrap_or_default(),
        }
    }
}

/// The lower of the two middle ones where their number is even.
fn median(sorted: &[Duration]) -> Option<Duration> {
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn ended(outcomes: &[Outcome]) -> v1::HostContext {
        let start = crate::clock::now();
        let mut stretch = Stretch::new(start, LinkCounts::default());
        for outcome in outcomes {
            stretch.on_gateway(*outcome);
        }
        stretch.into_wire(
            start + 60_000 * MS,
            &Place::default(),
            LinkCounts::default(),
            Load::default(),
        )
    }

    #[test]
    fn the_leg_to_the_gateway_has_its_loss_and_its_times() {
        let answered = |ms| Outcome::Answered(MS * ms);
        let context = ended(&[
            answered(3),
            Outcome::Timeout,
            answered(1),
            answered(2),
            Outcome::NotPermitted,
        ]);
        assert_eq!((context.gateway_sent, context.gateway_lost), (4, 1));
        assert_eq!(
            (context.gateway_rtt_min_us, context.gateway_rtt_median_us),
            (1_000, 2_000)
        );
        assert_eq!(context.span_ms, 60_000);
        let silent = ended(&[Outcome::Timeout]);
        assert_eq!(
            (silent.gateway_rtt_min_us, silent.gateway_rtt_median_us),
            (0, 0)
        );
    }

    #[test]
    fn counters_are_told_as_differences_also_after_they_began_anew() {
        let start = crate::clock::now();
        let counts = |receive_drops, transmit_errors| LinkCounts {
            transmit_errors,
            receive_drops,
            ..LinkCounts::default()
        };
        let stretch = Stretch::new(start, counts(100, 100));
        let context = stretch.into_wire(start, &Place::default(), counts(104, 3), Load::default());
        assert_eq!(
            (
                context.receive_drops,
                context.transmit_errors,
                context.receive_errors
            ),
            (4, 3, 0)
        );
    }

    #[test]
    fn a_place_is_told_whole() {
        let place = Place {
            interface: "eth0".to_owned(),
            kind: v1::InterfaceKind::Ethernet,
            gateway: "192.0.2.1".parse().ok(),
            first_public: "198.51.100.1".parse().ok(),
            network: Some([7; 8]),
            roaming: true,
            tunnelled: vec![0, 3],
            tunnel_interface: "wg0".to_owned(),
            proxy: "proxy.example:3128".to_owned(),
            captive_portal: true,
            nat64: Nat64Prefix::new("64:ff9b::".parse().expect("an address"), 96),
        };
        let now = crate::clock::now();
        let context = Stretch::new(now, LinkCounts::default()).into_wire(
            now,
            &place,
            LinkCounts::default(),
            Load::default(),
        );
        assert_eq!(context.gateway, [192, 0, 2, 1]);
        assert_eq!(context.first_public_hop, [198, 51, 100, 1]);
        assert_eq!(context.network_id, [7; 8]);
        assert_eq!(context.tunnelled_targets, [0, 3]);
        assert_eq!(context.nat64_prefix_bits, 96);
        let read = Nat64Prefix::from_wire(&context.nat64_prefix, context.nat64_prefix_bits);
        assert_eq!(read, place.nat64);
        assert!(context.captive_portal);
        assert!(context.roaming && context.interface_kind() == v1::InterfaceKind::Ethernet);
    }

    proptest! {
        #[test]
        fn what_was_sent_is_answered_or_lost(lost in prop::collection::vec(prop::bool::ANY, 0..200)) {
            let outcomes: Vec<Outcome> = lost.iter().map(|lost| if *lost { Outcome::Timeout } else { Outcome::Answered(MS) }).collect();
            let context = ended(&outcomes);
            prop_assert_eq!(context.gateway_sent as usize, lost.len());
            prop_assert_eq!(context.gateway_lost as usize, lost.iter().filter(|lost| **lost).count());
            prop_assert!(context.gateway_rtt_min_us <= context.gateway_rtt_median_us);
        }
    }
}
