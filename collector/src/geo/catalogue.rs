//! The POP catalogue: code to place, grouped by metro. `data/README.md` names the sources of each row.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::api::types::Pop;

const EDGE_POPS: &str = include_str!("../../data/edge-pops.csv");

/// Codes of POPs with their places.
#[derive(Clone, Debug)]
pub struct Catalogue {
    by_code: BTreeMap<String, Pop>,
}

#[derive(Deserialize)]
struct Row {
    code: String,
    metro: String,
    name: String,
    country: String,
    latitude: Option<f64>,
    longitude: Option<f64>,
}

impl Catalogue {
    /// The catalogue that the program carries.
    pub(super) fn builtin() -> Self {
        let by_code = csv::Reader::from_reader(EDGE_POPS.as_bytes())
            .deserialize()
            .map(|row| row.expect("the built-in catalogue is well-formed: a test reads it"))
            .filter_map(pop_of_row)
            .map(|pop| (pop.code.clone(), pop))
            .collect();
        Self { by_code }
    }

    /// The POP behind a code, whatever its case.
    pub(super) fn pop(&self, code: &str) -> Option<Pop> {
        self.by_code.get(&code.to_ascii_uppercase()).cloned()
    }

    /// Every code with a place, by code.
    pub(super) fn pops(&self) -> Vec<Pop> {
        self.by_code.values().cloned().collect()
    }

    /// A metro as a POP: that of its own code, else the first in it.
    pub(super) fn metro(&self, metro: &str) -> Option<&Pop> {
        let of_metro = |pop: &&Pop| pop.metro == metro;
        self.by_code
            .get(metro)
            .filter(of_metro)
            .or_else(|| self.by_code.values().find(of_metro))
    }

    /// A metro for people, with its code.
    pub(super) fn metro_name(&self, metro: &str) -> String {
        self.metro(metro)
            .map_or_else(|| metro.to_owned(), |pop| format!("{} ({metro})", pop.name))
    }
}

/// A row without metro or coordinates is known to exist, but not where.
fn pop_of_row(row: Row) -> Option<Pop> {
    let (latitude, longitude) = (row.latitude?, row.longitude?);
    (!row.metro.is_empty()).then_some(Pop {
        code: row.code,
        metro: row.metro,
        name: row.name,
        country: row.country,
        latitude,
        longitude,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalogue_is_whole() {
        let catalogue = Catalogue::builtin();
        let metros: std::collections::BTreeSet<_> =
            catalogue.by_code.values().map(|pop| &pop.metro).collect();
        assert_eq!(
            (catalogue.by_code.len(), metros.len()),
            (145, 111),
            "146 codes, one of them without a place"
        );
        for pop in catalogue.by_code.values() {
            assert!(
                pop.latitude.abs() <= 90.0 && pop.longitude.abs() <= 180.0,
                "{pop:?}"
            );
            assert!(crate::geo::country_name(&pop.country).is_some(), "{pop:?}");
        }
    }

    #[test]
    fn codes_map_to_metros_and_the_traps_do_not_catch_us() {
        let catalogue = Catalogue::builtin();
        for (code, want) in [
            ("AMS", Some(("AMS", "NL"))),
            ("am", Some(("AMS", "NL"))),
            ("BL", Some(("ASH", "US"))),
            ("MEX", Some(("QRO", "MX"))),
            ("SAN", Some(("SAT", "US"))),
            ("CO", Some(("QCY", "US"))),
            ("PRA", Some(("PAR", "FR"))),
            ("CH", Some(("CHI", "US"))),
            ("LVL", None),
            ("ZZZ", None),
            ("", None),
        ] {
            let got = catalogue.pop(code);
            assert_eq!(
                got.as_ref()
                    .map(|pop| (pop.metro.as_str(), pop.country.as_str())),
                want,
                "{code}"
            );
        }
    }

    #[test]
    fn a_metro_has_the_name_of_its_own_code_or_of_any_in_it() {
        let catalogue = Catalogue::builtin();
        assert_eq!(catalogue.metro_name("AMS"), "Amsterdam (AMS)");
        assert_eq!(catalogue.metro_name("QCY"), "Quincy (QCY)");
        assert_eq!(catalogue.metro_name("XYZ"), "XYZ");
    }
}
