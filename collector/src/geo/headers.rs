//! Which POP served a response, by its headers, best signal first.
//!
//! The layouts of the references are our reading of public examples, not documented by Microsoft: what does not match is
//! unknown, and a code outside the catalogue is no POP.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;

use super::catalogue::Catalogue;
use crate::api::types::Pop;

type Decoder = fn(&str, &Catalogue) -> Option<Pop>;

/// Front-door references first: they name the POP; then the front-door zones of Exchange Online.
const SIGNALS: [(&str, Decoder); 4] = [
    ("x-azure-ref", azure_ref),
    ("x-msedge-ref", msedge_ref),
    ("x-firsthopcafeefz", zone),
    ("x-feefzinfo", zone),
];

pub(super) fn edge_code(headers: &[(String, String)], catalogue: &Catalogue) -> Option<Pop> {
    SIGNALS.iter().find_map(|(signal, decode)| {
        let mut values = headers.iter().filter(|(name, _)| name == signal);
        values.find_map(|(_, value)| decode(value, catalogue))
    })
}

/// Front-door zone in a name such as `fra-efz.ms-acdc.office.com`, upper case.
pub(super) fn efz_of_cname(name: &str) -> Option<String> {
    static ZONE: LazyLock<Regex> =
        LazyLock::new(|| expression(r"(?i)^([a-z]{3})-efz\.ms-acdc\.office\.com\.?$"));
    ZONE.captures(name)
        .map(|captures| captures.extract::<1>().1.concat().to_ascii_uppercase())
}

/// `Ref A: … Ref B: BOM02EDGE0712 Ref C: …`; the host's form varies, the code always leads.
fn msedge_ref(value: &str, catalogue: &Catalogue) -> Option<Pop> {
    static HOST: LazyLock<Regex> = LazyLock::new(|| expression(r"Ref B: ?([A-Z0-9]+)"));
    let captures = HOST.captures(value)?;
    let [host] = captures.extract().1;
    edge_host(host, catalogue)
}

/// Current: `20250101T000000Z-…hC1SG1…`; classic: `0` and base64 of time, GUID, host name, NUL, profile.
fn azure_ref(value: &str, catalogue: &Catalogue) -> Option<Pop> {
    static CURRENT: LazyLock<Regex> =
        LazyLock::new(|| expression(r"^\d{8}T\d{6}Z-[0-9a-z]+hC1([A-Z]{2,3})"));
    if let Some(captures) = CURRENT.captures(value) {
        let [code] = captures.extract().1;
        return leading_code(code, catalogue);
    }
    let bytes = STANDARD.decode(value.trim().strip_prefix('0')?).ok()?;
    let host = bytes.get(24..)?.split(|byte| *byte == 0).next()?;
    edge_host(std::str::from_utf8(host).ok()?, catalogue)
}

/// `BOM02EDGE0712`, `BL2AA2030110019`, or a code and digits; anything else names no edge.
fn edge_host(host: &str, catalogue: &Catalogue) -> Option<Pop> {
    static HOST: LazyLock<Regex> =
        LazyLock::new(|| expression(r"^([A-Z]{2,3})(?:\d{0,3}EDGE\d{3,4}|\d{0,3}AA\d+|\d{6,})$"));
    let captures = HOST.captures(host)?;
    let [code] = captures.extract().1;
    catalogue.pop(code)
}

/// Capitals after `hC1` may run into the rest: three letters if they are a code, else two.
fn leading_code(letters: &str, catalogue: &Catalogue) -> Option<Pop> {
    catalogue
        .pop(letters)
        .or_else(|| letters.get(..2).and_then(|two| catalogue.pop(two)))
}

fn zone(value: &str, catalogue: &Catalogue) -> Option<Pop> {
    let value = value.trim();
    (value.len() == 3).then(|| catalogue.pop(value)).flatten()
}

