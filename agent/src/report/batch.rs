//! What was observed since the last report, turned into the columns of the wire format.
//!
//! Pure. Bounded: beyond [`MAX_SAMPLES`] the newest samples are refused and counted; at the default plan and report
//! interval that is some hundred times what is ever in a batch.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use firstmile_wire::v1;

use super::rounds::{wire_flow, wire_multipath, wire_stream};
use crate::clock::Anchor;
use crate::config::{Target, Vantage};
use crate::net::dns::Answer;
use crate::net::trace::RoundResult;
use crate::probe::edge::Kept;
use crate::probe::sighting::Sighting;
use crate::probe::{Clock, Outcome, Sample, address_bytes, micros};

/// Samples of one batch at most.
const MAX_SAMPLES: usize = 100_000;

/// Rounds, names, sightings and resolutions of one batch at most, each.
const MAX_OTHERS: usize = 2_000;

/// Something that the agent saw.
#[derive(Clone, Debug)]
pub(crate) enum Observation {
    Sample(Sample),
    Round {
        target: usize,
        destination: IpAddr,
        burst: bool,
        vantage: u16,
        round: RoundResult,
    },
    HopName {
        address: IpAddr,
        name: Option<String>,
    },
    Edge {
        target: usize,
        destination: IpAddr,
        at: Instant,
        status: u16,
        headers: Vec<Kept>,
    },
    Resolution {
        target: usize,
        answer: Answer,
    },
    Handshake {
        target: usize,
        destination: IpAddr,
        at: Instant,
        protocol: v1::Protocol,
        sighting: Sighting,
    },
    /// The machine from a moment on, for as long as it says.
    Host {
        from: Instant,
        context: Box<v1::HostContext>,
    },
    /// A span without measurements, or a step of the wall clock.
    Gap(Gap),
    NetworkChange {
        at: Instant,
        kind: v1::NetworkChangeKind,
        detail: String,
    },
}

/// A span in which nothing was measured, told when it was over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    pub(crate) until: Instant,
    /// Its length, time asleep included, which the clock of `until` may not have counted.
    pub(crate) span: Duration,
    pub(crate) reason: v1::GapReason,
    /// By how much the wall clock was set.
    pub(crate) step_ms: i64,
}

/// Key of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SeriesKey {
    target: usize,
    destination: Option<IpAddr>,
    protocol: i32,
    phase: i32,
    clock: Clock,
    vantage: u16,
}

/// What a series holds of a sample, besides its key.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: Instant,
    outcome: Outcome,
    scheduling_delay_us: u32,
    marks: u32,
    reply_ttl: u8,
}

/// A batch under construction.
#[derive(Debug)]
pub(crate) struct Batch {
    anchor: Anchor,
    series: BTreeMap<SeriesKey, Vec<Point>>,
    samples: usize,
    traces: Vec<v1::TraceRound>,
    hop_names: Vec<v1::HopName>,
    edge_sightings: Vec<v1::EdgeSighting>,
    resolutions: Vec<v1::Resolution>,
    gaps: Vec<v1::Gap>,
    network_changes: Vec<v1::NetworkChange>,
    tls_sightings: Vec<v1::TlsSighting>,
    host_contexts: Vec<v1::HostContext>,
}

impl Batch {
    /// An empty batch whose times count from `anchor`.
    pub(crate) const fn new(anchor: Anchor) -> Self {
        Self {
            anchor,
            series: BTreeMap::new(),
            samples: 0,
            traces: Vec::new(),
            hop_names: Vec::new(),
            edge_sightings: Vec::new(),
            resolutions: Vec::new(),
            gaps: Vec::new(),
            network_changes: Vec::new(),
            tls_sightings: Vec::new(),
            host_contexts: Vec::new(),
        }
    }

