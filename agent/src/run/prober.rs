//! What all targets share: the engines that send, and where what they saw goes.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use firstmile_wire::v1::{self, Phase, Protocol};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::names::{self, Ingresses};
use super::upheaval::Upheaval;
use crate::clock;
use crate::config::{AgentConfig, Plan};
use crate::delay::Delays;
use crate::host::marks::HostMarks;
use crate::host::watch::HostWatch;
use crate::net::changes::Destinations;
use crate::net::dns::Dns;
use crate::net::exit::Exit;
use crate::net::handshake::TlsProber;
use crate::net::https::HttpsProber;
use crate::net::icmp::{self, EchoEngine};
use crate::net::nat64;
use crate::net::quic::QuicProber;
use crate::net::tls::{ProbeTls, TlsError};
use crate::net::trace::Tracer;
use crate::probe::Sample;
use crate::probe::trace::FlowPath;
use crate::report::batch::Observation;
use crate::report::counters::Counters;
use crate::report::pipeline::Recorder;
use crate::report::status::Status;
use crate::schedule::desk::{Ask, BurstDesk};
use crate::timekeeper::Timekeeper;

/// Lists of hops that may wait for their names.
const NAME_QUEUE: usize = 64;

/// What a prober works with and does not own.
pub(super) struct Surroundings {
    pub(super) delays: Delays,
    pub(super) keeper: Timekeeper,
    /// Told when everything is to be tried anew.
    pub(super) upheavals: watch::Receiver<Upheaval>,
    /// Where packets go now, for whoever looks after their way out.
    pub(super) destinations: Arc<Destinations>,
    pub(super) recorder: Recorder,
    pub(super) counters: Arc<Counters>,
    pub(super) status: Arc<Mutex<Status>>,
}

/// The engines and the way out.
pub(super) struct Prober {
    pub(super) plan: Plan,
    pub(super) delays: Delays,
    pub(super) keeper: Timekeeper,
    /// Told when everything is to be tried anew.
    pub(super) upheavals: watch::Receiver<Upheaval>,
    /// The upheaval after which its sockets were opened.
    renewed: Mutex<Upheaval>,
    /// Where packets go now, for whoever looks after their way out.
    pub(super) destinations: Arc<Destinations>,
    pub(super) dns: Arc<Dns>,
    pub(super) echo: Arc<dyn EchoEngine>,
    pub(super) https: HttpsProber,
    pub(super) tls: TlsProber,
    pub(super) quic: QuicProber,
    pub(super) tracer: Tracer,
    pub(super) recorder: Recorder,
    pub(super) counters: Arc<Counters>,
    pub(super) ingresses: Arc<Mutex<Ingresses>>,
    /// Who bursts at which handoff, by whatever way out.
    desk: Arc<Mutex<BurstDesk>>,
    status: Arc<Mutex<Status>>,
    hops: mpsc::Sender<VecDeque<IpAddr>>,
    marks: Arc<HostMarks>,
    probe_tls: ProbeTls,
    /// The way out of all packets but those of DNS.
    pub(super) exit: Exit,
    /// Its place in the configuration.
    pub(super) vantage: u16,
}

