//! Numbers of like size, packed: each as its distance from the smallest, all in the same number of bits; the few that need
//! more are patched ("patched frame of reference").
//!
//! Form: the base (signed varint), the width in bits (one byte; its top bit says that patches follow), the patches (their number,
//! then for each the gap to the one before and the bits beyond the width), then the low bits of all.

use crate::varint::{self, DecodeError, Reader};

/// Top bit of the width: patches follow.
const PATCHED: u8 = 0x80;
/// What a patch is reckoned to cost beside its own bits: its place, and what is lost to whole bytes.
const PATCH_BITS: u64 = 12;
/// A width up to which a number lies in the 8 bytes from its first on, whatever bit it begins at.
const EASY_WIDTH: u32 = 57;

/// How numbers will be packed, and what that takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    base: i64,
    width: u32,
    /// Bits that it takes, near enough to choose by.
    pub(crate) bits: u64,
}

/// Looks for the width that takes the least.
pub(crate) fn plan(values: &[i64]) -> Plan {
    let base = values.iter().copied().min().unwrap_or(0);
    let mut of_width = [0u32; 65];
    for value in values {
        if let Some(count) = of_width.get_mut(bits_of(beyond(*value, base)) as usize) {
            *count += 1;
        }
    }
    let n = values.len() as u64;
    let (mut best_width, mut best_bits) = (64, n * 64);
    let (mut patches, mut patch_bits) = (0u64, 0u64);
    // From all bits down: what is wider than the width in hand is patched, with what it has beyond.
    for width in (0..=64u32).rev() {
        let bits = n * u64::from(width) + patch_bits;
        if bits <= best_bits {
            (best_width, best_bits) = (width, bits);
        }
        let count = of_width.get(width as usize).copied().unwrap_or(0);
        patch_bits += patches + u64::from(count) * (PATCH_BITS + 1);
        patches += u64::from(count);
    }
    Plan {
        base,
        width: best_width,
        bits: best_bits + 16 + u64::from(bits_of(varint::zigzag(base))),
    }
}

/// Appends numbers as planned.
pub(crate) fn put(bytes: &mut Vec<u8>, values: &[i64], plan: Plan) {
    let Plan { base, width, .. } = plan;
    varint::put_signed(bytes, base);
    let high_of = |value: &i64| beyond(*value, base).checked_shr(width).unwrap_or(0);
    let patches = values.iter().filter(|value| high_of(value) > 0).count();
    // At most 64, so it fits.
    let width_byte = u8::try_from(width).unwrap_or(64);
    if patches == 0 {
        bytes.push(width_byte);
    } else {
        bytes.push(width_byte | PATCHED);
        varint::put(bytes, patches as u64);
        let mut before = 0;
        for (place, value) in values.iter().enumerate() {
            let high = high_of(value);
            if high > 0 {
                varint::put(bytes, (place - before) as u64);
                varint::put(bytes, high);
                before = place;
            }
        }
    }
    pack(
        bytes,
        values.iter().map(|value| beyond(*value, base)),
        width,
    );
}

/// Reads `n` numbers to the end of `out`.
pub(crate) fn take(
    reader: &mut Reader<'_>,
    n: usize,
    out: &mut Vec<i64>,
) -> Result<(), DecodeError> {
    let base = reader.signed()?;
    let width_byte = reader.byte()?;
    let width = u32::from(width_byte & !PATCHED);
    if width > 64 {
        return Err(DecodeError::OutOfRange);
    }
    let patches = if width_byte & PATCHED == 0 {
        0
    } else {
        reader.number()?
    };
    let mut patch = reader.clone();
    for _ in 0..patches {
        reader.number()?;
        reader.number()?;
    }
    let len = (n * width as usize).div_ceil(8);
    let from = out.len();
    unpack(reader.bytes(len)?, n, width, base, out);
    let mut place = 0usize;
    for turn in 0..patches {
        let gap = usize::try_from(patch.number()?).map_err(|_| DecodeError::OutOfRange)?;
        let high = patch.number()?;
        place = place.checked_add(gap).ok_or(DecodeError::OutOfRange)?;
        if (gap == 0 && turn > 0) || width == 64 {
            return Err(DecodeError::OutOfRange);
        }
        let value = out
            .get_mut(from.saturating_add(place))
            .ok_or(DecodeError::OutOfRange)?;
        *value = value.wrapping_add((high << width).cast_signed());
    }
    Ok(())
}