    /// Takes an observation in; false when there is no room for it.
    pub(crate) fn add(&mut self, observation: Observation) -> bool {
        match observation {
            Observation::Sample(sample) => self.add_sample(&sample),
            Observation::Round {
                target,
                destination,
                burst,
                vantage,
                round,
            } => {
                let round = v1::TraceRound {
                    vantage: u32::from(vantage),
                    ..self.trace_round(target, destination, burst, &round)
                };
                push(&mut self.traces, round)
            }
            Observation::HopName { address, name } => push(
                &mut self.hop_names,
                v1::HopName {
                    address: address_bytes(address),
                    name: name.unwrap_or_default(),
                },
            ),
            Observation::Edge {
                target,
                destination,
                at,
                status,
                headers,
            } => {
                let sighting = v1::EdgeSighting {
                    target: index(target),
                    destination: address_bytes(destination),
                    at_offset_ms: self.anchor.offset_ms(at),
                    http_status: u32::from(status),
                    headers: headers.into_iter().map(wire_header).collect(),
                };
                push(&mut self.edge_sightings, sighting)
            }
            Observation::Gap(gap) => {
                let gap = self.gap(&gap);
                push(&mut self.gaps, gap)
            }
            Observation::NetworkChange { at, kind, detail } => {
                self.add_network_change(at, kind, detail)
            }
            Observation::Resolution { target, answer } => {
                let resolution = self.resolution(target, answer);
                push(&mut self.resolutions, resolution)
            }
            Observation::Handshake {
                target,
                destination,
                at,
                protocol,
                sighting,
            } => {
                let sighting = v1::TlsSighting {
                    target: index(target),
                    destination: address_bytes(destination),
                    at_offset_ms: self.anchor.offset_ms(at),
                    protocol: protocol.into(),
                    ..wire_sighting(sighting)
                };
                push(&mut self.tls_sightings, sighting)
            }
            Observation::Host { from, context } => self.add_host(from, *context),
        }
    }

    /// Whether there is nothing to report.
    pub(crate) fn is_empty(&self) -> bool {
        self.samples == 0
            && self.traces.is_empty()
            && self.hop_names.is_empty()
            && self.edge_sightings.is_empty()
            && self.resolutions.is_empty()
            && self.gaps.is_empty()
            && self.network_changes.is_empty()
            && self.tls_sightings.is_empty()
            && self.host_contexts.is_empty()
    }

    /// The report, but for what only the sender knows: identity, epoch, sequence, boot, host, counters.
    pub(crate) fn into_report(self, targets: &[Target]) -> v1::Report {
        v1::Report {
            version: firstmile_wire::VERSION,
            wall_anchor_unix_ms: self.anchor.wall_unix_ms,
            monotonic_anchor_us: self.anchor.boot_us,
            targets: targets.iter().map(wire_target).collect(),
            series: self
                .series
                .into_iter()
                .map(|(key, samples)| columns(self.anchor, key, samples))
                .collect(),
            traces: self.traces,
            hop_names: self.hop_names,
            edge_sightings: self.edge_sightings,
            resolutions: self.resolutions,
            gaps: self.gaps,
            network_changes: self.network_changes,
            tls_sightings: self.tls_sightings,
            host_contexts: self.host_contexts,
            ..v1::Report::default()
        }
    }

    fn add_host(&mut self, from: Instant, context: v1::HostContext) -> bool {
        let context = v1::HostContext {
            at_offset_ms: self.anchor.offset_ms(from),
            ..context
        };
        push(&mut self.host_contexts, context)
    }

    fn add_sample(&mut self, sample: &Sample) -> bool {
        if self.samples >= MAX_SAMPLES {
            return false;
        }
        self.samples += 1;
        let key = SeriesKey {
            target: sample.target,
            destination: sample.destination,
            protocol: sample.protocol.into(),
            phase: sample.phase.into(),
            clock: sample.clock,
            vantage: sample.vantage,
        };
        self.series.entry(key).or_default().push(Point {
            at: sample.at,
            outcome: sample.outcome,
            scheduling_delay_us: sample.scheduling_delay.map_or(0, micros),
            marks: sample.marks.to_wire(),
            reply_ttl: sample.reply_ttl,
        });
        true
    }

    fn trace_round(
        &self,
        target: usize,
        destination: IpAddr,
        burst: bool,
        round: &RoundResult,
    ) -> v1::TraceRound {
        let flows = round
            .flows
            .iter()
            .zip(round.flow_ids.iter().zip(&round.flow_labels))
            .map(|(flow, (id, label))| wire_flow(*id, *label, flow))
            .collect();
        v1::TraceRound {
            target: index(target),
            destination: address_bytes(destination),
            kind: round.kind.into(),
            at_offset_ms: self.anchor.offset_ms(round.started),
            flows,
            burst,
            destination_port: u32::from(round.destination_port),
            stream: wire_stream(round.stream).into(),
            method: round.method.into(),
            multipath: round.multipath.iter().map(wire_multipath).collect(),
            ..v1::TraceRound::default()
        }
    }

    fn add_network_change(
        &mut self,
        at: Instant,
        kind: v1::NetworkChangeKind,
        detail: String,
    ) -> bool {
        let change = v1::NetworkChange {
            at_offset_ms: self.anchor.offset_ms(at),
            kind: kind.into(),
            detail,
        };
        push(&mut self.network_changes, change)
    }

