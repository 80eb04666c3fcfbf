//! What the machine's place in the network means for a sample: the marks that keep it out of a site's figures.
//!
//! Which way packets to a destination leave is asked of the kernel when the first sample of it comes, and again after
//! [`FRESH`]; a change that was noticed forgets all answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use firstmile_wire::nat64::Nat64Prefix;
use firstmile_wire::v1::{InterfaceKind, Mark, Protocol};

use super::look::{self, Way};
use super::nearby::FirstPublic;
use crate::config::{ProxyRules, Target, Vantage};
use crate::net::exit::{Exit, InterfaceName};
use crate::probe::trace::FlowPath;
use crate::probe::{Marks, Sample};

/// How long an answer of the kernel holds.
const FRESH: Duration = Duration::from_secs(30);

/// Ways that are remembered: 20 targets in two families over several vantage points stay below. Beyond it all are forgotten.
const MAX_WAYS: usize = 256;

/// What is known of the machine, asked for each sample.
#[derive(Debug, Default)]
pub(crate) struct HostMarks {
    /// For each target the proxy that users take to it.
    proxied: Vec<Option<String>>,
    /// Interfaces that are the site's own line though they look like tunnels.
    not_tunnels: Vec<String>,
    /// The ways out that the configuration names.
    exits: Vec<Exit>,
    roaming: AtomicBool,
    ways: Mutex<BTreeMap<(IpAddr, u16), Known>>,
    delay_max_us: AtomicU64,
    first_public: Mutex<Option<FirstPublic>>,
    nat64: Mutex<Option<Nat64Prefix>>,
}

/// What the kernel said of the way to a destination.
#[derive(Clone, Debug)]
struct Known {
    until: Instant,
    target: usize,
    /// The tunnel that packets leave by; `None`: by no tunnel.
    tunnel: Option<String>,
}

impl HostMarks {
    /// Marks for samples of these targets.
    pub(crate) fn new(
        targets: &[Target],
        proxies: &ProxyRules,
        not_tunnels: &[String],
        vantages: &[Vantage],
    ) -> Self {
        let proxy = |target: &Target| proxies.for_users(&target.host.to_string());
        Self {
            proxied: targets.iter().map(proxy).collect(),
            not_tunnels: not_tunnels.to_vec(),
            exits: vantages.iter().map(|vantage| vantage.exit).collect(),
            ..Self::default()
        }
    }

    /// The marks of a sample, those that it has included. Questions of DNS go to the site's resolver, by whatever way users'
    /// do.
    pub(crate) fn of(&self, sample: &Sample) -> Marks {
        self.note_delay(sample.scheduling_delay.unwrap_or_default());
        let mut marks = sample.marks;
        if self.roaming.load(Ordering::Relaxed) {
            marks = marks.with(Mark::Roaming);
        }
        if sample.protocol == Protocol::Dns {
            return marks;
        }
        if matches!(self.proxied.get(sample.target), Some(Some(_))) {
            marks = marks.with(Mark::NotUsersPath);
        }
        let exit = self.exits.get(usize::from(sample.vantage));
        let exit = exit.copied().unwrap_or_default();
        let way = |destination| {
            let interface = exit.interface.as_ref().map(InterfaceName::as_str);
            look::way_to(destination, exit.source, interface)
        };
        if self.leaves_by_tunnel(sample, way) {
            marks = marks.with(Mark::Tunnel);
        }
        marks
    }

    /// The proxy that users are told to take, empty when there is none.
    pub(crate) fn proxy(&self) -> String {
        self.proxied
            .iter()
            .flatten()
            .next()
            .cloned()
            .unwrap_or_default()
    }

    /// Whether an interface hides the path behind it.
    pub(crate) fn is_tunnel(&self, interface: &look::Interface) -> bool {
        interface.kind == InterfaceKind::Tunnel && !self.not_tunnels.contains(&interface.name)
    }

