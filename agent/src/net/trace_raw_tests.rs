//! A hostile peer of TCP flows, on a real link: it guesses, repeats, resets, and answers from an address that nobody asked.

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
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
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
    from: Ipv4Addr,
    /// It acknowledges what was sent, or numbers that nobody sent.
    is_right: bool,
}

/// The hostile program, at the other side of the link.
struct Peer {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Peer {
    fn start(place: File, manner: Manner) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let (listens, listening) = mpsc::channel();
        // A namespace is a thread's.
        let thread = std::thread::spawn(move || {
            setns(place, CloneFlags::CLONE_NEWNET).expect("root enters namespaces");
            let ears = Socket::new(Domain::PACKET, Type::DGRAM, Some(ipv4_frames()));
            let ears = ears.expect("ears");
            let patience = Some(Duration::from_millis(10));
            ears.set_read_timeout(patience).expect("a time limit");
            let mouth = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)));
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

/// `ETH_P_IP`, in network order (packet(7)).
fn ipv4_frames() -> Protocol {
    Protocol::from(i32::from(0x0800_u16.to_be()))
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
        let heard = quote::ipv4(&bytes[..length])?;
        let is_syn = heard.protocol == packet::PROTOCOL_TCP && *heard.payload.get(13)? == SYN;
        is_syn.then_some(())?;
        let ends = FlowEnds {
            source: heard.destination,
            source_port: packet::u16_at(heard.payload, 2)?,
            destination: heard.source,
            destination_port: packet::u16_at(heard.payload, 0)?,
        };
        let number = packet::u32_at(heard.payload, 4)?;
        Some(Self { ends, number })
    }

    fn answer(&self, mouth: &Socket, manner: Manner) {
        let ends = FlowEnds {
            source: manner.from.into(),
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

async fn round() -> Met {
    let (counters, tasks) = (Arc::<Counters>::default(), TaskTracker::new());
    let cancel = CancellationToken::new();
    let tracer = Tracer::new(FLOWS, Arc::clone(&counters), tasks.clone(), cancel.clone());
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
    let met = tracer.round(SocketAddr::from((PEER, 443)), plan).await;
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
    lab::run_inside(concat!(module_path!(), "::inside"));
}

#[tokio::test]
#[ignore = "needs a network of its own: a_hostile_peer_of_tcp_gives_no_flow_an_end_that_it_has_not runs it in one"]
async fn inside() {
    let other_side = lab::with_other_side(&["192.0.2.1/24"], MUTE);
    lab::ip(&["link", "set", "lo", "up"]);
    for (name, flags, from, is_right) in [
        ("SYN-ACKs by guess", SYN_ACK, PEER, false),
        ("resets by guess", RST_ACK, PEER, false),
        ("SYN-ACKs from elsewhere", SYN_ACK, STRANGER, true),
        ("resets from elsewhere", RST_ACK, STRANGER, true),
        ("SYN-ACKs without end", SYN_ACK, PEER, true),
        ("resets without end", RST_ACK, PEER, true),
    ] {
        let manner = Manner {
            flags,
            from,
            is_right,
        };
        let peer = Peer::start(other_side.place(), manner);
        let met = round().await;
        let heard = peer.stop();
        assert!(heard >= usize::from(FLOWS), "{name}: {heard} SYNs");
        assert_eq!(met.flows.len(), usize::from(FLOWS), "{name}");
        let is_true = is_right && from == PEER;
        for flow in &met.flows {
            let end = is_true.then_some(1);
            assert_eq!(flow.destination_ttl, end, "{name}: {flow:?}");
            let answers: Vec<IpAddr> = flow.answers().map(|(_, hop)| hop.address).collect();
            let right = end.map(|_| IpAddr::from(PEER));
            assert_eq!(answers, Vec::from_iter(right), "{name}");
            assert!(flow.answers().all(|(_, hop)| hop.rtt < TIMEOUT), "{name}");
        }
        // One answer to each flow is taken; of those that were not lost on the way, the rest is counted.
        assert!(met.unmatched + met.late > 0, "{name}: dropped and counted");
    }
}
