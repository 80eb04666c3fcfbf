//! Runs path rounds: over raw TCP where the process may, else over ICMP datagram sockets.
//!
//! One [`Tracer`] serves the whole process. Its sockets are shared by all rounds (raw sockets hear everything: one each
//! is enough); who waits for what is kept by the [`Switchboard`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use firstmile_wire::v1::{TraceKind, TraceMethod};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::capability::is_refusal;
use super::exit::Exit;
use super::trace_board::{Hub, Switchboard};
use super::trace_means;
use crate::alarm;
use crate::clock;
use crate::probe::budget::{self, HopBudget, Way};
use crate::probe::met::MultipathHop;
use crate::probe::running::Running;
use crate::probe::trace::{FlowPath, Probe, ProbeId, Reply, Step, Stream, TracePlan};
use crate::report::counters::Counters;
use crate::schedule::slot::Slots;

/// Source port, or identifier, of the first pinned flow, the same after a restart: below the ephemeral range of every system.
pub(super) const FIRST_PORT: u16 = 24_100;

/// What a round brought.
#[derive(Clone, Debug)]
pub(crate) struct RoundResult {
    pub(crate) started: Instant,
    pub(crate) kind: TraceKind,
    pub(crate) stream: Stream,
    /// Whether each flow kept to one path.
    pub(crate) is_pinned: bool,
    /// By which means it was taken.
    pub(crate) method: TraceMethod,
    /// Source port (TCP, UDP) or checksum (ICMP) of each flow of `flows`.
    pub(crate) flow_ids: Vec<u32>,
    /// IPv6 flow label of each flow of `flows`, 0 on IPv4.
    pub(crate) flow_labels: Vec<u32>,
    pub(crate) flows: Vec<FlowPath>,
    /// What multipath discovery found; empty for other streams.
    pub(crate) multipath: Vec<MultipathHop>,
    /// 0 for ICMP.
    pub(crate) destination_port: u16,
}

/// Why a round could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    #[error("the operating system allows neither raw nor ICMP datagram sockets")]
    NotPermitted,
    #[error("there is no route to {destination}")]
    NoRoute {
        destination: IpAddr,
        source: io::Error,
    },
    #[error("cannot open the sockets for a path round")]
    Socket { source: io::Error },
    #[error(
        "multipath discovery sends many flows to all TTLs at once, which only raw sockets do; these are paths by {}",
        .method.as_str_name()
    )]
    CannotDiscover { method: TraceMethod },
}

/// Whether multipath discovery can be run by these means: it has all TTLs of hundreds of flows under way at once. Ordinary
/// sockets have one packet of a flow out at a time, and ping sockets a few flows: what they do not send would pass for silence.
pub(crate) const fn can_discover(method: TraceMethod) -> bool {
    matches!(method, TraceMethod::Raw)
}

/// Sends one packet of a flow; tells its kind and its flows apart.
pub(super) trait Means: Send + Sync {
    fn kind(&self) -> TraceKind;
    fn method(&self) -> TraceMethod;
    fn send(
        &self,
        probe: Probe,
        token: u16,
        source: IpAddr,
        destination: SocketAddr,
    ) -> io::Result<()>;
    fn flow_id(&self, flow: u16, source: IpAddr, destination: IpAddr) -> u32;
    /// IPv6 flow label of a flow's packets; 0 on IPv4, and where the system chooses.
    fn flow_label(&self, flow: u16, destination: SocketAddr) -> u32;
    /// Whether the packets of a flow keep to one path. Where nothing pins them there is one flow, and two rounds of it may
    /// differ though nothing changed.
    fn pins_flows(&self) -> bool {
        true
    }
    /// Takes what has come since it was last looked, where no listener waits for it.
    fn look(&self, _now: Instant) {}
    /// Whether replies are only met by a look.
    fn is_looked_at(&self) -> bool {
        false
    }
    /// Whether all its listeners still listen.
    fn is_listening(&self) -> bool;
}

/// What tells each flow apart, and its IPv6 flow label.
fn names_of(
    means: &dyn Means,
    numbers: &[u16],
    source: IpAddr,
    destination: SocketAddr,
) -> (Vec<u32>, Vec<u32>) {
    let id = |flow: &u16| means.flow_id(*flow, source, destination.ip());
    let label = |flow: &u16| means.flow_label(*flow, destination);
    let labels = numbers.iter().map(label).collect();
    (numbers.iter().map(id).collect(), labels)
}

/// The means, if a round of the stream may be run by them.
fn may_run(stream: Stream, method: TraceMethod) -> Result<TraceMethod, TraceError> {
    if stream == Stream::Refresh && !can_discover(method) {
        return Err(TraceError::CannotDiscover { method });
    }
    Ok(method)
}

