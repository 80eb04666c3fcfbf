//! `firstmile-agent trace`: the path to one host, live on a terminal, as a table or as JSON elsewhere.
//!
//! The rounds are those of the agent itself: flows pinned to their ports, all TTLs of a flow in flight, each hop asked once a
//! second, which routers that limit their replies still answer.

mod branches;
mod options;
mod outcome;
mod screen;
mod subject;
mod text;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use firstmile_wire::v1::{TraceKind, TraceMethod};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Ending;
use crate::clock;
use crate::config::{AgentConfig, Host, Plan};
use crate::net::capability::{self, Advice, IcmpCapability};
use crate::net::dns::Dns;
use crate::net::nat64;
use crate::net::trace::{RoundResult, TraceError, Tracer};
use crate::probe::hops::HopTable;
use crate::probe::path::PathMemory;
use crate::probe::running::Running;
use crate::probe::trace::{DEFAULT_ALPHA, FlowSum, Known, Stream, Tally, TracePlan, all_flows};
use crate::report::counters::Counters;
use crate::run::Signals;
pub(crate) use options::Options;
use outcome::{Discovered, Outcome};
use screen::Screen;
use subject::Subject;

/// From one packet to a hop to the next: routers commonly answer one a second.
const HOP_INTERVAL: Duration = Duration::from_secs(1);

/// Longest wait for a hop.
const HOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Wait for silent hops once the destination has answered.
const HOP_GRACE: Duration = Duration::from_millis(500);

/// Rounds where nobody looks on and no number was given.
const ROUNDS_UNSEEN: u32 = 3;

/// From one look at a running round to the next: five a second are read as movement.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How often unnamed addresses are looked for, and how long the last names are waited for.
const NAME_INTERVAL: Duration = Duration::from_millis(200);
const LAST_NAMES: Duration = Duration::from_secs(2);

/// Traces until the rounds are done or a signal comes, and prints the table.
///
/// # Errors
/// When the name has no address, packets are not permitted, or standard output cannot be written.
pub(crate) async fn trace(config: AgentConfig, options: Options) -> anyhow::Result<Ending> {
    let mut subject = match Subject::parse(&options.subject, &config.targets) {
        Ok(subject) => subject,
        Err(fix) => {
            crate::complain(&anyhow::anyhow!(fix), 2);
            return Ok(Ending::WrongUsage);
        }
    };
    subject.port = options.port.unwrap_or(subject.port);
    let mut signals = Signals::new()?;
    let dns = Dns::new(config.resolvers.clone(), config.plan.probe_timeout);
    let address = tokio::select! {
        address = address_of(&dns, &subject.host, &options) => address?,
        () = signals.wait() => return Ok(Ending::NothingReached),
    };
    let live = !options.json && io::stdout().is_terminal();
    let flows = options.flows.unwrap_or(config.plan.trace_flows);
    let view = RefCell::new(View::new(
        &subject,
        address,
        flows,
        options.kind().unwrap_or_else(likely_kind),
        live.then(Screen::enter),
    ));
    let cancel = CancellationToken::new();
    let session = Session {
        tracer: tracer(flows, options.kind(), &cancel),
        to: SocketAddr::new(address, subject.port),
        plan: config.plan,
        rounds: options.rounds.or((!live).then_some(ROUNDS_UNSEEN)),
        discovery: options.multipath.then_some(options.alpha),
        view: &view,
    };
    let ended = tokio::select! {
        ended = session.run() => ended,
        () = name_hops(&view, &dns, &cancel), if !options.no_names => Ok(()),
        () = signals.wait() => Ok(()),
    };
    drop(view.borrow_mut().screen.take());
    ended.map_err(|error| advise(error, options.kind()))?;
    if !options.no_names {
        drop(tokio::time::timeout(LAST_NAMES, name_rest(&view, &dns)).await);
    }
    cancel.cancel();
    let outcome = view.into_inner().outcome();
    crate::say(&shown(&outcome, options.json)?)?;
    Ok(if outcome.is_empty() {
        Ending::NothingReached
    } else {
        Ending::Well
    })
}

