//! Names of countries for people, by ISO 3166-1 alpha-2 code.

use std::collections::BTreeMap;
use std::sync::LazyLock;

const COUNTRIES: &str = include_str!("../../data/countries.csv");

static BY_CODE: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    csv::Reader::from_reader(COUNTRIES.as_bytes())
        .deserialize()
        .map(|row| row.expect("the built-in country list is well-formed: a test reads it"))
        .collect()
});

/// The English name of an ISO 3166-1 alpha-2 country, `None` if the code is not assigned. Upper case only.
///
/// # Examples
/// ```
/// assert_eq!(firstmile_collector::geo::country_name("NL"), Some("Netherlands"));
/// assert_eq!(firstmile_collector::geo::country_name("ZZ"), None);
/// ```
pub fn country_name(code: &str) -> Option<&'static str> {
    BY_CODE.get(code).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_assigned_codes_have_a_name() {
        assert_eq!(BY_CODE.len(), 249);
        assert_eq!(country_name("GB"), Some("United Kingdom"));
        assert_eq!(country_name("UK"), None);
    }
}
