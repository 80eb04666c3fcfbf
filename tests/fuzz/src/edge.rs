//! Response headers as the agent reads them. The agent is a program, not a library: its pure file is taken in here.

#[path = "../../../agent/src/probe/edge.rs"]
#[expect(dead_code, reason = "the agent uses all of it, the target a part")]
mod agent;

use agent::{KEPT_HEADERS, Kept, MAX_HEADER_BYTES, code};

/// Each line is a header: which of the kept names, then its value.
pub(crate) fn headers(bytes: &[u8]) {
    let kept: Vec<Kept> = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(header)
        .collect();
    for header in &kept {
        assert!(header.value.len() <= MAX_HEADER_BYTES, "a value is cut");
    }
    if let Some(code) = code(&kept) {
        assert!(
            (2..=5).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_uppercase()),
            "a code is a few capitals: {code:?}"
        );
    }
}

fn header(line: &[u8]) -> Option<Kept> {
    let (first, value) = line.split_first()?;
    let name = KEPT_HEADERS.get(usize::from(*first) % (KEPT_HEADERS.len() + 1));
    Kept::of(name.unwrap_or(&"Set-Cookie"), value)
}
