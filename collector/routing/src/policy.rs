//! Rules on the form of a path: expressions over AS numbers, and lengths.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

use crate::path::AsPath;

/// Largest compiled expression, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// One rule on the form of a path.
///
/// The rule speaks of the paths that `match` finds and `notMatch` does not. Without `maxLength` each of them breaks it; with it those that
/// are longer, or shorter than `minLength`. So do the path rules of `BGPalerter`, whose files are taken over as they are. Expressions see the AS numbers of the path joined by commas; a number written in an expression is a whole AS
/// number: `174` does not find AS1174.
#[derive(Clone, Debug)]
pub struct PathPolicy {
    matching: Option<Regex>,
    not_matching: Option<Regex>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    text: String,
}

/// The rule as files give it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PathPolicyFile {
    r#match: Option<String>,
    not_match: Option<String>,
    min_length: Option<usize>,
    max_length: Option<usize>,
}

/// Why a rule cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the path expression {pattern:?} cannot be read")]
pub struct PolicyError {
    pattern: String,
    source: regex::Error,
}

impl TryFrom<PathPolicyFile> for PathPolicy {
    type Error = PolicyError;

    fn try_from(file: PathPolicyFile) -> Result<Self, PolicyError> {
        let text = describe(&file);
        Ok(Self {
            matching: file.r#match.as_deref().map(compile).transpose()?,
            not_matching: file.not_match.as_deref().map(compile).transpose()?,
            min_length: file.min_length,
            max_length: file.max_length,
            text,
        })
    }
}

impl PathPolicy {
    /// Whether `path` breaks the rule.
    pub fn is_broken_by(&self, path: &AsPath) -> bool {
        let tokens = path.tokens();
        let found = |regex: &Option<Regex>| regex.as_ref().map(|regex| regex.is_match(&tokens));
        if found(&self.matching) == Some(false) || found(&self.not_matching) == Some(true) {
            return false;
        }
        let length = path.hops().len();
        let too_short = self.min_length.is_some_and(|min| length < min);
        let too_long = self.max_length.is_some_and(|max| length > max);
        let expressions = self.matching.is_some() || self.not_matching.is_some();
        too_short || too_long || (expressions && self.max_length.is_none())
    }

    /// The rule in words, after "a path".
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn describe(file: &PathPolicyFile) -> String {
    let mut parts = Vec::new();
    if let Some(pattern) = &file.r#match {
        parts.push(format!("that matches {pattern:?}"));
    }
    if let Some(pattern) = &file.not_match {
        parts.push(format!("that does not match {pattern:?}"));
    }
    if let Some(min) = file.min_length {
        parts.push(format!("shorter than {min}"));
    }
    if let Some(max) = file.max_length {
        parts.push(format!("longer than {max}"));
    }
    parts.join(" and ")
}

fn compile(pattern: &str) -> Result<Regex, PolicyError> {
    RegexBuilder::new(&whole_numbers(pattern))
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|source| PolicyError {
            pattern: pattern.to_owned(),
            source,
        })
}

/// Puts a word boundary on each side of a number, unless the expression goes on with more digits there (`17[0-9]`, `\d4`, `170?`).
fn whole_numbers(pattern: &str) -> String {
    let chars: Vec<char> = pattern.chars().collect();
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut index = 0;
    let mut before = None;
    while let Some(&c) = chars.get(index) {
        if c.is_ascii_digit() {
            let end = run_end(&chars, index);
            let after = chars.get(end).copied();
            let joined_before = matches!(before, Some(']' | ')' | 'd'));
            if !joined_before {
                out.push_str(r"\b");
            }
            out.extend(chars.get(index..end).unwrap_or_default());
            let escape_d = after == Some('\\') && chars.get(end + 1) == Some(&'d');
            let quantified = matches!(after, Some('?' | '*' | '+' | '{' | '[' | '('));
            if !quantified && !escape_d {
                out.push_str(r"\b");
            }
            before = chars.get(end.saturating_sub(1)).copied();
            index = end;
            continue;
        }
        let end = element_end(&chars, index);
        out.extend(chars.get(index..end).unwrap_or_default());
        before = match chars.get(index..end) {
            Some(['\\', 'd']) => Some('d'),
            // A quantifier belongs to what stands before it.
            Some(['?' | '*' | '+'] | ['{', ..]) => before,
            Some(['[', ..]) => Some(']'),
            Some([one]) => Some(*one),
            _ => None,
        };
        index = end;
    }
    out
}

fn run_end(chars: &[char], from: usize) -> usize {
    let rest = chars.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|c| c.is_ascii_digit()).count()
}

