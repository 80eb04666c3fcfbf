//! Watches the machine: looks where it is in the network, pings the router next to it, and tells of each minute and of each
//! change.
//!
//! A look costs a few questions to the kernel; the routing socket is open for that moment only, and no table is ever read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use firstmile_wire::nat64::Nat64Prefix;
use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::context::{Load, Place, Stretch};
use super::look::interface::LinkCounts;
use super::look::{self, Way};
use super::marks::HostMarks;
use super::memory::Memory;
use super::nearby::Nearby;
use crate::alarm;
use crate::clock;
use crate::config::PortalPage;
use crate::net::dns::Dns;
use crate::net::icmp::EchoEngine;
use crate::net::{nat64, portal};
use crate::probe::Outcome;
use crate::report::batch::Observation;
use crate::report::pipeline::Recorder;

/// A stretch that nothing cuts short.
const STRETCH: Duration = Duration::from_mins(1);

/// Pause between two looks: that of the pulses, within these bounds.
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The machine's networks are kept this often while nothing changes.
const SAVE: Duration = Duration::from_hours(1);

/// A NAT64 is looked for this often, and after each change.
const NAT64: Duration = Duration::from_mins(30);

/// The page that tells a captive portal is fetched this often, after each change, and oftener while there is one; it is
/// waited for this long.
const PORTAL: Duration = Duration::from_mins(15);
const PORTAL_AGAIN: Duration = Duration::from_mins(1);
const PORTAL_TIMEOUT: Duration = Duration::from_secs(3);

/// A name server of the root in each family (k.root-servers.net). Nothing is sent there: the kernel is asked which way it
/// would take.
pub(crate) const SOMEWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(193, 0, 14, 129)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x7fd, 0, 0, 0, 0, 0, 1)),
];

/// The watch, before it runs.
pub(crate) struct HostWatch {
    pub(crate) state_dir: PathBuf,
    pub(crate) pulse_interval: Duration,
    /// Whether this machine may be elsewhere than at its site.
    pub(crate) roams: bool,
    pub(crate) marks: Arc<HostMarks>,
    pub(crate) echo: Arc<dyn EchoEngine>,
    pub(crate) dns: Arc<Dns>,
    /// The page whose text is known; `None`: none is fetched.
    pub(crate) portal: Option<PortalPage>,
    pub(crate) recorder: Recorder,
}

/// The watch at work.
struct Watching {
    host: HostWatch,
    memory: Memory,
    /// `None` where this system does not tell of its load.
    system: Option<System>,
    #[cfg(windows)]
    processors: firstmile_sys::windows::load::Processors,
    place: Place,
    /// As last found out; the next look tells of it as part of the place.
    nat64: Option<Nat64Prefix>,
    counts: LinkCounts,
    speed_mbps: u32,
    stretch: Stretch,
    looked_at: Instant,
    saved_at: Instant,
    /// Something has changed that is to be kept.
    is_unsaved: bool,
    nat64_due: Instant,
    portal_due: Instant,
    /// Whether the first look has been told of.
    is_told: bool,
}

impl HostWatch {
    /// Watches until cancelled.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let pause = self.pulse_interval.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        let now = clock::now();
        let mut watching = self.begin(now);
        // The first reading of the load is what later ones are compared with.
        watching.load();
        loop {
            if cancel.run_until_cancelled(watching.look()).await.is_none() {
                break;
            }
            // Not cut short: the last write would meet it.
            watching.save_if_due().await;
            let pausing = alarm::until(clock::now() + pause);
            if cancel.run_until_cancelled(pausing).await.is_none() {
                break;
            }
        }
        watching.save().await;
    }

    fn begin(self, now: Instant) -> Watching {
        Watching {
            memory: Memory::load(&self.state_dir),
            system: System::new().ok(),
            #[cfg(windows)]
            processors: firstmile_sys::windows::load::Processors::default(),
            place: Place::default(),
            nat64: None,
            counts: LinkCounts::default(),
            speed_mbps: 0,
            stretch: Stretch::new(now, LinkCounts::default()),
            looked_at: now,
            saved_at: now,
            is_unsaved: false,
            nat64_due: now,
            portal_due: now,
            is_told: false,
            host: self,
        }
    }
}

