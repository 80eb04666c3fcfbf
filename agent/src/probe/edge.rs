//! The response headers that may name the edge, and the little of them that the agent itself reads.
//!
//! Decoding to a metro is the collector's work. The agent reads just enough to notice that the code has changed, which
//! is a reason to look at the path at once, and to show a person something in `once`.

/// Response headers that are kept, in lower case.
pub(crate) const KEPT_HEADERS: &[&str] = &[
    "x-msedge-ref",
    "x-azure-ref",
    "x-firsthopcafeefz",
    "x-feefzinfo",
    "x-feproxyinfo",
    "x-feserver",
    "x-calculatedfetarget",
    "x-calculatedbetarget",
    "x-beserver",
    "x-diaginfo",
    "x-cache",
    "server",
    "via",
    "alt-svc",
];

/// Longest header value that is kept, in bytes.
pub(crate) const MAX_HEADER_BYTES: usize = 1024;

/// Most values that are kept of one response: some headers repeat, once for each front end on the way.
pub(crate) const MAX_KEPT: usize = 64;

/// One kept header: name in lower case, value as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Kept {
    /// Keeps a header when it is one of [`KEPT_HEADERS`]. Bytes that are no UTF-8 are replaced, long values cut.
    pub(crate) fn of(name: &str, value: &[u8]) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        KEPT_HEADERS.contains(&name.as_str()).then(|| Self {
            name,
            value: cut(value),
        })
    }
}

fn cut(value: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(value).into_owned();
    let mut end = MAX_HEADER_BYTES.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// The letters of the edge's code, undecoded, when a header carries them in clear.
pub(crate) fn code(headers: &[Kept]) -> Option<String> {
    let find = |name: &str| {
        headers
            .iter()
            .find(|kept| kept.name == name)
            .map(|kept| kept.value.as_str())
    };
    find("x-firsthopcafeefz")
        .map(|zone| leading_capitals(zone.trim(), 5))
        .filter(|zone| zone.len() >= 2)
        .or_else(|| find("x-msedge-ref").and_then(msedge))
        .or_else(|| find("x-azure-ref").and_then(azure))
}

/// `Ref A: … Ref B: BOM02EDGE0712 Ref C: …`: the letters before the first digit or `EDGE`.
fn msedge(value: &str) -> Option<String> {
    let (_, host) = value.split_once("Ref B: ")?;
    let host = host.split_whitespace().next()?;
    let code = leading_capitals(host.split_once("EDGE").map_or(host, |(code, _)| code), 3);
    (code.len() >= 2).then_some(code)
}

/// `20250101T000000Z-r1abchC1LON…`: the capitals after `hC1`.
fn azure(value: &str) -> Option<String> {
    let (_, rest) = value.split_once("hC1")?;
    let code = leading_capitals(rest, 3);
    (code.len() >= 2).then_some(code)
}

fn leading_capitals(text: &str, most: usize) -> String {
    text.chars()
        .take_while(char::is_ascii_uppercase)
        .take(most)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_read_where_it_stands_in_clear() {
        for (name, header, value, want) in [
            ("exchange", "X-FirstHopCafeEFZ", "SIN", Some("SIN")),
            (
                "edge host",
                "X-MSEdge-Ref",
                "Ref A: 00 Ref B: BOM02EDGE0712 Ref C: 2025-01-01T00:00:00Z",
                Some("BOM"),
            ),
            (
                "no site number",
                "X-MSEdge-Ref",
                "Ref A: 00 Ref B: PAOEDGE0418 Ref C: 2025-01-01T00:00:00Z",
                Some("PAO"),
            ),
            (
                "two letters",
                "X-MSEdge-Ref",
                "Ref A: 00 Ref B: BL2AA2030110019 Ref C: 2025-01-01T00:00:00Z",
                Some("BL"),
            ),
            (
                "current",
                "x-azure-ref",
                "20250101T000000Z-17b4hC1LON0000000001",
                Some("LON"),
            ),
            (
                "current, two letters",
                "x-azure-ref",
                "20250101T000000Z-17b4hC1SG1000000001",
                Some("SG"),
            ),
            ("classic", "x-azure-ref", "0aGVsbG8=", None),
            ("no code", "x-azure-ref", "20241001T000000Z-17b4", None),
            ("other header", "server", "Microsoft-IIS/10.0", None),
        ] {
            let kept: Vec<Kept> = Kept::of(header, value.as_bytes()).into_iter().collect();
            assert_eq!(code(&kept).as_deref(), want, "{name}");
        }
    }

    #[test]
    fn values_are_cut_on_a_character_and_others_are_not_kept() {
        let long = "é".repeat(MAX_HEADER_BYTES);
        assert_eq!(
            Kept::of("Server", long.as_bytes())
                .expect("kept")
                .value
                .len(),
            MAX_HEADER_BYTES
        );
        let odd = format!("a{long}");
        assert_eq!(
            Kept::of("Server", odd.as_bytes())
                .expect("kept")
                .value
                .len(),
            MAX_HEADER_BYTES - 1
        );
        assert_eq!(Kept::of("set-cookie", b"secret"), None);
    }
}
