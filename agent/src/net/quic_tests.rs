//! QUIC handshakes with quinn servers, silent ports, shut ports and servers of another version, on the loopback.

use std::net::{Ipv4Addr, Ipv6Addr};

use quinn::crypto::rustls::QuicServerConfig;
use tokio::net::UdpSocket;

use super::*;
use crate::net::peers::Authority;
use crate::probe::quic::LongHeader;

const TIMEOUT: Duration = Duration::from_millis(400);
const LATER: i32 = 2090;

fn host() -> Host {
    Host::parse("front.example").expect("a host")
}

/// A server that takes every connection.
async fn serve(endpoint: Endpoint) {
    let mut open = Vec::new();
    while let Some(incoming) = endpoint.accept().await {
        if let Ok(connection) = incoming.await {
            open.push(connection);
        }
    }
}

fn server(signer: &Authority, alpn: &[u8], at: SocketAddr) -> (Endpoint, SocketAddr) {
    let identity = signer.issue("front.example", LATER);
    let tls = identity.server(&[&rustls::version::TLS13], &[alpn]);
    let crypto = QuicServerConfig::try_from(tls).expect("a suite for Initials");
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    listen(config, at)
}

#[cfg(not(windows))]
fn listen(config: quinn::ServerConfig, at: SocketAddr) -> (Endpoint, SocketAddr) {
    let endpoint = Endpoint::server(config, at).expect("a loopback port");
    let address = endpoint.local_addr().expect("an address");
    (endpoint, address)
}

/// On the socket of the probes: quinn's own asks for options that wine does not have.
#[cfg(windows)]
fn listen(config: quinn::ServerConfig, at: SocketAddr) -> (Endpoint, SocketAddr) {
    let socket = Arc::new(QuicSocket::open(at.is_ipv6(), Exit::default(), None).expect("a port"));
    let runtime = Arc::new(TokioRuntime);
    let options = EndpointConfig::default();
    let endpoint = Endpoint::new_with_abstract_socket(options, Some(config), socket, runtime)
        .expect("an endpoint");
    let port = endpoint.local_addr().expect("an address").port();
    (endpoint, SocketAddr::new(at.ip(), port))
}

async fn beside<T>(serving: impl Future<Output = ()>, asking: impl Future<Output = T>) -> T {
    tokio::select! {
        found = asking => found,
        () = serving => panic!("a server serves for ever"),
    }
}

#[tokio::test]
async fn a_handshake_has_its_times_and_says_who_answered() {
    let (ours, theirs) = (Authority::new("Front CA"), Authority::new("Inspection CA"));
    let prober = QuicProber::new(ours.trusted(), None).expect("settings");
    for loopback in [
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
        SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0),
    ] {
        for (signer, issuer, is_trusted) in [
            (&ours, "Example, Front CA", true),
            (&theirs, "Example, Inspection CA", false),
        ] {
            let (endpoint, address) = server(signer, b"h3", loopback);
            let found = beside(serve(endpoint), prober.shake(&host(), address, TIMEOUT)).await;
            let (Outcome::Answered(rtt), Some(Outcome::Answered(handshake))) =
                (found.rtt, found.handshake)
            else {
                panic!("{found:?}");
            };
            assert!(
                rtt <= handshake && handshake < TIMEOUT * ROUND_TRIPS,
                "{found:?}"
            );
            let seen = found.sighting.expect("a sighting");
            assert_eq!((seen.quic_version, seen.alpn.as_str()), (1, "h3"));
            assert_eq!((seen.issuer.as_str(), seen.version), (issuer, TLS13));
            assert_eq!(seen.problem.is_empty(), is_trusted, "{}", seen.problem);
            assert_eq!(seen.certificates.len(), 2);
        }
    }
}

#[tokio::test]
async fn silence_refusal_and_another_language_are_told_apart() {
    let authority = Authority::new("Front CA");
    let prober = QuicProber::new(authority.trusted(), None).expect("settings");
    let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);

    let silent = UdpSocket::bind(loopback).await.expect("a loopback port");
    let address = silent.local_addr().expect("an address");
    let found = prober.shake(&host(), address, TIMEOUT).await;
    assert_eq!((found.rtt, found.handshake), (Outcome::Timeout, None));
    assert!(!found.problem.is_empty());

    drop(silent);
    let found = prober.shake(&host(), address, TIMEOUT).await;
    if cfg!(target_os = "linux") {
        assert!(
            matches!(found.rtt, Outcome::Refused(rtt) if rtt < TIMEOUT),
            "{found:?}"
        );
    }
    assert_eq!(found.handshake, None);

    let (endpoint, address) = server(&authority, b"smtp", loopback);
    let found = beside(serve(endpoint), prober.shake(&host(), address, TIMEOUT)).await;
    assert!(matches!(found.rtt, Outcome::Answered(_)), "{found:?}");
    assert_eq!(found.handshake, Some(Outcome::QuicFailed), "{found:?}");
    assert!(found.sighting.is_none());
}

