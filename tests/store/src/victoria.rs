//! `VictoriaMetrics` on the same samples, in the form it likes best: half an hour of each series in a line, ten agents a request.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::arrivals::{Arrival, Stream};
use crate::clock;
use crate::codec::count;
use crate::own::bytes_in;
use crate::reference::START_UNIX_MS;
use crate::server::{Server, free_port};
use firstmile_figures::Figures;

/// Lines of one request: six series of ten agents.
const LINES: usize = 60;

/// Imports the stream, and notes what that takes of the server's processor time, and of the disk once it has ended.
pub(crate) fn ingest(
    dir: &Path,
    agents: u32,
    hours: usize,
    seed: u64,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    // The package knows; the program built from it does not.
    let version = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Version}", "victoria-metrics"])
        .output()
        .context("cannot ask for the package's version")?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    println!("peer: VictoriaMetrics {version}");
    figures.note("vm_version", version);
    let port = free_port()?;
    let mut command = Command::new("victoria-metrics");
    command
        .arg(format!("-storageDataPath={}", dir.display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .arg("-retentionPeriod=10y")
        .arg("-loggerLevel=ERROR");
    let server = Server::start(&mut command, port, "/health")?;
    let mut line = server.connect()?;
    let mut stream = Stream::new(agents, seed);
    let metros = stream.metros();
    let (from, mut wall, mut samples) = (server.processor()?, Duration::ZERO, 0);
    for _ in 0..hours * 2 {
        let arrivals = stream.half_hour();
        samples += arrivals.len();
        let bodies = bodies(&arrivals, &metros);
        let started = clock::monotonic();
        for body in bodies {
            line.ask("POST", "/api/v1/import", body.as_bytes())?;
        }
        wall += clock::monotonic().saturating_sub(started);
    }
    line.ask("GET", "/internal/force_flush", b"")?;
    let processor = server.processor()?.saturating_sub(from);
    let found = line.ask("GET", "/api/v1/series/count", b"")?;
    ensure!(
        String::from_utf8_lossy(&found).contains(&(agents * 6).to_string()),
        "VictoriaMetrics has not all series: {}",
        String::from_utf8_lossy(&found)
    );
    line.ask("GET", "/internal/force_merge", b"")?;
    // The merge runs beside; it is done when nothing is used any more.
    let mut used = server.processor()?;
    loop {
        clock::pass(2_000);
        let now = server.processor()?;
        if now.saturating_sub(used) < Duration::from_millis(100) {
            break;
        }
        used = now;
    }
    let (from, to) = (
        START_UNIX_MS / 1_000,
        START_UNIX_MS / 1_000 + whole_seconds(hours),
    );
    // histogram_quantiles("q", 0.5, 0.95, 0.99, sum(histogram_over_time(rtt[5m])) by (metro, vmrange))
    let question = format!(
        "/api/v1/query_range?query=histogram_quantiles(%22q%22%2C0.5%2C0.95%2C0.99%2Csum(histogram_over_time(rtt%5B5m%5D))%20by%20(metro%2Cvmrange))\
         &start={from}&end={to}&step=300&nocache=1"
    );
    let ms = server.asked(&mut line, ("GET", &question, b""))?;
    figures.note("vm_q_metro_ms", ms);
    server.stop()?;
    figures.note("vm_samples_per_s_wall", count(samples) / wall.as_secs_f64());
    figures.note(
        "vm_samples_per_cpu_s",
        count(samples) / processor.as_secs_f64(),
    );
    figures.note(
        "vm_bytes_per_sample",
        count(bytes_in(dir)?) / count(samples),
    );
    Ok(())
}

fn whole_seconds(hours: usize) -> i64 {
    i64::try_from(hours).unwrap_or(0) * 3_600
}

/// The samples as requests.
fn bodies(arrivals: &[Arrival], metros: &[u32]) -> Vec<String> {
    let mut series: BTreeMap<(u32, u32), (String, String)> = BTreeMap::new();
    for one in arrivals {
        let (values, times) = series.entry((one.agent, one.series)).or_default();
        // A string takes what is written.
        write!(values, "{},", one.row.rtt_us).ok();
        write!(times, "{},", one.row.at_unix_ms).ok();
    }
    let lines: Vec<String> = series
        .iter()
        .map(|((agent, series), (values, times))| {
            format!(
                "{{\"metric\":{{\"__name__\":\"rtt\",\"agent\":\"{agent}\",\"metro\":\"{}\",\"series\":\"{}\"}},\"values\":[{}],\"timestamps\":[{}]}}\n",
                metros.get(*agent as usize).copied().unwrap_or_default(),
                series % 6,
                values.trim_end_matches(','),
                times.trim_end_matches(',')
            )
        })
        .collect();
    lines.chunks(LINES).map(<[String]>::concat).collect()
}