/// End of the element that begins at `from`: a class, an escape, a repetition, or one character.
fn element_end(chars: &[char], from: usize) -> usize {
    let closes_with = |close: char| {
        let rest = chars.get(from + 1..).unwrap_or_default();
        let mut escaped = false;
        for (offset, c) in rest.iter().enumerate() {
            if !escaped && *c == close && !(close == ']' && offset == 0) {
                return from + offset + 2;
            }
            escaped = !escaped && *c == '\\';
        }
        chars.len()
    };
    match chars.get(from) {
        Some('[') => closes_with(']'),
        Some('{') => closes_with('}'),
        Some('\\') => (from + 2).min(chars.len()),
        _ => from + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(json: &str) -> PathPolicy {
        let file: PathPolicyFile = serde_json::from_str(json).expect("a policy");
        file.try_into().expect("an expression")
    }

    #[test]
    fn a_number_in_an_expression_is_a_whole_as_number() {
        for (pattern, path, want) in [
            ("174", &[174][..], true),
            ("174", &[1174], false),
            ("174", &[1740], false),
            (".*174.*", &[64_500, 1174, 64_496], false),
            (".*174.*", &[64_500, 174, 64_496], true),
            (".*2914$", &[64_500, 2914], true),
            (".*2914$", &[64_500, 12_914], false),
            ("^174,", &[174, 64_496], true),
            ("^174,", &[1740, 64_496], false),
            ("(^|,)174(,|$)", &[64_500, 174], true),
            ("17[0-9]$", &[64_500, 174], true),
            ("17[0-9]$", &[64_500, 17], false),
            ("645\\d\\d", &[64_500], true),
            ("6450?", &[6450], true),
            ("(174|701)", &[701, 64_496], true),
            ("(174|701)", &[7018, 64_496], false),
            ("64500(,64500)+", &[64_500, 64_500], true),
            ("[^,]+,64496$", &[64_500, 64_496], true),
            ("^\\d{5},64496$", &[64_500, 64_496], true),
            ("", &[64_500], true),
        ] {
            let json = serde_json::json!({ "match": pattern }).to_string();
            let broken = policy(&json).is_broken_by(&AsPath::of(path));
            assert_eq!(broken, want, "{pattern} on {path:?}");
        }
    }

    #[test]
    fn lengths_narrow_what_the_expressions_find() {
        for (json, path, want) in [
            (
                r#"{"match":".*64496$","maxLength":3}"#,
                &[1, 2, 3, 64_496][..],
                true,
            ),
            (
                r#"{"match":".*64496$","maxLength":4}"#,
                &[1, 2, 3, 64_496],
                false,
            ),
            (
                r#"{"match":".*64496$","minLength":5}"#,
                &[1, 2, 3, 64_496],
                true,
            ),
            (
                r#"{"match":".*64496$","minLength":2}"#,
                &[1, 2, 3, 64_496],
                true,
            ),
            (
                r#"{"match":".*64496$","minLength":2,"maxLength":128}"#,
                &[1, 2, 3, 64_496],
                false,
            ),
            (r#"{"minLength":2}"#, &[1, 2], false),
            (r#"{"minLength":2}"#, &[1], true),
            (
                r#"{"match":".*64496$","notMatch":".*,2,.*"}"#,
                &[1, 2, 3, 64_496],
                false,
            ),
            (
                r#"{"match":".*64496$","notMatch":".*,5,.*"}"#,
                &[1, 2, 3, 64_496],
                true,
            ),
            (r#"{"notMatch":"^1,"}"#, &[1, 2], false),
            (r#"{"notMatch":"^1,"}"#, &[3, 2], true),
            (r#"{"maxLength":2}"#, &[3, 2, 1], true),
            (r#"{"maxLength":2}"#, &[2, 2, 2], true),
            (r#"{"minLength":2,"maxLength":3}"#, &[1], true),
            (r#"{"minLength":2,"maxLength":3}"#, &[1, 2], false),
            (r"{}", &[1, 2], false),
        ] {
            assert_eq!(
                policy(json).is_broken_by(&AsPath::of(path)),
                want,
                "{json} on {path:?}"
            );
        }
    }

    #[test]
    fn an_expression_that_cannot_be_read_is_an_error() {
        for pattern in ["(", "[", "a{1000}{1000}{1000}"] {
            let json = serde_json::json!({ "match": pattern }).to_string();
            let file: PathPolicyFile = serde_json::from_str(&json).expect("a policy");
            assert!(PathPolicy::try_from(file).is_err(), "{pattern}");
        }
    }
}
