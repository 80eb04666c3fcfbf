//! Files that the program carries: the built dashboard and the country table. A debug build reads them from the checkout.

use std::borrow::Cow;

use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "dashboard/dist"]
#[allow_missing = true]
struct Dashboard;

#[derive(RustEmbed)]
#[folder = "dashboard/dist-data"]
#[include = "country.mmdb"]
#[allow_missing = true]
struct CountryTable;

/// A file of the dashboard, with the SHA-256 of its bytes.
pub(super) fn dashboard_file(path: &str) -> Option<(Cow<'static, [u8]>, [u8; 32])> {
    Dashboard::get(path).map(|file| (file.data, file.metadata.sha256_hash()))
}

/// The country table (CC0), `None` if the dashboard's data was not built.
pub fn country_table() -> Option<Vec<u8>> {
    CountryTable::get("country.mmdb").map(|file| file.data.into_owned())
}
