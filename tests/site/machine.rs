//! What the agent tells of its machine: the leg to the router, a tunnel, another network.

use firstmile_wire::v1::{self, InterfaceKind, Mark};

use crate::rig::{Rig, built, inside, ip};

const USUAL: &str = "02:00:00:00:00:01";
const OTHER: &str = "02:00:00:00:00:02";

fn contexts(rig: &Rig) -> Vec<v1::HostContext> {
    let reports = rig.reports("state");
    reports
        .into_iter()
        .flat_map(|report| report.host_contexts)
        .collect()
}

/// Marks of the last samples of each target.
fn last_marks(rig: &Rig) -> Option<[u32; 2]> {
    let reports = rig.reports("state");
    let of = |target: u32| {
        let series = reports.iter().rev().flat_map(|report| &report.series);
        let mut ours =
            series.filter(|series| series.target == target && !series.outcome.is_empty());
        ours.next()
            .map(|series| series.marks.last().copied().unwrap_or(0))
    };
    Some([of(0)?, of(1)?])
}

/// A router with two servers behind it, the second reached through a TUN device.
fn site() {
    Rig::namespace("site");
    Rig::namespace("router");
    Rig::cable(
        ("site", "eth0", &["198.51.100.2/24"]),
        ("router", "lan", &["198.51.100.1/24"]),
    );
    ip("router", &format!("link set lan address {USUAL}"));
    for address in ["203.0.113.1/32", "203.0.113.2/32"] {
        ip("router", &format!("addr add {address} dev lo"));
    }
    ip("site", "route add default via 198.51.100.1");
    ip("site", "tuntap add mode tun name vpn0");
    ip("site", "addr add 192.0.2.1/32 dev vpn0");
    ip("site", "link set vpn0 up");
    ip("site", "route add 203.0.113.2/32 dev vpn0");
}

fn configuration(rig: &Rig) -> String {
    let target = |name: &str, host: &str| {
        format!(
            "[[target]]\nname = {name:?}\nhost = {host:?}\nprotocols = [\"icmp\"]\ntrace = false\n"
        )
    };
    let text = format!(
        "state_dir = {:?}\ntarget_sets = []\nresolvers = [\"198.51.100.1\"]\n{}{}[plan]\npulse_interval = \"1s\"\nupload_interval = \"1s\"\nprobe_timeout = \"500ms\"\n[proxy]\nurl = \"\"\n",
        rig.path("state").display().to_string(),
        target("near", "203.0.113.1"),
        target("behind-vpn", "203.0.113.2"),
    );
    rig.write("agent.toml", &text).display().to_string()
}

#[test]
fn a_tunnel_another_network_and_the_leg_to_the_router_are_told_and_marked() {
    inside(
        "machine::a_tunnel_another_network_and_the_leg_to_the_router_are_told_and_marked",
        |rig| {
            site();
            let collector = rig.collector("router", "https://198.51.100.1:8443");
            let join = rig.join_string("router").display().to_string();
            let config = configuration(&rig);
            let enrolled = Rig::agent(
                "site",
                &[],
                &["--config", &config, "enroll", "--join-file", &join],
            );
            assert!(enrolled.status.success(), "{}", crate::rig::said(&enrolled));
            collector.stop();
            let _agent = rig.start(
                "site",
                "agent",
                &[&built("firstmile-agent"), "--config", &config, "run"],
            );

            let tunnel = Mark::Tunnel as u32;
            rig.until("marks of the tunnel", || {
                (last_marks(&rig)? == [0, tunnel]).then_some(())
            });
            let usual = rig.until("what is told of the machine", || {
                contexts(&rig).into_iter().find(|context| {
                    context.tunnelled_targets == [1] && !context.network_id.is_empty()
                })
            });
            assert_eq!(usual.interface, "eth0");
            assert_eq!(usual.interface_kind(), InterfaceKind::Ethernet);
            assert_eq!(usual.gateway, [198, 51, 100, 1]);
            assert_eq!(usual.tunnel_interface, "vpn0");
            assert_eq!(usual.network_id.len(), 8);
            assert!(!usual.roaming && usual.proxy.is_empty());

            // Carried to another network: the router has another link address.
            move_to(OTHER);
            let roaming = tunnel | Mark::Roaming as u32;
            rig.until("marks of roaming", || {
                (last_marks(&rig)? == [Mark::Roaming as u32, roaming]).then_some(())
            });
            let away = rig.until("the other network", || {
                contexts(&rig).into_iter().find(|context| context.roaming)
            });
            assert_ne!(away.network_id, usual.network_id);
            move_to(USUAL);
            rig.until("the end of roaming", || {
                (last_marks(&rig)? == [0, tunnel]).then_some(())
            });
            let back = contexts(&rig).pop().expect("it was told");
            assert!(!back.roaming && back.network_id == usual.network_id);
            the_leg_to_the_router(&contexts(&rig));
        },
    );
}

fn the_leg_to_the_router(contexts: &[v1::HostContext]) {
    let legs: Vec<_> = contexts
        .iter()
        .filter(|context| context.gateway_sent > 0)
        .collect();
    assert!(!legs.is_empty(), "{contexts:?}");
    for leg in legs {
        let answered = leg.gateway_sent - leg.gateway_lost;
        assert!(answered > 0 || leg.gateway_rtt_median_us == 0, "{leg:?}");
        assert!(
            leg.gateway_rtt_min_us <= leg.gateway_rtt_median_us,
            "{leg:?}"
        );
        assert!(
            leg.gateway_rtt_median_us < 50_000,
            "a cable inside one machine: {leg:?}"
        );
    }
    assert!(
        contexts
            .iter()
            .any(|context| context.own_rss_bytes > 1 << 20),
        "{contexts:?}"
    );
    assert!(
        contexts
            .iter()
            .any(|context| context.memory_available_bytes > 0)
    );
}

/// Gives the router another link address, and lets the site's machine find out.
fn move_to(address: &str) {
    ip("router", &format!("link set lan address {address}"));
    ip("site", "neigh flush dev eth0");
}
