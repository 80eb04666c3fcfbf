//! A hostile peer of TCP flows, on a real link: it guesses, repeats, resets, and answers from an address that nobody asked; by IPv4
//! and by IPv6.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::net::lab;
use crate::net::trace::Tracer;
use crate::probe::trace::{DEFAULT_ALPHA, FlowPath, Known, Stream, TracePlan, all_flows};

/// Answers to each SYN: more than a round's line holds.
const TIMES: u16 = 2_000;
const FLOWS: u16 = 4;
const PEERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];
const STRANGERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77)),
];
/// Where nothing comes back that counts the flows need not wait for one another.
const HASTE: Duration = Duration::from_millis(1);
/// Where every SYN is answered without end, the flood of one flow is over before the next one's answer has to find room.
const CARE: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(2);

/// The peer's own system stays silent: only the hostile program speaks in its name.
const MUTE: &str = "
    table inet mute {
        chain in {
            type filter hook input priority 0;
            tcp dport 443 drop
        }
    }";

const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
const RST_ACK: u8 = 0x14;

/// How the peer answers each SYN, [`TIMES`] times.
#[derive(Clone, Copy)]
struct Manner {
    flags: u8,
    /// In the name of another address.
    is_strange: bool,
    /// It acknowledges what was sent, or numbers that nobody sent.
    is_right: bool,
}

impl Manner {
    const fn is_true(self) -> bool {
        self.is_right && !self.is_strange
    }
}

/// The hostile program, at the other side of the link.
struct Peer {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Peer {
    fn start(place: File, ipv6: bool, manner: Manner) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let (listens, listening) = mpsc::channel();
        // A namespace is a thread's.
        let thread = std::thread::spawn(move || {
            setns(place, CloneFlags::CLONE_NEWNET).expect("root enters namespaces");
            let ears = Socket::new(Domain::PACKET, Type::DGRAM, Some(frames(ipv6)));
            let ears = ears.expect("ears");
            let patience = Some(Duration::from_millis(10));
            ears.set_read_timeout(patience).expect("a time limit");
            let family = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
            let mouth = Socket::new(family, Type::RAW, Some(Protocol::from(RAW)));
            let mouth = mouth.expect("a mouth");
            listens.send(()).expect("awaited");
            let mut heard = 0;
            while !ends.load(Ordering::Relaxed) {
                if let Some(syn) = Overheard::next(&ears) {
                    heard += 1;
                    syn.answer(&mouth, manner);
                }
            }
            heard
        });
        listening.recv().expect("it listens");
        Self { is_over, thread }
    }

    /// How many SYNs it heard.
    fn stop(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it ends well")
    }
}

/// `ETH_P_IP` or `ETH_P_IPV6`, in network order (packet(7)).
fn frames(ipv6: bool) -> Protocol {
    let kind: u16 = if ipv6 { 0x86dd } else { 0x0800 };
    Protocol::from(i32::from(kind.to_be()))
}

/// Source, destination and TCP segment of a packet (RFC 791 §3.1, RFC 8200 §3); `None` for other packets.
fn tcp(bytes: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    if bytes.first()? >> 4 == 4 {
        let heard = quote::ipv4(bytes)?;
        let is_tcp = heard.protocol == packet::PROTOCOL_TCP;
        return is_tcp.then_some((heard.source, heard.destination, heard.payload));
    }
    let address = |at: usize| {
        let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
        Some(IpAddr::from(octets))
    };
    let is_tcp = *bytes.get(6)? == packet::PROTOCOL_TCP;
    is_tcp.then_some((address(8)?, address(24)?, bytes.get(40..)?))
}

/// A SYN that the peer has heard.
struct Overheard {
    ends: FlowEnds,
    number: u32,
}

impl Overheard {
    /// `None` for anything else, and when nothing comes for a while.
    fn next(mut ears: &Socket) -> Option<Self> {
        let mut bytes = [0; 256];
        let length = ears.read(&mut bytes).ok()?;
        let (source, destination, segment) = tcp(&bytes[..length])?;
        (*segment.get(13)? == SYN).then_some(())?;
        let ends = FlowEnds {
            source: destination,
            source_port: packet::u16_at(segment, 2)?,
            destination: source,
            destination_port: packet::u16_at(segment, 0)?,
        };
        let number = packet::u32_at(segment, 4)?;
        Some(Self { ends, number })
    }