    /// Offsets are of the wall clock: a sleep counts, though the clock of instants may have stood still.
    fn gap(&self, gap: &Gap) -> v1::Gap {
        let until_offset_ms = self.anchor.offset_ms(gap.until);
        let span_ms = i64::try_from(gap.span.as_millis()).unwrap_or(i64::MAX);
        v1::Gap {
            from_offset_ms: until_offset_ms.saturating_sub(span_ms),
            until_offset_ms,
            reason: gap.reason.into(),
            step_ms: gap.step_ms,
        }
    }

    fn resolution(&self, target: usize, answer: Answer) -> v1::Resolution {
        v1::Resolution {
            target: index(target),
            at_offset_ms: self.anchor.offset_ms(answer.at),
            resolver: answer.resolver,
            ipv6: answer.ipv6,
            outcome: answer.outcome.to_wire().into(),
            addresses: answer.addresses.into_iter().map(address_bytes).collect(),
            cname_chain: answer.cname_chain,
            ttl_s: u32::try_from(answer.ttl.as_secs()).unwrap_or(u32::MAX),
            rtt_us: answer.rtt.map_or(0, micros),
            rcode_plus_1: answer.code.map_or(0, |code| u32::from(code) + 1),
        }
    }
}

fn push<T>(items: &mut Vec<T>, item: T) -> bool {
    let room = items.len() < MAX_OTHERS;
    if room {
        items.push(item);
    }
    room
}

fn wire_header(kept: Kept) -> v1::Header {
    v1::Header {
        name: kept.name,
        value: kept.value,
    }
}

fn index(target: usize) -> u32 {
    u32::try_from(target).unwrap_or(u32::MAX)
}

/// The vantage points, when there are more than the machine's own choice.
pub(crate) fn wire_vantages(vantages: &[Vantage]) -> Vec<v1::Vantage> {
    if vantages.len() < 2 {
        return Vec::new();
    }
    let wire = |Vantage { name, exit }: &Vantage| v1::Vantage {
        name: name.clone(),
        interface: exit
            .interface
            .map(|interface| interface.as_str().to_owned())
            .unwrap_or_default(),
        source: exit.source.map(address_bytes).unwrap_or_default(),
        dscp: u32::from(exit.dscp),
    };
    vantages.iter().map(wire).collect()
}

fn wire_target(target: &Target) -> v1::Target {
    v1::Target {
        name: target.name.to_string(),
        host: target.host.to_string(),
        port: u32::from(target.port),
        service: target.service.as_str().to_owned(),
    }
}

fn wire_sighting(sighting: Sighting) -> v1::TlsSighting {
    let bytes = |hashes: Vec<[u8; 32]>| hashes.into_iter().map(Vec::from).collect();
    v1::TlsSighting {
        version: sighting.version.into(),
        alpn: sighting.alpn,
        cipher_suite: sighting.cipher_suite.into(),
        certificate_sha256: bytes(sighting.certificates),
        key_sha256: bytes(sighting.keys),
        not_before_unix_s: sighting.not_before_unix_s,
        not_after_unix_s: sighting.not_after_unix_s,
        issuer: sighting.issuer,
        top: sighting.top,
        problem: sighting.problem,
        quic_version: sighting.quic_version,
        ..v1::TlsSighting::default()
    }
}

/// Samples of one key as columns, in the order of time.
fn columns(anchor: Anchor, key: SeriesKey, mut samples: Vec<Point>) -> v1::Series {
    samples.sort_by_key(|sample| sample.at);
    let mut series = v1::Series {
        target: index(key.target),
        destination: key.destination.map(address_bytes).unwrap_or_default(),
        protocol: key.protocol,
        phase: key.phase,
        clock: key.clock.to_wire().into(),
        vantage: u32::from(key.vantage),
        scheduling_delay_us: column(&samples, |sample| sample.scheduling_delay_us),
        marks: column(&samples, |sample| sample.marks),
        reply_ttl: column(&samples, |sample| u32::from(sample.reply_ttl)),
        ..v1::Series::default()
    };
    let mut before = 0;
    for sample in samples {
        let offset = anchor.offset_ms(sample.at);
        series.at_delta_ms.push(offset - before);
        series.rtt_us.push(sample.outcome.rtt().map_or(0, micros));
        series.outcome.push(sample.outcome.to_wire().into());
        before = offset;
    }
    series
}

