//! From the bytes of a report to a [`Batch`]: columns become samples, offsets become times, indexes become names.
//!
//! Pure. An agent is authenticated but not trusted: whatever does not add up is refused as a whole, so that nothing behind
//! this room meets an index out of bounds, columns of unequal length, or a time in another century. Unknown enum values are
//! no error: they read as "unspecified" (`proto/report.proto`).

use std::net::IpAddr;
use std::sync::Arc;

use firstmile_wire::frame::{self, FrameError};
use firstmile_wire::ids::{AgentId, Epoch, ReportKey};
use firstmile_wire::v1::{self, Outcome, Phase, Protocol, Report, TraceKind, TraceStream};

use super::batch::{Batch, Flow, Hop, Resolution, Round, Sample, Sighting};
use super::vantages::Names;
use super::{facts, families, series};
use crate::auth::identity::Identity;
use crate::registry::Target;

/// Samples in a report: an hour of twenty targets, each with three protocols every second.
const MAX_SAMPLES: usize = 200_000;
/// Targets of an agent, four times the cap of its plan.
const MAX_TARGETS: usize = 80;
/// Series in a report.
const MAX_SERIES: usize = 10_000;
/// Path rounds in a report.
const MAX_ROUNDS: usize = 5_000;
/// Flows of a round.
const MAX_FLOWS: usize = 64;
/// Hops of a flow: one for each value of the TTL field.
const MAX_HOPS: usize = 255;
/// Hops of all rounds together.
const MAX_HOPS_TOTAL: usize = 400_000;
/// Names, sightings and resolutions in a report, each.
const MAX_FACTS: usize = 10_000;
/// Headers of a sighting.
const MAX_HEADERS: usize = 64;
/// Addresses or names of a resolution.
const MAX_ANSWERS: usize = 64;
/// Longest text, a header value (`proto/report.proto` cuts at 1,024).
const MAX_TEXT_BYTES: usize = 1024;
/// Longest RTT: the collector's histograms end at a minute.
const MAX_RTT_US: u32 = 60_000_000;
/// How old a sample may be: three days of spool, ten times over.
const MAX_AGE_MS: i64 = 30 * 24 * 3_600_000;
/// How far an agent's clock may be ahead.
const MAX_AHEAD_MS: i64 = 3_600_000;

/// Why a report cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not one frame of one message of a known version.
    #[error("the report cannot be read")]
    Frame(#[from] FrameError),
    /// It speaks for another agent than the certificate.
    #[error("the report is of agent {named}, the certificate of agent {certified}")]
    WrongAgent {
        /// Whom the report names.
        named: String,
        /// Whom the certificate names.
        certified: AgentId,
    },
    /// A part does not add up.
    #[error("{what} {problem}")]
    Inconsistent {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// More of something than any plan makes.
    #[error("{got} {what}, at most {max} are taken")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        got: usize,
        /// How many are taken.
        max: usize,
    },
    /// A time ahead of the collector's: one of the two clocks is wrong, and may be mended.
    #[error(
        "{what} is at {at_unix_ms} ms, received at {received_unix_ms} ms; set the agent's clock, or the collector's"
    )]
    Ahead {
        /// Of what.
        what: &'static str,
        /// When it claims to be.
        at_unix_ms: i64,
        /// When it was received.
        received_unix_ms: i64,
    },
    /// A time so long ago that it gets into no figures: it only gets older.
    #[error(
        "{what} is at {at_unix_ms} ms, received at {received_unix_ms} ms, over 30 days later; was the agent's clock set?"
    )]
    TooOld {
        /// Of what.
        what: &'static str,
        /// When it claims to be.
        at_unix_ms: i64,
        /// When it was received.
        received_unix_ms: i64,
    },
}

