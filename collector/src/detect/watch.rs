//! Feeds the classifier with what one agent reports of one target, in order of time, and tells what changed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use firstmile_shift::message::{self, Plan, Pulse, Stream};
use firstmile_shift::track::{Change, Phase, Status};
use firstmile_wire::ids::{AgentId, OrganisationId};
use firstmile_wire::nat64::Nat64Prefix;
use firstmile_wire::v1::{Outcome, Phase as SamplePhase, Protocol, TraceKind, TraceStream};

use super::comparability::{Comparability, comparability, is_whole};
use super::desk::{Desk, seconds, unix_ms};
use super::identity::identity_of;
use super::span::Sight;
use super::table::Table;
use super::{PathMemory, beside, cost, tell};
use crate::api::types::{Event, PathIdentity, Pop};
use crate::geo::Meaning;
use crate::ingest::batch::{Flow, Round, Sample};

/// Flows that are numbered as pinned ones; an agent has eight.
const PINNED_MAX: usize = 16;
/// Flows of a round that are looked at: a refresh has more than the pinned ones.
const FLOWS_MAX: u16 = 255;

/// Whose path it is, for the event's text and identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Owner.
    pub organisation: OrganisationId,
    /// Whose path.
    pub agent: AgentId,
    /// The agent's site.
    pub site_id: String,
    /// The agent's site, for people.
    pub site_name: String,
    /// ISO 3166-1 alpha-2 country of the site.
    pub country: Option<String>,
    /// Target's name.
    pub target: String,
    /// When the report came.
    pub received_unix_ms: i64,
}

/// One thing that a report says of a path.
#[derive(Clone, Copy, Debug)]
pub enum Observation<'a> {
    /// A round, and the edge that headers named before it, with the time of that.
    Round(&'a Round, Option<&'a (i64, Pop)>),
    /// A sample, taken for what it says of reachability and RTT.
    Sample(&'a Sample),
    /// The agent measured nothing between these times.
    Gap(i64, i64),
}

impl Observation<'_> {
    /// When it began.
    pub const fn at_unix_ms(&self) -> i64 {
        match self {
            Self::Round(round, _) => round.at_unix_ms,
            Self::Sample(sample) => sample.at_unix_ms,
            Self::Gap(from, _) => *from,
        }
    }
}

/// What a round showed, beside its events.
#[derive(Clone, Debug, PartialEq)]
pub struct Showed {
    /// The path as it was seen.
    pub sight: Sight,
    /// Whether it was looked at from its first hop on.
    pub whole: bool,
}

/// What is needed to take anything in.
pub struct Watch<'a> {
    /// Whose path it is.
    pub context: &'a Context,
    /// Tables.
    pub meaning: &'a Meaning,
    /// Names of hops, those of the baseline among them.
    pub names: &'a BTreeMap<IpAddr, String>,
    /// What other agents see.
    pub desk: &'a mut Desk,
}