    fn answer(&self, mouth: &Socket, manner: Manner) {
        let strange = STRANGERS[usize::from(self.ends.source.is_ipv6())];
        let ends = FlowEnds {
            source: if manner.is_strange {
                strange
            } else {
                self.ends.source
            },
            ..self.ends
        };
        let outer = Outer {
            ttl: 64,
            protocol: packet::PROTOCOL_TCP,
            identification: 0,
            flow_label: 0,
            dscp: 0,
        };
        let to = SockAddr::from(SocketAddr::new(ends.destination, 0));
        for guess in 0..TIMES {
            let number = if manner.is_right {
                self.number
            } else {
                // Half of what has to be guessed is the secret of the process.
                self.number ^ 0x8000_0000 ^ u32::from(guess)
            };
            let mut segment = packet::syn(ends, 1);
            segment[8..12].copy_from_slice(&number.wrapping_add(1).to_be_bytes());
            segment[13] = manner.flags;
            // A full buffer loses some, as any link does.
            mouth.send_to(&packet::ip(ends, outer, &segment), &to).ok();
        }
    }
}

/// What a round meets, and what was counted.
struct Met {
    flows: Vec<FlowPath>,
    unmatched: u64,
    late: u64,
}

async fn round(to: IpAddr, interval: Duration) -> Met {
    let (counters, tasks) = (Arc::<Counters>::default(), TaskTracker::new());
    let cancel = CancellationToken::new();
    let tracer = Tracer::new(FLOWS, Arc::clone(&counters), tasks.clone(), cancel.clone());
    let tracer = tracer.asking_every(interval);
    let plan = TracePlan {
        stream: Stream::Full,
        flows: all_flows(FLOWS),
        spacing: Duration::ZERO,
        timeout: TIMEOUT,
        grace: Duration::from_millis(400),
        alpha: DEFAULT_ALPHA,
        // The one hop that there is, and who meets nobody there asks no second time.
        known: Known {
            destination_ttl: Some(1),
            silent_ttls: vec![1],
            ..Known::default()
        },
    };
    let met = tracer.round(SocketAddr::new(to, 443), plan).await;
    cancel.cancel();
    tasks.close();
    tasks.wait().await;
    Met {
        flows: met.expect("a round").flows,
        unmatched: counters.unmatched_replies.value(),
        late: counters.late_replies.value(),
    }
}

#[test]
fn a_hostile_peer_of_tcp_gives_no_flow_an_end_that_it_has_not() {
    // Each in a network of its own, all at the same time: they wait for what must not come.
    std::thread::scope(|scope| {
        for name in [
            concat!(module_path!(), "::guesses_syn_acks"),
            concat!(module_path!(), "::guesses_resets"),
            concat!(module_path!(), "::sends_syn_acks_from_elsewhere"),
            concat!(module_path!(), "::sends_resets_from_elsewhere"),
            concat!(module_path!(), "::sends_syn_acks_without_end"),
            concat!(module_path!(), "::sends_resets_without_end"),
        ] {
            scope.spawn(|| lab::run_inside(name));
        }
    });
}

#[tokio::test]
#[ignore = "needs a network of its own: a_hostile_peer_of_tcp_gives_no_flow_an_end_that_it_has_not runs it in one"]
async fn guesses_syn_acks() {
    meet(SYN_ACK, false, false).await;
}

#[tokio::test]
#[ignore = "needs a network of its own: a_hostile_peer_of_tcp_gives_no_flow_an_end_that_it_has_not runs it in one"]
async fn guesses_resets() {
    meet(RST_ACK, false, false).await;
}

#[tokio::test]
#[ignore = "needs a network of its own: a_hostile_peer_of_tcp_gives_no_flow_an_end_that_it_has_not runs it in one"]
async fn sends_syn_acks_from_elsewhere() {
    meet(SYN_ACK, true, true).await;
}

#[tokio::test]
#[ignore = "needs a network of its own: a_hostile_peer_of_tcp_gives_no_flow_an_end_that_it_has_not runs it in one"]
async fn sends_resets_from_elsewhere() {
    meet(RST_ACK, true, true).await;
}

