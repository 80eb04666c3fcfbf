//! Tests of chunks: whatever is put in comes out, and no bytes do harm.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn rows() -> impl Strategy<Value = Vec<(Row, u32)>> {
    let at = prop_oneof![
        8 => (0i64..720).prop_map(|tick| 1_800_000_000_000 + tick * 5_000 + tick % 7),
        1 => -1_000_000i64..1_000_000,
        1 => any::<i64>(),
    ];
    let outcome = prop_oneof![9 => Just(1u8), 1 => 0u8..14, 1 => any::<u8>()];
    let rtt = prop_oneof![8 => 20_000u32..60_000, 1 => 0u32..200, 1 => any::<u32>()];
    let marks = prop_oneof![9 => Just(0u32), 1 => 0u32..64, 1 => any::<u32>()];
    let ttl = prop_oneof![9 => Just(54u8), 1 => any::<u8>()];
    let delay = prop_oneof![9 => Just(0u32), 1 => any::<u32>()];
    let row = (at, outcome, rtt, marks, ttl, delay).prop_map(
        |(at_unix_ms, outcome, rtt_us, marks, reply_ttl, delay)| {
            let row = Row {
                at_unix_ms,
                outcome,
                rtt_us,
                marks,
                reply_ttl,
            };
            (row, delay)
        },
    );
    vec(row, 0..80)
}

fn blocks() -> impl Strategy<Value = Vec<Block>> {
    vec((any::<u32>(), rows()), 0..8).prop_map(|blocks| {
        let of = |(series, rows): (u32, Vec<(Row, u32)>)| block_of(series, &rows);
        blocks.into_iter().map(of).collect()
    })
}

fn block_of(series: u32, rows: &[(Row, u32)]) -> Block {
    let mut block = Block::new(series);
    for (row, delay) in rows {
        block.push(*row, *delay);
    }
    block
}

fn encoded(blocks: &[Block]) -> Vec<u8> {
    let blocks: Vec<&Block> = blocks.iter().collect();
    Chunk::default().encode(&blocks).unwrap()
}

fn decoded(bytes: &[u8]) -> Result<Vec<Block>, DecodeError> {
    let mut back = Vec::new();
    ChunkReader::new().read(bytes, |_| true, |block| back.push(block.clone()))?;
    Ok(back)
}

/// As a chunk whose last four bytes are right whatever stands before: else chance never comes past the checksum.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = body.to_vec();
    bytes.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    bytes
}