fn tracer(flows: u16, kind: Option<TraceKind>, cancel: &CancellationToken) -> Tracer {
    let counters = Arc::new(Counters::default());
    let tracer = Tracer::new(flows, counters, TaskTracker::new(), cancel.clone());
    match kind {
        Some(kind) => tracer.only(kind),
        None => tracer,
    }
}

fn shown(outcome: &Outcome, json: bool) -> anyhow::Result<String> {
    if json {
        return Ok(format!(
            "{}\n",
            serde_json::to_string_pretty(&outcome.to_json())?
        ));
    }
    let state = match outcome.rounds {
        0 => "a round cut short".to_owned(),
        1 => "1 round".to_owned(),
        rounds => format!("{rounds} rounds"),
    };
    let mut text = text::lines(outcome, &state).join("\n");
    text.push('\n');
    Ok(text)
}

/// The first A, else the first AAAA, of the families that are allowed.
async fn address_of(dns: &Dns, host: &Host, options: &Options) -> anyhow::Result<IpAddr> {
    let name = match host {
        Host::Address(address) => return Ok(nat64::reachable(dns, *address).await),
        Host::Name(name) => name,
    };
    let mut why = String::new();
    for ipv6 in [false, true] {
        if !options.allows(ipv6) {
            continue;
        }
        let answer = dns.resolve(name, ipv6).await;
        if let Some(address) = answer.addresses.first() {
            return Ok(*address);
        }
        if why.is_empty() {
            why = if answer.problem.is_empty() {
                format!("{} says that it has no address", answer.resolver)
            } else {
                answer.problem
            };
        }
    }
    Err(anyhow::anyhow!("dns failed for {name}: {why}"))
}

/// An error with what to do about it.
fn advise(error: TraceError, kind: Option<TraceKind>) -> anyhow::Error {
    let advice = Advice::new();
    match (&error, kind) {
        (TraceError::NotPermitted, Some(TraceKind::Tcp)) => anyhow::anyhow!(
            "TCP paths are not permitted here: `{}`",
            advice.raw_sockets()
        ),
        (TraceError::NotPermitted, Some(TraceKind::Udp)) => anyhow::anyhow!(
            "UDP paths want raw sockets, which are not permitted here: `{}`",
            advice.raw_sockets()
        ),
        (TraceError::NotPermitted, Some(TraceKind::Icmp)) => anyhow::anyhow!(
            "ICMP paths want ping sockets, which are not permitted here: `{}`",
            Advice::ping_sockets()
        ),
        (TraceError::CannotDiscover { .. }, _) => anyhow::anyhow!(
            "{error}; allow raw sockets, or leave out --multipath: `{}`",
            advice.raw_sockets()
        ),
        (TraceError::NotPermitted, _) => anyhow::anyhow!("{error}; {advice}"),
        (TraceError::NoRoute { .. } | TraceError::Socket { .. }, _) => error.into(),
    }
}

/// The kind of packets that the tracer will use if it may.
fn likely_kind() -> TraceKind {
    if cfg!(target_os = "linux") || capability::probe() == IcmpCapability::Raw {
        TraceKind::Tcp
    } else {
        TraceKind::Icmp
    }
}

const fn word(kind: TraceKind) -> &'static str {
    match kind {
        TraceKind::Tcp | TraceKind::Unspecified => "tcp",
        TraceKind::Udp => "udp",
        TraceKind::Icmp => "icmp",
    }
}

const fn method_word(method: TraceMethod) -> &'static str {
    match method {
        TraceMethod::Raw => "raw",
        TraceMethod::ErrorQueue => "error_queue",
        TraceMethod::OneAtATime => "one_at_a_time",
        TraceMethod::Unspecified => "unknown",
    }
}

