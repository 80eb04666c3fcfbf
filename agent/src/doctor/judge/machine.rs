//! The machine's place in the network: what lies between its own door and the site's line.

use std::time::Duration;

use super::Finding;
use crate::doctor::facts::Machine;
use crate::probe::Outcome;

/// A router next to the machine answers sooner, by cable and by radio.
const SLOW_LEG: Duration = Duration::from_millis(30);

/// The way out, the router, tunnel, network, NAT64, vantage points.
pub(super) fn machine(machine: &Machine) -> Vec<Finding> {
    let mut findings = if machine.is_unseen {
        unseen()
    } else {
        vec![leg(machine), tunnel(machine)]
    };
    if machine.is_roaming {
        findings.push(
            Finding::warning("roaming", "the machine is in another network than the one it usually is in: its samples are marked and stay out of the site's figures")
                .change("nothing, if it was carried there; for a machine that stays, say roams = false in [host]"),
        );
    }
    if let Some(prefix) = &machine.nat64 {
        findings.push(Finding::ok(
            "nat64",
            format!("IPv4 hosts are reached through a NAT64, {prefix}: paths and addresses are read behind it"),
        ));
    }
    findings.extend(machine.bad_vantages.iter().map(|vantage| {
        Finding::problem(
            "vantage",
            format!("no packet can leave by it: {}", vantage.why),
        )
        .about(&vantage.name)
        .change("ip -brief address; then correct interface or source of this [[vantage]]")
    }));
    findings
}

fn unseen() -> Vec<Finding> {
    vec![
        Finding::ok(
            "gateway",
            "interface, router and network are not looked at on this system: there is no leg through the site's network, and nobody is seen roaming",
        ),
        Finding::warning(
            "tunnel",
            "a VPN is not seen on this system: samples through one carry no mark and enter the site's figures",
        )
        .change("nothing, where there is no VPN; else exempt the targets from it, or measure from a machine without one"),
    ]
}

fn leg(machine: &Machine) -> Finding {
    let Some(interface) = &machine.interface else {
        return Finding::problem("gateway", "this machine has no default route")
            .change("ip route; ip -6 route");
    };
    let Some(gateway) = machine.gateway else {
        return Finding::ok(
            "gateway",
            format!("packets leave by {interface}; there is no router next to it"),
        );
    };
    let answered: Vec<Duration> = machine.pings.iter().filter_map(|ping| ping.rtt()).collect();
    let lost = machine.pings.iter().filter(|ping| ping.is_lost()).count();
    let router = format!("the router {gateway} behind {interface}");
    match (answered.iter().min(), lost) {
        (Some(best), 0) if *best <= SLOW_LEG => {
            let ms = f64::from(crate::probe::micros(*best)) / 1000.0;
            Finding::ok("gateway", format!("{router} answers in {ms:.2} ms"))
        }
        (Some(best), 0) => Finding::warning(
            "gateway",
            format!(
                "{router} takes {} ms to answer: the site's own network is slow",
                best.as_millis()
            ),
        )
        .change("look at the cable or the radio between this machine and its router"),
        (Some(_), lost) => Finding::warning(
            "gateway",
            format!(
                "{router} left {lost} of {} echoes unanswered",
                machine.pings.len()
            ),
        )
        .change("look at the cable or the radio between this machine and its router"),
        (None, _) if machine.pings.contains(&Outcome::NotPermitted) || lost == 0 => {
            Finding::ok("gateway", format!("{router} cannot be asked from here"))
        }
        (None, _) => Finding::ok(
            "gateway",
            format!(
                "{router} answers no echo, which is common: the leg through the site's network is not measured"
            ),
        ),
    }
}

fn tunnel(machine: &Machine) -> Finding {
    match &machine.tunnel {
        None => Finding::ok("tunnel", "packets leave by no tunnel"),
        Some(name) => Finding::warning(
            "tunnel",
            format!("packets leave through {name}, which is a tunnel: samples are marked and stay out of the site's figures"),
        )
        .change(format!("leave the VPN, or exempt the targets from it; if {name} is the site's own line, name it in not_tunnels of [host]")),
    }
}