impl Watch<'_> {
    /// Takes one thing in: the events that it opened, changed or closed, and what a compared round showed.
    pub fn take_in(
        &mut self,
        memory: &mut PathMemory,
        observation: &Observation<'_>,
    ) -> (Vec<Event>, Option<Showed>) {
        let (events, showed) = match *observation {
            Observation::Round(round, edge) => self.round(memory, round, edge),
            Observation::Sample(sample) => (self.sample(memory, sample), None),
            Observation::Gap(from, until) => {
                let changes = memory.shift.on_gap(seconds(from), seconds(until));
                (self.tell(memory, &changes, None), None)
            }
        };
        self.desk.note_ended(&events);
        (events, showed)
    }

    fn round(
        &mut self,
        memory: &mut PathMemory,
        round: &Round,
        edge: Option<&(i64, Pop)>,
    ) -> (Vec<Event>, Option<Showed>) {
        let mut ended = Vec::new();
        match comparability(memory.kind, round) {
            Comparability::Evidence => return (Vec::new(), None),
            Comparability::Anew => ended = tell::abandon(memory, round.at_unix_ms),
            Comparability::Compare => {}
        }
        if round.stream == TraceStream::Refresh && is_overtaken(memory, round) {
            return (ended, None);
        }
        memory.kind = i32::from(round.kind);
        memory.newest_unix_ms = memory.newest_unix_ms.max(Some(round.at_unix_ms));
        let projection = identity_of(round, self.names, edge.map(|(_, pop)| pop), self.meaning);
        let mut sight = Sight::of(projection, edge.map(|(at, _)| *at));
        let whole = is_whole(round);
        if !whole {
            // Its flows begin on the way: they can contradict the AS path, not tell it.
            sight.forget_as_path();
        }
        let identity = &sight.identity;
        let changes = self.classify(memory, round, edge);
        let mut events = ended;
        events.extend(self.tell(memory, &changes, Some(identity)));
        events.extend(tell::follow(memory, identity));
        events.extend(tell::settle(memory, round.at_unix_ms));
        if round.stream == TraceStream::Refresh {
            return (events, None); // it looks for every branch there is: not what the pinned flows took
        }
        if memory.shift.is_quiet() {
            memory.usual.admit(identity);
        }
        memory.latest = Some(identity.clone());
        (events, Some(Showed { sight, whole }))
    }

    fn classify(
        &mut self,
        memory: &mut PathMemory,
        round: &Round,
        edge: Option<&(i64, Pop)>,
    ) -> Vec<Change> {
        let table = Table {
            meaning: self.meaning,
            names: self.names,
            nat64: round.nat64,
        };
        // One look at the headers is one witness, however many rounds follow it.
        let fresh = edge.filter(|(at_unix_ms, _)| *at_unix_ms > memory.edge_unix_ms);
        if let Some((at_unix_ms, _)) = fresh {
            memory.edge_unix_ms = *at_unix_ms;
        }
        let message = message::Round {
            at: time_of(memory, round),
            stream: stream_of(round),
            protocol: protocol_of(round),
            destination: Some(round.destination),
            public: None, // the upload may leave elsewhere: the uplink is learnt from the first public hop
            edge_metro: fresh.map(|(_, pop)| pop.metro.clone()),
            flows: flows_of(memory, round),
        };
        memory.told_unix_ms = memory.told_unix_ms.max(Some(unix_ms(message.at)));
        let agent = self.context.agent.to_string();
        let peers = self.desk.others(memory.provider_asn, &agent);
        let changes = memory
            .shift
            .on_round(&message, &plan_of(memory), &table, &peers);
        memory.provider_asn = memory.shift.provider().or(memory.provider_asn);
        if let Some((_, claim)) = memory.shift.claim() {
            self.desk
                .note(memory.provider_asn, claim, &agent, message.at);
        }
        for change in changes
            .iter()
            .filter(|change| change.phase == Phase::Start && change.status == Status::Event)
        {
            let claim = (change.class, change.from.clone(), change.to.clone());
            self.desk
                .note(memory.provider_asn, &claim, &agent, message.at);
        }
        changes
    }

    /// TCP tells of the way that users' traffic takes; ICMP only where TCP was never answered is neither loss nor RTT of it.
    fn sample(&mut self, memory: &mut PathMemory, sample: &Sample) -> Vec<Event> {
        if memory.newest_unix_ms.is_none() || !is_pulse(sample) {
            return Vec::new();
        }
        let rtt_us = match sample.outcome {
            Outcome::Answered | Outcome::Refused | Outcome::Reset => Some(sample.rtt_us.max(1)),
            Outcome::Timeout | Outcome::Unreachable | Outcome::Filtered => None,
            // Nothing was sent, or it says nothing of the network.
            Outcome::Unspecified
            | Outcome::DnsFailed
            | Outcome::NoRoute
            | Outcome::NotPermitted
            | Outcome::TlsFailed
            | Outcome::HttpFailed
            | Outcome::LocalError
            | Outcome::QuicFailed => return Vec::new(),
        };
        memory.tcp_answers |= rtt_us.is_some();
        if !memory.tcp_answers {
            return Vec::new();
        }
        let pulse = Pulse {
            flow: 0,
            rtt_us,
            reply_ttl: (sample.reply_ttl > 0).then_some(sample.reply_ttl),
        };
        let changes = memory
            .shift
            .on_pulse(seconds(sample.at_unix_ms), &pulse, &plan_of(memory));
        let mut events = self.tell(memory, &changes, None);
        if rtt_us.is_none() || !sample.marks.is_mistimed() {
            events.extend(beside::on_pulse(
                memory,
                sample,
                rtt_us,
                self.context,
                self.desk,
            ));
        }
        if let Some(rtt_us) = rtt_us.filter(|_| !sample.marks.is_mistimed()) {
            note_rtt(memory, rtt_us);
            events.extend(tell::reprice(memory));
        }
        events
    }

    fn tell(
        &mut self,
        memory: &mut PathMemory,
        changes: &[Change],
        seen: Option<&PathIdentity>,
    ) -> Vec<Event> {
        let tell = |change| tell::tell(memory, change, seen, self.context, self.meaning, self.desk);
        let mut events: Vec<Event> = changes.iter().filter_map(tell).collect();
        events.extend(beside::on_changes(memory, changes));
        events
    }
}

/// A refresh takes minutes, and other rounds run meanwhile: it is taken in when it is told. What it saw before a move that is
/// suspected or known by now says nothing of the path after it.
fn time_of(memory: &PathMemory, round: &Round) -> f64 {
    let newest = memory
        .told_unix_ms
        .filter(|_| round.stream == TraceStream::Refresh);
    seconds(
        round
            .at_unix_ms
            .max(newest.map_or(i64::MIN, |newest| newest + 1)),
    )
}