/// One value a sample, or nothing at all where every one would be zero.
fn column(samples: &[Point], value: impl Fn(&Point) -> u32) -> Vec<u32> {
    if samples.iter().all(|sample| value(sample) == 0) {
        return Vec::new();
    }
    samples.iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock;
    use crate::probe::Marks;

    fn sample(at: Instant, outcome: Outcome) -> Observation {
        Observation::Sample(Sample {
            at,
            target: 3,
            destination: Some(IpAddr::from([203, 0, 113, 1])),
            protocol: v1::Protocol::Tcp,
            phase: v1::Phase::Rtt,
            outcome,
            clock: Clock::User,
            scheduling_delay: None,
            reply_ttl: 0,
            marks: Marks::default(),
            vantage: 0,
        })
    }

    proptest! {
        #[test]
        fn columns_say_what_was_seen(seen in prop::collection::vec((0u64..60_000, prop::option::of(0u32..2_000_000)), 0..200), ahead in 0u64..30_000) {
            let start = clock::now();
            let anchor = Anchor { instant: start + Duration::from_millis(ahead), wall_unix_ms: 1_000_000, boot_us: 7 };
            let mut batch = Batch::new(anchor);
            for (ms, rtt) in &seen {
                let outcome = rtt.map_or(Outcome::Timeout, |us| Outcome::Answered(Duration::from_micros(u64::from(us))));
                prop_assert!(batch.add(sample(start + Duration::from_millis(*ms), outcome)));
            }
            let report = batch.into_report(&[]);
            prop_assert_eq!(report.series.len(), usize::from(!seen.is_empty()));
            let Some(series) = report.series.first() else { return Ok(()) };
            prop_assert_eq!(series.at_delta_ms.len(), seen.len());
            prop_assert_eq!(series.rtt_us.len(), seen.len());
            prop_assert_eq!(series.outcome.len(), seen.len());
            let mut at = 0_i64;
            let mut got: Vec<(i64, u32)> = Vec::new();
            for (delta, rtt) in series.at_delta_ms.iter().zip(&series.rtt_us) {
                at += delta;
                got.push((at, *rtt));
            }
            let mut want: Vec<(i64, u32)> = seen.iter().map(|(ms, rtt)| {
                (i64::try_from(*ms).expect("small") - i64::try_from(ahead).expect("small"), rtt.unwrap_or(0))
            }).collect();
            prop_assert!(got.windows(2).all(|pair| pair[0].0 <= pair[1].0), "in the order of time");
            want.sort_unstable();
            got.sort_unstable();
            prop_assert_eq!(got, want);
        }
    }

    #[test]
    fn what_differs_in_any_part_of_the_key_is_a_series_of_its_own() {
        let now = clock::now();
        let mut batch = Batch::new(clock::anchor());
        let one = Sample {
            at: now,
            target: 0,
            destination: None,
            protocol: v1::Protocol::Dns,
            phase: v1::Phase::Dns,
            outcome: Outcome::DnsFailed,
            clock: Clock::User,
            scheduling_delay: None,
            reply_ttl: 0,
            marks: Marks::default(),
            vantage: 0,
        };
        for sample in [
            one,
            Sample { target: 1, ..one },
            Sample {
                destination: Some(IpAddr::from([203, 0, 113, 1])),
                ..one
            },
            Sample {
                protocol: v1::Protocol::Https,
                ..one
            },
            Sample {
                phase: v1::Phase::Tls,
                ..one
            },
            Sample {
                clock: Clock::Kernel,
                ..one
            },
            one,
        ] {
            batch.add(Observation::Sample(sample));
        }
        let report = batch.into_report(&[]);
        let mut lengths: Vec<usize> = report
            .series
            .iter()
            .map(|series| series.outcome.len())
            .collect();
        lengths.sort_unstable();
        assert_eq!(lengths, [1, 1, 1, 1, 1, 2]);
        assert!(
            report
                .series
                .iter()
                .any(|series| series.destination.is_empty())
        );
    }

    #[test]
    fn a_night_asleep_is_told_in_the_time_of_the_wall() {
        let anchor = clock::anchor();
        let mut batch = Batch::new(anchor);
        let woken = anchor.instant + Duration::from_secs(1);
        assert!(batch.add(Observation::Gap(Gap {
            until: woken,
            span: Duration::from_hours(8),
            reason: v1::GapReason::Suspended,
            step_ms: 0,
        })));
        assert!(!batch.is_empty());
        let report = batch.into_report(&[]);
        let gap = report.gaps.first().expect("one gap");
        assert_eq!(gap.until_offset_ms, 1_000);
        assert_eq!(gap.until_offset_ms - gap.from_offset_ms, 8 * 3_600_000);
    }

    #[test]
    fn a_batch_is_bounded() {
        let now = clock::now();
        let mut batch = Batch::new(clock::anchor());
        for _ in 0..MAX_SAMPLES {
            assert!(batch.add(sample(now, Outcome::Timeout)));
        }
        assert!(!batch.add(sample(now, Outcome::Timeout)));
        let name = Observation::HopName {
            address: IpAddr::from([198, 51, 100, 1]),
            name: None,
        };
        assert!((0..MAX_OTHERS).all(|_| batch.add(name.clone())));
        assert!(!batch.add(name));
    }
}