/// What nothing pins is one flow: eight would be eight packets of it.
fn limit(plan: &mut TracePlan, is_pinned: bool) {
    if !is_pinned {
        plan.flows.truncate(1);
    }
}

/// Ends the rounds that share `cut` early as soon as one of them does, or somebody else wants it; says whether that is so.
fn end_together(round: &mut Running, cut: &CancellationToken) -> bool {
    if round.is_cut_short() {
        cut.cancel();
    } else if cut.is_cancelled() {
        round.cut_short(clock::now());
    }
    cut.is_cancelled()
}

/// The destination port of a round; echo requests have none.
fn port_of(kind: TraceKind, destination: SocketAddr) -> u16 {
    match kind {
        TraceKind::Icmp => 0,
        TraceKind::Tcp | TraceKind::Udp | TraceKind::Unspecified => destination.port(),
    }
}

/// Too many packets wait for replies at once.
fn out_of_tokens() -> io::Error {
    io::Error::other("all names for packets are taken by rounds under way")
}

/// What is open and still listens. What does not would meet silence for ever: it is closed, and opened anew.
fn still_listening(slot: &mut Option<Arc<dyn Means>>) -> Option<Arc<dyn Means>> {
    *slot = slot.take().filter(|means| means.is_listening());
    slot.clone()
}

/// Runs rounds.
pub(crate) struct Tracer {
    flows: u16,
    /// The only kind of packet to use; `None`: the best that is permitted.
    kind: Option<TraceKind>,
    /// Nobody watches: replies may lie until a round runs.
    is_calm: bool,
    /// Its packets are evidence beside those that count, and may take other ways.
    is_beside: bool,
    tasks: TaskTracker,
    cancel: CancellationToken,
    board: Arc<Switchboard>,
    counters: Arc<Counters>,
    exit: Exit,
    /// Place of the way out in the configuration.
    vantage: u16,
    /// When which router may be asked: shared by all rounds.
    budget: Arc<Mutex<HopBudget>>,
    /// When packets that are due leave.
    slots: Slots,
    v4: Mutex<Option<Arc<dyn Means>>>,
    v6: Mutex<Option<Arc<dyn Means>>>,
}

impl Tracer {
    /// Makes a tracer; sockets are opened when first needed. Its listeners run on `tasks` until `cancel`.
    pub(crate) fn new(
        flows: u16,
        counters: Arc<Counters>,
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) -> Self {
        let board = Arc::new(Switchboard::default());
        Self {
            flows,
            kind: None,
            is_calm: false,
            is_beside: false,
            tasks,
            cancel,
            board,
            counters,
            exit: Exit::default(),
            vantage: 0,
            budget: Arc::default(),
            slots: Slots::new(clock::now()),
            v4: Mutex::new(None),
            v6: Mutex::new(None),
        }
    }

    /// A tracer by a way out that the configuration names. It asks routers out of the same budget.
    pub(crate) fn by(&self, exit: Exit, vantage: u16) -> Self {
        let (tasks, cancel) = (self.tasks.clone(), self.cancel.clone());
        Self {
            exit,
            vantage,
            budget: Arc::clone(&self.budget),
            slots: self.slots,
            is_calm: self.is_calm,
            ..Self::new(self.flows, Arc::clone(&self.counters), tasks, cancel)
        }
    }

    const fn way(&self, destination: IpAddr) -> Way {
        Way {
            destination,
            vantage: self.vantage,
        }
    }

    /// The same tracer, with packets of one kind only.
    pub(crate) fn only(self, kind: TraceKind) -> Self {
        Self {
            kind: Some(kind),
            ..self
        }
    }

    /// The same tracer, for rounds that nobody watches: replies are read in the slots in which packets leave, and cost no wake-up
    /// of their own. When they came the kernel says.
    pub(crate) fn calm(self) -> Self {
        Self {
            is_calm: true,
            ..self
        }
    }