/// Decodes and checks a report that `sender` posted.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(
    bytes: &[u8],
    sender: &Identity,
    received_unix_ms: i64,
) -> Result<Batch, DecodeError> {
    let report = frame::decode(bytes)?;
    let key = key_of(&report, sender)?;
    let reader = Reader::new(&report, received_unix_ms)?;
    let samples = reader.samples(&report.series)?;
    let rounds = reader.rounds(&report.traces)?;
    let hop_names = hop_names(&report.hop_names)?;
    let sightings = reader.sightings(&report.edge_sightings)?;
    let resolutions = reader.resolutions(&report.resolutions)?;
    let facts = facts::read(&reader, &report)?;
    let targets = reader.names.into_targets();
    let agent_version = short("the agent's version", &report.agent_version)?;
    let host = report.host.map(host_of).transpose()?;
    Ok(families::split(Batch {
        key,
        received_unix_ms,
        agent_version,
        host,
        counters: report.counters.unwrap_or_default(),
        targets,
        samples,
        rounds,
        hop_names,
        sightings,
        resolutions,
        facts,
    }))
}

fn host_of(mut host: v1::HostFacts) -> Result<v1::HostFacts, DecodeError> {
    let facts = [
        &mut host.hostname,
        &mut host.os,
        &mut host.arch,
        &mut host.icmp_capability,
    ];
    for fact in facts {
        *fact = short("a fact of the host", fact)?;
    }
    Ok(host)
}

fn key_of(report: &Report, sender: &Identity) -> Result<ReportKey, DecodeError> {
    let agent = AgentId::from_bytes(&report.agent_id)
        .map_err(|_| wrong("the agent's id", "is no identity"))?;
    if agent != sender.agent {
        return Err(DecodeError::WrongAgent {
            named: agent.to_string(),
            certified: sender.agent,
        });
    }
    let epoch =
        Epoch::from_bytes(&report.epoch).map_err(|_| wrong("the epoch", "is no identity"))?;
    // SQLite and protobuf's neighbours count in signed 64 bits; no agent gets there.
    if report.sequence == 0 || i64::try_from(report.sequence).is_err() {
        return Err(wrong("the sequence", "counts from 1"));
    }
    Ok(ReportKey {
        organisation: sender.organisation.clone(),
        agent,
        epoch,
        sequence: report.sequence,
    })
}

/// What turns offsets into times and indexes into names.
pub(super) struct Reader {
    received_unix_ms: i64,
    anchor_unix_ms: i64,
    pub(super) names: Names,
}

impl Reader {
    fn new(report: &Report, received_unix_ms: i64) -> Result<Self, DecodeError> {
        limit("targets", report.targets.len(), MAX_TARGETS)?;
        let targets = report
            .targets
            .iter()
            .map(target_of)
            .collect::<Result<Vec<_>, _>>()?;
        let reader = Self {
            received_unix_ms,
            anchor_unix_ms: report.wall_anchor_unix_ms,
            names: Names::new(report, &targets)?,
        };
        reader.plausible("the wall anchor", report.wall_anchor_unix_ms)?;
        Ok(reader)
    }

    /// The time at an offset from the report's anchor.
    ///
    /// # Errors
    /// [`DecodeError`] when no agent can have measured then.
    pub(super) fn at(&self, what: &'static str, offset_ms: i64) -> Result<i64, DecodeError> {
        self.plausible(what, self.anchor_unix_ms.saturating_add(offset_ms))
    }

    fn plausible(&self, what: &'static str, at_unix_ms: i64) -> Result<i64, DecodeError> {
        let received_unix_ms = self.received_unix_ms;
        let age_ms = received_unix_ms.saturating_sub(at_unix_ms);
        if age_ms < -MAX_AHEAD_MS {
            return Err(DecodeError::Ahead {
                what,
                at_unix_ms,
                received_unix_ms,
            });
        }
        if age_ms > MAX_AGE_MS {
            return Err(DecodeError::TooOld {
                what,
                at_unix_ms,
                received_unix_ms,
            });
        }
        Ok(at_unix_ms)
    }

    fn samples(&self, series: &[v1::Series]) -> Result<Vec<Sample>, DecodeError> {
        limit("series", series.len(), MAX_SERIES)?;
        let count = series.iter().map(|series| series.at_delta_ms.len()).sum();
        limit("samples", count, MAX_SAMPLES)?;
        let mut samples = Vec::with_capacity(count);
        for one in series {
            let target = self.names.from(one.target, one.vantage)?;
            series::read(
                one,
                &target,
                |offset_ms| self.at("a sample", offset_ms),
                &mut samples,
            )?;
        }
        Ok(samples)
    }

