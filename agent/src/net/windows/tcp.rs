//! What Windows knows of a connection: its RTT, and the ICMP error that ended an attempt.

use std::io;
use std::net::IpAddr;
use std::os::windows::io::AsSocket;

use firstmile_sys::windows::tcp::{self, IcmpError};
use socket2::Socket;
use tokio::net::TcpStream;

use crate::net::tcp::SynExchange;
use crate::probe::Outcome;

/// What the stack says of the SYN packets (`SIO_TCP_INFO`); `None` where it does not tell.
pub(crate) fn syn_exchange(stream: &TcpStream) -> Option<SynExchange> {
    let info = tcp::info(stream.as_socket()).ok()?;
    Some(SynExchange {
        rtt: info.rtt,
        resent: info.syn_retransmissions > 0,
    })
}

/// Has an ICMP error end an attempt to connect. Systems before Windows 10 2004 cannot, and then attempts time out.
#[expect(clippy::unnecessary_wraps, reason = "elsewhere the same call can fail")]
pub(crate) fn want_messages(socket: &Socket, _ipv6: bool) -> io::Result<()> {
    if let Err(error) = tcp::fail_on_icmp_error(socket.as_socket()) {
        tracing::trace!(%error, "attempts to connect are not told of ICMP errors");
    }
    Ok(())
}

/// What an ICMP error about this connection says; `None` when there is none.
pub(crate) fn told(stream: &TcpStream) -> Option<Outcome> {
    tcp::icmp_error(stream.as_socket())
        .ok()
        .map(|error| outcome(&error))
}

/// "Administratively prohibited" is a firewall's word: RFC 1122 §3.2.2.1 (codes 9, 10), RFC 1812 §5.2.7.1 (code 13),
/// RFC 4443 §3.1 (code 1, and its kinds 5 and 6).
fn outcome(error: &IcmpError) -> Outcome {
    let prohibited = match error.from {
        IpAddr::V4(_) => error.kind == 3 && matches!(error.code, 9 | 10 | 13),
        IpAddr::V6(_) => error.kind == 1 && matches!(error.code, 1 | 5 | 6),
    };
    if prohibited {
        Outcome::Filtered
    } else {
        Outcome::Unreachable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_is_told_from_a_router_without_a_way() {
        let (v4, v6) = (
            IpAddr::from([192, 0, 2, 1]),
            "2001:db8::1".parse().expect("an address"),
        );
        for (from, kind, code, want) in [
            (v4, 3, 1, Outcome::Unreachable),
            (v4, 3, 13, Outcome::Filtered),
            (v4, 11, 0, Outcome::Unreachable),
            (v6, 1, 0, Outcome::Unreachable),
            (v6, 1, 1, Outcome::Filtered),
        ] {
            let error = IcmpError { from, kind, code };
            assert_eq!(outcome(&error), want, "{error:?}");
        }
    }
}