fn is_overtaken(memory: &PathMemory, round: &Round) -> bool {
    let late = memory
        .newest_unix_ms
        .is_none_or(|newest| round.at_unix_ms < newest);
    memory.flow_ids.is_empty() || (late && !memory.shift.is_quiet())
}

fn is_pulse(sample: &Sample) -> bool {
    sample.protocol == Protocol::Tcp
        && sample.phase == SamplePhase::Rtt
        && !sample.marks.leaves_figures()
}

fn note_rtt(memory: &mut PathMemory, rtt_us: u32) {
    if memory.shift.is_quiet() {
        memory.away_us.clear();
        memory.priced_at = 0;
        cost::keep(&mut memory.usual_us, rtt_us);
    } else if memory.away_us.len() < cost::KEPT {
        memory.away_us.push(rtt_us);
    }
}

/// Agents do not tell their plan; what the classifier takes from it are the spacings of the usual one.
fn plan_of(memory: &PathMemory) -> Plan {
    let flows = u16::try_from(memory.flow_ids.len()).unwrap_or(u16::MAX);
    Plan {
        flows: flows.max(1),
        ..Plan::default()
    }
}

fn stream_of(round: &Round) -> Stream {
    match round.stream {
        TraceStream::Full => Stream::Full,
        TraceStream::Burst => Stream::Burst,
        TraceStream::Refresh => Stream::Refresh,
        TraceStream::Unspecified if round.burst => Stream::Burst,
        TraceStream::Unspecified if is_whole(round) => Stream::Full,
        TraceStream::Tail | TraceStream::Unspecified => Stream::Tail,
    }
}

fn protocol_of(round: &Round) -> message::Protocol {
    match round.kind {
        TraceKind::Tcp | TraceKind::Unspecified => message::Protocol::Tcp,
        TraceKind::Udp => message::Protocol::Udp,
        TraceKind::Icmp => message::Protocol::Icmp,
    }
}

fn flows_of(memory: &mut PathMemory, round: &Round) -> Vec<message::Flow> {
    let refresh = round.stream == TraceStream::Refresh;
    if !refresh {
        pin(&mut memory.flow_ids, round);
    }
    let pinned = &memory.flow_ids;
    let mut extra = u16::try_from(pinned.len()).unwrap_or(FLOWS_MAX);
    let mut number = |id: u32| {
        let known = pinned.iter().position(|known| *known == id);
        known
            .and_then(|index| u16::try_from(index).ok())
            .or_else(|| {
                extra += 1;
                (refresh && extra <= FLOWS_MAX).then_some(extra - 1)
            })
    };
    let flows = round.flows.iter();
    flows
        .filter_map(|flow| Some(flow_of(number(flow.flow_id)?, flow, refresh)))
        .collect()
}

/// Numbers the pinned flows as they are first met. An agent whose ports are all new has pinned others.
fn pin(flow_ids: &mut Vec<u32>, round: &Round) {
    let known = |flow: &Flow| flow_ids.contains(&flow.flow_id);
    if !round.flows.is_empty() && !round.flows.iter().any(known) {
        flow_ids.clear();
    }
    for flow in &round.flows {
        if flow_ids.len() < PINNED_MAX && !flow_ids.contains(&flow.flow_id) {
            flow_ids.push(flow.flow_id);
        }
    }
}

/// Hops from the first one asked; a TTL that is missing in between was not answered. A refresh asks each flow at some TTLs only:
/// what lies behind the first that it left out says nothing of what lies before.
fn flow_of(number: u16, flow: &Flow, refresh: bool) -> message::Flow {
    let first_ttl = flow.hops.first().map_or(1, |hop| hop.ttl.max(1));
    let mut hops = Vec::new();
    let mut rtt_us = Vec::new();
    let mut whole = true;
    for hop in &flow.hops {
        let index = usize::try_from(hop.ttl.saturating_sub(first_ttl)).unwrap_or(0);
        if index > hops.len() && refresh {
            whole = false;
            break;
        }
        hops.resize(index.min(usize::from(u8::MAX)), None);
        rtt_us.resize(hops.len(), None);
        hops.push(hop.address);
        rtt_us.push(hop.address.map(|_| hop.rtt_us).filter(|rtt_us| *rtt_us > 0));
    }
    message::Flow {
        flow: number,
        first_ttl: u8::try_from(first_ttl).unwrap_or(u8::MAX),
        hops,
        rtt_us,
        reached: flow.destination_ttl.is_some() && whole,
        repeat: Vec::new(),
    }
}

/// The prefix of the NAT64 that a round's hops lie behind is the round's own.
pub fn with_nat64(round: &Round, nat64: Option<Nat64Prefix>) -> Round {
    Round {
        nat64,
        ..round.clone()
    }
}
