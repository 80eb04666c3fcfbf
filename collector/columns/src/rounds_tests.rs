//! Tests of path rounds: what is said to be kept is kept, and the usual round is small.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn paths() -> impl Strategy<Value = Path> {
    let hops = vec(vec(any::<u8>(), 0..6), 0..14);
    let flow = (any::<u32>(), any::<u8>(), any::<u8>(), hops).prop_map(
        |(flow_id, destination_ttl, first_ttl, hops)| FlowPath {
            flow_id,
            destination_ttl,
            first_ttl,
            hops,
        },
    );
    (vec(any::<u8>(), 0..20), vec(flow, 0..9)).prop_map(|(about, flows)| Path { about, flows })
}

fn rounds() -> impl Strategy<Value = Round> {
    let at = prop_oneof![9 => 0i64..1_000_000_000, 1 => any::<i64>()];
    let silent = vec(any::<(u8, u8)>(), 0..5);
    let destinations = vec(option::of(any::<u32>()), 0..9);
    let hops = vec(option::of(any::<u32>()), 0..20);
    (at, 0u8..128, any::<bool>(), destinations, silent, hops).prop_map(
        |(at_unix_ms, stream, burst, destination_rtt_us, silent, hop_rtt_us)| Round {
            at_unix_ms,
            path: 0,
            stream,
            burst,
            destination_rtt_us,
            silent,
            hop_rtt_us,
        },
    )
}

fn read_back(mut rounds: Rounds) -> Rounds {
    for round in &mut rounds.rounds {
        for rtt in round.hop_rtt_us.iter_mut().flatten() {
            *rtt = as_kept(*rtt);
        }
    }
    rounds
}

proptest! {
    #[test]
    fn what_is_kept_comes_back(of in vec((0usize..3, rounds()), 0..20), paths in vec(paths(), 3)) {
        let mut builder = RoundsBuilder::default();
        for (path, round) in of {
            prop_assert!(builder.push(paths[path].clone(), round));
        }
        let rounds = builder.finish();
        prop_assert!(rounds.paths.len() <= 3);
        prop_assert_eq!(Rounds::from_bytes(&rounds.to_bytes()), Ok(read_back(rounds)));
    }

    #[test]
    fn any_bytes_are_rounds_or_an_error(body in vec(any::<u8>(), 0..200)) {
        let mut bytes = body;
        if let Some(first) = bytes.first_mut() {
            *first = VERSION;
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        if let Ok(rounds) = Rounds::from_bytes(&bytes) {
            prop_assert_eq!(Rounds::from_bytes(&rounds.to_bytes()), Ok(rounds));
        }
    }
}

#[test]
fn an_unchanged_round_of_eight_flows_takes_forty_bytes_at_most() {
    let hop = |n: u8| vec![192, 0, 2, n, 54];
    let flow = |flow_id: u8| FlowPath {
        flow_id: 33_000 + u32::from(flow_id),
        destination_ttl: 13,
        first_ttl: 1,
        // Two ways in the middle, as load is shared.
        hops: (1..13)
            .map(|ttl| {
                hop(if (5..8).contains(&ttl) {
                    ttl * 2 + flow_id % 2
                } else {
                    ttl
                })
            })
            .collect(),
    };
    let path = Path {
        about: b"www.example.com".to_vec(),
        flows: (0..8).map(flow).collect(),
    };
    let size = |count: u32| {
        let mut builder = RoundsBuilder::default();
        for n in 0..count {
            // Jitter of some milliseconds, other in each round and flow.
            let us = |base: u32, salt: u32| Some(base + (n * 7_919 + salt * 104_729) % 4_000);
            let round = Round {
                at_unix_ms: i64::from(n) * 120_000 + i64::from(n % 7),
                stream: 1,
                destination_rtt_us: (0..8).map(|flow| us(31_000, flow)).collect(),
                hop_rtt_us: (1..13).map(|ttl| us(ttl * 2_500, ttl)).collect(),
                ..Round::default()
            };
            assert!(builder.push(path.clone(), round));
        }
        builder.finish().to_bytes().len()
    };
    let each = (size(31) - size(1)).div_ceil(30);
    assert!(each <= 40, "{each} bytes a round");
}

#[test]
fn a_full_builder_says_so() {
    let mut builder = RoundsBuilder::default();
    for _ in 0..MAX_ROUNDS {
        assert!(builder.push(Path::default(), Round::default()));
    }
    assert!(!builder.push(Path::default(), Round::default()));
    assert_eq!(builder.finish().rounds.len(), MAX_ROUNDS);
}

#[test]
fn a_round_beyond_the_form_is_not_taken() {
    let long = Round {
        hop_rtt_us: vec![None; MAX_HOPS + 1],
        ..Round::default()
    };
    let many = Path {
        flows: vec![FlowPath::default(); MAX_FLOWS + 1],
        ..Path::default()
    };
    let mut builder = RoundsBuilder::default();
    assert!(!builder.push(Path::default(), long));
    assert!(!builder.push(many, Round::default()));
    assert_eq!(builder.finish(), Rounds::default());
}
