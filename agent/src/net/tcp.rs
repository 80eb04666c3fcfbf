//! TCP connect: from SYN to SYN-ACK or RST, by the clock around the call (`CLOCK_USER`).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;

use super::route;
use crate::clock;
use crate::probe::Outcome;

/// Connects once and hangs up at once.
pub(crate) async fn connect(destination: SocketAddr, timeout: Duration) -> Outcome {
    let sent_at = clock::now();
    let connected = tokio::time::timeout(timeout, TcpStream::connect(destination)).await;
    let rtt = clock::now().saturating_duration_since(sent_at);
    match connected {
        Ok(Ok(stream)) => {
            drop(stream);
            Outcome::Answered(rtt)
        }
        Ok(Err(error)) => outcome_of(&error, destination.ip(), rtt),
        Err(_) => Outcome::Timeout,
    }
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
            connect(address, TIMEOUT).await,
            Outcome::Answered(_)
        ));
        drop(listener);
        assert!(matches!(
            connect(address, TIMEOUT).await,
            Outcome::Refused(_)
        ));
    }
}
