//! The table of `trace`, as a person reads it.
//!
//! Pure: an outcome in, lines out. The same lines are drawn in place on a terminal and printed once at the end.

use std::time::Duration;

use super::branches;
use super::outcome::Outcome;
use crate::probe::hops::{AddressRow, HopRow, Loss};

/// Least width of the column of hops, so that the table does not jump with each name.
const LEAST_WIDTH: usize = 40;

/// Greatest width of it; longer names are cut.
const MOST_WIDTH: usize = 72;

/// Addresses shown of one hop; the table says how many more there are.
const MOST_ADDRESSES: usize = 8;

/// The lines of the table. `state` says how far it is.
pub(super) fn lines(outcome: &Outcome, state: &str) -> Vec<String> {
    let mut lines = vec![heading(outcome, state), String::new()];
    if let Some(found) = &outcome.discovered {
        branches::lines(&mut lines, outcome, found);
        return lines;
    }
    let width = width(outcome);
    lines.push(format!(
        "{:>3}  {:<width$}  {:>5}  {:>12}  {:>6}  {:>6}  {:>7}  {:>7}  {:>7}  {:>7}  {:>7}  {:>7}",
        "hop",
        "address and name",
        "flows",
        "loss",
        "sent",
        "answ.",
        "last",
        "mean",
        "best",
        "median",
        "worst",
        "ipdv"
    ));
    for row in &outcome.rows {
        hop(&mut lines, outcome, row, width);
    }
    lines.push(String::new());
    lines.push(ending(outcome));
    if !outcome.looping_flows.is_empty() {
        let flows = outcome.looping_flows.len();
        lines.push(format!(
            "The path loops: {flows} of the flows met a router again after another one."
        ));
    }
    if outcome.rows.iter().any(|row| row.is_rate_limited) {
        lines.push(
            "rate-limited: the hop answers only some packets, and passes on more than it answers: no loss there."
                .to_owned(),
        );
    }
    lines
}

fn heading(outcome: &Outcome, state: &str) -> String {
    let Outcome {
        target,
        host,
        address,
        port,
        kind,
        method,
        flows,
        ..
    } = outcome;
    let name = target
        .as_ref()
        .map_or_else(String::new, |target| format!("{target}: "));
    let to = if *host == address.to_string() {
        host.clone()
    } else {
        format!("{host} ({address})")
    };
    let how = match *kind {
        "tcp" => format!("TCP SYN to port {port}"),
        "udp" => format!("UDP to port {port}"),
        _ => "ICMP echo".to_owned(),
    };
    let how = match *method {
        "one_at_a_time" => format!("{how}, one TTL of a flow at a time"),
        _ => how,
    };
    let flows = match flows {
        1 => "1 flow".to_owned(),
        flows => format!("{flows} flows"),
    };
    format!("{name}{to}  {how}, {flows}, {state}; times in ms")
}

fn ending(outcome: &Outcome) -> String {
    if outcome.rows.is_empty() {
        return "No hop has answered.".to_owned();
    }
    let ingress = match outcome.ingress() {
        Some((ttl, _)) => format!(" Microsoft's network begins at hop {ttl}."),
        None => String::new(),
    };
    if outcome.is_reached {
        format!("The destination answers.{ingress}")
    } else {
        format!("The destination does not answer.{ingress}")
    }
}

fn hop(lines: &mut Vec<String>, outcome: &Outcome, row: &HopRow, width: usize) {
    let figures = format!(
        "{:>12}  {:>6}  {:>6}  {:>7}  {:>7}  {:>7}  {:>7}  {:>7}  {:>7}",
        loss(row),
        row.sent,
        row.answered,
        ms(row.last),
        ms(row.average),
        ms(row.best),
        ms(row.median),
        ms(row.worst),
        ms(row.variation)
    );
    let ttl = row.ttl;
    let Some(first) = row.addresses.first() else {
        lines.push(format!("{ttl:>3}  {:<width$}  {:>5}  {figures}", "*", ""));
        return;
    };
    let is_split = row.addresses.len() > 1 || row.silent_flows > 0;
    let line = address(outcome, first, is_split, width);
    lines.push(format!("{ttl:>3}  {line}  {figures}"));
    remarks(lines, first);
    for other in row.addresses.iter().take(MOST_ADDRESSES).skip(1) {
        let line = address(outcome, other, is_split, width);
        lines.push(format!("{:>3}  {line}", "").trim_end().to_owned());
        remarks(lines, other);
    }
    if row.silent_flows > 0 {
        let flows = row.silent_flows;
        lines.push(format!("{:>3}  {:<width$}  {flows:>5}", "", "*"));
    }
    let more = row.addresses.len().saturating_sub(MOST_ADDRESSES);
    if more > 0 {
        lines.push(format!("{:>3}  and {more} more", ""));
    }
}