/// What is shown, and what it is made of.
struct View {
    outcome: Outcome,
    table: HopTable,
    screen: Option<Screen>,
    looked_at: Option<Instant>,
    /// Every address that was met; with its name once DNS has said it, or that there is none.
    names: BTreeMap<IpAddr, Option<String>>,
}

impl View {
    fn new(
        subject: &Subject,
        address: IpAddr,
        flows: u16,
        kind: TraceKind,
        screen: Option<Screen>,
    ) -> Self {
        let outcome = Outcome {
            target: subject.target.clone(),
            host: subject.host.to_string(),
            address,
            port: subject.port,
            kind: word(kind),
            flows,
            method: method_word(TraceMethod::Unspecified),
            flow_ids: Vec::new(),
            flow_labels: Vec::new(),
            first_round: Vec::new(),
            probes: 0,
            wall: Duration::ZERO,
            looping_flows: Vec::new(),
            discovered: None,
            rounds: 0,
            at_unix_ms: clock::unix_ms(),
            is_reached: false,
            rows: Vec::new(),
            names: BTreeMap::new(),
        };
        Self {
            outcome,
            table: HopTable::default(),
            screen,
            looked_at: None,
            names: BTreeMap::new(),
        }
    }

    /// Takes in where a running round stands, and draws it when it is time.
    fn look(&mut self, round: &Running, now: Instant) {
        let is_due = |at| now.saturating_duration_since(at) >= LOOK_INTERVAL;
        if !self.looked_at.is_none_or(is_due) {
            return;
        }
        self.looked_at = Some(now);
        let mut table = self.table.clone();
        table.absorb(&round.tallies());
        self.refresh(&table);
        let state = format!("round {}, Ctrl-C ends", self.outcome.rounds + 1);
        if self.screen.is_some() {
            screen::draw(&text::lines(&self.outcome, &state));
        }
    }

    /// Takes in a round that has ended.
    fn finish_round(
        &mut self,
        tallies: &[Tally],
        sums: Vec<FlowSum>,
        result: RoundResult,
        wall: Duration,
    ) {
        self.table.absorb(tallies);
        let outcome = &mut self.outcome;
        outcome.wall = wall;
        outcome.rounds += 1;
        outcome.kind = word(result.kind);
        outcome.method = method_word(result.method);
        outcome.probes += sums.iter().map(|sum| u64::from(sum.sent)).sum::<u64>();
        if outcome.first_round.is_empty() {
            outcome.first_round = sums;
        }
        let looping = result.flows.iter().filter(|flow| flow.loops);
        outcome.looping_flows = looping.map(|flow| flow.flow).collect();
        outcome.flow_ids = result.flow_ids;
        outcome.flow_labels = result.flow_labels;
        let table = self.table.clone();
        self.refresh(&table);
    }

    /// Takes in what multipath discovery found.
    fn finish_discovery(&mut self, alpha: f64, wall: Duration, result: RoundResult) {
        let probes = result.multipath.iter().map(|hop| hop.probes).sum::<u32>();
        self.outcome.discovered = Some(Discovered {
            alpha,
            wall,
            probes,
            is_reached: result
                .flows
                .iter()
                .any(|flow| flow.destination_ttl.is_some()),
            hops: result.multipath.clone(),
        });
        self.finish_round(&[], Vec::new(), result, wall);
        self.outcome.probes = u64::from(probes);
    }

    fn refresh(&mut self, table: &HopTable) {
        self.outcome.rows = table.rows();
        self.outcome.is_reached = table.is_reached();
        let named = self.names.iter();
        self.outcome.names = named
            .filter_map(|(address, name)| Some((*address, name.clone()?)))
            .collect();
    }

    /// The outcome with the names as they are known now.
    fn outcome(mut self) -> Outcome {
        let named = std::mem::take(&mut self.names).into_iter();
        self.outcome.names = named
            .filter_map(|(address, name)| Some((address, name?)))
            .collect();
        self.outcome
    }