    /// Sets whether samples are taken in another network than the usual one.
    pub(crate) fn set_roaming(&self, roaming: bool) {
        self.roaming.store(roaming, Ordering::Relaxed);
    }

    /// Forgets every way: the network has changed.
    pub(crate) fn forget_ways(&self) {
        self.ways().clear();
        *self.first_public_slot() = None;
    }

    /// Looks at a round by the machine's own choice of ways. What leaves through a tunnel says nothing of the network here.
    pub(crate) fn on_round(&self, target: usize, destination: IpAddr, flows: &[FlowPath]) {
        if !self.tunnelled().0.contains(&target) {
            let mut known = self.first_public_slot();
            *known = FirstPublic::learn(*known, flows, destination);
        }
    }

    /// The first router with a public address that packets meet; `None` when it is not known, or not known any more.
    pub(crate) fn first_public(&self) -> Option<IpAddr> {
        self.first_public_slot().map(|first| first.address)
    }

    /// Sets the prefix behind which IPv4 addresses are; `None`: there is none.
    pub(crate) fn set_nat64(&self, prefix: Option<Nat64Prefix>) {
        *self.nat64.lock().unwrap_or_else(PoisonError::into_inner) = prefix;
    }

    /// The prefix behind which IPv4 addresses are.
    pub(crate) fn nat64(&self) -> Option<Nat64Prefix> {
        *self.nat64.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn first_public_slot(&self) -> MutexGuard<'_, Option<FirstPublic>> {
        let slot = self.first_public.lock();
        slot.unwrap_or_else(PoisonError::into_inner)
    }

    /// Targets whose packets leave through a tunnel, in order, and the interface that the first of them takes.
    pub(crate) fn tunnelled(&self) -> (Vec<usize>, String) {
        let ways = self.ways();
        let through = || {
            ways.values()
                .filter_map(|way| Some((way.target, way.tunnel.as_ref()?)))
        };
        let targets: BTreeSet<usize> = through().map(|(target, _)| target).collect();
        let interface = through().next().map(|(_, name)| name.clone());
        (targets.into_iter().collect(), interface.unwrap_or_default())
    }

    /// The largest delay of this program that samples have told of since it was last asked for.
    pub(crate) fn take_delay_max(&self) -> Duration {
        Duration::from_micros(self.delay_max_us.swap(0, Ordering::Relaxed))
    }

    /// Books a delay of this program.
    pub(crate) fn note_delay(&self, delay: Duration) {
        let us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.delay_max_us.fetch_max(us, Ordering::Relaxed);
    }

    fn leaves_by_tunnel(&self, sample: &Sample, look: impl Fn(IpAddr) -> Option<Way>) -> bool {
        let Some(destination) = sample.destination else {
            return false;
        };
        let key = (destination, sample.vantage);
        if let Some(known) = self.ways().get(&key)
            && sample.at < known.until
        {
            return known.tunnel.is_some();
        }
        let interface = look(destination).map(|way| way.interface);
        let tunnel = interface.filter(|interface| self.is_tunnel(interface));
        let is_tunnel = tunnel.is_some();
        let known = Known {
            until: sample.at + FRESH,
            target: sample.target,
            tunnel: tunnel.map(|interface| interface.name),
        };
        let mut ways = self.ways();
        if ways.len() >= MAX_WAYS {
            ways.clear();
        }
        ways.insert(key, known);
        is_tunnel
    }

    fn ways(&self) -> MutexGuard<'_, BTreeMap<(IpAddr, u16), Known>> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use firstmile_wire::v1::Phase;
    use proptest::prelude::*;

    use super::*;
    use crate::host::look::Interface;
    use crate::probe::{Clock, Outcome};

    fn sample(number: u8, protocol: Protocol) -> Sample {
        Sample {
            at: crate::clock::now(),
            target: 0,
            destination: Some([203, 0, 113, number].into()),
            protocol,
            phase: Phase::Rtt,
            outcome: Outcome::Timeout,
            clock: Clock::User,
            scheduling_delay: None,
            reply_ttl: 0,
            marks: Marks::default(),
            vantage: 0,
        }
    }

