//! What agents send, and how it is written down in the judge's format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use firstmile_shift::judge::Judge;
use firstmile_shift::message::{Flow, Protocol, Pulse, Round, Stream};

/// Unix time at which every history starts.
pub(crate) const EPOCH: f64 = 1_700_000_000.0;
/// The one target of each agent.
const TARGET: &str = "edge";

/// What an agent sends, before it is written down.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub agent: u64,
    pub at: f64,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Round {
        stream: &'static str,
        flows: Vec<SentFlow>,
        public: Ipv4Addr,
        edge: Option<&'static str>,
        target: Option<Ipv4Addr>,
    },
    Pulse {
        rtt_us: Option<u32>,
    },
    Gap {
        until: f64,
    },
    World {
        tables: BTreeMap<&'static str, String>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct SentFlow {
    pub flow: u64,
    pub first_ttl: u64,
    pub hops: Vec<Option<(Ipv4Addr, u32)>>,
}

impl Sent {
    /// Tells it to the judge: as a line of ROUNDS.jsonl, or, many times faster, as what such a line is read to be.
    pub(crate) fn tell(&self, judge: &mut Judge, line: &mut String, written: bool) {
        let agent = format!("a{}", self.agent);
        // To the millisecond, as a line would say it.
        let at = ((EPOCH + self.at) * 1_000.0).round() / 1_000.0;
        match &self.body {
            Body::Pulse { rtt_us } if !written => {
                let pulse = Pulse {
                    flow: 0,
                    rtt_us: *rtt_us,
                    reply_ttl: Some(57),
                };
                judge.pulse(&agent, TARGET, at, &pulse);
            }
            Body::Round { .. } if !written => judge.round(&agent, TARGET, &self.round(at)),
            Body::Pulse { .. } | Body::Round { .. } | Body::Gap { .. } | Body::World { .. } => {
                self.line(line);
                judge.line(line);
            }
        }
    }

    fn round(&self, at: f64) -> Round {
        let Body::Round {
            stream,
            flows,
            public,
            edge,
            target,
        } = &self.body
        else {
            return Round::default();
        };
        Round {
            at,
            stream: match *stream {
                "full" => Stream::Full,
                "burst" => Stream::Burst,
                "refresh" => Stream::Refresh,
                _ => Stream::Tail,
            },
            protocol: Protocol::Tcp,
            destination: target.map(IpAddr::V4),
            public: Some(IpAddr::V4(*public)),
            edge_metro: edge.map(str::to_uppercase),
            flows: flows.iter().map(SentFlow::read).collect(),
        }
    }

    /// The line of ROUNDS.jsonl.
    pub(crate) fn line(&self, text: &mut String) {
        let infallible = "a string takes all";
        text.clear();
        let (agent, at) = (self.agent, EPOCH + self.at);
        match &self.body {
            Body::Pulse { rtt_us } => {
                let rtt = rtt_us.map_or("null".to_owned(), |rtt| rtt.to_string());
                write!(text, r#"{{"kind":"pulse","agent":"a{agent}","target":"edge","ts":{at:.3},"flow":0,"rtt_us":{rtt},"reply_ttl":57}}"#).expect(infallible);
            }
            Body::Gap { until } => {
                write!(
                    text,
                    r#"{{"kind":"gap","agent":"a{agent}","ts":{at:.3},"until":{:.3}}}"#,
                    EPOCH + until
                )
                .expect(infallible);
            }
            Body::World { tables } => {
                write!(text, r#"{{"kind":"world","ts":{at:.3}"#).expect(infallible);
                for (key, value) in tables {
                    write!(text, r#","{key}":{value}"#).expect(infallible);
                }
                text.push('}');
            }
            Body::Round {
                stream,
                flows,
                public,
                edge,
                target,
            } => {
                write!(text, r#"{{"kind":"round","agent":"a{agent}","target":"edge","ts":{at:.3},"stream":"{stream}","public":"{public}","edge":"#).expect(infallible);
                match edge {
                    Some(edge) => write!(text, "\"{edge}\"").expect(infallible),
                    None => text.push_str("null"),
                }
                if let Some(target) = target {
                    write!(text, r#","addr":"{target}""#).expect(infallible);
                }
                text.push_str(r#","flows":["#);
                for (number, flow) in flows.iter().enumerate() {
                    if number > 0 {
                        text.push(',');
                    }
                    flow.write(text);
                }
                text.push_str("]}");
            }
        }
    }
}

impl SentFlow {
    fn read(&self) -> Flow {
        Flow {
            flow: u16::try_from(self.flow).unwrap_or(u16::MAX),
            first_ttl: u8::try_from(self.first_ttl).unwrap_or(u8::MAX),
            hops: self
                .hops
                .iter()
                .map(|hop| hop.map(|hop| IpAddr::V4(hop.0)))
                .collect(),
            rtt_us: self.hops.iter().map(|hop| hop.map(|hop| hop.1)).collect(),
            reached: false,
            repeat: Vec::new(),
        }
    }

    fn write(&self, text: &mut String) {
        let infallible = "a string takes all";
        write!(
            text,
            r#"{{"flow":{},"first_ttl":{},"hops":["#,
            self.flow, self.first_ttl
        )
        .expect(infallible);
        for (number, hop) in self.hops.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            match hop {
                Some((address, _)) => write!(text, "{comma}\"{address}\"").expect(infallible),
                None => write!(text, "{comma}null").expect(infallible),
            }
        }
        text.push_str(r#"],"rtt_us":["#);
        for (number, hop) in self.hops.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            match hop {
                Some((_, rtt_us)) => write!(text, "{comma}{rtt_us}").expect(infallible),
                None => write!(text, "{comma}null").expect(infallible),
            }
        }
        text.push_str(r#"],"reached":false}"#);
    }
}