proptest! {
    #[test]
    fn whatever_is_put_in_comes_out(blocks in blocks()) {
        prop_assert_eq!(decoded(&encoded(&blocks)), Ok(blocks));
    }

    #[test]
    fn leaping_over_others_shows_the_same(blocks in blocks(), bit in 0u32..2) {
        let bytes = encoded(&blocks);
        let wanted = |series: u32| series & 1 == bit;
        let mut back = Vec::new();
        ChunkReader::new().read(&bytes, wanted, |block| back.push(block.clone())).unwrap();
        let want: Vec<Block> = blocks.into_iter().filter(|block| wanted(block.series)).collect();
        prop_assert_eq!(back, want);
    }

    #[test]
    fn any_bytes_are_a_chunk_or_an_error(body in vec(any::<u8>(), 0..200)) {
        let mut body = body;
        if let Some(first) = body.first_mut() {
            *first = VERSION;
        }
        if let Ok(blocks) = decoded(&sealed(&body)) {
            let samples: usize = blocks.iter().map(Block::len).sum();
            prop_assert!(samples <= MAX_ROWS);
            prop_assert_eq!(decoded(&encoded(&blocks)), Ok(blocks));
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed(blocks in blocks(), place in any::<prop::sample::Index>(), bit in 0u32..8) {
        let mut bytes = encoded(&blocks);
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let noticed = matches!(decoded(&bytes), Err(DecodeError::Checksum { .. }));
        prop_assert!(noticed);
    }

    #[test]
    fn a_cut_is_noticed(blocks in blocks(), place in any::<prop::sample::Index>()) {
        let bytes = encoded(&blocks);
        prop_assert!(decoded(&bytes[..place.index(bytes.len())]).is_err());
    }

    #[test]
    fn a_reader_remembers_nothing_of_the_chunk_before(first in blocks(), second in blocks()) {
        let (first, bytes) = (encoded(&first), encoded(&second));
        let mut reader = ChunkReader::new();
        reader.read(&first, |_| true, |_| {}).unwrap();
        let mut back = Vec::new();
        reader.read(&bytes, |_| true, |block| back.push(block.clone())).unwrap();
        prop_assert_eq!(back, second);
    }
}

fn answered(at_unix_ms: i64, rtt_us: u32) -> Row {
    Row {
        at_unix_ms,
        outcome: 1,
        rtt_us,
        marks: 0,
        reply_ttl: 0,
    }
}

#[test]
fn edges() {
    let lost = |at| Row {
        outcome: 2,
        rtt_us: 0,
        ..answered(at, 0)
    };
    let on_a_beat: Vec<_> = (0..60).map(|n| (answered(n * 5_000, 30_000), 0)).collect();
    let after_a_pause: Vec<_> = (0..60)
        .map(|n| {
            (
                answered(n * 5_000 + if n > 30 { 3_600_000 } else { 0 }, 30_000),
                0,
            )
        })
        .collect();
    for (name, blocks, at_most) in [
        ("nothing", vec![], 6),
        ("a block without samples", vec![block_of(1, &[])], 20),
        (
            "one sample",
            vec![block_of(1, &[(answered(1_800_000_000_000, 30_000), 0)])],
            26,
        ),
        (
            "an hour of silence",
            vec![block_of(
                1,
                &(0..720).map(|n| (lost(n * 5_000), 0)).collect::<Vec<_>>(),
            )],
            28,
        ),
        ("a beat takes nothing", vec![block_of(1, &on_a_beat)], 26),
        (
            "nor does a second one beside it",
            vec![block_of(1, &on_a_beat), block_of(2, &on_a_beat)],
            38,
        ),
        ("a pause is a patch", vec![block_of(1, &after_a_pause)], 32),
        (
            "extreme times",
            vec![block_of(
                1,
                &[
                    (answered(i64::MIN, 0), 0),
                    (answered(i64::MAX, u32::MAX), u32::MAX),
                ],
            )],
            60,
        ),
    ] {
        let bytes = encoded(&blocks);
        assert_eq!(decoded(&bytes), Ok(blocks), "{name}");
        assert!(bytes.len() <= at_most, "{name}: {} bytes", bytes.len());
    }
}

#[test]
fn more_than_a_chunk_holds_is_refused() {
    let many: Vec<Block> = (0..=MAX_BLOCKS)
        .map(|number| Block::new(u32::try_from(number).unwrap()))
        .collect();
    let many: Vec<&Block> = many.iter().collect();
    let refused = Chunk::default().encode(&many);
    assert_eq!(
        refused,
        Err(ChunkError::TooMuch {
            rows: 0,
            blocks: MAX_BLOCKS + 1
        })
    );
    let mut long = Block::new(0);
    for _ in 0..=MAX_ROWS {
        long.push(answered(1, 1), 0);
    }
    assert!(Chunk::default().encode(&[&long]).is_err());
}

#[test]
fn a_chunk_of_a_later_program_is_named_as_such() {
    let bytes = sealed(&[VERSION + 1, 0]);
    assert_eq!(
        decoded(&bytes),
        Err(DecodeError::Version {
            version: VERSION + 1
        })
    );
}

/// These bytes are on disks.
#[test]
fn the_form_of_version_1_stays() {
    let row = |at, outcome, rtt| Row {
        at_unix_ms: at,
        outcome,
        rtt_us: rtt,
        marks: 0,
        reply_ttl: 54,
    };
    let block = block_of(
        3,
        &[
            (row(1_000, 1, 900), 0),
            (row(6_001, 2, 0), 40),
            (row(11_000, 1, 950), 0),
        ],
    );
    let bytes = encoded(std::slice::from_ref(&block));
    assert_eq!(bytes, GOLDEN);
    assert_eq!(decoded(&bytes), Ok(vec![block]));
}

const GOLDEN: [u8; 31] = [
    0x01, 0xd0, 0x0f, 0x17, 0x06, 0x03, 0x0d, 0x01, 0x00, 0x92, 0x4e, 0x03, 0x02, 0x02, 0x01, 0x01,
    0x01, 0x00, 0x02, 0x88, 0x0e, 0x06, 0x80, 0x0c, 0x36, 0x00, 0x28, 0x13, 0x27, 0x59, 0x45,
];
