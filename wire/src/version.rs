//! Versions of the agent's program, as an agent says its own and the collector says what it expects.

use std::fmt;
use std::str::FromStr;

/// A version of the agent's program: three numbers, and whether it is their release or something before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    numbers: [u32; 3],
    is_release: bool,
}

/// What stands where a version was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is three numbers, such as 0.2.0")]
pub struct NotAVersion;

impl FromStr for Version {
    type Err = NotAVersion;

    /// Reads a release (`0.2.0`), or what a program says of itself (`0.2.0-rc.1`).
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let whole = text
            .split_once('+')
            .map_or(text, |(version, _build)| version);
        let (numbers, is_release) = match whole.split_once(['-', '~']) {
            Some((numbers, _before)) => (numbers, false),
            None => (whole, true),
        };
        let numbers: Vec<u32> = numbers
            .split('.')
            .map(|number| number.parse().map_err(|_| NotAVersion))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            numbers: numbers.try_into().map_err(|_| NotAVersion)?,
            is_release,
        })
    }
}

impl Version {
    /// Whether it is a release, not something before one.
    pub const fn is_release(self) -> bool {
        self.is_release
    }
}

impl fmt::Display for Version {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(to, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_ordered_by_its_numbers_and_a_release_follows_what_was_before_it() {
        let version = |text: &str| text.parse::<Version>().expect(text);
        let rising = [
            "0.1.0~git7.abc",
            "0.1.0",
            "0.1.9",
            "0.2.0-rc.1",
            "0.2.0",
            "0.10.0",
            "1.0.0",
        ];
        for pair in rising.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
        assert_eq!(version("0.2.0+changed"), version("0.2.0"));
        assert_eq!(version("0.2.0-rc.1").to_string(), "0.2.0");
        assert!(!version("0.2.0-rc.1").is_release());
        for text in ["", "2", "0.2", "0.2.0.1", "0.2.99999999999", "v0.2.0"] {
            assert_eq!(text.parse::<Version>(), Err(NotAVersion), "{text}");
        }
    }
}
