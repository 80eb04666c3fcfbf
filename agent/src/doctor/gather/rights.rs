//! Opens and closes one socket of each kind, and reads what stands behind a refusal.

use std::io;

use socket2::{Domain, Protocol, Socket, Type};

use crate::doctor::facts::{OnWindows, Permission, Rights};

pub(super) fn rights() -> Rights {
    Rights {
        user: user(),
        raw_v4: permission(Domain::IPV4, Type::RAW, Protocol::ICMPV4),
        raw_v6: permission(Domain::IPV6, Type::RAW, Protocol::ICMPV6),
        ping_v4: permission(Domain::IPV4, Type::DGRAM, Protocol::ICMPV4),
        ping_v6: permission(Domain::IPV6, Type::DGRAM, Protocol::ICMPV6),
        ping_group_range: std::fs::read_to_string("/proc/sys/net/ipv4/ping_group_range")
            .ok()
            .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")),
        net_raw_is_within_bounds: std::fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(|status| has_net_raw(&status)),
        kernel_stamps: cfg!(target_os = "linux"),
        windows: on_windows(),
    }
}

#[cfg(windows)]
#[expect(
    clippy::unnecessary_wraps,
    reason = "elsewhere there is nothing to say"
)]
fn on_windows() -> Option<OnWindows> {
    use firstmile_sys::windows::icmp::Echo;
    Some(OnWindows {
        echo_v4: Echo::open(false).is_ok(),
        echo_v6: Echo::open(true).is_ok(),
        tcp_paths: crate::net::trace_tcp::is_possible(),
    })
}

#[cfg(not(windows))]
const fn on_windows() -> Option<OnWindows> {
    None
}

fn permission(domain: Domain, kind: Type, protocol: Protocol) -> Permission {
    match Socket::new(domain, kind, Some(protocol)) {
        Ok(_) => Permission::Given,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Permission::Refused,
        Err(error) if is_no_family(&error) => Permission::NoFamily,
        Err(_) => Permission::Broken,
    }
}

#[cfg(unix)]
fn is_no_family(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

#[cfg(not(unix))]
fn is_no_family(error: &io::Error) -> bool {
    error.raw_os_error() == Some(10_047) // WSAEAFNOSUPPORT
}

#[cfg(unix)]
#[expect(
    clippy::unnecessary_wraps,
    reason = "other systems have no such number"
)]
fn user() -> Option<u32> {
    Some(nix::unistd::geteuid().as_raw())
}

#[cfg(not(unix))]
const fn user() -> Option<u32> {
    None
}

/// Whether the bounding set in `/proc/self/status` holds `CAP_NET_RAW`, bit 13 (capabilities(7)).
fn has_net_raw(status: &str) -> Option<bool> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))?;
    let bits = u64::from_str_radix(line.trim(), 16).ok()?;
    Some(bits & (1 << 13) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounding_set_is_read() {
        for (name, status, want) in [
            ("all", "Name:\tx\nCapBnd:\t000001ffffffffff\n", Some(true)),
            (
                "a container without",
                "CapBnd:\t00000000a80405fb\n",
                Some(false),
            ),
            ("none", "CapBnd:\t0000000000000000\n", Some(false)),
            ("no such line", "CapEff:\t0\n", None),
            ("no number", "CapBnd:\tx\n", None),
        ] {
            assert_eq!(has_net_raw(status), want, "{name}");
        }
    }
}
