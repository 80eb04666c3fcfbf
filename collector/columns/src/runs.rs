//! A column that nearly always says the same: its usual value, and the runs that say something else.
//!
//! Form: the usual value, the number of runs, and for each run how far it begins behind the end of the one before, its length
//! less one, and its value; all varints.

use crate::varint::{self, DecodeError, Reader};

/// Appends a column.
pub(crate) fn put(bytes: &mut Vec<u8>, values: impl Iterator<Item = u32> + Clone) {
    let usual = usual_of(values.clone());
    varint::put(bytes, u64::from(usual));
    varint::put(bytes, runs(values.clone(), usual).count() as u64);
    let mut end = 0;
    for (from, len, value) in runs(values, usual) {
        varint::put(bytes, (from - end) as u64);
        varint::put(bytes, len as u64 - 1);
        varint::put(bytes, u64::from(value));
        end = from + len;
    }
}

/// Reads a column of `n` values: the usual one, then each run as (from, length, value) to `set`.
pub(crate) fn take(
    reader: &mut Reader<'_>,
    n: usize,
    mut set: impl FnMut(usize, usize, u32),
) -> Result<(), DecodeError> {
    set(0, n, reader.number_u32()?);
    let mut end = 0usize;
    for _ in 0..reader.number()? {
        let gap = usize::try_from(reader.number()?).map_err(|_| DecodeError::OutOfRange)?;
        let more = usize::try_from(reader.number()?).map_err(|_| DecodeError::OutOfRange)?;
        let value = reader.number_u32()?;
        let from = end.checked_add(gap).ok_or(DecodeError::OutOfRange)?;
        end = from
            .checked_add(more)
            .and_then(|last| last.checked_add(1))
            .filter(|end| *end <= n)
            .ok_or(DecodeError::OutOfRange)?;
        set(from, end - from, value);
    }
    Ok(())
}

/// The value that most places have, by a vote that needs no memory; any value would be right, a frequent one is small.
fn usual_of(values: impl Iterator<Item = u32>) -> u32 {
    let (mut usual, mut lead) = (0, 0u32);
    for value in values {
        if lead == 0 {
            usual = value;
        }
        lead = if value == usual { lead + 1 } else { lead - 1 };
    }
    usual
}

/// Each run of equal values other than the usual one: where it begins, its length, its value.
fn runs(
    values: impl Iterator<Item = u32>,
    usual: u32,
) -> impl Iterator<Item = (usize, usize, u32)> {
    let mut values = values.enumerate().peekable();
    std::iter::from_fn(move || {
        let (from, value) = values.find(|(_, value)| *value != usual)?;
        let mut len = 1;
        while values.next_if(|(_, next)| *next == value).is_some() {
            len += 1;
        }
        Some((from, len, value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn back(bytes: &[u8], n: usize) -> Result<Vec<u32>, DecodeError> {
        let mut values = vec![0; n];
        let mut reader = Reader::new(bytes);
        take(&mut reader, n, |from, len, value| {
            values[from..from + len].fill(value);
        })?;
        reader.finish()?;
        Ok(values)
    }

    proptest! {
        #[test]
        fn any_column_survives(values in vec(prop_oneof![8 => Just(1u32), 1 => 0u32..4, 1 => any::<u32>()], 0..200)) {
            let mut bytes = Vec::new();
            put(&mut bytes, values.iter().copied());
            prop_assert_eq!(back(&bytes, values.len()).unwrap(), values);
        }

        #[test]
        fn any_bytes_are_a_column_or_an_error(bytes in vec(any::<u8>(), 0..60), n in 0usize..100) {
            if let Ok(values) = back(&bytes, n) {
                prop_assert_eq!(values.len(), n);
            }
        }
    }

    #[test]
    fn edges() {
        for (name, values, want) in [
            ("none", vec![], vec![0, 0]),
            ("all the same", vec![1; 300], vec![1, 0]),
            ("the last is other", vec![1, 1, 2], vec![1, 1, 2, 0, 2]),
            (
                "two runs that touch",
                vec![1, 1, 1, 2, 2, 3, 1, 1],
                vec![1, 2, 3, 1, 2, 0, 0, 3],
            ),
        ] {
            let mut bytes = Vec::new();
            put(&mut bytes, values.iter().copied());
            assert_eq!(bytes, want, "{name}");
            assert_eq!(back(&bytes, values.len()), Ok(values), "{name}");
        }
    }
}
