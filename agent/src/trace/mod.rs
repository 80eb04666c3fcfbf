//! `firstmile-agent trace`: the path to one host, live on a terminal, as a table or as JSON elsewhere.
//!
//! The rounds are those of the agent itself: flows pinned to their ports, all TTLs of a flow in flight. The first round is
//! as quick as the plan has it, to show something at once; after it each hop is asked once a second, which routers that
//! limit their replies still answer.

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

use firstmile_wire::v1::TraceKind;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Ending;
use crate::clock;
use crate::config::{AgentConfig, Host, Plan};
use crate::net::capability::{self, Advice, IcmpCapability};
use crate::net::dns::Dns;
use crate::net::trace::{RoundResult, TraceError, Tracer};
use crate::probe::hops::HopTable;
use crate::probe::path::PathMemory;
use crate::probe::running::Running;
use crate::probe::trace::{DEFAULT_ALPHA, Stream, TracePlan, all_flows};
use crate::report::counters::Counters;
use crate::run::Signals;
use outcome::Outcome;
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

/// What the command line asks for.
pub(crate) struct Request {
    pub(crate) subject: String,
    pub(crate) rounds: Option<u32>,
    pub(crate) flows: Option<u16>,
    pub(crate) kind: Option<TraceKind>,
    pub(crate) json: bool,
}

/// Traces until the rounds are done or a signal comes, and prints the table.
///
/// # Errors
/// When the name has no address, packets are not permitted, or standard output cannot be written.
pub(crate) async fn trace(config: AgentConfig, request: Request) -> anyhow::Result<Ending> {
    let subject = match Subject::parse(&request.subject, &config.targets) {
        Ok(subject) => subject,
        Err(fix) => {
            crate::complain(&anyhow::anyhow!(fix), 2);
            return Ok(Ending::WrongUsage);
        }
    };
    let mut signals = Signals::new()?;
    let dns = Dns::new(config.resolvers.clone(), config.plan.probe_timeout);
    let address = tokio::select! {
        address = address_of(&dns, &subject.host) => address?,
        () = signals.wait() => return Ok(Ending::NothingReached),
    };
    let live = !request.json && io::stdout().is_terminal();
    let flows = request.flows.unwrap_or(config.plan.trace_flows);
    let kind = request.kind.unwrap_or_else(likely_kind);
    let view = RefCell::new(View::new(
        &subject,
        address,
        flows,
        kind,
        live.then(Screen::enter),
    ));
    let cancel = CancellationToken::new();
    let session = Session {
        tracer: tracer(flows, request.kind, &cancel),
        to: SocketAddr::new(address, subject.port),
        plan: config.plan,
        rounds: request.rounds.or((!live).then_some(ROUNDS_UNSEEN)),
        view: &view,
    };
    let ended = tokio::select! {
        ended = session.run() => ended,
        () = name_hops(&view, &dns, &cancel) => Ok(()),
        () = signals.wait() => Ok(()),
    };
    drop(view.borrow_mut().screen.take());
    ended.map_err(|error| advise(error, request.kind))?;
    drop(tokio::time::timeout(LAST_NAMES, name_rest(&view, &dns)).await);
    cancel.cancel();
    let outcome = view.into_inner().outcome();
    crate::say(&shown(&outcome, request.json)?)?;
    Ok(if outcome.rows.is_empty() {
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

/// The first A, else the first AAAA.
async fn address_of(dns: &Dns, host: &Host) -> anyhow::Result<IpAddr> {
    let name = match host {
        Host::Address(address) => return Ok(*address),
        Host::Name(name) => name,
    };
    let v4 = dns.resolve(name, false).await;
    if let Some(address) = v4.addresses.first() {
        return Ok(*address);
    }
    let v6 = dns.resolve(name, true).await;
    v6.addresses.first().copied().ok_or_else(|| {
        let why = if v4.problem.is_empty() {
            format!("{} says that it has no address", v4.resolver)
        } else {
            v4.problem
        };
        anyhow::anyhow!("dns failed for {name}: {why}")
    })
}

/// An error with what to do about it.
fn advise(error: TraceError, kind: Option<TraceKind>) -> anyhow::Error {
    let advice = Advice::new();
    match (&error, kind) {
        (TraceError::NotPermitted, Some(TraceKind::Tcp)) => anyhow::anyhow!(
            "TCP paths want raw sockets, which are not permitted here: `{}`",
            advice.raw_sockets()
        ),
        (TraceError::NotPermitted, Some(TraceKind::Icmp)) => anyhow::anyhow!(
            "ICMP paths want ping sockets, which are not permitted here: `{}`",
            Advice::ping_sockets()
        ),
        (TraceError::NotPermitted, _) => anyhow::anyhow!("{error}; {advice}"),
        (TraceError::NoRoute { .. } | TraceError::Socket { .. }, _) => error.into(),
    }
}

/// The kind of packets that the tracer will use if it may.
fn likely_kind() -> TraceKind {
    if capability::probe() == IcmpCapability::Raw {
        TraceKind::Tcp
    } else {
        TraceKind::Icmp
    }
}

fn word(kind: TraceKind) -> &'static str {
    if kind == TraceKind::Tcp {
        "tcp"
    } else {
        "icmp"
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
            flow_ids: Vec::new(),
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
    fn finish_round(&mut self, tallies: &[crate::probe::trace::Tally], result: RoundResult) {
        self.table.absorb(tallies);
        self.outcome.rounds += 1;
        self.outcome.kind = word(result.kind);
        self.outcome.flow_ids = result.flow_ids;
        let table = self.table.clone();
        self.refresh(&table);
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
        shown
            .map(|here| here.address)
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
    view: &'a RefCell<View>,
}

impl Session<'_> {
    async fn run(&self) -> Result<(), TraceError> {
        let mut memory = PathMemory::default();
        let mut done: u32 = 0;
        while self.rounds.is_none_or(|rounds| done < rounds) {
            let started = clock::now();
            let spacing = if done == 0 {
                self.plan.flow_spacing
            } else {
                HOP_INTERVAL
            };
            let plan = TracePlan {
                stream: Stream::Full,
                flows: all_flows(self.tracer.flows()),
                spacing,
                timeout: self.plan.probe_timeout.min(HOP_TIMEOUT),
                grace: HOP_GRACE,
                alpha: DEFAULT_ALPHA,
                known: memory.known(),
            };
            let mut tallies = Vec::new();
            let watch = |round: &Running| {
                tallies = round.tallies();
                self.view.borrow_mut().look(round, clock::now());
            };
            let result = self.tracer.watched_round(self.to, plan, watch).await?;
            memory.absorb(&result.flows);
            self.view.borrow_mut().finish_round(&tallies, result);
            done = done.saturating_add(1);
            if self.rounds != Some(done) {
                let next = started + spacing * u32::from(self.tracer.flows());
                tokio::time::sleep_until(next.into()).await;
            }
        }
        Ok(())
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
