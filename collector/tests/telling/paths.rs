//! What is known of a path lives through kills: a collector that is killed again and again says what one says that is left alone.

use std::collections::BTreeMap;

use firstmile_collector::api::types::{Event, EventClass};
use firstmile_collector::detect::PathState;
use firstmile_collector::store::InboxReport;
use firstmile_wire::ids::AgentId;
use firstmile_wire::v1::{
    HopName, Outcome, Phase, Protocol, Report, Series, Target, TraceFlow, TraceHop, TraceKind,
    TraceRound, TraceStream,
};

use crate::rig::{EPOCH, Rig, agent_id, key, now_unix_ms};

const FLOWS: u32 = 8;
const EVERY_MS: i64 = 8_000;
const DOOR: [u8; 4] = [203, 0, 113, 10];
/// Whole rounds by which the path is learned; a refresh and two tail rounds come after them.
const WHOLE: usize = 20;
const LEARNING: usize = WHOLE + 3;
/// Rounds that differ before it is an event.
const SUSPECT: usize = 2;
const ALL: usize = LEARNING + SUSPECT + 12;

/// What a collector knows at the end.
#[derive(Debug, PartialEq)]
struct Known {
    memories: BTreeMap<String, serde_json::Value>,
    events: Vec<Event>,
}

#[tokio::test]
async fn a_collector_that_is_killed_while_it_learns_and_suspects_says_what_another_says() {
    let began = now_unix_ms() - 600_000;
    let reports: Vec<InboxReport> = (0..ALL).map(|index| report(index, began)).collect();

    let witness = rig().await;
    witness.append(&reports).await;
    let collector = witness.serve();
    witness.until_all_is_applied().await;
    collector.kill();
    let wanted = known(&witness).await;

    let rig = rig().await;
    let (learning, rest) = reports.split_at(7);
    let (learned, rest) = rest.split_at(LEARNING - 7);
    let (suspect, rest) = rest.split_at(SUSPECT);
    for (part, state) in [
        (learning, PathState::Learning),
        (learned, PathState::Stable),
        (suspect, PathState::Suspect),
    ] {
        rig.append(part).await;
        let collector = rig.serve();
        rig.until_all_is_applied().await;
        collector.kill();
        assert_eq!(rig.path_state().await, state, "as the kill left it");
    }
    // Killed at whatever it does: right after it listens, it has a dozen reports before it.
    rig.append(rest).await;
    for _ in 0..3 {
        rig.serve().kill();
    }
    let collector = rig.serve();
    rig.until_all_is_applied().await;
    collector.kill();
    let got = known(&rig).await;
    assert_eq!(got, wanted);
    let classes: Vec<EventClass> = got.events.iter().map(|event| event.class).collect();
    assert_eq!(classes, [EventClass::Geo], "{:?}", got.events);
}

#[tokio::test]
async fn another_table_of_systems_and_a_restart_raise_nothing() {
    let began = now_unix_ms() - 600_000;
    let rig = rig().await;
    let reports: Vec<InboxReport> = (0..ALL).map(|index| written(index, began, 1)).collect();
    let (before, after) = reports.split_at(LEARNING);
    rig.append(before).await;
    let collector = rig.serve();
    rig.until_all_is_applied().await;
    collector.kill();
    assert_eq!(rig.path_state().await, PathState::Stable);
    // The provider's and Microsoft's addresses belong to others now, as a wrong table has it.
    rig.file(
        "systems.csv",
        "192.0.2.0/24,64510,Other\n198.51.100.0/25,64511,Another\n198.51.100.128/25,8075,Microsoft\n203.0.113.0/24,8075,Microsoft\n",
    );
    rig.append(after).await;
    let collector = rig.serve();
    rig.until_all_is_applied().await;
    collector.kill();
    assert_eq!(
        known(&rig).await.events,
        [],
        "a changed table moves no path"
    );
}

async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.file(
        "systems.csv",
        "192.0.2.0/24,64500,Access\n198.51.100.0/24,8075,Microsoft\n203.0.113.0/24,8075,Microsoft\n",
    );
    rig.configure("[geo]\nip_to_as = ['systems.csv']\n");
    rig
}

async fn known(rig: &Rig) -> Known {
    Known {
        memories: rig.memories().await,
        events: rig.events().await,
    }
}

/// The report of one round: usual, until the ingress is another metro's.
fn report(index: usize, began: i64) -> InboxReport {
    let ingress = if index < LEARNING { 1 } else { 3 };
    written(index, began, ingress)
}

fn written(index: usize, began: i64, ingress: u8) -> InboxReport {
    let number = i64::try_from(index).unwrap();
    let at_unix_ms = began + number * EVERY_MS;
    let sequence = u64::try_from(index).unwrap() + 1;
    let stream = match index {
        0..WHOLE => TraceStream::Full,
        WHOLE => TraceStream::Refresh,
        _ if index < LEARNING => TraceStream::Tail,
        _ => TraceStream::Burst,
    };
    let agent: AgentId = agent_id(1);
    let report = Report {
        version: firstmile_wire::VERSION,
        agent_id: agent.to_bytes(),
        epoch: EPOCH.to_bytes(),
        sequence,
        wall_anchor_unix_ms: at_unix_ms,
        agent_version: "0.1.0".to_owned(),
        targets: vec![Target {
            name: "exchange".to_owned(),
            host: "outlook.example".to_owned(),
            port: 443,
            service: "m365".to_owned(),
        }],
        hop_names: vec![name(1, "icr01.ams21"), name(3, "icr01.fra21")],
        traces: vec![round(ingress, stream)],
        series: vec![pulse(ingress)],
        ..Report::default()
    };
    InboxReport {
        key: key(1, sequence),
        received_unix_ms: at_unix_ms + 5_000,
        frame: firstmile_wire::frame::encode(&report).unwrap(),
    }
}

fn name(number: u8, router: &str) -> HopName {
    HopName {
        address: vec![198, 51, 100, number],
        name: format!("ae1-0.{router}.ntwk.msn.net"),
    }
}

fn round(ingress: u8, stream: TraceStream) -> TraceRound {
    let way = [
        [192, 0, 2, 1],
        [192, 0, 2, 2],
        [198, 51, 100, ingress],
        [198, 51, 100, 100 + ingress],
    ];
    let hop = |(ttl, address): (u32, &[u8; 4])| TraceHop {
        ttl,
        address: address.to_vec(),
        rtt_us: 1_000 * ttl,
        ..TraceHop::default()
    };
    let flow = |number: u32| TraceFlow {
        flow_id: 24_100 + number,
        hops: (1..).zip(&way).map(hop).collect(),
        destination_ttl: 5,
        first_ttl: 1,
        ..TraceFlow::default()
    };
    TraceRound {
        destination: DOOR.to_vec(),
        kind: TraceKind::Tcp as i32,
        stream: stream as i32,
        flows: (0..FLOWS).map(flow).collect(),
        destination_port: 443,
        ..TraceRound::default()
    }
}

fn pulse(ingress: u8) -> Series {
    Series {
        destination: DOOR.to_vec(),
        protocol: Protocol::Tcp as i32,
        phase: Phase::Rtt as i32,
        at_delta_ms: vec![1_000],
        rtt_us: vec![5_000 + 3_000 * u32::from(ingress)],
        outcome: vec![Outcome::Answered as i32],
        ..Series::default()
    }
}
