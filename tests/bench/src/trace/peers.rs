//! The traceroutes that are compared: how each is called, and how what it prints is read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::run;

/// One TTL, as a tool tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Hop {
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// 0 to 1; `None` where the tool shows no loss of hops.
    pub(crate) loss_ratio: Option<f64>,
}

/// What a tool shows, by TTL.
pub(crate) type Shown = BTreeMap<u8, Hop>;

/// A traceroute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    TracerouteTcp,
    TracerouteIcmp,
    Traceroute,
    ScamperParis,
    ScamperTcp,
    Trippy,
    Mtr,
}

impl Peer {
    pub(crate) const ALL: [Self; 7] = [
        Self::TracerouteTcp,
        Self::TracerouteIcmp,
        Self::Traceroute,
        Self::ScamperParis,
        Self::ScamperTcp,
        Self::Trippy,
        Self::Mtr,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TracerouteTcp => "traceroute -T -p 443 -q 1 -N 32",
            Self::TracerouteIcmp => "traceroute -I -q 1 -N 32",
            Self::Traceroute => "traceroute (UDP, 3 a hop)",
            Self::ScamperParis => "scamper trace -P udp-paris -q 1",
            Self::ScamperTcp => "scamper trace -P tcp -q 1",
            Self::Trippy => "trippy --tcp, 1 round",
            Self::Mtr => "mtr -c 1",
        }
    }

    /// Packets that it sends to a router: so many seconds a router that answers one a second needs to forget them.
    pub(crate) const fn packets_a_hop(self) -> u16 {
        match self {
            Self::Traceroute => 3,
            Self::TracerouteTcp
            | Self::TracerouteIcmp
            | Self::ScamperParis
            | Self::ScamperTcp
            | Self::Trippy
            | Self::Mtr => 1,
        }
    }

    /// The command line; trippy is a program of its own place.
    pub(crate) fn line(self, to: IpAddr, trippy: &Path) -> Vec<String> {
        let (to, trippy) = (to.to_string(), trippy.display().to_string());
        run::line(&match self {
            Self::TracerouteTcp => vec![
                "traceroute",
                "-n",
                "-T",
                "-p",
                "443",
                "-q",
                "1",
                "-N",
                "32",
                &to,
            ],
            Self::TracerouteIcmp => {
                vec!["traceroute", "-n", "-I", "-q", "1", "-N", "32", &to]
            }
            Self::Traceroute => vec!["traceroute", "-n", &to],
            Self::ScamperParis => scamper("trace -P udp-paris -q 1", &to),
            Self::ScamperTcp => scamper("trace -P tcp -d 443 -q 1", &to),
            Self::Trippy => vec![
                &trippy,
                "--mode",
                "json",
                "--report-cycles",
                "1",
                "--tcp",
                "--target-port",
                "443",
                &to,
            ],
            Self::Mtr => vec!["mtr", "-n", "--json", "-c", "1", &to],
        })
    }

    /// Reads what it printed.
    pub(crate) fn read(self, text: &str) -> anyhow::Result<Shown> {
        match self {
            Self::TracerouteTcp | Self::TracerouteIcmp | Self::Traceroute => {
                Ok(read_traceroute(text))
            }
            Self::ScamperParis | Self::ScamperTcp => read_scamper(text),
            Self::Trippy => read_trippy(text),
            Self::Mtr => read_mtr(text),
        }
    }
}

/// scamper at 1,000 packets a second, which is its own pace for one trace; ten times its default.
fn scamper<'a>(command: &'a str, to: &'a str) -> Vec<&'a str> {
    vec![
        "scamper", "-p", "1000", "-O", "json", "-c", command, "-i", to,
    ]
}

/// `mtr` that asks so often that routers with a limit stop answering.
pub(crate) fn hasty_mtr(to: IpAddr) -> Vec<String> {
    run::line(&[
        "mtr",
        "-n",
        "--json",
        "-i",
        "0.1",
        "-c",
        "100",
        &to.to_string(),
    ])
}

/// scamper's own multipath discovery (MDA), 95 % sure.
pub(crate) fn scamper_multipath(to: IpAddr) -> Vec<String> {
    run::line(&scamper("tracelb -P udp-sport -c 95", &to.to_string()))
}

/// ` 5  198.18.5.2  26.4 ms  198.18.5.6  26.5 ms *`: addresses of the answers to the packets of one TTL.
fn read_traceroute(text: &str) -> Shown {
    let rows = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let ttl: u8 = words.next()?.parse().ok()?;
        let addresses = words.filter_map(|word| word.parse().ok()).collect();
        Some((ttl, hop(addresses)))
    });
    rows.filter(|(_, hop)| !hop.addresses.is_empty()).collect()
}

/// Lines of JSON; the one of type `trace` holds the path.
fn read_scamper(text: &str) -> anyhow::Result<Shown> {
    let trace = scamper_object(text, "trace")?;
    let mut shown = Shown::new();
    for reply in list(&trace, "hops") {
        if let Some((ttl, address)) = ttl(reply, "probe_ttl").zip(address(reply, "addr")) {
            shown.entry(ttl).or_default().addresses.insert(address);
        }
    }
    Ok(shown)
}

