//! What `once` found, as a person reads it: one table, then the path of each target, then what went wrong.
//!
//! Pure: findings in, text out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};

use super::findings::{Findings, Measurement, PathFindings, PulseFindings};

const HEADER: [&str; 12] = [
    "target", "address", "edge", "DNS ms", "ICMP ms", "TCP ms", "TLS ms", "TTFB ms", "warm ms",
    "QUIC ms", "loss", "hops",
];

/// The whole text.
pub(super) fn render(findings: &Findings) -> String {
    let mut text = String::new();
    line(&mut text, &table(&findings.targets).to_string());
    line(
        &mut text,
        "Median of the answered probes; loss of TCP, else of ICMP; \"-\" was not measured or not answered. TTFB is of a new \
         connection, warm of a second request on it; QUIC is the whole handshake.",
    );
    for measurement in &findings.targets {
        show_edge(&mut text, measurement);
    }
    for measurement in &findings.targets {
        if let Some(path) = &measurement.path {
            show_path(&mut text, measurement, path);
        }
    }
    let failing: Vec<&Measurement> = findings
        .targets
        .iter()
        .filter(|measurement| !measurement.problems.is_empty())
        .collect();
    if !failing.is_empty() {
        line(&mut text, "");
    }
    for measurement in failing {
        for problem in &measurement.problems {
            line(&mut text, &format!("{}: {problem}", measurement.name));
        }
    }
    if let Some(advice) = &findings.advice {
        line(
            &mut text,
            &format!("\nPing and paths are not permitted here. What to do: {advice}."),
        );
    }
    if !findings.targets.iter().any(Measurement::is_reached) {
        line(
            &mut text,
            "\nNothing was reached: this machine cannot get to any target at the moment.",
        );
    }
    text
}

fn table(targets: &[Measurement]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(HEADER);
    for measurement in targets {
        table.add_row(row(measurement));
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(measurement: &Measurement) -> [String; 12] {
    let dash = || "-".to_owned();
    let ms = |value: Option<f64>| value.map_or_else(dash, |value| format!("{value:.1}"));
    let pulse =
        |pulse: &Option<PulseFindings>| ms(pulse.as_ref().and_then(|pulse| pulse.median_ms));
    let https = measurement.https.as_ref();
    let failed = measurement
        .dns
        .as_ref()
        .is_some_and(|dns| dns.addresses.is_empty());
    [
        measurement.name.clone(),
        measurement.address.map_or_else(
            || {
                if failed {
                    "dns failed".to_owned()
                } else {
                    dash()
                }
            },
            |address| address.to_string(),
        ),
        measurement.edge.clone().unwrap_or_else(dash),
        ms(measurement.dns.as_ref().and_then(|dns| dns.ms)),
        pulse(&measurement.icmp),
        pulse(&measurement.tcp),
        ms(https
            .and_then(|https| https.tls_ms)
            .or_else(|| measurement.tls.as_ref()?.handshake_ms)),
        ms(https.and_then(|https| https.ttfb_ms)),
        ms(https.and_then(|https| https.warm_ttfb_ms)),
        ms(measurement.quic.as_ref().and_then(|quic| quic.handshake_ms)),
        loss(measurement).map_or_else(dash, |ratio| format!("{:.0} %", ratio * 100.0)),
        measurement.path.as_ref().map_or_else(dash, hops),
    ]
}

/// Loss of the protocol that can tell: TCP where it answers, else ICMP where that does.
fn loss(measurement: &Measurement) -> Option<f64> {
    let answering = |pulse: &Option<PulseFindings>| {
        pulse
            .as_ref()
            .filter(|pulse| pulse.answered > 0)
            .and_then(|pulse| pulse.loss_ratio)
    };
    let any = |pulse: &Option<PulseFindings>| pulse.as_ref().and_then(|pulse| pulse.loss_ratio);
    answering(&measurement.tcp)
        .or_else(|| answering(&measurement.icmp))
        .or_else(|| any(&measurement.tcp))
        .or_else(|| any(&measurement.icmp))
}

fn hops(path: &PathFindings) -> String {
    if path.reached {
        path.hops.to_string()
    } else {
        format!("{}+", path.hops)
    }
}

/// How the address was learnt, who is there, and what each resolver says where there are several.
fn show_edge(text: &mut String, measurement: &Measurement) {
    let (Some(address), Some(learnt)) = (measurement.address, &measurement.learnt) else {
        return;
    };
    let shown =
        (measurement.certificate()).map_or_else(String::new, |shown| format!("; {}", shown.line()));
    line(
        text,
        &format!("{}: {address} {learnt}{shown}", measurement.name),
    );
    let answers = measurement.dns.iter().flat_map(|dns| &dns.resolvers);
    let several = answers.clone().map(|answer| &answer.resolver);
    if several.collect::<BTreeSet<_>>().len() < 2 {
        return;
    }
    for answer in answers {
        let ms = answer
            .ms
            .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
        let said: Vec<String> = answer.addresses.iter().map(ToString::to_string).collect();
        let said = if said.is_empty() {
            answer.outcome.to_owned()
        } else {
            said.join(", ")
        };
        let (resolver, question) = (&answer.resolver, answer.question);
        line(
            text,
            &format!("  {resolver:<39} {question:<4} {ms:>8} ms  {said}"),
        );
    }
}

fn show_path(text: &mut String, measurement: &Measurement, path: &PathFindings) {
    let address = measurement
        .address
        .map_or_else(String::new, |address| address.to_string());
    let end = if path.reached {
        ""
    } else {
        ", which did not answer"
    };
    line(
        text,
        &format!(
            "\n{}: path to {address}{end} ({} packets, {} flows)",
            measurement.name,
            path.kind.to_uppercase(),
            path.flows.len()
        ),
    );
    if path.hops == 0 {
        line(text, "   no hop answered");
    }
    for ttl in 1..=path.hops {
        let here = at_ttl(path, ttl);
        if here.is_empty() {
            line(text, &format!("  {ttl:>2}  *"));
        }
        for (place, (address, (flows, ms))) in here.iter().enumerate() {
            let number = if place == 0 {
                format!("{ttl:>2}")
            } else {
                "  ".to_owned()
            };
            let name = path.names.get(address).map_or("", String::as_str);
            let share = if here.len() > 1 {
                format!("  {flows} of {} flows", path.flows.len())
            } else {
                String::new()
            };
            line(
                text,
                format!(
                    "  {number}  {:<39} {name:<40} {ms:>8.1} ms{share}",
                    address.to_string()
                )
                .trim_end(),
            );
        }
    }
}

/// Who answered at a TTL: in how many flows, and the least time of them.
fn at_ttl(path: &PathFindings, ttl: usize) -> BTreeMap<IpAddr, (usize, f64)> {
    let mut here: BTreeMap<IpAddr, (usize, f64)> = BTreeMap::new();
    for hop in path.flows.iter().filter_map(|flow| flow.hops.get(ttl - 1)) {
        if let (Some(address), Some(ms)) = (hop.address, hop.ms) {
            let entry = here.entry(address).or_insert((0, f64::MAX));
            entry.0 += 1;
            entry.1 = entry.1.min(ms);
        }
    }
    here
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