    fn rounds(&self, traces: &[v1::TraceRound]) -> Result<Vec<Round>, DecodeError> {
        limit("path rounds", traces.len(), MAX_ROUNDS)?;
        let flows = traces.iter().flat_map(|round| &round.flows);
        limit(
            "hops",
            flows.map(|flow| flow.hops.len()).sum(),
            MAX_HOPS_TOTAL,
        )?;
        let mut rounds = traces
            .iter()
            .map(|round| self.round(round))
            .collect::<Result<Vec<_>, _>>()?;
        rounds.sort_by_key(|round| round.at_unix_ms);
        Ok(rounds)
    }

    fn round(&self, round: &v1::TraceRound) -> Result<Round, DecodeError> {
        limit("flows of a round", round.flows.len(), MAX_FLOWS)?;
        Ok(Round {
            at_unix_ms: self.at("a path round", round.at_offset_ms)?,
            target: self.names.from(round.target, round.vantage)?,
            destination: some_address(&round.destination, "the destination of a path round")?,
            kind: TraceKind::try_from(round.kind).unwrap_or(TraceKind::Unspecified),
            burst: round.burst,
            stream: TraceStream::try_from(round.stream).unwrap_or_default(),
            nat64: None,
            flows: round.flows.iter().map(flow_of).collect::<Result<_, _>>()?,
        })
    }

    fn sightings(&self, sightings: &[v1::EdgeSighting]) -> Result<Vec<Sighting>, DecodeError> {
        limit("edge sightings", sightings.len(), MAX_FACTS)?;
        let one = |sighting: &v1::EdgeSighting, target| {
            limit("headers of a sighting", sighting.headers.len(), MAX_HEADERS)?;
            Ok(Sighting {
                at_unix_ms: self.at("an edge sighting", sighting.at_offset_ms)?,
                target,
                destination: address(&sighting.destination)?,
                http_status: sighting.http_status,
                headers: sighting
                    .headers
                    .iter()
                    .map(header_of)
                    .collect::<Result<_, _>>()?,
            })
        };
        self.under_each_name(sightings, |sighting| sighting.target, one)
    }

    fn resolutions(&self, resolutions: &[v1::Resolution]) -> Result<Vec<Resolution>, DecodeError> {
        limit("resolutions", resolutions.len(), MAX_FACTS)?;
        let one = |resolution: &v1::Resolution, target| {
            limit(
                "addresses of a resolution",
                resolution.addresses.len(),
                MAX_ANSWERS,
            )?;
            limit(
                "names of a resolution",
                resolution.cname_chain.len(),
                MAX_ANSWERS,
            )?;
            let name = |name: &String| short("a name of a resolution", name);
            let answer = |bytes: &Vec<u8>| some_address(bytes, "an address of a resolution");
            Ok(Resolution {
                at_unix_ms: self.at("a resolution", resolution.at_offset_ms)?,
                target,
                resolver: short("a resolver", &resolution.resolver)?,
                ipv6: resolution.ipv6,
                outcome: outcome_of(resolution.outcome),
                addresses: resolution
                    .addresses
                    .iter()
                    .map(answer)
                    .collect::<Result<_, _>>()?,
                cname_chain: resolution
                    .cname_chain
                    .iter()
                    .map(name)
                    .collect::<Result<_, _>>()?,
                ttl_s: resolution.ttl_s,
            })
        };
        self.under_each_name(resolutions, |resolution| resolution.target, one)
    }

    /// What is told of a target without a vantage point holds for every name of it.
    fn under_each_name<F, T>(
        &self,
        facts: &[F],
        target: impl Fn(&F) -> u32,
        read: impl Fn(&F, Arc<str>) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let mut all = Vec::with_capacity(facts.len());
        for fact in facts {
            for name in self.names.all(target(fact))? {
                limit("facts of targets", all.len() + 1, MAX_FACTS)?;
                all.push(read(fact, name)?);
            }
        }
        Ok(all)
    }
}

fn hop_names(names: &[v1::HopName]) -> Result<Vec<(IpAddr, Option<String>)>, DecodeError> {
    limit("hop names", names.len(), MAX_FACTS)?;
    let one = |name: &v1::HopName| {
        let text = short("a hop's name", &name.name)?;
        let text = (!text.is_empty()).then(|| text.trim_end_matches('.').to_ascii_lowercase());
        Ok((
            some_address(&name.address, "the address of a hop's name")?,
            text,
        ))
    };
    names.iter().map(one).collect()
}