/// How far a value lies beyond the base; the base is the smallest, so it is never before it.
const fn beyond(value: i64, base: i64) -> u64 {
    value.wrapping_sub(base).cast_unsigned()
}

const fn bits_of(value: u64) -> u32 {
    64 - value.leading_zeros()
}

fn mask(width: u32) -> u64 {
    u64::MAX.checked_shr(64 - width).unwrap_or(0)
}

fn pack(bytes: &mut Vec<u8>, values: impl Iterator<Item = u64>, width: u32) {
    let mask = mask(width);
    let (mut pending, mut filled) = (0u128, 0u32);
    for value in values {
        pending |= u128::from(value & mask) << filled;
        filled += width;
        if filled >= 64 {
            bytes.extend_from_slice(&low(pending).to_le_bytes());
            pending >>= 64;
            filled -= 64;
        }
    }
    bytes.extend(
        low(pending)
            .to_le_bytes()
            .iter()
            .take(filled.div_ceil(8) as usize),
    );
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
const fn low(pending: u128) -> u64 {
    pending as u64
}

/// Appends `n` numbers of `width` bits, each plus `base`. `bytes` are as many as that takes.
fn unpack(bytes: &[u8], n: usize, width: u32, base: i64, out: &mut Vec<i64>) {
    if width == 0 {
        out.resize(out.len() + n, base);
        return;
    }
    let (mask, is_easy) = (mask(width), width <= EASY_WIDTH && bytes.len() >= 8);
    let width = width as usize;
    let easy = if is_easy {
        // Those whose 8 bytes all lie inside.
        ((bytes.len() - 8) * 8 / width + 1).min(n)
    } else {
        0
    };
    out.reserve(n);
    out.extend((0..easy).map(|place| {
        let bit = place * width;
        let word = (bytes.get(bit / 8..))
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |chunk| u64::from_le_bytes(*chunk));
        ((word >> (bit % 8)) & mask)
            .cast_signed()
            .wrapping_add(base)
    }));
    out.extend((easy..n).map(|place| {
        let bit = place * width;
        let mut word = [0u8; 16];
        let rest = bytes.get(bit / 8..).unwrap_or_default();
        for (to, from) in word.iter_mut().zip(rest) {
            *to = *from;
        }
        (low(u128::from_le_bytes(word) >> (bit % 8)) & mask)
            .cast_signed()
            .wrapping_add(base)
    }));
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn round_trip(values: &[i64]) -> (Vec<i64>, usize) {
        let mut bytes = Vec::new();
        put(&mut bytes, values, plan(values));
        let mut reader = Reader::new(&bytes);
        let mut back = Vec::new();
        take(&mut reader, values.len(), &mut back).unwrap();
        reader.finish().unwrap();
        (back, bytes.len())
    }

    proptest! {
        #[test]
        fn any_numbers_survive(values in vec((0u32..64, any::<i64>()).prop_map(|(bits, v)| v >> (63 - bits)), 0..200)) {
            prop_assert_eq!(round_trip(&values).0, values);
        }

        #[test]
        fn any_bytes_are_numbers_or_an_error(bytes in vec(any::<u8>(), 0..100), n in 0usize..100) {
            let mut out = Vec::new();
            if take(&mut Reader::new(&bytes), n, &mut out).is_ok() {
                prop_assert_eq!(out.len(), n);
            }
        }
    }

    #[test]
    fn edges() {
        for (name, values, at_most) in [
            ("none", vec![], 2),
            ("one", vec![7], 2),
            ("equal ones take no bits", vec![1_000; 500], 3),
            ("the largest", vec![i64::MAX; 3], 11),
            ("both ends", vec![i64::MIN, i64::MAX], 30),
            (
                "one far out of a hundred is patched",
                {
                    let mut values: Vec<i64> = (0..100).map(|n| n % 16).collect();
                    values[50] = 1 << 40;
                    values
                },
                3 + 50 + 1 + 1 + 6,
            ),
        ] {
            let (back, len) = round_trip(&values);
            assert_eq!(back, values, "{name}");
            assert!(len <= at_most, "{name}: {len} bytes");
        }
    }
}