    fn by(name: &str, kind: InterfaceKind) -> Way {
        Way {
            interface: Interface {
                name: name.to_owned(),
                kind,
                ..Interface::default()
            },
            ..Way::default()
        }
    }

    #[test]
    fn a_tunnel_is_asked_for_once_and_again_after_a_change() {
        let marks = HostMarks::default();
        let tcp = sample(1, Protocol::Tcp);
        assert!(marks.leaves_by_tunnel(&tcp, |_| Some(by("wg0", InterfaceKind::Tunnel))));
        assert!(
            marks.leaves_by_tunnel(&tcp, |_| Some(by("eth0", InterfaceKind::Ethernet))),
            "still known"
        );
        assert_eq!(marks.tunnelled(), (vec![0], "wg0".to_owned()));
        let later = Sample {
            at: tcp.at + FRESH,
            ..tcp
        };
        assert!(!marks.leaves_by_tunnel(&later, |_| Some(by("eth0", InterfaceKind::Ethernet))));
        marks.forget_ways();
        assert!(marks.leaves_by_tunnel(&later, |_| Some(by("wg0", InterfaceKind::Tunnel))));
        let line = HostMarks {
            not_tunnels: vec!["ppp0".to_owned()],
            ..HostMarks::default()
        };
        assert!(
            !line.leaves_by_tunnel(&tcp, |_| Some(by("ppp0", InterfaceKind::Tunnel))),
            "the site's own line"
        );
        assert!(
            !marks.leaves_by_tunnel(&sample(2, Protocol::Tcp), |_| None),
            "no way at all"
        );
    }

    #[test]
    fn users_proxies_and_roaming_are_marked_and_dns_has_neither_proxy_nor_tunnel() {
        let marks = HostMarks {
            proxied: vec![Some("proxy.example:3128".to_owned())],
            ..HostMarks::default()
        };
        let bits = |protocol| {
            marks
                .of(&Sample {
                    destination: None,
                    ..sample(1, protocol)
                })
                .to_wire()
        };
        assert_eq!(bits(Protocol::Tcp), Mark::NotUsersPath as u32);
        assert_eq!(bits(Protocol::Dns), 0);
        marks.set_roaming(true);
        assert_eq!(
            bits(Protocol::Tcp),
            Mark::NotUsersPath as u32 | Mark::Roaming as u32
        );
        assert_eq!(bits(Protocol::Dns), Mark::Roaming as u32);
        assert_eq!(marks.proxy(), "proxy.example:3128");
    }

    proptest! {
        #[test]
        fn marks_that_a_sample_has_stay(had in prop::sample::subsequence(vec![Mark::Untrusted, Mark::TerminatedLocally, Mark::AfterIdle], 0..4), roaming: bool) {
            let marks = HostMarks::default();
            marks.set_roaming(roaming);
            let before = had.iter().fold(Marks::default(), |marks, mark| marks.with(*mark));
            let after = marks.of(&Sample { marks: before, destination: None, ..sample(1, Protocol::Tcp) });
            prop_assert_eq!(after.to_wire() & before.to_wire(), before.to_wire());
            prop_assert_eq!(after.to_wire() & Mark::Roaming as u32 != 0, roaming);
        }

        #[test]
        fn the_memory_of_ways_is_bounded(count in 0usize..1_000) {
            let marks = HostMarks::default();
            for number in 0..count {
                let one = sample(1, Protocol::Tcp);
                let destination = Some(IpAddr::from(std::net::Ipv4Addr::from(u32::try_from(number).unwrap_or(0))));
                marks.leaves_by_tunnel(&Sample { destination, ..one }, |_| None);
            }
            prop_assert!(marks.ways().len() <= MAX_WAYS);
        }
    }
}