fn target_of(target: &v1::Target) -> Result<Target, DecodeError> {
    if target.name.is_empty() || target.name.chars().any(char::is_control) {
        return Err(wrong("a target's name", "is empty or not printable"));
    }
    if target.port > u32::from(u16::MAX) {
        return Err(wrong("a target's port", "is beyond 65535"));
    }
    Ok(Target {
        name: short("a target's name", &target.name)?,
        host: short("a target's host", &target.host)?,
        port: target.port,
        service: short("a target's service", &target.service)?,
    })
}

fn flow_of(flow: &v1::TraceFlow) -> Result<Flow, DecodeError> {
    limit("hops of a flow", flow.hops.len(), MAX_HOPS)?;
    let mut hops = flow
        .hops
        .iter()
        .map(hop_of)
        .collect::<Result<Vec<_>, _>>()?;
    hops.sort_by_key(|hop| hop.ttl);
    if hops
        .windows(2)
        .any(|pair| matches!(pair, [one, two] if one.ttl == two.ttl))
    {
        return Err(wrong("a flow", "has two hops of one TTL"));
    }
    let destination_ttl = (flow.destination_ttl != 0)
        .then(|| ttl(flow.destination_ttl))
        .transpose()?;
    Ok(Flow {
        flow_id: flow.flow_id,
        hops,
        destination_ttl,
    })
}

fn hop_of(hop: &v1::TraceHop) -> Result<Hop, DecodeError> {
    Ok(Hop {
        ttl: ttl(hop.ttl)?,
        address: address(&hop.address)?,
        rtt_us: rtt(hop.rtt_us)?,
        reply_ttl: hop.reply_ttl.min(255),
        icmp: hop.icmp,
        seen_unix_ms: None,
    })
}

fn header_of(header: &v1::Header) -> Result<(String, String), DecodeError> {
    let name = short("a header's name", &header.name)?.to_ascii_lowercase();
    Ok((name, short("a header's value", &header.value)?))
}

pub(super) fn address(bytes: &[u8]) -> Result<Option<IpAddr>, DecodeError> {
    if bytes.is_empty() {
        Ok(None)
    } else {
        some_address(bytes, "an address").map(Some)
    }
}

fn some_address(bytes: &[u8], what: &'static str) -> Result<IpAddr, DecodeError> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let either = four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    either.map_err(|_| wrong(what, "has neither 4 nor 16 bytes"))
}

fn ttl(ttl: u32) -> Result<u32, DecodeError> {
    if (1..=255).contains(&ttl) {
        Ok(ttl)
    } else {
        Err(wrong("a TTL", "is not from 1 to 255"))
    }
}

pub(super) fn rtt(rtt_us: u32) -> Result<u32, DecodeError> {
    if rtt_us <= MAX_RTT_US {
        Ok(rtt_us)
    } else {
        Err(wrong("an RTT", "is beyond a minute"))
    }
}

/// A text of bounded length without control characters: it ends up in tables on somebody's terminal.
pub(super) fn short(what: &'static str, text: &str) -> Result<String, DecodeError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(wrong(what, "is longer than 1024 bytes"));
    }
    Ok(text.chars().filter(|letter| !letter.is_control()).collect())
}

pub(super) fn limit(what: &'static str, got: usize, max: usize) -> Result<(), DecodeError> {
    if got <= max {
        Ok(())
    } else {
        Err(DecodeError::TooMany { what, got, max })
    }
}

pub(super) const fn wrong(what: &'static str, problem: &'static str) -> DecodeError {
    DecodeError::Inconsistent { what, problem }
}

pub(super) fn protocol_of(number: i32) -> Protocol {
    Protocol::try_from(number).unwrap_or(Protocol::Unspecified)
}

pub(super) fn phase_of(number: i32) -> Phase {
    Phase::try_from(number).unwrap_or(Phase::Unspecified)
}

pub(super) fn outcome_of(number: i32) -> Outcome {
    Outcome::try_from(number).unwrap_or(Outcome::Unspecified)
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
