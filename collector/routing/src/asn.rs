//! AS numbers, and which of them a rule allows.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

/// An AS number (RFC 6793 §3: four octets).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Asn(pub u32);

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AS{}", self.0)
    }
}

impl Asn {
    /// Reads `64496`, `AS64496` or `1.10` (RFC 5396 §2: asplain and asdot).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = match text.get(..2) {
            Some(mark) if mark.eq_ignore_ascii_case("as") => text.get(2..)?,
            _ => text,
        };
        if !digits.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        match digits.split_once('.') {
            None => digits.parse().ok().map(Self),
            Some((high, low)) => {
                let high = u32::from(high.parse::<u16>().ok()?);
                let low = u32::from(low.parse::<u16>().ok()?);
                Some(Self(high << 16 | low))
            }
        }
    }

    /// Reads a JSON number, or a text as [`Asn::parse`] does.
    pub fn from_json(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_u64()?.try_into().ok().map(Self),
            Value::String(text) => Self::parse(text),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Asn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_json(&value)
            .ok_or_else(|| de::Error::custom(format_args!("{value} is no AS number")))
    }
}

/// Which AS numbers are allowed: any, or those of a list of numbers and ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Allowed {
    /// Every one.
    #[default]
    Any,
    /// Those within one of these ranges, ends included.
    Only(Vec<(Asn, Asn)>),
}

impl Allowed {
    /// Whether `asn` is allowed.
    pub fn permits(&self, asn: Asn) -> bool {
        match self {
            Self::Any => true,
            Self::Only(ranges) => ranges
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&asn)),
        }
    }

    /// Whether the list is there and empty.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::Only(ranges) if ranges.is_empty())
    }

    /// Whether `asn` is named: listed, not merely allowed because all are.
    pub fn names(&self, asn: Asn) -> bool {
        matches!(self, Self::Only(_)) && self.permits(asn)
    }

    /// The ranges that are listed.
    pub fn ranges(&self) -> &[(Asn, Asn)] {
        match self {
            Self::Any => &[],
            Self::Only(ranges) => ranges,
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Only(ranges) = self else {
            return f.write_str("any AS");
        };
        if ranges.is_empty() {
            return f.write_str("no AS");
        }
        for (index, (low, high)) in ranges.iter().take(5).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            if low == high {
                write!(f, "{comma}{low}")?;
            } else {
                write!(f, "{comma}{low} to {high}")?;
            }
        }
        if ranges.len() > 5 {
            write!(f, " and {} more", ranges.len() - 5)?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Allowed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        allowed_of(&value).map_err(de::Error::custom)
    }
}

fn allowed_of(value: &Value) -> Result<Allowed, String> {
    match value {
        Value::String(text) if text == "any" => Ok(Allowed::Any),
        Value::Array(items) => items
            .iter()
            .map(range_of)
            .collect::<Result<_, _>>()
            .map(Allowed::Only),
        Value::Number(_) | Value::String(_) => Ok(Allowed::Only(vec![range_of(value)?])),
        Value::Null | Value::Bool(_) | Value::Object(_) => Err(format!(
            "{value} is neither \"any\" nor a list of AS numbers and [low, high] ranges"
        )),
    }
}

fn range_of(value: &Value) -> Result<(Asn, Asn), String> {
    let bad = || format!("{value} is neither an AS number nor a [low, high] range");
    if let Value::Array(ends) = value {
        let [low, high] = ends.as_slice() else {
            return Err(bad());
        };
        let (low, high) = (
            Asn::from_json(low).ok_or_else(bad)?,
            Asn::from_json(high).ok_or_else(bad)?,
        );
        return if low <= high {
            Ok((low, high))
        } else {
            Err(bad())
        };
    }
    if let Value::String(text) = value
        && let Some((low, high)) = text.split_once('-')
    {
        let (low, high) = (
            Asn::parse(low).ok_or_else(bad)?,
            Asn::parse(high).ok_or_else(bad)?,
        );
        return if low <= high {
            Ok((low, high))
        } else {
            Err(bad())
        };
    }
    Asn::from_json(value).map(|asn| (asn, asn)).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_every_way_they_are_written() {
        for (text, want) in [
            ("64496", Some(64_496)),
            ("AS64496", Some(64_496)),
            ("as64496", Some(64_496)),
            (" 64496 ", Some(64_496)),
            ("1.10", Some(65_546)),
            ("AS1.10", Some(65_546)),
            ("0", Some(0)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("-1", None),
            ("+5", None),
            ("", None),
            ("AS", None),
            ("1.65536", None),
            ("ten", None),
            ("é4", None),
        ] {
            assert_eq!(Asn::parse(text), want.map(Asn), "{text}");
        }
    }

    #[test]
    fn a_list_holds_numbers_and_ranges() {
        let allowed: Allowed =
            serde_json::from_str(r#"[64496, [64500, 64505], "AS64510", "64520-64521"]"#)
                .expect("a list of all forms");
        for (asn, want) in [
            (64_496, true),
            (64_497, false),
            (64_499, false),
            (64_500, true),
            (64_505, true),
            (64_506, false),
            (64_510, true),
            (64_521, true),
            (64_522, false),
        ] {
            assert_eq!(allowed.permits(Asn(asn)), want, "{asn}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "{}",
            "true",
            "\"some\"",
            "[[1]]",
            "[[2,1]]",
            "[[1,2,3]]",
            "[-1]",
            "[1.5]",
            "[4294967296]",
        ] {
            assert!(serde_json::from_str::<Allowed>(text).is_err(), "{text}");
        }
    }
}
