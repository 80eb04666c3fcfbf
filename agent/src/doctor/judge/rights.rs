//! What each kind of probe may do here.

use super::Finding;
use crate::doctor::facts::{OnWindows, Permission, Rights};
use crate::net::capability::Advice;
use crate::probe::offer::{self, Given, Offer};

/// The right to send ICMP, and where it comes from.
pub(super) fn rights(rights: &Rights, setcap: &str) -> Vec<Finding> {
    if let Some(windows) = rights.windows {
        return echo_on_windows(windows);
    }
    let who = rights
        .user
        .map_or_else(|| "this user".to_owned(), |user| format!("user {user}"));
    let stamps = if rights.kernel_stamps {
        "stamped by the kernel"
    } else {
        "stamped by this program"
    };
    let range = rights.ping_group_range.as_deref().unwrap_or("unknown");
    let raw = rights.raw_v4 == Permission::Given;
    let ping = rights.ping_v4 == Permission::Given;
    let mut findings = vec![match (raw, ping) {
        (true, _) => Finding::ok(
            "rights",
            format!("{who} may open raw sockets (CAP_NET_RAW): ICMP echo works, {stamps}"),
        ),
        (false, true) => Finding::ok(
            "rights",
            format!(
                "{who} may open ping sockets (ping_group_range {range}) and no raw ones: ICMP echo works, {stamps}"
            ),
        ),
        (false, false) => Finding::problem(
            "rights",
            format!(
                "{who} may open neither raw sockets (no CAP_NET_RAW) nor ping sockets (ping_group_range {range}): no ICMP echo"
            ),
        )
        .change(neither(rights, setcap)),
    }];
    let v6 = [rights.raw_v6, rights.ping_v6];
    if !v6.contains(&Permission::Given) && (raw || ping) {
        findings.push(if v6.contains(&Permission::NoFamily) {
            Finding::ok("rights", "this machine has no IPv6: only IPv4 is measured")
        } else {
            Finding::warning(
                "rights",
                "ICMP echo is permitted over IPv4 but not over IPv6",
            )
            .change(setcap)
        });
    }
    if [rights.raw_v4, rights.ping_v4].contains(&Permission::Broken) {
        findings.push(
            Finding::warning(
                "rights",
                "a socket could not be opened for another reason than rights",
            )
            .change("ulimit -n 1024"),
        );
    }
    findings
}

/// Which paths this machine can trace.
pub(super) fn paths(rights: &Rights, flows: u16, setcap: &str) -> Vec<Finding> {
    if let Some(windows) = rights.windows {
        return vec![paths_on_windows(windows, flows)];
    }
    if rights.raw_v4 == Permission::Given {
        return vec![Finding::ok(
            "paths",
            format!(
                "paths are traced with TCP SYN packets to the targets' port, {flows} flows, each pinned to a source port of its own, all TTLs in flight; {}",
                offered(Given::LinuxRaw)
            ),
        )];
    }
    let given = if rights.ping_v4 == Permission::Given {
        Given::LinuxPing
    } else {
        Given::LinuxPlain
    };
    vec![
        Finding::warning(
            "paths",
            format!(
                "paths are traced one TTL of a flow at a time, {flows} flows of TCP, each pinned to a source port of its own: a round takes seconds longer, and label stacks stay unseen; {}",
                offered(given)
            ),
        )
        .change(raw_or_bounds(rights, setcap)),
    ]
}

fn offered(given: Given) -> String {
    let offers: Vec<String> = offer::offers(given).iter().map(Offer::to_string).collect();
    format!("to be had: {}", offers.join(", "))
}

fn echo_on_windows(windows: OnWindows) -> Vec<Finding> {
    let families = match (windows.echo_v4, windows.echo_v6) {
        (true, true) => "IPv4 and IPv6",
        (true, false) => "IPv4 only",
        (false, true) => "IPv6 only",
        (false, false) => {
            return vec![
                Finding::problem(
                    "rights",
                    "Windows gives no ICMP echo: its network is not up",
                )
                .change("start the service IP Helper and look for a network connection"),
            ];
        }
    };
    vec![Finding::ok(
        "rights",
        format!(
            "Windows sends ICMP echo for any user, over {families}; times are stamped by this program"
        ),
    )]
}

fn paths_on_windows(windows: OnWindows, flows: u16) -> Finding {
    if windows.tcp_paths {
        return Finding::ok(
            "paths",
            format!(
                "paths are traced with TCP connections to the targets' port, {flows} flows, each pinned to a source port of its own, one TTL of a flow at a time"
            ),
        );
    }
    Finding::warning(
        "paths",
        "this Windows does not tell connections of ICMP errors: paths are traced with ICMP echo, one flow that load balancers may send any way",
    )
    .change("update to Windows 10 version 2004, Windows Server 2022, or later")
}

fn raw_or_bounds(rights: &Rights, setcap: &str) -> String {
    if rights.net_raw_is_within_bounds == Some(false) {
        "start the container with --cap-add NET_RAW (it was started without)".to_owned()
    } else {
        setcap.to_owned()
    }
}

fn neither(rights: &Rights, setcap: &str) -> String {
    format!(
        "{}; or, for ping and ICMP paths only: {}",
        raw_or_bounds(rights, setcap),
        Advice::ping_sockets()
    )
}