#[tokio::test]
#[ignore = "needs a network of its own: a_hostile_peer_of_tcp_gives_no_flow_an_end_that_it_has_not runs it in one"]
async fn sends_syn_acks_without_end() {
    meet(SYN_ACK, false, true).await;
}

#[tokio::test]
#[ignore = "needs a network of its own: a_hostile_peer_of_tcp_gives_no_flow_an_end_that_it_has_not runs it in one"]
async fn sends_resets_without_end() {
    meet(RST_ACK, false, true).await;
}

/// Rounds to a peer of this manner, by both families at the same time.
async fn meet(flags: u8, is_strange: bool, is_right: bool) {
    let other_side = lab::with_other_side(&["192.0.2.1/24", "2001:db8::1/64"], MUTE);
    let manner = Manner {
        flags,
        is_strange,
        is_right,
    };
    let peers = [false, true].map(|ipv6| Peer::start(other_side.place(), ipv6, manner));
    let interval = if manner.is_true() { CARE } else { HASTE };
    let met = tokio::join!(round(PEERS[0], interval), round(PEERS[1], interval));
    for ((peer, met), address) in peers.into_iter().zip([met.0, met.1]).zip(PEERS) {
        let heard = peer.stop();
        assert!(heard >= usize::from(FLOWS), "{address}: {heard} SYNs");
        judge(&met, manner, address);
    }
}

fn judge(met: &Met, manner: Manner, peer: IpAddr) {
    assert_eq!(met.flows.len(), usize::from(FLOWS), "{peer}");
    for flow in &met.flows {
        let end = manner.is_true().then_some(1);
        assert_eq!(flow.destination_ttl, end, "{peer}: {flow:?}");
        let answers: Vec<IpAddr> = flow.answers().map(|(_, hop)| hop.address).collect();
        let right = end.map(|_| peer);
        assert_eq!(answers, Vec::from_iter(right), "{peer}");
        assert!(flow.answers().all(|(_, hop)| hop.rtt < TIMEOUT), "{peer}");
    }
    // One answer to each flow is taken; of those that were not lost on the way, the rest is counted.
    assert!(met.unmatched + met.late > 0, "{peer}: dropped and counted");
}

#[test]
fn rounds_that_nobody_watches_and_those_that_are_evidence_meet_what_is_there() {
    lab::run_inside(concat!(module_path!(), "::calm"));
}

#[tokio::test]
#[ignore = "needs a network of its own: rounds_that_nobody_watches_and_those_that_are_evidence_meet_what_is_there runs it in one"]
async fn calm() {
    let _other_side = lab::with_other_side(&["192.0.2.1/24", "2001:db8::1/64"], "");
    let (counters, tasks) = (Arc::<Counters>::default(), TaskTracker::new());
    let cancel = CancellationToken::new();
    let tracer = Tracer::new(FLOWS, Arc::clone(&counters), tasks.clone(), cancel.clone());
    let own = tracer.asking_every(HASTE).calm();
    for peer in PEERS {
        for kind in [TraceKind::Tcp, TraceKind::Udp, TraceKind::Icmp] {
            let plan = TracePlan {
                stream: Stream::Full,
                flows: all_flows(2),
                spacing: Duration::ZERO,
                timeout: TIMEOUT,
                grace: Duration::ZERO,
                alpha: DEFAULT_ALPHA,
                known: Known {
                    destination_ttl: Some(1),
                    ..Known::default()
                },
            };
            let to = SocketAddr::new(peer, 443);
            let round = if kind == TraceKind::Tcp {
                own.round(to, plan).await
            } else {
                own.beside(kind, 2).round(to, plan).await
            };
            let round = round.expect("a round");
            assert_eq!((round.kind, round.method), (kind, TraceMethod::Raw));
            for flow in &round.flows {
                // One asker of a system that limits its errors may go without the second of two.
                let is_met = flow.destination_ttl == Some(1);
                assert!(is_met || flow.flow > 0, "{peer} {kind:?}: {flow:?}");
                assert!(flow.answers().all(|(_, hop)| hop.address == peer));
            }
        }
    }
    assert_eq!(counters.unmatched_replies.value(), 0);
    cancel.cancel();
    tasks.close();
    tasks.wait().await;
}