    /// The same tracer, asking each router as often as this.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn asking_every(self, interval: std::time::Duration) -> Self {
        let budget = Arc::new(Mutex::new(HopBudget::new(interval)));
        Self { budget, ..self }
    }

    /// A tracer by the same way out and budget for a round of another kind of packets, as evidence. Its sockets are its own, and
    /// close with it.
    pub(crate) fn beside(&self, kind: TraceKind, flows: u16) -> Self {
        Self {
            flows,
            kind: Some(kind),
            is_beside: true,
            ..self.by(self.exit, self.vantage)
        }
    }

    /// Flows of each round.
    pub(crate) const fn flows(&self) -> u16 {
        self.flows
    }

    /// The network is another one: rounds from now on leave by sockets that are opened from now on.
    pub(crate) fn renew(&self) {
        for means in [&self.v4, &self.v6] {
            *means.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Runs one round to `destination`.
    ///
    /// # Errors
    /// See [`TraceError`]. A round that met only silence is no error.
    pub(crate) async fn round(
        &self,
        destination: SocketAddr,
        plan: TracePlan,
    ) -> Result<RoundResult, TraceError> {
        self.watched_round(destination, plan, |_| {}).await
    }

    /// Runs one round to `destination`. It ends early once `cut` is cancelled, and cancels it when it does so by itself.
    ///
    /// # Errors
    /// As [`Tracer::round`].
    pub(crate) async fn round_until(
        &self,
        destination: SocketAddr,
        plan: TracePlan,
        cut: CancellationToken,
    ) -> Result<RoundResult, TraceError> {
        self.run(destination, plan, cut, |_| {}).await
    }

    /// Runs one round to `destination` and shows it to `watch` each time that something may have happened in it.
    ///
    /// # Errors
    /// As [`Tracer::round`].
    pub(crate) async fn watched_round(
        &self,
        destination: SocketAddr,
        plan: TracePlan,
        watch: impl FnMut(&Running),
    ) -> Result<RoundResult, TraceError> {
        let never = CancellationToken::new();
        self.run(destination, plan, never, watch).await
    }

    async fn run(
        &self,
        destination: SocketAddr,
        mut plan: TracePlan,
        cut: CancellationToken,
        mut watch: impl FnMut(&Running),
    ) -> Result<RoundResult, TraceError> {
        let no_route = |source| TraceError::NoRoute {
            destination: destination.ip(),
            source,
        };
        let source = super::route::source_by(self.exit, destination.ip()).map_err(no_route)?;
        let means = self.means(destination.is_ipv6())?;
        let method = may_run(plan.stream, means.method())?;
        limit(&mut plan, means.pins_flows());
        let started = clock::now();
        let (stream, numbers) = (plan.stream, plan.flows.clone());
        let all_in_flight = method != TraceMethod::OneAtATime;
        let mut round = Running::new(plan, all_in_flight, started);
        let mut line = self.board.open(destination.ip());
        let mut is_told = false;
        // The first slot in which there may be replies to look for; those of packets that wait longer are met at deadlines.
        let mut next_look = None;
        loop {
            means.look(clock::now());
            while let Ok((id, reply, at)) = line.replies.try_recv() {
                self.book(&mut round, destination.ip(), id, reply, at);
            }
            is_told |= end_together(&mut round, &cut);
            let way = self.way(destination.ip());
            let step = {
                let mut budget = self.budget();
                let mut gate = budget.gate(way).of(stream).beside(self.is_beside);
                round.poll(clock::now(), &mut gate)
            };
            watch(&round);
            match step {
                Step::Finished => break,
                Step::Transmit(probe) => {
                    let token = line.expect(probe.id).ok_or_else(out_of_tokens);
                    let sent =
                        token.and_then(|token| means.send(probe, token, source, destination));
                    if let Err(error) = sent {
                        tracing::debug!(%error, %destination, ttl = probe.ttl, "path packet not sent");
                        self.counters.skipped_probes.add(1);
                        round.on_unsent(probe.id);
                    } else if means.is_looked_at() {
                        next_look = Some(self.slots.after(clock::now()));
                    }
                }
                Step::WaitUntil(deadline) => tokio::select! {
                    () = alarm::until(self.wake(deadline, &mut next_look)) => {}
                    () = cut.cancelled(), if !is_told => {}
                    heard = line.replies.recv() => if let Some((id, reply, at)) = heard {
                        self.book(&mut round, destination.ip(), id, reply, at);
                    }
                },
            }
        }
        let (flow_ids, flow_labels) = names_of(&*means, &numbers, source, destination);
        if round.was_kept_back() {
            self.counters.deferred_rounds.add(1);
        }
        let (flows, multipath) = round.into_found();
        Ok(RoundResult {
            started,
            kind: means.kind(),
            stream,
            method,
            is_pinned: means.pins_flows(),
            flow_ids,
            flow_labels,
            flows,
            multipath,
            destination_port: port_of(means.kind(), destination),
        })
    }

    /// The slot in which a round goes on that has nothing to do before `deadline`, unless it looks for replies.
    fn wake(&self, deadline: Instant, next_look: &mut Option<Instant>) -> Instant {
        *next_look = next_look.filter(|look| *look > clock::now());
        let due = self.slots.at(deadline);
        next_look.map_or(due, |look| look.min(due))
    }

    fn budget(&self) -> MutexGuard<'_, HopBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(
        &self,
        round: &mut Running,
        destination: IpAddr,
        id: ProbeId,
        reply: Reply,
        at: Instant,
    ) {
        let sent = round.under_way(id);
        if !round.on_reply(id, reply, at) {
            self.counters.late_replies.add(1);
        } else if let Some((flow, ttl, sent_at)) = sent {
            let flow = budget::beside(flow, self.is_beside);
            self.budget()
                .learn(self.way(destination), flow, ttl, reply.from, sent_at);
        }
    }

    /// The sockets of a family, opened if need be: those of the one kind, else TCP first, ICMP where that is not allowed.
    fn means(&self, ipv6: bool) -> Result<Arc<dyn Means>, TraceError> {
        let slot = if ipv6 { &self.v6 } else { &self.v4 };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(means) = still_listening(&mut slot) {
            return Ok(means);
        }
        let hub = Hub {
            board: Arc::clone(&self.board),
            counters: Arc::clone(&self.counters),
            tasks: self.tasks.clone(),
            cancel: self.cancel.clone(),
            is_calm: self.is_calm,
            exit: self.exit,
        };
        let opened = trace_means::open(self.kind, ipv6, self.flows, &hub);
        match opened {
            Ok(means) => {
                *slot = Some(Arc::clone(&means));
                Ok(means)
            }
            Err(error) if is_refusal(&error) => Err(TraceError::NotPermitted),
            Err(source) => Err(TraceError::Socket { source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::trace_board::Listening;

    struct Fake(Listening, TraceMethod);

    impl Means for Fake {
        fn kind(&self) -> TraceKind {
            TraceKind::Tcp
        }

        fn method(&self) -> TraceMethod {
            self.1
        }

        fn send(&self, _: Probe, _: u16, _: IpAddr, _: SocketAddr) -> io::Result<()> {
            Ok(())
        }

        fn pins_flows(&self) -> bool {
            self.1 != TraceMethod::ErrorQueue
        }

        fn flow_id(&self, _: u16, _: IpAddr, _: IpAddr) -> u32 {
            0
        }

        fn flow_label(&self, _: u16, _: SocketAddr) -> u32 {
            0
        }

        fn is_listening(&self) -> bool {
            self.0.is_whole()
        }
    }

    /// A round over a fake of this method.
    async fn round(method: TraceMethod, stream: Stream) -> Result<RoundResult, TraceError> {
        let cancel = CancellationToken::new();
        let tracer = Tracer::new(8, Arc::default(), TaskTracker::new(), cancel.clone());
        let hub = Hub {
            board: Arc::clone(&tracer.board),
            counters: Arc::default(),
            tasks: TaskTracker::new(),
            cancel,
            is_calm: false,
            exit: Exit::default(),
        };
        let means: Arc<dyn Means> = Arc::new(Fake(Listening::new(&hub), method));
        *tracer.v4.lock().expect("sound") = Some(means);
        let plan = TracePlan {
            stream,
            flows: vec![0, 1, 2],
            spacing: Duration::ZERO,
            timeout: Duration::from_millis(1),
            grace: Duration::ZERO,
            alpha: crate::probe::trace::DEFAULT_ALPHA,
            known: crate::probe::trace::Known::default(),
        };
        tracer
            .round(SocketAddr::from(([127, 0, 0, 1], 443)), plan)
            .await
    }

    #[tokio::test]
    async fn what_has_one_packet_of_a_flow_out_discovers_nothing_and_says_so() {
        for method in [TraceMethod::OneAtATime, TraceMethod::ErrorQueue] {
            let refused = round(method, Stream::Refresh).await;
            let error = refused.expect_err("silence that nobody was asked for");
            assert!(
                matches!(error, TraceError::CannotDiscover { method: said } if said == method),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn packets_that_nothing_pins_are_one_flow() {
        let unpinned = round(TraceMethod::ErrorQueue, Stream::Full).await;
        let unpinned = unpinned.expect("a round");
        assert_eq!((unpinned.flow_ids.len(), unpinned.is_pinned), (1, false));
    }

    #[tokio::test]
    async fn a_listener_that_ends_takes_the_others_along_and_frees_the_slot() {
        let hub = Hub {
            board: Arc::default(),
            counters: Arc::default(),
            tasks: TaskTracker::new(),
            cancel: CancellationToken::new(),
            is_calm: false,
            exit: Exit::default(),
        };
        let listening = Listening::new(&hub);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        listening.spawn(&hub.tasks, std::future::pending());
        listening.spawn(&hub.tasks, async { drop(ended.await) });
        let mut slot: Option<Arc<dyn Means>> = Some(Arc::new(Fake(listening, TraceMethod::Raw)));
        tokio::task::yield_now().await;
        assert!(still_listening(&mut slot).is_some(), "both listen");
        end.send(()).expect("awaited");
        hub.tasks.close();
        hub.tasks.wait().await;
        assert!(still_listening(&mut slot).is_none());
        assert!(slot.is_none(), "the next round opens anew");
        assert!(!hub.cancel.is_cancelled(), "others go on");
    }
}