    /// Addresses on show that nobody has asked DNS about.
    fn unnamed(&self) -> Vec<IpAddr> {
        let shown = self.outcome.rows.iter().flat_map(|row| &row.addresses);
        let found = self.outcome.discovered.iter().flat_map(|found| &found.hops);
        shown
            .map(|here| here.address)
            .chain(found.flat_map(|hop| hop.addresses.iter().copied()))
            .filter(|address| !self.names.contains_key(address))
            .collect()
    }
}

/// The rounds.
struct Session<'a> {
    tracer: Tracer,
    to: SocketAddr,
    plan: Plan,
    rounds: Option<u32>,
    /// Find all branches, with this chance of a miss, in place of rounds.
    discovery: Option<f64>,
    view: &'a RefCell<View>,
}

impl Session<'_> {
    async fn run(&self) -> Result<(), TraceError> {
        match self.discovery {
            Some(alpha) => self.discover(alpha).await,
            None => self.rounds().await,
        }
    }

    async fn discover(&self, alpha: f64) -> Result<(), TraceError> {
        let began = clock::now();
        let plan = TracePlan {
            stream: Stream::Refresh,
            alpha,
            ..self.plan_of(Known::default())
        };
        let result = self.tracer.round(self.to, plan).await?;
        let wall = clock::now().saturating_duration_since(began);
        self.view.borrow_mut().finish_discovery(alpha, wall, result);
        Ok(())
    }

    async fn rounds(&self) -> Result<(), TraceError> {
        let mut memory = PathMemory::default();
        let mut done: u32 = 0;
        let began = clock::now();
        while self.rounds.is_none_or(|rounds| done < rounds) {
            let started = clock::now();
            let known = Known {
                // Every round is shown whole.
                expected: BTreeMap::new(),
                ..memory.known()
            };
            let plan = self.plan_of(known);
            let (mut tallies, mut sums) = (Vec::new(), Vec::new());
            let watch = |round: &Running| {
                (tallies, sums) = (round.tallies(), round.sums());
                self.view.borrow_mut().look(round, clock::now());
            };
            let result = self.tracer.watched_round(self.to, plan, watch).await?;
            memory.absorb(&result.flows);
            let wall = clock::now().saturating_duration_since(began);
            self.view
                .borrow_mut()
                .finish_round(&tallies, sums, result, wall);
            done = done.saturating_add(1);
            if self.rounds != Some(done) {
                let next = started + HOP_INTERVAL * u32::from(self.tracer.flows());
                tokio::time::sleep_until(next.into()).await;
            }
        }
        Ok(())
    }

    /// A round as the agent itself runs it, a flow a second.
    fn plan_of(&self, known: Known) -> TracePlan {
        TracePlan {
            stream: Stream::Full,
            flows: all_flows(self.tracer.flows()),
            spacing: HOP_INTERVAL,
            timeout: self.plan.probe_timeout.min(HOP_TIMEOUT),
            grace: HOP_GRACE,
            alpha: DEFAULT_ALPHA,
            known,
        }
    }
}

/// Asks for the names of hops as they come, until cancelled.
async fn name_hops(view: &RefCell<View>, dns: &Dns, cancel: &CancellationToken) {
    while !cancel.is_cancelled() {
        name_rest(view, dns).await;
        tokio::time::sleep(NAME_INTERVAL).await;
    }
}

/// Asks once for each name that is not known.
async fn name_rest(view: &RefCell<View>, dns: &Dns) {
    let unnamed = view.borrow().unnamed();
    let asking = unnamed.into_iter().map(|address| async move {
        let name = dns.reverse(address).await.ok().and_then(|(name, _)| name);
        view.borrow_mut().names.insert(address, name);
    });
    futures::future::join_all(asking).await;
}
