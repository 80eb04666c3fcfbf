//! Which agents stand behind a rollup, so that distinct ones can be counted after merging.

use firstmile_columns::varint::{self, DecodeError, Reader};

/// Largest agent number: 2^24 agents of one organisation, so that damaged bytes cannot ask for much memory.
const MAX_NUMBER: u32 = (1 << 24) - 1;

/// A set of agent numbers. Numbers are small and dense (the store gives them out), so it is a bitmap in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentSet {
    /// Bit `n % 64` of word `n / 64`; the last word is not 0.
    words: Vec<u64>,
}

impl AgentSet {
    /// Puts an agent in. Numbers beyond 2^24 - 1 are not told apart.
    pub fn insert(&mut self, number: u32) {
        let number = number.min(MAX_NUMBER);
        let word = (number / 64) as usize;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= 1 << (number % 64);
        }
    }

    /// Puts all agents of `other` in.
    pub fn merge(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// Number of agents.
    pub fn len(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The bytes form: how many, then gaps as varints.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        varint::put(&mut bytes, u64::from(self.len()));
        let mut before = 0;
        for number in self.iter() {
            varint::put(&mut bytes, u64::from(number - before));
            before = number;
        }
        bytes
    }

    /// Reads the bytes form.
    ///
    /// # Errors
    /// [`DecodeError`] unless the bytes are exactly one set.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut set = Self::default();
        let mut number = 0u32;
        for place in 0..reader.number()? {
            let gap = reader.number_u32()?;
            number = number
                .checked_add(gap)
                .filter(|n| *n <= MAX_NUMBER)
                .ok_or(DecodeError::OutOfRange)?;
            if gap == 0 && place > 0 {
                return Err(DecodeError::OutOfRange);
            }
            set.insert(number);
        }
        reader.finish()?;
        Ok(set)
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.words).flat_map(|(place, word)| {
            (0..64)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| place * 64 + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_counts_each_agent_once_and_survives_its_bytes(
            left in btree_set(0u32..6_000, 0..200),
            right in btree_set(0u32..6_000, 0..200),
        ) {
            let set_of = |numbers: &std::collections::BTreeSet<u32>| {
                let mut set = AgentSet::default();
                for number in numbers {
                    set.insert(*number);
                }
                set
            };
            let mut merged = set_of(&left);
            merged.merge(&set_of(&right));
            prop_assert_eq!(merged.iter().collect::<Vec<_>>(), left.union(&right).copied().collect::<Vec<_>>());
            prop_assert_eq!(merged.len() as usize, left.union(&right).count());
            prop_assert_eq!(AgentSet::from_bytes(&merged.to_bytes()), Ok(merged));
        }

        #[test]
        fn any_bytes_are_a_set_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(set) = AgentSet::from_bytes(&bytes) {
                prop_assert_eq!(AgentSet::from_bytes(&set.to_bytes()), Ok(set));
            }
        }
    }
}
