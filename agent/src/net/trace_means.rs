//! The best means that the platform and its rights allow for a kind of path.

use std::io;
use std::sync::Arc;

use firstmile_wire::v1::TraceKind;

#[cfg(target_os = "linux")]
use super::capability::is_refusal;
use super::trace::Means;
use super::trace_board::Hub;
use super::trace_echo::EchoMeans;

/// Opens what `kind` wants; `None` stands for TCP, the road of users' connections, else ICMP.
///
/// # Errors
/// `PermissionDenied` where the rights are missing, `Unsupported` for a kind that the platform has not.
#[cfg(target_os = "linux")]
pub(super) fn open(
    kind: Option<TraceKind>,
    ipv6: bool,
    flows: u16,
    hub: &Hub,
) -> io::Result<Arc<dyn Means>> {
    use super::trace_connect::ConnectMeans;
    use super::trace_raw::RawMeans;
    let raw = |kind| Ok(Arc::new(RawMeans::open(kind, ipv6, flows, hub)?) as Arc<dyn Means>);
    match kind {
        Some(TraceKind::Udp) => raw(TraceKind::Udp),
        Some(TraceKind::Icmp) => match raw(TraceKind::Icmp) {
            Err(error) if is_refusal(&error) => Ok(Arc::new(EchoMeans::open(ipv6, flows, hub)?)),
            opened => opened,
        },
        Some(TraceKind::Tcp | TraceKind::Unspecified) | None => match raw(TraceKind::Tcp) {
            Err(error) if is_refusal(&error) => Ok(Arc::new(ConnectMeans::open(ipv6, hub))),
            opened => opened,
        },
    }
}

/// Opens what `kind` wants; `None` stands for TCP, the road of users' connections, else ICMP.
///
/// # Errors
/// `PermissionDenied` where the rights are missing, `Unsupported` for a kind that the platform has not.
#[cfg(not(target_os = "linux"))]
pub(super) fn open(
    kind: Option<TraceKind>,
    ipv6: bool,
    flows: u16,
    hub: &Hub,
) -> io::Result<Arc<dyn Means>> {
    use super::capability::is_refusal;
    use super::trace_tcp::TcpMeans;
    let tcp = || Ok(Arc::new(TcpMeans::open(ipv6, flows, hub)?) as Arc<dyn Means>);
    let echo = || Ok(Arc::new(EchoMeans::open(ipv6, flows, hub)?) as Arc<dyn Means>);
    match kind {
        Some(TraceKind::Tcp) => tcp(),
        Some(TraceKind::Icmp) => echo(),
        Some(TraceKind::Udp | TraceKind::Unspecified) => Err(io::ErrorKind::Unsupported.into()),
        None => match tcp() {
            Err(error) if is_refusal(&error) => echo(),
            opened => opened,
        },
    }
}
