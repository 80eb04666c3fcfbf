//! Facts of the machine, each asked for once and narrowly: a full refresh opens hundreds of files.

pub(crate) mod context;
pub(crate) mod lock;
pub(crate) mod look;
pub(crate) mod marks;
pub(crate) mod memory;
pub(crate) mod nearby;
pub(crate) mod roaming;
pub(crate) mod systemd;
pub(crate) mod watch;
#[cfg(windows)]
pub(crate) mod windows;

use firstmile_wire::ids::BootId;
use firstmile_wire::v1::HostFacts;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::net::capability::IcmpCapability;

/// The host's name, empty when it has none.
pub(crate) fn hostname() -> String {
    System::host_name().unwrap_or_default()
}

/// Whether a process of this number runs on this machine.
#[cfg(unix)]
pub(crate) fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0) else {
        return false; // 0 would ask about our own group
    };
    let asked = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None);
    matches!(asked, Ok(()) | Err(nix::errno::Errno::EPERM))
}

/// Whether a process of this number runs on this machine.
#[cfg(windows)]
pub(crate) fn is_alive(pid: u32) -> bool {
    firstmile_sys::windows::process::is_alive(pid)
}

/// Whether a process of this number runs on this machine; elsewhere the age of what it wrote has to tell.
#[cfg(not(any(unix, windows)))]
pub(crate) const fn is_alive(pid: u32) -> bool {
    pid != 0
}

/// The facts for the first report of a run.
pub(crate) fn facts(capability: IcmpCapability) -> HostFacts {
    let only_memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let memory_bytes =
        System::new_with_specifics(only_memory).map_or(0, |system| system.total_memory());
    HostFacts {
        hostname: hostname(),
        os: System::long_os_version().unwrap_or_default(),
        arch: std::env::consts::ARCH.to_owned(),
        icmp_capability: capability.as_str().to_owned(),
        cpus: std::thread::available_parallelism()
            .ok()
            .and_then(|n| u32::try_from(n.get()).ok())
            .unwrap_or(0),
        memory_bytes,
    }
}

/// The identity of this boot, where the kernel gives one; else a random one, so that monotonic times are not compared
/// across what may be a reboot.
pub(crate) fn boot_id() -> BootId {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or_else(BootId::random)
}