impl Watching {
    async fn look(&mut self) {
        let way = default_way();
        let under = under_way(way.as_ref(), &self.host.marks);
        let gateway = under.as_ref().and_then(|way| way.gateway);
        self.find_nat64(clock::now()).await;
        let captive_portal = self.is_captive(clock::now()).await;
        let now = clock::now();
        let place = Place {
            captive_portal,
            ..self.place_now(way.as_ref(), under.as_ref(), now)
        };
        let (counts, speed) = way.map_or_else(Default::default, |way| {
            (way.interface.counts, way.interface.speed_mbps)
        });
        if place != self.place || !self.is_told {
            self.on_change(place, counts, now);
        }
        (self.counts, self.speed_mbps) = (counts, speed);
        if let Some(gateway) = gateway {
            let outcome = self.ping(gateway).await;
            self.stretch.on_gateway(outcome);
        }
        let now = clock::now();
        if now.saturating_duration_since(self.stretch.from) >= STRETCH {
            self.tell(now);
        }
    }

    async fn save_if_due(&mut self) {
        let age = clock::now().saturating_duration_since(self.saved_at);
        if self.is_unsaved || age >= SAVE {
            self.save().await;
        }
    }

    fn place_now(&mut self, way: Option<&Way>, under: Option<&Way>, now: Instant) -> Place {
        let first_public = self.host.marks.first_public();
        let nearby = Nearby {
            gateway_link: under.and_then(|way| way.gateway_link.as_deref()),
            gateway: under.and_then(|way| way.gateway),
            first_public,
        };
        let network = nearby.name().map(|name| self.memory.network(&name));
        let since = now.saturating_duration_since(self.looked_at);
        self.looked_at = now;
        let whereabouts = &mut self.memory.whereabouts;
        whereabouts.observe(network, since);
        let roaming = self.host.roams && whereabouts.is_roaming();
        let (tunnelled, tunnel_interface) = self.host.marks.tunnelled();
        let interface = way.map(|way| way.interface.clone()).unwrap_or_default();
        Place {
            interface: interface.name,
            kind: interface.kind,
            gateway: under.and_then(|way| way.gateway),
            first_public,
            network: whereabouts.current(),
            roaming,
            tunnelled,
            tunnel_interface,
            proxy: self.host.marks.proxy(),
            nat64: self.nat64,
            captive_portal: self.place.captive_portal,
        }
    }

    /// Tells of the stretch before the change, and starts the one after it.
    fn on_change(&mut self, place: Place, counts: LinkCounts, now: Instant) {
        let moved = self.place.interface != place.interface
            || self.place.gateway != place.gateway
            || self.place.network != place.network;
        if self.is_told {
            self.tell(now);
        }
        if place.roaming != self.place.roaming || moved {
            info!(
                interface = place.interface,
                gateway = ?place.gateway,
                roaming = place.roaming,
                tunnel = place.tunnel_interface,
                "the machine's place in the network"
            );
            self.is_unsaved = true;
        }
        if moved {
            self.host.marks.forget_ways();
            self.nat64_due = now;
            self.portal_due = now;
        }
        self.host.marks.set_roaming(place.roaming);
        self.place = place;
        (self.counts, self.stretch) = (counts, Stretch::new(now, counts));
        // A stretch without length: from now on it is like this.
        self.tell(now);
        if self.is_told {
            self.host.recorder.flush_soon();
        }
        self.is_told = true;
    }

    fn tell(&mut self, now: Instant) {
        let load = self.load();
        let stretch = std::mem::replace(&mut self.stretch, Stretch::new(now, self.counts));
        let from = stretch.from;
        let context = stretch.into_wire(now, &self.place, self.counts, load);
        self.host.recorder.record(Observation::Host {
            from,
            context: Box::new(context),
        });
    }

    /// A router that has an address of the link only cannot be asked by an address alone: it is left out.
    async fn ping(&self, gateway: IpAddr) -> Outcome {
        match gateway {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Outcome::LocalError,
            IpAddr::V4(_) | IpAddr::V6(_) => self.host.echo.echo(gateway).await.outcome,
        }
    }

    /// Whether something answers in place of the internet; as before, when nobody answers or it is not the time to look.
    async fn is_captive(&mut self, now: Instant) -> bool {
        let before = self.place.captive_portal;
        let Some(page) = self.host.portal.as_ref().filter(|_| now >= self.portal_due) else {
            return before;
        };
        let fetching = portal::fetch(page, &self.host.dns);
        let fetched = tokio::time::timeout(PORTAL_TIMEOUT, fetching).await;
        let said = fetched.ok().and_then(|fetched| fetched.answer.is_captive());
        let is_captive = said.unwrap_or(before);
        self.portal_due = now + if is_captive { PORTAL_AGAIN } else { PORTAL };
        if is_captive != before {
            warn!(is_captive, page = %page.url, "a captive portal came or went");
        }
        is_captive
    }

