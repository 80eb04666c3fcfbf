//! Databases in MMDB form: the built-in country table, and what the administrator gives.

use std::net::IpAddr;

use maxminddb::Reader;
use serde::Deserialize;

/// Why a database cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("this is no readable MMDB database")]
pub struct MmdbError(#[from] maxminddb::MaxMindDbError);

/// Address to origin AS.
pub(super) struct AsnMmdb(Reader<Vec<u8>>);

/// The layouts in use: `GeoLite2` and DB-IP (`autonomous_system_number`), `IPinfo` (`asn: "AS64500"`).
#[derive(Deserialize)]
struct AsnRecord {
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<String>,
    asn: Option<String>,
    as_name: Option<String>,
    name: Option<String>,
}

impl AsnMmdb {
    pub(super) fn read(bytes: Vec<u8>) -> Result<Self, MmdbError> {
        Ok(Self(Reader::from_source(bytes)?))
    }

    /// A record of another layout, like an address without a record, is `None`.
    pub(super) fn lookup(&self, address: IpAddr) -> Option<(u32, String)> {
        let record: AsnRecord = self.0.lookup(address).ok()?.decode().ok()??;
        let text = record
            .asn
            .as_deref()
            .unwrap_or_default()
            .trim_start_matches("AS");
        let asn = record
            .autonomous_system_number
            .or_else(|| text.parse().ok())?;
        let name = record
            .autonomous_system_organization
            .or(record.as_name)
            .or(record.name);
        Some((asn, name.unwrap_or_default()))
    }
}

/// Address to country.
pub(super) struct CountryMmdb(Reader<Vec<u8>>);

/// The layouts in use: ip-location-db (`country_code: "NL"`), `GeoLite2` and DB-IP (`country: { iso_code: "NL" }`), `IPinfo`
/// (`country: "NL"`).
#[derive(Deserialize)]
struct CountryRecord {
    country_code: Option<String>,
    country: Option<CountryField>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CountryField {
    Code(String),
    Record { iso_code: Option<String> },
}

impl CountryMmdb {
    pub(super) fn read(bytes: Vec<u8>) -> Result<Self, MmdbError> {
        Ok(Self(Reader::from_source(bytes)?))
    }

    pub(super) fn lookup(&self, address: IpAddr) -> Option<String> {
        let record: CountryRecord = self.0.lookup(address).ok()?.decode().ok()??;
        let nested = record.country.and_then(|country| match country {
            CountryField::Code(code) => Some(code),
            CountryField::Record { iso_code } => iso_code,
        });
        record
            .country_code
            .or(nested)
            .filter(|code| super::country_name(code).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_database_are_refused() {
        assert!(AsnMmdb::read(b"not a database".to_vec()).is_err());
        assert!(CountryMmdb::read(Vec::new()).is_err());
    }

    #[test]
    fn every_known_layout_of_a_country_record_is_read() {
        for (json, want) in [
            (r#"{"country_code":"NL"}"#, Some("NL")),
            (r#"{"country":{"iso_code":"DE","names":{}}}"#, Some("DE")),
            (r#"{"country":"FR"}"#, Some("FR")),
            (r#"{"continent":"EU"}"#, None),
        ] {
            let record: CountryRecord = serde_json::from_str(json).expect("the layout parses");
            let nested = record.country.and_then(|country| match country {
                CountryField::Code(code) => Some(code),
                CountryField::Record { iso_code } => iso_code,
            });
            assert_eq!(record.country_code.or(nested).as_deref(), want, "{json}");
        }
    }
}
