//! Connections to listeners, shut ports, firewalls and nowhere; what needs a firewall runs in a network of its own.

use super::*;

const TIMEOUT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn a_listener_answers_and_a_shut_port_refuses() {
    for loopback in ["127.0.0.1:0", "[::1]:0"] {
        let listener = tokio::net::TcpListener::bind(loopback)
            .await
            .expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        let answered = connect(address, TIMEOUT).await;
        assert!(
            matches!(answered.outcome, Outcome::Answered(rtt) if rtt < TIMEOUT),
            "{answered:?}"
        );
        drop(listener);
        let refused = connect(address, TIMEOUT).await;
        assert!(
            matches!(refused.outcome, Outcome::Refused(rtt) if rtt < TIMEOUT),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_is_handed_over_ready_to_use() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a loopback port");
    let address = listener.local_addr().expect("an address");
    let (_, stream) = dial(address, TIMEOUT, Exit::default()).await;
    let (mut theirs, _) = listener.accept().await.expect("accepted");
    theirs.write_all(b"hello").await.expect("written");
    let mut heard = [0_u8; 5];
    let mut ours = stream.expect("connected");
    ours.read_exact(&mut heard).await.expect("read");
    assert_eq!(&heard, b"hello");
}

#[cfg(target_os = "linux")]
mod in_a_network_of_its_own {
    use super::*;
    use crate::net::lab;

    #[test]
    fn who_said_no_is_told_apart() {
        lab::run_inside(concat!(module_path!(), "::inside"));
    }

    #[test]
    fn a_probe_whose_first_packet_was_lost_is_lost() {
        lab::run_inside(concat!(module_path!(), "::inside_with_loss"));
    }

    /// The first SYN from each port is lost; what comes after it passes.
    const FIRST_IS_LOST: &str = "
        table inet loss {
            set seen { type inet_service; flags dynamic; timeout 1m; }
            chain in {
                type filter hook input priority 0;
                tcp flags & (syn | ack) == syn tcp sport != @seen add @seen { tcp sport } drop
            }
        }";

    #[tokio::test]
    #[ignore = "needs a network of its own: a_probe_whose_first_packet_was_lost_is_lost runs it in one"]
    async fn inside_with_loss() {
        lab::loopback_up();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback port");
        let listening = listener.local_addr().expect("an address");
        let shut = SocketAddr::from(([127, 0, 0, 1], 9));
        let clean = connect(listening, TIMEOUT).await;
        assert!(matches!(clean.outcome, Outcome::Answered(_)), "{clean:?}");
        lab::filter(FIRST_IS_LOST);
        let patience = 3 * TIMEOUT;
        for to in [listening, shut] {
            let lost = connect(to, patience).await;
            assert_eq!(lost.outcome, Outcome::Timeout, "{to}: {lost:?}");
        }
        let (waited, stream) = dial(listening, patience, Exit::default()).await;
        assert!(
            matches!(waited.outcome, Outcome::Answered(rtt) if rtt > Duration::from_millis(500)),
            "a user waits for the second SYN: {waited:?}"
        );
        assert_eq!(waited.clock, crate::probe::Clock::User);
        assert!(stream.is_some());
    }

    /// Port 1 is rejected as "administratively prohibited", 2 with "port unreachable", 3 with "host unreachable", 4 is
    /// dropped, 5 is reset, and nothing else is held back.
    const RULES: &str = "
        table inet firewall {
            chain in {
                type filter hook input priority 0;
                ip daddr 203.0.113.1 tcp dport 1 reject with icmp type admin-prohibited
                ip daddr 203.0.113.1 tcp dport 2 reject with icmp type port-unreachable
                ip daddr 203.0.113.1 tcp dport 3 reject with icmp type host-unreachable
                ip6 daddr 2001:db8::1 tcp dport 1 reject with icmpv6 type admin-prohibited
                ip6 daddr 2001:db8::1 tcp dport 2 reject with icmpv6 type port-unreachable
                ip6 daddr 2001:db8::1 tcp dport 3 reject with icmpv6 type addr-unreachable
                tcp dport 4 drop
                tcp dport 5 reject with tcp reset
            }
        }";

    #[tokio::test]
    #[ignore = "needs a network of its own: who_said_no_is_told_apart runs it in one"]
    async fn inside() {
        let _other_side = lab::with_other_side(&["203.0.113.1/24", "2001:db8::1/64"], RULES);
        let timeout = Duration::from_millis(300);
        for host in ["203.0.113.1", "2001:db8::1"] {
            let host: IpAddr = host.parse().expect("an address");
            for (port, name, is_right) in [
                (
                    1,
                    "prohibited",
                    (|o| o == Outcome::Filtered) as fn(Outcome) -> bool,
                ),
                (2, "port unreachable", |o| o == Outcome::Filtered),
                (3, "host unreachable", |o| o == Outcome::Unreachable),
                (4, "dropped", |o| o == Outcome::Timeout),
                (5, "reset", |o| matches!(o, Outcome::Refused(_))),
                (6, "shut", |o| matches!(o, Outcome::Refused(_))),
            ] {
                let found = connect(SocketAddr::new(host, port), timeout).await;
                assert!(is_right(found.outcome), "{host} {name}: {found:?}");
            }
        }
        let nobody = connect("203.0.113.77:443".parse().expect("one"), TIMEOUT * 3).await;
        assert_eq!(nobody.outcome, Outcome::Unreachable, "nobody answers ARP");
        for elsewhere in ["198.51.100.1:443", "[2001:db8:1::1]:443"] {
            let no_route = connect(elsewhere.parse().expect("one"), TIMEOUT).await;
            assert_eq!(no_route.outcome, Outcome::NoRoute, "{elsewhere}");
        }
    }
}
