//! Partners of Peering Service, where they serve, and which of them is near.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

const PROVIDERS: &str = include_str!("../data/providers.csv");
const LOCATIONS: &str = include_str!("../data/locations.csv");
const STATES: &str = include_str!("../data/us-states.csv");
const POPS: &str = include_str!("../../data/edge-pops.csv");
const COUNTRIES: &str = include_str!("../../data/countries.csv");

/// A partner is near within so many kilometres (1000 miles).
const NEAR_KM: f64 = 1_609.344;
/// Mean radius of the Earth.
const EARTH_KM: f64 = 6_371.0;

/// A partner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// Other names that it goes by.
    #[serde(default)]
    pub also: Vec<String>,
    /// Metros where it meets Microsoft.
    #[serde(default)]
    pub metros: BTreeSet<String>,
}

/// The partners that are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    providers: BTreeMap<String, Provider>,
}

/// A place that a customer can be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Name of the country.
    pub country: &'static str,
    /// The state, in the United States; the country's name elsewhere.
    pub state: &'static str,
}

#[derive(Deserialize)]
struct ProviderRow {
    provider: String,
    api_name: String,
}

#[derive(Deserialize)]
struct LocationRow {
    provider: String,
    metro: String,
}

#[derive(Deserialize)]
struct StateRow {
    name: String,
    latitude: f64,
    longitude: f64,
}

#[derive(Deserialize)]
struct PopRow {
    metro: String,
    name: String,
    country: String,
    latitude: Option<f64>,
    longitude: Option<f64>,
}

static STATE_ROWS: LazyLock<Vec<StateRow>> = LazyLock::new(|| rows(STATES));
static POP_ROWS: LazyLock<Vec<PopRow>> = LazyLock::new(|| rows(POPS));
static COUNTRY_ROWS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| rows(COUNTRIES));

fn rows<T: serde::de::DeserializeOwned>(text: &str) -> Vec<T> {
    csv::Reader::from_reader(text.as_bytes())
        .into_deserialize()
        .map(|row| row.expect("the built-in tables are well-formed: a test reads them"))
        .collect()
}

impl Directory {
    /// The partners of the published lists.
    pub fn builtin() -> Self {
        let mut directory = Self {
            providers: BTreeMap::new(),
        };
        for row in rows::<ProviderRow>(PROVIDERS) {
            let also = row.api_name.split('|').filter(|name| !name.is_empty());
            directory.put(Provider {
                also: also.map(str::to_owned).collect(),
                metros: BTreeSet::new(),
                name: row.provider,
            });
        }
        for row in rows::<LocationRow>(LOCATIONS) {
            let name = directory
                .provider(&row.provider)
                .map(|one| one.name.clone());
            let key = name.unwrap_or_else(|| row.provider.clone()).to_lowercase();
            let provider = directory.providers.entry(key).or_insert_with(|| Provider {
                name: row.provider,
                also: Vec::new(),
                metros: BTreeSet::new(),
            });
            provider.metros.insert(row.metro);
        }
        directory
    }

    /// Adds a partner, or replaces the one of that name.
    pub fn put(&mut self, provider: Provider) {
        self.providers
            .insert(provider.name.to_lowercase(), provider);
    }

    /// The partner of this name, whatever its case; by its other names too.
    pub fn provider(&self, name: &str) -> Option<&Provider> {
        let by_name = self.providers.get(&name.to_lowercase());
        by_name.or_else(|| {
            let mut all = self.providers.values();
            all.find(|one| one.also.iter().any(|also| also.eq_ignore_ascii_case(name)))
        })
    }

    /// All partners, by name.
    pub fn providers(&self) -> impl Iterator<Item = &Provider> {
        self.providers.values()
    }

    /// All metros where a partner meets Microsoft, by name.
    pub fn metros(&self) -> BTreeSet<&str> {
        let all = self.providers.values().flat_map(|one| &one.metros);
        all.map(String::as_str).collect()
    }

    /// Whether a partner meets Microsoft within 1000 miles of a customer's location. `None`: the partner, or the location,
    /// or where all of the partner's metros are, is not known.
    pub fn is_near(&self, provider: &str, location: &str) -> Option<bool> {
        let provider = self.provider(provider)?;
        let from = places_of(location);
        let at: Vec<(f64, f64)> = provider
            .metros
            .iter()
            .flat_map(|metro| metro_places(metro))
            .collect();
        if from.is_empty() || at.is_empty() {
            return None;
        }
        let near = |a: &(f64, f64)| at.iter().any(|b| distance_km(*a, *b) <= NEAR_KM);
        Some(from.iter().any(near))
    }
}