/// A server of another version, which says so after a while.
async fn other_version(socket: UdpSocket, after: Duration) {
    let mut buffer = [0_u8; 2048];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let header = LongHeader::read(&buffer[..length]).expect("an Initial");
        let mut answer = vec![0x80, 0, 0, 0, 0];
        for id in [header.source_id, header.destination_id] {
            answer.push(u8::try_from(id.len()).expect("short"));
            answer.extend(id);
        }
        answer.extend(0x0a0a_0a0a_u32.to_be_bytes());
        tokio::time::sleep(after).await;
        socket.send_to(&answer, from).await.expect("sent");
    }
}

#[tokio::test]
async fn the_rtt_is_that_of_the_first_packets_whatever_becomes_of_the_rest() {
    let prober = QuicProber::new(Authority::new("Front CA").trusted(), None).expect("settings");
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a loopback port");
    let address = socket.local_addr().expect("an address");
    let after = Duration::from_millis(60);
    let serving = other_version(socket, after);
    let found = beside(serving, prober.shake(&host(), address, TIMEOUT)).await;
    assert!(
        matches!(found.rtt, Outcome::Answered(rtt) if rtt >= after && rtt < after + TIMEOUT),
        "{found:?}"
    );
    assert_eq!(found.handshake, Some(Outcome::QuicFailed), "{found:?}");
    assert!(found.problem.contains("0x0a0a0a0a"), "{found:?}");
}

/// Passes datagrams on between a client and a server, all but the first one.
async fn lose_the_first(socket: UdpSocket, server: SocketAddr) {
    let (mut buffer, mut client) = ([0_u8; 2048], None);
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let to = if from == server {
            client
        } else {
            client.replace(from).map(|_| server)
        };
        if let Some(to) = to {
            socket.send_to(&buffer[..length], to).await.expect("sent");
        }
    }
}

#[tokio::test]
async fn a_lost_first_initial_is_a_lost_probe_and_a_slow_handshake() {
    let authority = Authority::new("Front CA");
    let prober = QuicProber::new(authority.trusted(), None).expect("settings");
    let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let (endpoint, server) = server(&authority, b"h3", loopback);
    let relay = UdpSocket::bind(loopback).await.expect("a loopback port");
    let address = relay.local_addr().expect("an address");
    let peers = async {
        tokio::join!(serve(endpoint), lose_the_first(relay, server));
    };
    let found = beside(peers, prober.shake(&host(), address, 10 * TIMEOUT)).await;
    assert_eq!(found.rtt, Outcome::Timeout, "{found:?}");
    assert!(
        matches!(found.handshake, Some(Outcome::Answered(took)) if took > TIMEOUT),
        "{found:?}"
    );
}

#[tokio::test]
async fn probes_at_once_over_one_endpoint_do_not_mix() {
    let authority = Authority::new("Front CA");
    let prober = QuicProber::new(authority.trusted(), None).expect("settings");
    let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let (endpoint, address) = server(&authority, b"h3", loopback);
    let silent = UdpSocket::bind(loopback).await.expect("a loopback port");
    let silence = silent.local_addr().expect("an address");
    let host = host();
    let asking = async {
        let good = (0..8).map(|_| prober.shake(&host, address, TIMEOUT * 5));
        tokio::join!(
            futures::future::join_all(good),
            prober.shake(&host, silence, TIMEOUT)
        )
    };
    let (good, bad) = beside(serve(endpoint), asking).await;
    for found in good {
        assert!(
            matches!(found.handshake, Some(Outcome::Answered(_))),
            "{found:?}"
        );
    }
    assert_eq!(bad.rtt, Outcome::Timeout);
}

#[cfg(target_os = "linux")]
mod alone {
    use super::*;
    use crate::net::lab;

    #[test]
    fn many_probes_open_no_more_than_a_few() {
        lab::run_inside(concat!(module_path!(), "::inside"));
    }

    fn descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd")
            .expect("open files")
            .count()
    }

    /// The process has to be alone: other tests open files too.
    #[tokio::test]
    #[ignore = "counts the open files of its process: many_probes_open_no_more_than_a_few runs it alone"]
    async fn inside() {
        lab::loopback_up();
        let authority = Authority::new("Front CA");
        let prober = QuicProber::new(authority.trusted(), None).expect("settings");
        let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let (endpoint, address) = server(&authority, b"h3", loopback);
        let shut = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9);
        let no_route = SocketAddr::from(([203, 0, 113, 1], 443));
        let host = host();
        let asking = async {
            let mut after_first = 0;
            for round in 0..40 {
                let found = prober.shake(&host, address, TIMEOUT).await;
                assert!(
                    matches!(found.handshake, Some(Outcome::Answered(_))),
                    "{found:?}"
                );
                let found = prober.shake(&host, shut, TIMEOUT).await;
                assert!(matches!(found.rtt, Outcome::Refused(_)), "{found:?}");
                let found = prober.shake(&host, no_route, TIMEOUT).await;
                assert_eq!(found.rtt, Outcome::NoRoute, "{found:?}");
                if round == 0 {
                    after_first = descriptors();
                }
            }
            assert_eq!(descriptors(), after_first, "one endpoint serves all");
        };
        beside(serve(endpoint), asking).await;
    }
}
