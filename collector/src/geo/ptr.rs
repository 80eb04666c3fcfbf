//! What names of backbone routers (`*.ntwk.msn.net`) say.
//!
//! `[<interface>.]<role><number>.<metro><site>.ntwk.msn.net`, and a legacy form `<metro><site>-<platform>-<n>[ab]`. All
//! interfaces of one router share everything but the first label, so [`Router::key`] is an alias set.

use std::sync::LazyLock;

use regex::Regex;

use super::catalogue::Catalogue;
use crate::api::types::Pop;

static CURRENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)^(?:[a-z0-9_-]+\.)?((ibr|icr|ier|ear|owr|rwa)(\d{2})\.([a-z]{2,3})(\d{0,2}))\.ntwk\.msn\.net\.?$",
    )
    .expect("a constant expression that a test compiles")
});

static LEGACY: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)^(?:[a-z0-9_-]+\.)?(([a-z]{2,3})(\d{0,2})-\d+[a-z]+(?:-[a-z0-9]+)*-\d[ab])\.ntwk\.msn\.net\.?$",
    )
    .expect("a constant expression that a test compiles")
});

/// A backbone router, as its name describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    /// The router without its interface, lower case, such as `ier02.bog30`: the same for all its interfaces.
    pub key: String,
    /// `ibr`, `icr`, `ier`, `ear`, `owr` or `rwa`; absent in legacy names.
    pub role: Option<String>,
    /// Number of the router in its role at its site.
    pub number: Option<u32>,
    /// Code of the metro as written, upper case.
    pub code: String,
    /// Site within the metro, may be empty.
    pub site: String,
    /// Its place, if the catalogue knows the code.
    pub pop: Option<Pop>,
}

pub(super) fn router(name: &str, catalogue: &Catalogue) -> Option<Router> {
    current(name, catalogue).or_else(|| legacy(name, catalogue))
}

fn current(name: &str, catalogue: &Catalogue) -> Option<Router> {
    let captures = CURRENT.captures(name)?;
    let [key, role, number, code, site] = captures.extract().1;
    Some(Router {
        key: key.to_ascii_lowercase(),
        role: Some(role.to_ascii_lowercase()),
        number: number.parse().ok(),
        code: code.to_ascii_uppercase(),
        site: site.to_owned(),
        pop: catalogue.pop(code),
    })
}

fn legacy(name: &str, catalogue: &Catalogue) -> Option<Router> {
    let captures = LEGACY.captures(name)?;
    let [key, code, site] = captures.extract().1;
    Some(Router {
        key: key.to_ascii_lowercase(),
        role: None,
        number: None,
        code: code.to_ascii_uppercase(),
        site: site.to_owned(),
        pop: catalogue.pop(code),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> Option<(String, Option<String>, String, Option<String>)> {
        router(name, &Catalogue::builtin()).map(|router| {
            (
                router.key,
                router.role,
                router.code,
                router.pop.map(|pop| pop.metro),
            )
        })
    }

    #[test]
    fn names_of_current_style_are_read() {
        for (name, key, role, code, metro) in [
            (
                "ae67-0.ier02.bog30",
                "ier02.bog30",
                "ier",
                "BOG",
                Some("BOG"),
            ),
            ("retn.ier02.sto", "ier02.sto", "ier", "STO", Some("STO")),
            ("ae30-0.ear04.mia", "ear04.mia", "ear", "MIA", Some("MIA")),
            ("ae143-0.icr04.bn6", "icr04.bn6", "icr", "BN", Some("BN")),
            (
                "be-102-0.IBR01.LON24",
                "ibr01.lon24",
                "ibr",
                "LON",
                Some("LON"),
            ),
            ("be-9-0.ibr01.ch4", "ibr01.ch4", "ibr", "CH", Some("CHI")),
            (
                "ae212-0.icr07.dsm05",
                "icr07.dsm05",
                "icr",
                "DSM",
                Some("DM"),
            ),
            ("po1012.rwa03.lvl01", "rwa03.lvl01", "rwa", "LVL", None),
            ("ibr01.fra23", "ibr01.fra23", "ibr", "FRA", Some("FRA")),
        ] {
            let want = (
                key.to_owned(),
                Some(role.to_owned()),
                code.to_owned(),
                metro.map(str::to_owned),
            );
            for end in ["", "."] {
                let name = format!("{name}.ntwk.msn.net{end}");
                assert_eq!(read(&name), Some(want.clone()), "{name}");
            }
        }
    }

    #[test]
    fn names_of_legacy_style_are_read() {
        for (name, key, metro) in [
            (
                "xe-0-0-1-0.co2-96c-1b.ntwk.msn.net",
                "co2-96c-1b",
                Some("QCY"),
            ),
            (
                "ae65-0.fra-96cbe-1a.ntwk.msn.net",
                "fra-96cbe-1a",
                Some("FRA"),
            ),
            (
                "ae27-0.lon21-96cbe-1a.ntwk.msn.net",
                "lon21-96cbe-1a",
                Some("LON"),
            ),
            (
                "po18-218.co2-6nf-srch-2b.ntwk.msn.net",
                "co2-6nf-srch-2b",
                Some("QCY"),
            ),
            ("ten3-4.cpk-76c-1b.ntwk.msn.net", "cpk-76c-1b", None),
        ] {
            let got = read(name).expect("it is a legacy name");
            assert_eq!((got.0.as_str(), got.3.as_deref()), (key, metro), "{name}");
        }
    }

    #[test]
    fn other_names_say_nothing() {
        for name in [
            "ae67-0.ier02.bog30.ntwk.msn.net.example.com",
            "ae67-0.ier02.bog30.ntwk.m",
            "msn.net",
            "edge.example.net",
            "",
        ] {
            assert_eq!(read(name), None, "{name}");
        }
    }
}