    async fn find_nat64(&mut self, now: Instant) {
        if now < self.nat64_due {
            return;
        }
        self.nat64_due = now + NAT64;
        let found = nat64::discover(&self.host.dns).await;
        if found != self.nat64 {
            info!(prefix = ?found.map(|prefix| prefix.to_string()), "NAT64");
            self.nat64 = found;
            self.host.marks.set_nat64(found);
        }
    }

    fn load(&mut self) -> Load {
        let mut load = Load {
            scheduling_delay_max: self.host.marks.take_delay_max(),
            interface_speed_mbps: self.speed_mbps,
            ..Load::default()
        };
        let (Some(system), Ok(own)) = (&mut self.system, sysinfo::get_current_pid()) else {
            return load;
        };
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        #[cfg(windows)]
        {
            load.cpu_permille = self.processors.busy_permille();
        }
        #[cfg(not(windows))]
        {
            system.refresh_cpu_usage();
            load.cpu_permille = permille(system.global_cpu_usage());
        }
        load.memory_available_bytes = system.available_memory();
        let narrow = ProcessRefreshKind::nothing()
            .with_cpu()
            .with_memory()
            .without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, narrow);
        if let Some(process) = system.process(own) {
            load.own_cpu_permille = permille(process.cpu_usage());
            load.own_rss_bytes = process.memory();
        }
        load
    }

    /// Keeps the machine's networks, on a thread that may wait for the disk: probes do not.
    async fn save(&mut self) {
        (self.saved_at, self.is_unsaved) = (clock::now(), false);
        let (memory, folder) = (self.memory.clone(), self.host.state_dir.clone());
        let saving = tokio::task::spawn_blocking(move || memory.save(&folder));
        // It tells of its own faults.
        saving.await.ok();
    }
}

/// The way of packets that no special route catches, IPv4 first.
pub(crate) fn default_way() -> Option<Way> {
    SOMEWHERE
        .into_iter()
        .find_map(|destination| look::way_to(destination, None, None))
}

/// The way under a tunnel: that of the first other interface that leads to a router. Without a tunnel it is `way` itself.
pub(crate) fn under_way(way: Option<&Way>, marks: &HostMarks) -> Option<Way> {
    let way = way?;
    if !marks.is_tunnel(&way.interface) {
        return Some(way.clone());
    }
    look::hardware().iter().find_map(|name| {
        SOMEWHERE
            .into_iter()
            .filter_map(|destination| look::way_to(destination, None, Some(name)))
            .find(|way| way.gateway.is_some())
    })
}

/// Permille of a percentage.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float is cut at the bounds of the integer, and no load is negative"
)]
fn permille(percent: f32) -> u32 {
    (percent * 10.0).round() as u32
}

#[cfg(test)]
mod tests {
    use futures::future::BoxFuture;

    use super::*;
    use crate::config::ProxyRules;
    use crate::probe::Measured;
    use crate::report::counters::Counters;
    use crate::report::pipeline;
    use crate::timekeeper::Timekeeper;

    /// Nobody is pinged here.
    struct NoEcho;

    impl EchoEngine for NoEcho {
        fn echo(&self, _destination: IpAddr) -> BoxFuture<'_, Measured> {
            unreachable!("no gateway is pinged while a place is looked at")
        }

        fn renew(&self) {}
    }

    #[test]
    fn a_nat64_that_is_found_makes_another_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let keeper = Timekeeper::default();
        let (recorder, _inbox) = pipeline::channel(Arc::new(Counters::default()), keeper);
        let host = HostWatch {
            state_dir: folder.path().to_owned(),
            pulse_interval: Duration::from_secs(5),
            roams: true,
            marks: Arc::new(HostMarks::new(&[], &ProxyRules::default(), &[], &[])),
            echo: Arc::new(NoEcho),
            dns: Arc::new(Dns::new(Vec::new(), Duration::from_secs(1))),
            portal: None,
            recorder,
        };
        let now = clock::now();
        let mut watching = host.begin(now);
        watching.place = watching.place_now(None, None, now);
        assert_eq!(watching.place_now(None, None, now), watching.place);
        watching.nat64 = Nat64Prefix::new("64:ff9b::".parse().expect("an address"), 96);
        let place = watching.place_now(None, None, now);
        assert_eq!(place.nat64, watching.nat64);
        assert_ne!(place, watching.place, "the look tells of it");
    }
}