/// What else the answers of a hop show: its label stack, and what was rewritten on the way to it.
fn remarks(lines: &mut Vec<String>, here: &AddressRow) {
    let labels = here.mpls.entries().iter().map(|entry| {
        let (label, class, ttl) = (entry >> 12, entry >> 9 & 7, entry & 0xff);
        format!("{label} (class {class}, TTL {ttl})")
    });
    let labels: Vec<String> = labels.collect();
    if !labels.is_empty() {
        lines.push(format!("{:>3}    MPLS label {}", "", labels.join(", ")));
    }
    let rewritten: Vec<&str> = REWRITES
        .iter()
        .filter(|(bit, _)| here.rewrites.bits() & bit != 0)
        .map(|(_, what)| *what)
        .collect();
    if !rewritten.is_empty() && !here.is_destination {
        lines.push(format!(
            "{:>3}    rewritten on the way: {}",
            "",
            rewritten.join(", ")
        ));
    }
    if here.quoted_ttl > 1 {
        let ttl = here.quoted_ttl;
        lines.push(format!(
            "{:>3}    answers packets whose TTL is {ttl}, not 1",
            ""
        ));
    }
}

/// Bits of what was rewritten, in words.
const REWRITES: &[(u8, &str)] = &[
    (1, "source address"),
    (2, "source port"),
    (4, "destination address"),
    (8, "destination port"),
    (16, "checksum or identification"),
];

/// Address, name, mark and flows, padded.
fn address(outcome: &Outcome, here: &AddressRow, is_split: bool, width: usize) -> String {
    let text: String = label(outcome, here).chars().take(width).collect();
    let flows = if is_split {
        here.flows.to_string()
    } else {
        String::new()
    };
    format!("{text:<width$}  {flows:>5}")
}

fn label(outcome: &Outcome, here: &AddressRow) -> String {
    let mut label = here.address.to_string();
    if let Some(name) = outcome.names.get(&here.address) {
        label = format!("{label} {name}");
    }
    if here.is_destination {
        label.push_str(" = destination");
    } else if outcome
        .ingress()
        .is_some_and(|(_, ingress)| ingress == here.address)
    {
        label.push_str(" = ingress");
    }
    label
}

fn width(outcome: &Outcome) -> usize {
    let labels = outcome
        .rows
        .iter()
        .flat_map(|row| row.addresses.iter().take(MOST_ADDRESSES))
        .map(|here| label(outcome, here).chars().count());
    labels.max().unwrap_or(0).clamp(LEAST_WIDTH, MOST_WIDTH)
}

fn loss(row: &HopRow) -> String {
    let percent = |ratio: f64| format!("{:.1} %", ratio * 100.0);
    match row.loss {
        Loss::Silent => "silent".to_owned(),
        Loss::Unclear(ratio) => format!("{}?", percent(ratio)),
        Loss::Ratio(ratio) if ratio > 0.0 => percent(ratio),
        Loss::Ratio(_) if row.is_rate_limited => "rate-limited".to_owned(),
        Loss::Ratio(_) => "0 %".to_owned(),
    }
}

/// Digits as wide as they say something.
fn ms(rtt: Option<Duration>) -> String {
    let Some(rtt) = rtt else {
        return "-".to_owned();
    };
    let ms = f64::from(crate::probe::micros(rtt)) / 1000.0;
    if ms < 1.0 {
        format!("{ms:.2}")
    } else {
        format!("{ms:.1}")
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
