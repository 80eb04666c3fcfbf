//! What a path round takes that met what the one before met.

use firstmile_columns::rounds::{FlowPath, Path, Round, RoundsBuilder};

use crate::codec::count;
use crate::reference::Agent;
use firstmile_figures::Figures;

const FLOWS: u8 = 8;
const HOPS: u8 = 12;
/// Rounds of two hours.
const ROUNDS: u8 = 60;

/// Notes the bytes of one more unchanged round of eight flows over twelve hops; RTTs are those of the reference stream.
pub(crate) fn measure(seed: u64, figures: &mut Figures) {
    let (one, many) = (bytes(seed, 1), bytes(seed, ROUNDS));
    let each = (count(many) - count(one)) / f64::from(ROUNDS - 1);
    figures.note("trace_dictionary_bytes", one);
    figures.at_most("trace_bytes_per_round", each, 40.0);
}

fn bytes(seed: u64, rounds: u8) -> usize {
    let mut agent = Agent::new(seed, 0);
    // The flows of a round go to one destination: eight samples of one series.
    let mut rtts = move || -> Vec<u32> {
        let firsts =
            std::iter::repeat_with(|| agent.round().first().map_or(0, |(_, row, _)| row.rtt_us));
        firsts
            .filter(|rtt| *rtt > 0)
            .take(usize::from(FLOWS))
            .collect()
    };
    let hop = |ttl: u8| vec![198, 51, 100, ttl, 64 - ttl];
    let flow = |flow: u8| FlowPath {
        flow_id: 33_000 + u32::from(flow),
        destination_ttl: HOPS + 1,
        first_ttl: 1,
        hops: (1..=HOPS)
            .map(|ttl| hop(if ttl == 6 { 20 + flow % 2 } else { ttl }))
            .collect(),
    };
    let path = Path {
        about: b"www.example.com".to_vec(),
        flows: (0..FLOWS).map(flow).collect(),
    };
    let mut builder = RoundsBuilder::default();
    for number in 0..rounds {
        let rtts = rtts();
        let least = rtts.iter().copied().min().unwrap_or(0);
        let round = Round {
            at_unix_ms: i64::from(number) * 120_000 + i64::from(number % 5),
            stream: 1,
            destination_rtt_us: rtts
                .iter()
                .take(usize::from(FLOWS))
                .map(|rtt| Some(*rtt))
                .collect(),
            hop_rtt_us: (1..=u32::from(HOPS))
                .map(|ttl| Some(least * ttl / u32::from(HOPS)))
                .collect(),
            ..Round::default()
        };
        assert!(builder.push(path.clone(), round), "sixty rounds fit");
    }
    builder.finish().to_bytes().len()
}
