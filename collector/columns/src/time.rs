//! When samples were taken: as distances from a grid, from each other, or from the times of another series of the chunk,
//! whichever takes the least.
//!
//! A series whose probes leave on a beat lies on a grid, a little late each time; one that was interrupted is read better from
//! one sample to the next; one that leaves with another lies at a constant distance from it.

use crate::packed::{self, Plan};
use crate::varint::{self, DecodeError, Reader, zigzag};

/// How the times of a block are written.
const GRID: u8 = 0;
const STEPS: u8 = 1;
/// Beside the block this many places before: 0 stands for the one just before.
const BESIDE: u8 = 2;

/// How many blocks back are looked at: interleaved pairs of protocols and of targets lie within it.
const LOOK_BACK: usize = 6;

/// Memory that is used again from block to block.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    grid: Vec<i64>,
    steps: Vec<i64>,
    beside: Vec<i64>,
    best: Vec<i64>,
}

/// Appends the times of a block. `before` are those of the blocks before it, `anchor` is the chunk's own time.
pub(crate) fn put<'a>(
    bytes: &mut Vec<u8>,
    at: &[i64],
    before: impl DoubleEndedIterator<Item = &'a [i64]>,
    anchor: i64,
    scratch: &mut Scratch,
) {
    let first = at.first().copied().unwrap_or(anchor);
    let step = usual_step(at, &mut scratch.grid);
    scratch.grid.clear();
    let mut due = first;
    scratch.grid.extend(at.iter().map(|at| {
        let late = at.wrapping_sub(due);
        due = due.wrapping_add(step);
        late
    }));
    scratch.steps.clear();
    scratch
        .steps
        .extend(steps(at).map(|gap| gap.wrapping_sub(step)));
    let own = zigzag(first.wrapping_sub(anchor));
    let head = bits_of(own) + bits_of(zigzag(step)) + 8;
    let mut best = (GRID, packed::plan(&scratch.grid));
    best.1.bits += head;
    let mut by_steps = packed::plan(&scratch.steps);
    by_steps.bits += head;
    if by_steps.bits < best.1.bits {
        best = (STEPS, by_steps);
    }
    for (back, other) in (0u8..).zip(before.rev().take(LOOK_BACK)) {
        if other.len() < at.len() {
            continue;
        }
        scratch.beside.clear();
        let pairs = at.iter().zip(other);
        scratch
            .beside
            .extend(pairs.map(|(at, other)| at.wrapping_sub(*other)));
        let plan = packed::plan(&scratch.beside);
        if plan.bits < best.1.bits {
            best = (BESIDE + back, plan);
            std::mem::swap(&mut scratch.best, &mut scratch.beside);
        }
    }
    let (form, plan): (u8, Plan) = best;
    bytes.push(form);
    match form {
        GRID | STEPS => {
            varint::put(bytes, own);
            varint::put_signed(bytes, step);
            let values = if form == GRID {
                &scratch.grid
            } else {
                &scratch.steps
            };
            packed::put(bytes, values, plan);
        }
        _ => packed::put(bytes, &scratch.best, plan),
    }
}

/// Reads the times of `n` samples. `before` are those of the blocks before, one after the other, each with its end.
pub(crate) fn take(
    reader: &mut Reader<'_>,
    n: usize,
    anchor: i64,
    before: &Before,
    packed_values: &mut Vec<i64>,
    out: &mut Vec<i64>,
) -> Result<(), DecodeError> {
    packed_values.clear();
    let form = reader.byte()?;
    match form {
        GRID | STEPS => {
            let first = anchor.wrapping_add(reader.signed()?);
            let step = reader.signed()?;
            let values = if form == GRID { n } else { n.saturating_sub(1) };
            packed::take(reader, values, packed_values)?;
            let mut due = first;
            if form == STEPS && n > 0 {
                out.push(first);
            }
            out.extend(packed_values.iter().map(|value| {
                if form == GRID {
                    let at = due.wrapping_add(*value);
                    due = due.wrapping_add(step);
                    at
                } else {
                    due = due.wrapping_add(step).wrapping_add(*value);
                    due
                }
            }));
        }
        _ => {
            let other = before
                .back(usize::from(form - BESIDE))
                .filter(|other| other.len() >= n)
                .ok_or(DecodeError::OutOfRange)?;
            packed::take(reader, n, packed_values)?;
            let pairs = packed_values.iter().zip(other);
            out.extend(pairs.map(|(value, other)| other.wrapping_add(*value)));
        }
    }
    Ok(())
}

/// The times of the blocks of a chunk that were read already.
#[derive(Debug, Default)]
pub(crate) struct Before {
    at: Vec<i64>,
    ends: Vec<usize>,
}

impl Before {
    pub(crate) fn clear(&mut self) {
        self.at.clear();
        self.ends.clear();
    }

    pub(crate) fn push(&mut self, at: &[i64]) {
        self.at.extend_from_slice(at);
        self.ends.push(self.at.len());
    }

    fn back(&self, blocks: usize) -> Option<&[i64]> {
        let index = self.ends.len().checked_sub(blocks.checked_add(1)?)?;
        let end = *self.ends.get(index)?;
        let start = index
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .copied()
            .unwrap_or(0);
        self.at.get(start..end)
    }
}

const fn bits_of(value: u64) -> u64 {
    64 - value.leading_zeros() as u64
}

fn steps(at: &[i64]) -> impl Iterator<Item = i64> + '_ {
    at.iter()
        .zip(at.iter().skip(1))
        .map(|(a, b)| b.wrapping_sub(*a))
}

/// The middle one of the steps between samples. `scratch` is used and left in any state.
fn usual_step(at: &[i64], scratch: &mut Vec<i64>) -> i64 {
    scratch.clear();
    scratch.extend(steps(at));
    if scratch.is_empty() {
        return 0;
    }
    let middle = scratch.len() / 2;
    let (_, step, _) = scratch.select_nth_unstable(middle);
    *step
}