impl Prober {
    /// Opens what is needed; the listeners run on `tasks` until `cancel`.
    ///
    /// # Errors
    /// [`TlsError`] when `extra_roots` cannot be used.
    fn new(
        config: &AgentConfig,
        surroundings: Surroundings,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Result<Self, TlsError> {
        let Surroundings {
            delays,
            keeper,
            upheavals,
            destinations,
            recorder,
            counters,
            status,
        } = surroundings;
        let began = *upheavals.borrow();
        let dns = Arc::new(Dns::new(
            config.resolvers.clone(),
            config.plan.probe_timeout,
        ));
        let probe_tls = ProbeTls::new(&config.extra_roots)?;
        let quic = QuicProber::new(probe_tls.clone(), Some(delays.clone()))?;
        let tls = TlsProber::new(probe_tls.clone())?;
        let (hops, waiting) = mpsc::channel(NAME_QUEUE);
        let ingresses = Arc::<Mutex<Ingresses>>::default();
        tasks.spawn(names::look_up(
            waiting,
            Arc::clone(&dns),
            recorder.clone(),
            Arc::clone(&ingresses),
            cancel.clone(),
        ));
        Ok(Self {
            plan: config.plan,
            delays,
            keeper,
            renewed: Mutex::new(began),
            upheavals,
            destinations,
            dns,
            echo: icmp::engine(config.plan.probe_timeout, &counters, tasks, cancel),
            https: HttpsProber::new(tls.clone()),
            tls,
            quic,
            probe_tls,
            exit: Exit::default(),
            vantage: 0,
            tracer: Tracer::new(
                config.plan.trace_flows,
                Arc::clone(&counters),
                tasks.clone(),
                cancel.clone(),
            )
            .calm(),
            recorder,
            counters,
            ingresses,
            desk: Arc::default(),
            status,
            hops,
            marks: Arc::new(HostMarks::new(
                &config.targets,
                &config.proxy,
                &config.host.not_tunnels,
                &config.vantages,
            )),
        })
    }

    /// The probers of all vantage points that a target names, by their places: the machine's own choice, and others that share
    /// all but the engines with it.
    ///
    /// # Errors
    /// As [`Prober::new`].
    pub(super) fn at_vantages(
        config: &AgentConfig,
        surroundings: Surroundings,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Result<BTreeMap<u16, Arc<Self>>, TlsError> {
        let own = Self::new(config, surroundings, tasks, cancel)?;
        let mut probers = BTreeMap::new();
        let named = config.targets.iter().flat_map(|target| &target.vantages);
        for place in named.copied().filter(|place| *place != 0) {
            let vantage = config.vantages.get(usize::from(place));
            if let (Some(vantage), false) = (vantage, probers.contains_key(&place)) {
                let prober = own.by(vantage.exit, place, tasks, cancel)?;
                probers.insert(place, Arc::new(prober));
            }
        }
        probers.insert(0, Arc::new(own));
        Ok(probers)
    }

    fn by(
        &self,
        exit: Exit,
        vantage: u16,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Result<Self, TlsError> {
        let (plan, probe_tls) = (self.plan, &self.probe_tls);
        let tls = self.tls.clone().by(exit);
        Ok(Self {
            plan,
            delays: self.delays.clone(),
            keeper: self.keeper.clone(),
            upheavals: self.upheavals.clone(),
            renewed: Mutex::new(*self.upheavals.borrow()),
            destinations: Arc::clone(&self.destinations),
            dns: Arc::clone(&self.dns),
            echo: icmp::engine_by(exit, plan.probe_timeout, &self.counters, tasks, cancel),
            https: HttpsProber::new(tls.clone()),
            tls,
            quic: QuicProber::new(probe_tls.clone(), Some(self.delays.clone()))?.by(exit),
            tracer: self.tracer.by(exit, vantage),
            recorder: self.recorder.clone(),
            counters: Arc::clone(&self.counters),
            ingresses: Arc::clone(&self.ingresses),
            desk: Arc::clone(&self.desk),
            status: Arc::clone(&self.status),
            hops: self.hops.clone(),
            marks: Arc::clone(&self.marks),
            probe_tls: probe_tls.clone(),
            exit,
            vantage,
        })
    }

    /// Opens every socket that is kept anew after an upheaval, once for all targets: one that is bound to an interface or an
    /// address which was taken away and came back would never work again.
    pub(super) fn renew(&self, upheaval: Upheaval) {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *renewed, upheaval) != upheaval {
            self.marks.forget_ways();
            self.echo.renew();
            self.quic.renew();
            self.tracer.renew();
            self.dns.renew();
        }
    }

    /// The watch over the machine, with the engines that the probes use.
    pub(super) fn host_watch(&self, config: &AgentConfig) -> HostWatch {
        HostWatch {
            state_dir: config.state_dir.clone(),
            pulse_interval: config.plan.pulse_interval,
            roams: config.host.roams,
            marks: Arc::clone(&self.marks),
            echo: Arc::clone(&self.echo),
            dns: Arc::clone(&self.dns),
            portal: config.portal.clone(),
            recorder: self.recorder.clone(),
        }
    }

    /// Hands a sample over and notes a success for `status`.
    pub(super) fn record(&self, mut sample: Sample) {
        sample.marks = self.marks.of(&sample);
        // HTTPS and TLS work when their last phase does: a connection alone is TCP.
        let is_whole = match sample.protocol {
            Protocol::Https => sample.phase == Phase::Ttfb,
            Protocol::Tls => sample.phase == Phase::Tls,
            Protocol::Icmp
            | Protocol::Tcp
            | Protocol::Dns
            | Protocol::Quic
            | Protocol::Unspecified => true,
        };
        if is_whole && sample.outcome.rtt().is_some() {
            self.note_success(super::kind_word(sample.protocol));
        }
        if sample.marks.has(v1::Mark::Untrusted) {
            self.counters.untrusted_samples.add(1);
        }
        self.recorder.record(Observation::Sample(sample));
    }

    /// Notes that a kind of probe works.
    pub(super) fn note_success(&self, kind: &str) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        match status.last_success_unix_ms.get_mut(kind) {
            Some(at) => *at = clock::unix_ms(),
            None => drop(
                status
                    .last_success_unix_ms
                    .insert(kind.to_owned(), clock::unix_ms()),
            ),
        }
    }

    /// Whether `target`, whose packets pass `handoff`, may do what it asks for; who has no path has nothing to look at.
    pub(super) fn permit(
        &self,
        ask: Ask,
        handoff: Option<IpAddr>,
        target: usize,
        now: Instant,
    ) -> bool {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        handoff.is_some_and(|handoff| desk.permit(ask, handoff, (target, self.vantage), now))
    }

    /// Whether several targets burst at `handoff`.
    pub(super) fn shares_burst(&self, handoff: Option<IpAddr>) -> bool {
        let desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        handoff.is_some_and(|handoff| desk.is_shared(handoff))
    }

    /// Most flows of a target have moved at `handoff`.
    pub(super) fn tell_desk(&self, handoff: Option<IpAddr>) {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handoff) = handoff {
            desk.tell(handoff, clock::now());
        }
    }

    /// The burst of `target` is over; it `found` a change or not.
    pub(super) fn leave_desk(&self, target: usize, found: bool) {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.leave((target, self.vantage), found, clock::now());
    }

    /// When a burst of another target last found a change at `handoff`.
    pub(super) fn news(&self, handoff: Option<IpAddr>, now: Instant) -> Option<Instant> {
        let desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.news(handoff?, now)
    }

    /// Looks at a round for what it says of the network next to the machine; other ways out pass other networks.
    pub(super) fn look_around(&self, target: usize, destination: IpAddr, flows: &[FlowPath]) {
        if self.vantage == 0 {
            self.marks.on_round(target, destination, flows);
        }
    }

    /// The address by which `address` of the configuration is reached.
    pub(super) fn behind_nat64(&self, address: IpAddr) -> IpAddr {
        nat64::behind(self.marks.nat64(), self.exit, address)
    }

    /// Asks for the names of hops; when too many wait, the next round asks again.
    pub(super) fn want_names(&self, hops: VecDeque<IpAddr>) {
        drop(self.hops.try_send(hops));
    }
}