fn expression(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant expression that a test compiles")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(name: &str, value: &str) -> Option<String> {
        edge_code(
            &[(name.to_owned(), value.to_owned())],
            &Catalogue::builtin(),
        )
        .map(|pop| pop.code)
    }

    #[test]
    fn every_form_of_the_first_party_reference_is_read() {
        for (host, want) in [
            ("BOM02EDGE0712", Some("BOM")),
            ("PAOEDGE0418", Some("PAO")),
            ("CO1EDGE0315", Some("CO")),
            ("HKGEDGE0317", Some("HKG")),
            ("HK2EDGE0915", Some("HK")),
            ("BL2EDGE1012", Some("BL")),
            ("BL2AA2030110019", Some("BL")),
            ("SJC211051204027", Some("SJC")),
            ("ZZZEDGE0101", None),
            ("EDGE0101", None),
        ] {
            let value = format!(
                "Ref A: 0123456789ABCDEF0123456789ABCDEF Ref B: {host} Ref C: 2026-01-01T00:00:00Z"
            );
            assert_eq!(code("x-msedge-ref", &value).as_deref(), want, "{host}");
        }
        assert_eq!(
            code("x-msedge-ref", "Ref A: 00 Ref C: 2026-01-01T00:00:00Z"),
            None
        );
    }

    #[test]
    fn both_forms_of_the_front_door_reference_are_read() {
        for (value, want) in [
            // The example of Azure Front Door's documentation: 2019-03-05, WSTEDGE0619.
            (
                "0zxV+XAAAAABKMMOjBv2NT4TY6SQVjC0zV1NURURHRTA2MTkANDM3YzgyY2QtMzYwYS00YTU0LTk0YzMtNWZmNzA3NjQ3Nzgz",
                Some("WST"),
            ),
            (
                "20250101T101112Z-16579567576abcdehC1EWRx000000a1b0000",
                Some("EWR"),
            ),
            (
                "20250101T101112Z-16579567576abcdehC1SG1x000000a1b0000",
                Some("SG"),
            ),
            (
                "20250101T101112Z-16579567576abcdehC1LONx000000a1b0000",
                Some("LON"),
            ),
            (
                "20250101T101112Z-16579567576abcdehC1CO1x000000a1b0000",
                Some("CO"),
            ),
            ("20241001T101112Z-16579567576abcde0000x000000a1b0000", None),
            ("20250101T101112Z-16579567576abcdehC1ZZZx", None),
            ("0!!!!", None),
            ("0", None),
            ("", None),
        ] {
            assert_eq!(code("x-azure-ref", value).as_deref(), want, "{value}");
        }
    }

    #[test]
    fn zones_of_exchange_are_read_and_references_go_first() {
        assert_eq!(code("x-firsthopcafeefz", "SIN").as_deref(), Some("SIN"));
        assert_eq!(code("x-feefzinfo", " fra ").as_deref(), Some("FRA"));
        assert_eq!(code("x-feefzinfo", "FR"), None, "a zone has three letters");
        assert_eq!(code("server", "SIN"), None);
        let both = [
            ("x-feefzinfo", "SIN"),
            ("x-msedge-ref", "Ref A: 0 Ref B: BOM02EDGE0712 Ref C: x"),
        ];
        let both = both.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            edge_code(&both, &Catalogue::builtin())
                .map(|pop| pop.code)
                .as_deref(),
            Some("BOM")
        );
    }

    #[test]
    fn zones_in_names_are_read() {
        assert_eq!(
            efz_of_cname("FRA-efz.ms-acdc.office.com.").as_deref(),
            Some("FRA")
        );
        assert_eq!(
            efz_of_cname("fra-efz.ms-acdc.office.com").as_deref(),
            Some("FRA")
        );
        assert_eq!(efz_of_cname("fra-efz.ms-acdc.office.com.example.net"), None);
        assert_eq!(efz_of_cname("outlook.ms-acdc.office.com"), None);
    }
}
