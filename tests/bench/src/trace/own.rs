//! The agent's own `trace --json`, as `docs/operations/agent-commands.md` describes it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::peers::{Hop, Shown};
use crate::run;

/// What one call found.
pub(crate) struct Found {
    pub(crate) shown: Shown,
    /// Flows that nobody answered, summed over the hops.
    pub(crate) silent: u64,
    /// From the first packet to the end of the last round, where the agent says it.
    pub(crate) wall_s: Option<f64>,
}

/// How it is called: `flows` flows, `rounds` rounds of the kind of packets that users send.
pub(crate) fn line(agent: &Path, to: IpAddr, flows: u16, rounds: u16) -> Vec<String> {
    let (flows, rounds) = (flows.to_string(), rounds.to_string());
    run::line(&[
        &agent.display().to_string(),
        "trace",
        &to.to_string(),
        "--json",
        "--no-names",
        "--kind",
        "tcp",
        "--flows",
        &flows,
        "--rounds",
        &rounds,
    ])
}

/// How multipath discovery is asked for.
pub(crate) fn multipath_line(agent: &Path, to: IpAddr) -> Vec<String> {
    let agent = agent.display().to_string();
    run::line(&[
        &agent,
        "trace",
        &to.to_string(),
        "--json",
        "--no-names",
        "--multipath",
    ])
}

/// What multipath discovery found.
pub(crate) struct Multipath {
    /// Promised probability that a branch was missed.
    pub(crate) alpha: f64,
    pub(crate) packets: u64,
    pub(crate) hops: BTreeMap<u8, BTreeSet<IpAddr>>,
}

/// Reads its object.
pub(crate) fn read_multipath(text: &str) -> anyhow::Result<Multipath> {
    let report = object(text)?;
    let found = report
        .get("multipath")
        .context("the agent says nothing of multipath")?;
    let alpha = found.get("alpha").and_then(Value::as_f64);
    let rows = found
        .get("hops")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let hops = rows.filter_map(|row| {
        let ttl = row.get("ttl")?.as_u64()?.try_into().ok()?;
        let addresses = row.get("addresses")?.as_array()?.iter();
        Some((
            ttl,
            addresses
                .filter_map(|word| word.as_str()?.parse().ok())
                .collect(),
        ))
    });
    Ok(Multipath {
        alpha: alpha.context("the agent does not say what it promises")?,
        packets: found.get("probes").and_then(Value::as_u64).unwrap_or(0),
        hops: hops.collect(),
    })
}

/// The one object that was printed; lines of the log may come before it.
pub(super) fn object(text: &str) -> anyhow::Result<Value> {
    let start = text.find("\n{").map_or(0, |at| at + 1);
    let mut objects = serde_json::Deserializer::from_str(text.get(start..).unwrap_or_default())
        .into_iter::<Value>();
    (objects.next().context("the agent printed nothing")?).context("the agent printed no JSON")
}

/// Reads the object.
pub(crate) fn read(text: &str) -> anyhow::Result<Found> {
    let report = object(text)?;
    let rows = report
        .get("hops")
        .and_then(Value::as_array)
        .context("the agent shows no hops")?;
    let mut found = Found {
        shown: Shown::new(),
        silent: 0,
        wall_s: report
            .get("wall_ms")
            .and_then(Value::as_f64)
            .map(|ms| ms / 1_000.0),
    };
    for row in rows {
        let ttl = row
            .get("ttl")
            .and_then(Value::as_u64)
            .and_then(|ttl| u8::try_from(ttl).ok());
        let ttl = ttl.context("a hop of the agent has no TTL")?;
        let addresses = row
            .get("addresses")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let addresses: BTreeSet<IpAddr> = addresses
            .filter_map(|here| here.get("address")?.as_str()?.parse().ok())
            .collect();
        found.silent += row.get("silent_flows").and_then(Value::as_u64).unwrap_or(0);
        if !addresses.is_empty() {
            let loss_ratio = row.get("loss_ratio").and_then(Value::as_f64);
            found.shown.insert(
                ttl,
                Hop {
                    addresses,
                    loss_ratio,
                },
            );
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::chain;

    #[test]
    fn the_agents_own_object_is_read() {
        let found = read(include_str!("../../recorded/firstmile.json")).expect("readable");
        let hops: Vec<_> = found
            .shown
            .iter()
            .map(|(ttl, hop)| (*ttl, hop.addresses.clone()))
            .collect();
        let want: Vec<_> = (1..=chain::HOPS)
            .map(|ttl| (ttl, BTreeSet::from([chain::hop(ttl, false)])))
            .collect();
        assert_eq!(hops, want);
        assert!(found.shown.values().all(|hop| hop.loss_ratio == Some(0.0)));
        assert_eq!(found.silent, 0);
    }
}
