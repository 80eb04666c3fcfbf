//! `cargo xtask tidy`: the rules of `CONTRIBUTING.md` that a machine can check and no lint knows.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::tree;

/// Longest file, not counting its tests.
const MAX_LINES: usize = 500;

/// Rooms that decide and never act.
const PURE_ROOMS: &[&str] = &[
    "wire/src",
    "agent/src/probe",
    "agent/src/schedule",
    "agent/src/doctor/judge",
    "agent/echo/src/flights.rs",
    "agent/echo/src/keys.rs",
    "agent/echo/src/moment.rs",
    "agent/echo/src/packet.rs",
    "agent/echo/src/rotation.rs",
    "agent/path/src",
    "collector/src/rollup",
    "collector/src/routing",
    "collector/src/detect",
    "collector/src/geo",
    "collector/src/incident",
    "collector/src/ingest/bridge.rs",
    "collector/columns/src",
    "collector/peering/src",
    "collector/feeds/src/bmp/session.rs",
    "collector/feeds/src/rpki/session.rs",
    "collector/routing/src",
    "collector/src/notify/core",
    "collector/shift/src",
];

/// What a pure room must not name.
const IMPURE: &[&str] = &[
    "tokio::",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "socket2",
    "async fn",
    ".await",
];

/// Crates that exist to hold system calls.
const UNSAFE_ROOMS: &[&str] = &["agent/sys", "tests/lab/sys"];

/// Split, so that this file keeps its own rule.
const UNSAFE_BLOCK: &str = concat!("unsafe", " {");
const UNSAFE_FUNCTION: &str = concat!("unsafe", " fn");

/// Where addresses of the real world are the subject.
const REAL_ADDRESSES: &[&str] = &["collector/src/geo", "agent/src/config"];

/// Checks every rule and lists every breach.
pub(crate) fn tidy() -> Result<()> {
    let mut breaches = Vec::new();
    let mut checked = 0;
    for file in tree::files()? {
        if file.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(tree::root().join(&file))
                .with_context(|| format!("cannot read {}", file.display()))?;
            breaches.extend(breaches_of(&file, &text));
            checked += 1;
        }
    }
    for breach in &breaches {
        println!("{breach}");
    }
    if !breaches.is_empty() {
        bail!(
            "tidy found {} breach(es) in {checked} files",
            breaches.len()
        );
    }
    println!("    tidy: {checked} files keep the rules");
    Ok(())
}

fn breaches_of(file: &Path, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let tests_from = tests_from(&lines);
    let whole_file_is_test = is_test(file);
    let mut found = Vec::new();
    let mut breach =
        |line: usize, rule: &str| found.push(format!("{}:{}: {rule}", file.display(), line + 1));

    if !text.starts_with("//!") {
        breach(0, "a file opens with `//!` and says what it is for");
    }
    if !whole_file_is_test && tests_from > MAX_LINES {
        breach(
            MAX_LINES,
            &format!(
                "{tests_from} lines without the tests, at most {MAX_LINES}: the room wants a wall"
            ),
        );
    }
    for (number, line) in lines.iter().enumerate() {
        let in_tests = whole_file_is_test || number >= tests_from;
        let code = line.split("//").next().unwrap_or_default();
        if is_commented_code(line) {
            breach(number, "commented-out code: delete it, git remembers");
        }
        if !under(file, UNSAFE_ROOMS)
            && (code.contains(UNSAFE_BLOCK) || code.contains(UNSAFE_FUNCTION))
        {
            breach(number, "`unsafe` lives in the crates for system calls only");
        }
        if !in_tests && under(file, PURE_ROOMS) {
            for word in IMPURE.iter().filter(|word| names(code, word)) {
                breach(number, &format!("a pure room names `{word}`"));
            }
        }
        if in_tests && !under(file, REAL_ADDRESSES) {
            for address in addresses(code).filter(|address| !may_stand_in_a_test(*address)) {
                breach(
                    number,
                    &format!("{address} is somebody's: tests use RFC 5737 or RFC 2544 addresses"),
                );
            }
        }
    }
    found
}

