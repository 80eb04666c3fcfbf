//! What multipath discovery found, as a person reads it.

use super::outcome::{Discovered, Outcome};

/// Adds the table.
pub(super) fn lines(lines: &mut Vec<String>, outcome: &Outcome, found: &Discovered) {
    lines.push(format!(
        "{:>3}  {:>7}  {:>8}  {}",
        "hop", "packets", "certain", "address and name, and the next hops that flows take from it"
    ));
    for hop in &found.hops {
        let certain = match (hop.addresses.is_empty(), hop.complete) {
            (true, _) => "silent",
            (false, true) => "yes",
            (false, false) => "no",
        };
        let mut start = format!("{:>3}  {:>7}  {certain:>8}", hop.ttl, hop.probes);
        if hop.addresses.is_empty() {
            lines.push(format!("{start}  *"));
        }
        for address in &hop.addresses {
            let name = outcome.names.get(address);
            let name = name.map_or_else(String::new, |name| format!(" {name}"));
            let next: Vec<String> = hop
                .links
                .iter()
                .filter(|(here, _)| here == address)
                .map(|(_, next)| next.to_string())
                .collect();
            let next = match next.len() {
                0 | 1 => String::new(),
                _ => format!("  -> {}", next.join(", ")),
            };
            lines.push(format!("{start}  {address}{name}{next}"));
            start = format!("{:>3}  {:>7}  {:>8}", "", "", "");
        }
        if hop.per_packet {
            lines.push(format!(
                "{start}  balances packets, not flows: one flow met several"
            ));
        }
    }
    lines.push(String::new());
    let reached = if found.is_reached {
        "The destination answers."
    } else {
        "The destination does not answer."
    };
    lines.push(format!(
        "{reached} {} packets. certain: a further branch of equal weight would have shown itself but for a chance of {}.",
        found.probes, found.alpha
    ));
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;
    use crate::probe::met::MultipathHop;
    use crate::trace::outcome::tests::nothing;

    #[test]
    fn branches_their_next_hops_and_what_is_not_certain() {
        let address = |last: u8| IpAddr::from([198, 51, 100, last]);
        let hop = |ttl, addresses: &[u8], complete| MultipathHop {
            ttl,
            addresses: addresses.iter().map(|last| address(*last)).collect(),
            probes: 6,
            answered: 6,
            complete,
            ..MultipathHop::default()
        };
        let first = MultipathHop {
            links: vec![(address(1), address(2)), (address(1), address(3))],
            ..hop(1, &[1], true)
        };
        let second = MultipathHop {
            per_packet: true,
            ..hop(2, &[2, 3], false)
        };
        let found = Discovered {
            alpha: 0.05,
            wall: Duration::ZERO,
            probes: 18,
            is_reached: true,
            hops: vec![first, second, hop(3, &[], false)],
        };
        let mut seen = Vec::new();
        lines(&mut seen, &nothing(), &found);
        let seen = seen.join("\n");
        for want in [
            "  1        6       yes  198.51.100.1  -> 198.51.100.2, 198.51.100.3",
            "  2        6        no  198.51.100.2",
            "balances packets, not flows",
            "  3        6    silent  *",
            "18 packets",
        ] {
            assert!(seen.contains(want), "{want}\n{seen}");
        }
    }
}
