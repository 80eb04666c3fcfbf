//! A geography as somebody declares it: checked once, then it cannot hold a bad value.

use super::{Geography, GeographySource, country_name};

/// The longest name of a metro, in bytes: no place needs more, and it must fit a table's cell.
const METRO_MAX: usize = 100;

/// A geography as it is typed, before it is checked. Empty texts count as absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    /// ISO 3166-1 alpha-2, any case.
    pub country: Option<String>,
    /// ISO 3166-2, any case.
    pub subdivision: Option<String>,
    /// City or metropolitan area.
    pub metro: Option<String>,
    /// Degrees, north positive.
    pub latitude: Option<f64>,
    /// Degrees, east positive.
    pub longitude: Option<f64>,
}

/// Why a geography cannot be declared so.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum GeographyError {
    /// No assigned country.
    #[error("country {got:?} is no ISO 3166-1 alpha-2 code, such as NL or US")]
    Country {
        /// What was given, cut at 64 characters.
        got: String,
    },
    /// Not the form of a subdivision.
    #[error("subdivision {got:?} is no ISO 3166-2 code, such as NL-NH or US-CA")]
    Subdivision {
        /// What was given, cut at 64 characters.
        got: String,
    },
    /// The subdivision is another country's.
    #[error(
        "subdivision {subdivision} is not in country {country}: its first two letters must be {country}"
    )]
    SubdivisionElsewhere {
        /// The subdivision.
        subdivision: String,
        /// The country.
        country: String,
    },
    /// The metro's name cannot be kept.
    #[error("metro {got:?} must be 1 to 100 bytes without control characters or '/'")]
    Metro {
        /// What was given, cut at 64 characters.
        got: String,
    },
    /// Out of range, or not a number.
    #[error("{what} {got} must be between -{limit} and {limit} degrees")]
    Coordinate {
        /// `latitude` or `longitude`.
        what: &'static str,
        /// What was given.
        got: f64,
        /// Largest size.
        limit: u32,
    },
    /// One coordinate without the other.
    #[error("latitude and longitude go together: give both or neither")]
    HalfAPlace,
}

impl Declared {
    /// Checks and normalises. A subdivision alone declares its country too. Nothing declared is an unknown geography.
    ///
    /// # Errors
    /// [`GeographyError`] names the field, what was given and what it must be.
    ///
    /// # Examples
    /// ```
    /// use firstmile_collector::geo::Declared;
    /// let declared = Declared { subdivision: Some("nl-nh".into()), ..Declared::default() };
    /// assert_eq!(declared.parse().unwrap().country.as_deref(), Some("NL"));
    /// ```
    pub fn parse(self) -> Result<Geography, GeographyError> {
        let subdivision = present(self.subdivision)
            .map(|text| subdivision_of(&text))
            .transpose()?;
        let country = present(self.country)
            .map(|text| country_of(&text))
            .transpose()?;
        let country = agreed_country(country, subdivision.as_deref())?;
        let metro = present(self.metro).map(metro_of).transpose()?;
        let latitude = self
            .latitude
            .map(|got| degrees("latitude", got, 90))
            .transpose()?;
        let longitude = self
            .longitude
            .map(|got| degrees("longitude", got, 180))
            .transpose()?;
        if latitude.is_some() != longitude.is_some() {
            return Err(GeographyError::HalfAPlace);
        }
        let anything = country.is_some() || metro.is_some() || latitude.is_some();
        let source = if anything {
            GeographySource::Declared
        } else {
            GeographySource::Unknown
        };
        Ok(Geography {
            country,
            subdivision,
            metro,
            latitude,
            longitude,
            source,
        })
    }
}

fn present(text: Option<String>) -> Option<String> {
    text.map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}

fn country_of(text: &str) -> Result<String, GeographyError> {
    let code = text.to_ascii_uppercase();
    match country_name(&code) {
        Some(_) => Ok(code),
        None => Err(GeographyError::Country { got: cut(text) }),
    }
}

/// ISO 3166-2: a country, a hyphen, one to three letters or digits. Whether it is assigned is not checked.
fn subdivision_of(text: &str) -> Result<String, GeographyError> {
    let code = text.to_ascii_uppercase();
    let known = code.split_once('-').is_some_and(|(country, rest)| {
        let shaped =
            (1..=3).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
        shaped && country_name(country).is_some()
    });
    if known {
        Ok(code)
    } else {
        Err(GeographyError::Subdivision { got: cut(text) })
    }
}

fn agreed_country(
    country: Option<String>,
    subdivision: Option<&str>,
) -> Result<Option<String>, GeographyError> {
    let Some(subdivision) = subdivision else {
        return Ok(country);
    };
    let of_subdivision = subdivision.split('-').next().unwrap_or_default();
    match country {
        Some(country) if country != of_subdivision => Err(GeographyError::SubdivisionElsewhere {
            subdivision: subdivision.to_owned(),
            country,
        }),
        Some(_) | None => Ok(Some(of_subdivision.to_owned())),
    }
}

/// A '/' would make the key of a metro ambiguous.
fn metro_of(text: String) -> Result<String, GeographyError> {
    let bad = text.len() > METRO_MAX
        || text
            .chars()
            .any(|character| character.is_control() || character == '/');
    if bad {
        Err(GeographyError::Metro { got: cut(&text) })
    } else {
        Ok(text)
    }
}

fn degrees(what: &'static str, got: f64, limit: u32) -> Result<f64, GeographyError> {
    if got.abs() <= f64::from(limit) {
        Ok(got)
    } else {
        Err(GeographyError::Coordinate { what, got, limit })
    }
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(country: &str, subdivision: &str, metro: &str) -> Declared {
        let text = |text: &str| Some(text.to_owned());
        Declared {
            country: text(country),
            subdivision: text(subdivision),
            metro: text(metro),
            ..Declared::default()
        }
    }

    #[test]
    fn good_geographies_are_normalised() {
        let geography = declared(" nl ", "nl-nh", " Amsterdam ")
            .parse()
            .expect("it is good");
        assert_eq!(geography.country.as_deref(), Some("NL"));
        assert_eq!(geography.subdivision.as_deref(), Some("NL-NH"));
        assert_eq!(geography.metro.as_deref(), Some("Amsterdam"));
        assert_eq!(geography.source, GeographySource::Declared);
        assert_eq!(declared("", "", "").parse(), Ok(Geography::default()));
    }

    #[test]
    fn bad_geographies_are_refused_by_name() {
        for (case, want) in [
            (declared("UK", "", ""), "country \"UK\" is no ISO 3166-1"),
            (declared("Holland", "", ""), "country \"Holland\""),
            (
                declared("", "NH", ""),
                "subdivision \"NH\" is no ISO 3166-2",
            ),
            (declared("", "NL-NHXX", ""), "subdivision \"NL-NHXX\""),
            (
                declared("DE", "NL-NH", ""),
                "subdivision NL-NH is not in country DE",
            ),
            (declared("", "", "a/b"), "metro \"a/b\""),
            (
                Declared {
                    latitude: Some(91.0),
                    longitude: Some(0.0),
                    ..Declared::default()
                },
                "latitude 91 must be",
            ),
            (
                Declared {
                    latitude: Some(0.0),
                    longitude: Some(f64::NAN),
                    ..Declared::default()
                },
                "longitude NaN",
            ),
            (
                Declared {
                    latitude: Some(1.0),
                    ..Declared::default()
                },
                "latitude and longitude go together",
            ),
        ] {
            let error = case.parse().expect_err("it is bad").to_string();
            assert!(error.starts_with(want), "{error}");
        }
    }
}