/// The line from which a file holds tests: `#[cfg(test)]` before a module with a body. A module declared for tests alone
/// (`#[cfg(test)] mod tests;`) is one line, with code after it.
fn tests_from(lines: &[&str]) -> usize {
    let begins = |pair: &[&str]| {
        matches!(pair, [first, second] if first.trim() == "#[cfg(test)]"
            && second.trim_start().starts_with("mod ") && second.trim_end().ends_with('{'))
    };
    lines.windows(2).position(begins).unwrap_or(lines.len())
}

/// Tests stand in a folder `tests`, or in `tests.rs` and `…_tests.rs` beside what they test.
fn is_test(file: &Path) -> bool {
    let stem = file
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    stem == "tests"
        || stem.ends_with("_tests")
        || file.components().any(|part| part.as_os_str() == "tests")
}

/// Whether `word` stands in `code` with no letter behind it: `.await` does not stand in `.awaiting`.
fn names(code: &str, word: &str) -> bool {
    let ends = |rest: &str| {
        !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') || word.ends_with("::")
    };
    code.match_indices(word)
        .any(|(at, _)| code.get(at + word.len()..).is_none_or(ends))
}

fn under(file: &Path, rooms: &[&str]) -> bool {
    rooms.iter().any(|room| file.starts_with(room))
}

fn is_commented_code(line: &str) -> bool {
    let Some(comment) = line.trim_start().strip_prefix("// ") else {
        return false;
    };
    let statement = ["let ", "fn ", "use ", "return ", "if ", "for "]
        .iter()
        .any(|word| comment.starts_with(word));
    statement && (comment.ends_with(';') || comment.ends_with('{'))
}

fn addresses(code: &str) -> impl Iterator<Item = Ipv4Addr> + '_ {
    code.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .filter_map(|word| word.parse().ok())
}

/// Documentation (RFC 5737), benchmarking (RFC 2544), private, shared (RFC 6598), loopback, link-local, multicast, 0.0.0.0/8 and 255.255.255.255.
fn may_stand_in_a_test(address: Ipv4Addr) -> bool {
    let benchmarking = address.octets()[0] == 198 && (18..=19).contains(&address.octets()[1]);
    let shared = address.octets()[0] == 100 && (64..128).contains(&address.octets()[1]);
    address.is_documentation()
        || benchmarking
        || shared
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.octets()[0] == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(file: &str, text: &str) -> Vec<String> {
        breaches_of(Path::new(file), text)
    }

    #[test]
    fn each_rule_bites() {
        let dns = ["8", "8", "8", "8"].join(".");
        for (name, file, text, want) in [
            (
                "header",
                "agent/src/x.rs",
                "fn main() {}\n".to_owned(),
                "opens with",
            ),
            (
                "size",
                "agent/src/x.rs",
                format!("//! x\n{}", "\n".repeat(600)),
                "wants a wall",
            ),
            (
                "pure",
                "collector/src/detect/x.rs",
                "//! x\nuse tokio::time;\n".to_owned(),
                "pure room",
            ),
            (
                "unsafe",
                "agent/src/x.rs",
                format!("//! x\nun{} {{ }}\n", "safe"),
                "system calls",
            ),
            (
                "comment",
                "agent/src/x.rs",
                "//! x\n// let a = 1;\n".to_owned(),
                "commented-out",
            ),
            (
                "address",
                "tests/e2e/x.rs",
                format!("//! x\nconst A: &str = \"{dns}\";\n"),
                "somebody's",
            ),
        ] {
            let found = rules(file, &text);
            assert!(
                found.len() == 1 && found[0].contains(want),
                "{name}: {found:?}"
            );
        }
    }

    #[test]
    fn good_files_pass() {
        let text = "//! x\nfn a() { self.awaiting.len() }\n#[cfg(test)]\nmod tests {\n const A: &str = \"192.0.2.1\"; async fn b() {} }\n";
        assert_eq!(
            rules("collector/src/detect/x.rs", text),
            Vec::<String>::new()
        );
    }
}
