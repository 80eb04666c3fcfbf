//! The tools that are compared: how each is called, and how its figures are read.

use std::net::IpAddr;
use std::time::Duration;

use crate::capture::Truth;
use crate::run::{self, Finished, Priority};
use crate::statistics::Errors;

/// A tool that measures an echo's RTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    Firstmile,
    Fping,
    Ping,
    Surge,
}

/// What one tool said of one probe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Said {
    pub(crate) seq: u16,
    pub(crate) rtt_us: f64,
}

impl Tool {
    pub(crate) const ALL: [Self; 4] = [Self::Firstmile, Self::Fping, Self::Ping, Self::Surge];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Firstmile => "firstmile (kernel stamps)",
            Self::Fping => "fping",
            Self::Ping => "ping (iputils)",
            Self::Surge => "surge-ping (current-thread)",
        }
    }

    /// Runs the tool: so many probes, so far apart.
    pub(crate) fn run(
        self,
        target: IpAddr,
        count: u16,
        interval: Duration,
        priority: Priority,
    ) -> anyhow::Result<Finished> {
        let (target, count) = (target.to_string(), count.to_string());
        let (millis, micros) = (
            interval.as_millis().to_string(),
            interval.as_micros().to_string(),
        );
        let seconds = format!("{}", interval.as_secs_f64());
        let own = |name: &str| {
            run::own(
                &run::line(&[
                    name,
                    "--target",
                    &target,
                    "--count",
                    &count,
                    "--interval-us",
                    &micros,
                ]),
                priority,
            )
        };
        match self {
            Self::Firstmile => own("echo"),
            Self::Surge => own("surge"),
            Self::Fping => run::tool(
                &run::line(&["fping", "-c", &count, "-p", &millis, "-t", "1000", &target]),
                priority,
            ),
            Self::Ping => run::tool(
                &run::line(&[
                    "ping", "-n", "-c", &count, "-i", &seconds, "-W", "1", &target,
                ]),
                priority,
            ),
        }
    }

    /// Reads what the tool printed.
    pub(crate) fn read(self, text: &str) -> Vec<Said> {
        text.lines()
            .filter_map(|line| match self {
                Self::Firstmile | Self::Surge => read_columns(line),
                Self::Fping => read_fping(line),
                Self::Ping => read_ping(line),
            })
            .collect()
    }
}

/// `seq rtt_ns ...`
fn read_columns(line: &str) -> Option<Said> {
    let mut words = line.split(' ');
    let (seq, nanos): (u16, f64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Said {
        seq,
        rtt_us: nanos / 1_000.0,
    })
}

/// `198.18.0.2 : [0], 64 bytes, 20.4 ms (20.4 avg, 0% loss)`
fn read_fping(line: &str) -> Option<Said> {
    let (_, rest) = line.split_once('[')?;
    let (seq, rest) = rest.split_once(']')?;
    let (millis, _) = rest.split_once("bytes, ")?.1.split_once(" ms")?;
    Some(Said {
        seq: seq.parse().ok()?,
        rtt_us: millis.parse::<f64>().ok()? * 1_000.0,
    })
}

/// `64 bytes from 198.18.0.2: icmp_seq=1 ttl=64 time=20.4 ms`
fn read_ping(line: &str) -> Option<Said> {
    let (seq, rest) = line.split_once("icmp_seq=")?.1.split_once(' ')?;
    let (millis, _) = rest.split_once("time=")?.1.split_once(" ms")?;
    Some(Said {
        seq: seq.parse().ok()?,
        rtt_us: millis.parse::<f64>().ok()? * 1_000.0,
    })
}

/// What was said minus what is true, in microseconds, for each probe of which both are known.
pub(crate) fn errors(said: &[Said], truth: &Truth) -> Vec<f64> {
    said.iter()
        .filter_map(|said| Some(said.rtt_us - micros(truth.echo(said.seq)?)))
        .collect()
}

/// Their quantiles.
pub(crate) fn quantiles(errors: &[f64]) -> Option<Errors> {
    Errors::of(errors)
}

pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tools_line_is_read() {
        for (tool, line, want) in [
            (
                Tool::Firstmile,
                "3 20400500 kernel 12000",
                Some(Said {
                    seq: 3,
                    rtt_us: 20_400.5,
                }),
            ),
            (
                Tool::Surge,
                "3 20400000",
                Some(Said {
                    seq: 3,
                    rtt_us: 20_400.0,
                }),
            ),
            (
                Tool::Fping,
                "198.18.0.2 : [3], 64 bytes, 20.4 ms (20.4 avg, 0% loss)",
                Some(Said {
                    seq: 3,
                    rtt_us: 20_400.0,
                }),
            ),
            (
                Tool::Fping,
                "198.18.0.2 : xmt/rcv/%loss = 1/1/0%, min/avg/max = 20.4/20.4/20.4",
                None,
            ),
            (
                Tool::Ping,
                "64 bytes from 198.18.0.2: icmp_seq=3 ttl=64 time=20.4 ms",
                Some(Said {
                    seq: 3,
                    rtt_us: 20_400.0,
                }),
            ),
            (
                Tool::Ping,
                "PING 198.18.0.2 (198.18.0.2) 56(84) bytes of data.",
                None,
            ),
        ] {
            assert_eq!(tool.read(line).first().copied(), want, "{line}");
        }
    }
}
