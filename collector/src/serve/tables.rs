//! The tables that say what addresses mean: built in, or given by the administrator.

use std::fs;
use std::path::Path;

use tracing::warn;

use super::error::StartError;
use crate::api;
use crate::config::Geo;
use crate::geo::{IpToAsError, Meaning, MmdbError};

/// Reads every table that the configuration names.
pub(super) fn read_meaning(geo: &Geo) -> Result<Meaning, StartError> {
    let mut meaning = Meaning::builtin();
    for path in &geo.ip_to_as {
        let bad = table_error("geo.ip_to_as", path);
        let text = fs::read_to_string(path).map_err(|source| bad(source.into()))?;
        meaning = meaning
            .with_ip_to_as_csv(&text)
            .map_err(|source: IpToAsError| bad(source.into()))?;
    }
    if let Some(path) = &geo.asn_mmdb {
        let bad = table_error("geo.asn_mmdb", path);
        let bytes = fs::read(path).map_err(|source| bad(source.into()))?;
        meaning = meaning
            .with_asn_mmdb(bytes)
            .map_err(|source: MmdbError| bad(source.into()))?;
    }
    if let Some(path) = &geo.country_mmdb {
        let bad = table_error("geo.country_mmdb", path);
        let bytes = fs::read(path).map_err(|source| bad(source.into()))?;
        meaning = meaning
            .with_country_mmdb(bytes)
            .map_err(|source: MmdbError| bad(source.into()))?;
    } else if let Some(bytes) = api::embedded::country_table() {
        let bad = table_error("the built-in country table", Path::new("country.mmdb"));
        meaning = meaning
            .with_country_mmdb(bytes)
            .map_err(|source: MmdbError| bad(source.into()))?;
    } else {
        warn!("no country table: sites without a declared country stay unknown");
    }
    if let Some(asns) = &geo.microsoft_asns {
        meaning = meaning.with_microsoft_asns(asns);
    }
    Ok(meaning)
}

fn table_error<'a>(
    key: &'static str,
    path: &'a Path,
) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> StartError + 'a {
    move |source| StartError::Table {
        key,
        path: path.to_owned(),
        source,
    }
}
