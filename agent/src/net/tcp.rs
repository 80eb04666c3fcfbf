//! TCP connect: from SYN to SYN-ACK or RST. On Linux the RTT of an answer is the kernel's own (`TCP_INFO`); elsewhere, and
//! for a refusal, it is by the clock around the call.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;

use super::route;
use crate::clock;
use crate::probe::{Measured, Outcome};

/// Connects once and hangs up at once.
pub(crate) async fn connect(destination: SocketAddr, timeout: Duration) -> Measured {
    let sent_at = clock::now();
    let connected = tokio::time::timeout(timeout, TcpStream::connect(destination)).await;
    let rtt = clock::now().saturating_duration_since(sent_at);
    match connected {
        Ok(Ok(stream)) => kernel_rtt(&stream).map_or_else(
            || Outcome::Answered(rtt).into(),
            |rtt| Measured::kernel(Outcome::Answered(rtt)),
        ),
        Ok(Err(error)) => outcome_of(&error, destination.ip(), rtt).into(),
        Err(_) => Outcome::Timeout.into(),
    }
}

/// What the kernel measured from SYN to SYN-ACK. `None` when it took more than one SYN: the time that the user waited, the
/// loss included, is the figure then.
#[cfg(target_os = "linux")]
fn kernel_rtt(stream: &TcpStream) -> Option<Duration> {
    let info = firstmile_sys::tcp_info::read(std::os::fd::AsFd::as_fd(stream)).ok()?;
    (info.retransmissions == 0 && !info.rtt.is_zero()).then_some(info.rtt)
}

#[cfg(not(target_os = "linux"))]
const fn kernel_rtt(_stream: &TcpStream) -> Option<Duration> {
    None
}

/// The outcome of a connect that failed after `rtt`.
pub(crate) fn outcome_of(error: &io::Error, destination: IpAddr, rtt: Duration) -> Outcome {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        Outcome::Refused(rtt)
    } else {
        route::outcome_of(error, destination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);

    #[tokio::test]
    async fn a_listener_answers_and_a_shut_port_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        assert!(matches!(
            connect(address, TIMEOUT).await.outcome,
            Outcome::Answered(_)
        ));
        drop(listener);
        assert!(matches!(
            connect(address, TIMEOUT).await.outcome,
            Outcome::Refused(_)
        ));
    }
}
