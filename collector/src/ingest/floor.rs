//! Connections that came about sooner than light could have been at the edge and back: somebody nearer answered TCP in its
//! name, though HTTP was the edge's own (a SYN proxy, an accelerator, a security gateway).
//!
//! Pure. The verdict is of one connection alone: its time to connect and the edge that named itself on that connection. Where
//! anycast sends the next connection, or where it sent an earlier one, says nothing of it. The rule, with its reasons, is in
//! `docs/design/terminated-locally.md`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use firstmile_peering::directory::distance_km;
use firstmile_wire::v1::{Mark, Outcome, Phase, Protocol};

use super::batch::{Batch, Sample, Sighting};
use crate::api::types::Pop;
use crate::geo::{Geography, Meaning};

/// By how much the declared place of a site and that of an edge's metro may be off together: a city is declared, and a metro's
/// machines stand around it.
const SLACK_KM: f64 = 200.0;

/// Light in vacuum, which no signal outruns; radio and lasers between satellites come close to it, fibre has two thirds.
const KM_PER_MS: f64 = 299.792_458;

/// One connection: to whom, where, and when to the millisecond.
type Connection<'a> = (&'a str, IpAddr, i64);

/// The batch, in which the samples of connections that were answered on the way carry their mark.
pub(super) fn judge<'a>(batch: &'a Batch, site: &Geography, meaning: &Meaning) -> Cow<'a, Batch> {
    let Some(place) = site.latitude.zip(site.longitude) else {
        return Cow::Borrowed(batch);
    };
    let edges = edges_of(&batch.sightings, meaning);
    let too_soon: Vec<Connection<'_>> = (batch.samples.iter())
        .filter(|sample| is_connect(sample))
        .filter_map(|sample| {
            let connection = connection_of(sample)?;
            let edge = edges.get(&connection)?.as_ref()?;
            (f64::from(sample.rtt_us) < floor_us(place, edge)).then_some(connection)
        })
        .collect();
    if too_soon.is_empty() {
        return Cow::Borrowed(batch);
    }
    let mut judged = batch.clone();
    for sample in &mut judged.samples {
        let is_of_it = |one: &Connection<'_>| connection_of(sample).as_ref() == Some(one);
        if sample.protocol == Protocol::Https && too_soon.iter().any(is_of_it) {
            sample.marks.0 |= Mark::TerminatedLocally as u32;
        }
    }
    Cow::Owned(judged)
}

/// The edge of each connection; `None` where two connections cannot be told apart.
fn edges_of<'a>(
    sightings: &'a [Sighting],
    meaning: &Meaning,
) -> BTreeMap<Connection<'a>, Option<Pop>> {
    let mut edges = BTreeMap::new();
    for sighting in sightings {
        let Some(destination) = sighting.destination else {
            continue;
        };
        let edge = meaning.edge_of_headers(&sighting.headers);
        edges
            .entry((&*sighting.target, destination, sighting.at_unix_ms))
            .and_modify(|known| *known = None)
            .or_insert(edge);
    }
    edges
}

fn is_connect(sample: &Sample) -> bool {
    let kind = (sample.protocol, sample.phase, sample.outcome);
    kind == (Protocol::Https, Phase::Connect, Outcome::Answered)
}

fn connection_of(sample: &Sample) -> Option<Connection<'_>> {
    Some((&*sample.target, sample.destination?, sample.at_unix_ms))
}

/// The least time that there and back can take.
fn floor_us(site: (f64, f64), edge: &Pop) -> f64 {
    let away_km = distance_km(site, (edge.latitude, edge.longitude)) - SLACK_KM;
    2.0 * away_km.max(0.0) / KM_PER_MS * 1_000.0
}

#[cfg(test)]
#[path = "floor_tests.rs"]
mod tests;
