//! Bytes of the store of samples, from a damaged disk or a later program.

use firstmile_columns::chunk::MAX_ROWS;
use firstmile_columns::rounds::Rounds;
use firstmile_columns::{Block, Chunk, ChunkReader, DecodeError};

/// What is read can be written, and is then read the same. The checksum is put right: chance does not find it.
pub(super) fn chunk(bytes: &[u8]) {
    drop(blocks(bytes));
    let Ok(found) = blocks(&sealed(bytes)) else {
        return;
    };
    assert!(found.iter().map(Block::len).sum::<usize>() <= MAX_ROWS);
    let found: Vec<&Block> = found.iter().collect();
    let Ok(written) = Chunk::default().encode(&found) else {
        panic!("what one chunk held fits in one chunk");
    };
    let again = blocks(&written);
    assert!(again.is_ok_and(|again| again.iter().eq(found)));
}

/// The same of path rounds.
pub(super) fn rounds(bytes: &[u8]) {
    drop(Rounds::from_bytes(bytes));
    if let Ok(rounds) = Rounds::from_bytes(&sealed(bytes)) {
        assert_eq!(Rounds::from_bytes(&rounds.to_bytes()), Ok(rounds));
    }
}

/// As version 1, with the right checksum.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut body = bytes.to_vec();
    if let Some(first) = body.first_mut() {
        *first = 1;
    }
    let checksum = crc32fast::hash(&body);
    body.extend_from_slice(&checksum.to_le_bytes());
    body
}

fn blocks(bytes: &[u8]) -> Result<Vec<Block>, DecodeError> {
    let mut blocks = Vec::new();
    ChunkReader::new().read(bytes, |_| true, |block| blocks.push(block.clone()))?;
    Ok(blocks)
}