/// Where customers can be: the states of the United States, and the other countries; one country's by name or code.
pub fn locations(country: Option<&str>) -> Vec<Location> {
    let wanted = |code: &str, name: &str| {
        country.is_none_or(|country| {
            country.eq_ignore_ascii_case(code) || country.eq_ignore_ascii_case(name)
        })
    };
    let mut found = Vec::new();
    for (code, name) in COUNTRY_ROWS
        .iter()
        .filter(|(code, name)| wanted(code, name))
    {
        if code == "US" {
            let states = STATE_ROWS.iter().map(|row| row.name.as_str());
            found.extend(states.map(|state| Location {
                country: name,
                state,
            }));
        } else {
            found.push(Location {
                country: name,
                state: name,
            });
        }
    }
    found
}

/// Names of all countries.
pub fn countries() -> impl Iterator<Item = &'static str> {
    COUNTRY_ROWS.iter().map(|(_, name)| name.as_str())
}

/// The code of a metro by its name, or by the code itself, whatever the case; `None` if it is not in the catalogue of edges.
pub fn metro_code(name: &str) -> Option<&'static str> {
    let is_it =
        |pop: &&PopRow| pop.name.eq_ignore_ascii_case(name) || pop.metro.eq_ignore_ascii_case(name);
    let mut found = POP_ROWS.iter().filter(is_it).map(|pop| pop.metro.as_str());
    found.find(|metro| !metro.is_empty())
}

/// The centre of a state, or of each metro that is known in a country.
fn places_of(location: &str) -> Vec<(f64, f64)> {
    let state = STATE_ROWS
        .iter()
        .find(|row| row.name.eq_ignore_ascii_case(location));
    if let Some(row) = state {
        return vec![(row.latitude, row.longitude)];
    }
    let country = COUNTRY_ROWS.iter().find(|(code, name)| {
        location.eq_ignore_ascii_case(code) || location.eq_ignore_ascii_case(name)
    });
    let Some((code, _)) = country else {
        return metro_places(location);
    };
    let pops = POP_ROWS.iter().filter(|pop| pop.country == *code);
    pops.filter_map(|pop| pop.latitude.zip(pop.longitude))
        .collect()
}

fn metro_places(metro: &str) -> Vec<(f64, f64)> {
    let pops = POP_ROWS
        .iter()
        .filter(|pop| pop.name.eq_ignore_ascii_case(metro));
    pops.filter_map(|pop| pop.latitude.zip(pop.longitude))
        .collect()
}

/// Great-circle distance by the haversine formula, of (latitude, longitude) in degrees.
pub fn distance_km(a: (f64, f64), b: (f64, f64)) -> f64 {
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let h = half(a.0, b.0) + a.0.to_radians().cos() * b.0.to_radians().cos() * half(a.1, b.1);
    2.0 * EARTH_KM * h.sqrt().min(1.0).asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_lists_are_there_and_each_metro_belongs_to_a_partner() {
        let directory = Directory::builtin();
        assert!(directory.providers().count() >= 34);
        let swisscom = directory
            .provider("swisscom switzerland ltd")
            .expect("by its other name");
        assert_eq!(swisscom.name, "Swisscom");
        assert!(swisscom.metros.contains("Zurich"), "{swisscom:?}");
        assert!(directory.metros().len() > 40);
        assert_eq!(locations(Some("US")).len(), 51);
        assert_eq!(locations(Some("netherlands")), locations(Some("nl")));
        assert_eq!(locations(Some("Atlantis")), []);
    }

    #[test]
    fn a_partner_is_available_within_a_thousand_miles() {
        let directory = Directory::builtin();
        for (provider, location, want) in [
            ("Swisscom", "Switzerland", Some(true)),
            ("Swisscom", "Germany", Some(true)),
            ("Swisscom", "Georgia", Some(false)),
            ("Swisscom", "New Zealand", Some(false)),
            ("Kordia", "New Zealand", Some(true)),
            ("Kordia", "Atlantis", None),
            ("Nobody", "Switzerland", None),
        ] {
            assert_eq!(
                directory.is_near(provider, location),
                want,
                "{provider} in {location}"
            );
        }
    }

    #[test]
    fn distances_agree_with_known_ones() {
        let amsterdam_frankfurt = distance_km((52.37, 4.9), (50.11, 8.68));
        assert!(
            (355.0..370.0).contains(&amsterdam_frankfurt),
            "{amsterdam_frankfurt}"
        );
    }
}
