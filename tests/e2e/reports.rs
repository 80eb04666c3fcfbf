//! What an agent put into its spool, read as the collector would read it.

use std::net::IpAddr;

use firstmile_lab::outer::Lab;
use firstmile_wire::frame;
use firstmile_wire::v1::{Clock, Outcome, Phase, Protocol, Report, Series};

/// One sample, with what its series says of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// When the agent sent it, by its wall clock.
    pub(crate) at_unix_ms: i64,
    pub(crate) destination: Option<IpAddr>,
    pub(crate) protocol: Protocol,
    pub(crate) phase: Phase,
    pub(crate) clock: Clock,
    pub(crate) outcome: Outcome,
    pub(crate) rtt_us: u32,
    pub(crate) marks: u32,
}

impl Sample {
    /// Whether its time may be compared with the truth. A debug build under load marks many of its own stamps untrusted:
    /// their median is compared all the same, with room for that.
    pub(crate) fn counts(&self) -> bool {
        self.outcome == Outcome::Answered
    }
}

/// All reports in the spool of a site's agent, oldest first.
pub(crate) fn spooled(lab: &Lab, site: &str) -> Vec<Report> {
    let spool = lab.state().join("sites").join(site).join("state/spool");
    let entries = std::fs::read_dir(spool).into_iter().flatten().flatten();
    let mut files: Vec<_> = (entries.map(|entry| entry.path()))
        .filter(|file| file.extension().is_some_and(|end| end == "report"))
        .collect();
    files.sort();
    let read = |file| frame::decode(&std::fs::read(file).expect("a report that can be read"));
    files
        .into_iter()
        .map(|file| read(file).expect("a report as the format wants it"))
        .collect()
}

/// All samples of reports.
pub(crate) fn samples(reports: &[Report]) -> Vec<Sample> {
    let series = (reports.iter()).flat_map(|report| {
        (report.series.iter()).map(|series| (report.wall_anchor_unix_ms, series))
    });
    series
        .flat_map(|(anchor_unix_ms, series)| of_series(anchor_unix_ms, series))
        .collect()
}

fn of_series(anchor_unix_ms: i64, series: &Series) -> Vec<Sample> {
    let mut at_unix_ms = anchor_unix_ms;
    let sample = |((index, rtt_us), outcome): ((usize, &u32), &i32)| {
        at_unix_ms += series.at_delta_ms.get(index).copied().unwrap_or_default();
        Sample {
            at_unix_ms,
            destination: address(&series.destination),
            protocol: series.protocol(),
            phase: series.phase(),
            clock: series.clock(),
            outcome: Outcome::try_from(*outcome).expect("a known outcome"),
            rtt_us: *rtt_us,
            marks: series.marks.get(index).copied().unwrap_or_default(),
        }
    };
    let times = series.rtt_us.iter().enumerate();
    times.zip(&series.outcome).map(sample).collect()
}

/// An address as the wire carries it; none when there is none.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}