/// Addresses that scamper's multipath discovery found, and how many packets it sent.
pub(crate) fn read_scamper_multipath(text: &str) -> anyhow::Result<(BTreeSet<IpAddr>, u64)> {
    let found = scamper_object(text, "tracelb")?;
    let mut addresses = BTreeSet::new();
    for node in list(&found, "nodes") {
        addresses.extend(address(node, "addr"));
        for link in list(node, "links")
            .iter()
            .flat_map(|set| set.as_array().into_iter().flatten())
        {
            addresses.extend(address(link, "addr"));
        }
    }
    let packets = found.get("probec").and_then(Value::as_u64);
    Ok((
        addresses,
        packets.context("scamper does not say how many packets it sent")?,
    ))
}

fn scamper_object(text: &str, kind: &str) -> anyhow::Result<Value> {
    let objects = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut wanted = objects.filter(|object| object.get("type").is_some_and(|word| word == kind));
    let found = wanted.next();
    found.with_context(|| format!("scamper printed no object of type {kind}"))
}

fn read_trippy(text: &str) -> anyhow::Result<Shown> {
    let report: Value = serde_json::from_str(text).context("trippy printed no JSON")?;
    let rows = list(&report, "hops").iter().filter_map(|row| {
        let hosts = list(row, "hosts");
        let addresses = hosts
            .iter()
            .filter_map(|host| address(host, "ip"))
            .collect();
        let lost = row
            .get("loss_pct")
            .and_then(Value::as_str)
            .and_then(|word| word.parse::<f64>().ok());
        let loss_ratio = lost.map(|percent| percent / 100.0);
        Some((
            ttl(row, "ttl")?,
            Hop {
                loss_ratio,
                ..hop(addresses)
            },
        ))
    });
    Ok(rows.filter(|(_, hop)| !hop.addresses.is_empty()).collect())
}

pub(crate) fn read_mtr(text: &str) -> anyhow::Result<Shown> {
    let document: Value = serde_json::from_str(text).context("mtr printed no JSON")?;
    let report = document.get("report").context("mtr printed no report")?;
    let rows = list(report, "hubs").iter().filter_map(|row| {
        let addresses: BTreeSet<IpAddr> = address(row, "host").into_iter().collect();
        let loss_ratio = row
            .get("Loss%")
            .and_then(Value::as_f64)
            .map(|percent| percent / 100.0);
        Some((
            ttl(row, "count")?,
            Hop {
                loss_ratio,
                ..hop(addresses)
            },
        ))
    });
    Ok(rows.filter(|(_, hop)| !hop.addresses.is_empty()).collect())
}

fn hop(addresses: BTreeSet<IpAddr>) -> Hop {
    Hop {
        addresses,
        loss_ratio: None,
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn ttl(value: &Value, key: &str) -> Option<u8> {
    value.get(key)?.as_u64()?.try_into().ok()
}

fn address(value: &Value, key: &str) -> Option<IpAddr> {
    value.get(key)?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::chain;

    /// What the tools printed over the chain of this bench.
    fn recorded(peer: Peer) -> &'static str {
        match peer {
            Peer::TracerouteTcp => include_str!("../../recorded/traceroute-tcp.txt"),
            Peer::TracerouteIcmp => include_str!("../../recorded/traceroute-icmp.txt"),
            Peer::Traceroute => include_str!("../../recorded/traceroute.txt"),
            Peer::ScamperParis => include_str!("../../recorded/scamper-paris.json"),
            Peer::ScamperTcp => include_str!("../../recorded/scamper-tcp.json"),
            Peer::Trippy => include_str!("../../recorded/trippy.json"),
            Peer::Mtr => include_str!("../../recorded/mtr.json"),
        }
    }

    #[test]
    fn all_twelve_hops_are_read_of_what_each_tool_really_printed() {
        for peer in Peer::ALL {
            let shown = peer.read(recorded(peer)).expect("readable");
            let read: Vec<_> = shown
                .into_iter()
                .map(|(ttl, hop)| (ttl, hop.addresses))
                .collect();
            let want: Vec<_> = (1..=chain::HOPS)
                .map(|ttl| (ttl, BTreeSet::from([chain::hop(ttl, false)])))
                .collect();
            assert_eq!(read, want, "{}", peer.name());
        }
    }

    #[test]
    fn a_hasty_mtr_shows_84_percent_loss_where_there_is_none() {
        let shown = read_mtr(include_str!("../../recorded/mtr-hasty.json")).expect("readable");
        let losses: Vec<_> = shown
            .values()
            .map(|hop| format!("{:?}", hop.loss_ratio))
            .collect();
        let mut want = vec!["Some(0.84)"; 11];
        want.push("Some(0.0)");
        assert_eq!(losses, want);
    }

    #[test]
    fn multipath_of_scamper_is_a_set_of_addresses() {
        let text = include_str!("../../recorded/scamper-multipath.json");
        let (addresses, packets) = read_scamper_multipath(text).expect("readable");
        let want = (1..=chain::HOPS)
            .map(|ttl| chain::hop(ttl, false))
            .collect();
        assert_eq!((addresses, packets), (want, 62));
    }

    #[test]
    fn what_is_no_output_of_a_tool_is_refused_or_empty() {
        for peer in Peer::ALL {
            let shown = peer.read("connect: Network is unreachable\n");
            assert!(
                shown.is_ok_and(|shown| shown.is_empty()) || peer.read("no").is_err(),
                "{}",
                peer.name()
            );
        }
    }
}
