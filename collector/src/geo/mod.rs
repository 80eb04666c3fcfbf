//! Where things are: geography of sites, POP catalogue, decoders of headers and router names, IP to AS.
//!
//! Pure: tables arrive as text or bytes. [`Meaning`] is all of it behind one door. An unknown code has no place: a wrong
//! city is worse than none.

mod catalogue;
mod country;
mod declared;
mod headers;
mod ip_to_as;
mod mmdb;
mod ptr;
mod tables;

use std::net::{IpAddr, Ipv6Addr};

use firstmile_wire::nat64::Nat64Prefix;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::api::types::Pop;

pub use catalogue::Catalogue;
pub use country::country_name;
pub use declared::{Declared, GeographyError};
pub use ip_to_as::{IpToAs, IpToAsError};
pub use mmdb::MmdbError;
pub use ptr::Router;
pub use tables::Tables;

/// The AS numbers that carry Microsoft's own traffic unless the administrator says otherwise: those of its peering policy.
pub const MICROSOFT_ASNS: [u32; 4] = [8075, 8068, 8069, 12076];

/// How a geography is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GeographySource {
    /// Somebody declared it.
    Declared,
    /// The country of the address in the built-in table.
    CountryTable,
    /// Nothing is known.
    #[default]
    Unknown,
}

/// Where a site is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Geography {
    /// ISO 3166-1 alpha-2, upper case.
    pub country: Option<String>,
    /// ISO 3166-2, such as `NL-NH`.
    pub subdivision: Option<String>,
    /// City or metropolitan area.
    pub metro: Option<String>,
    /// Degrees, north positive.
    pub latitude: Option<f64>,
    /// Degrees, east positive.
    pub longitude: Option<f64>,
    /// How it is known.
    pub source: GeographySource,
}

/// Everything that turns what agents saw into places and networks.
pub struct Meaning {
    catalogue: Catalogue,
    declared_as: IpToAs,
    asn_mmdb: Option<mmdb::AsnMmdb>,
    built_in_as: IpToAs,
    country_mmdb: Option<mmdb::CountryMmdb>,
    microsoft_asns: Vec<u32>,
}

impl Meaning {
    /// What the program carries itself: the POP catalogue and a first guess of Microsoft's prefixes. No country table.
    pub fn builtin() -> Self {
        Self {
            catalogue: Catalogue::builtin(),
            declared_as: IpToAs::default(),
            asn_mmdb: None,
            built_in_as: IpToAs::builtin(),
            country_mmdb: None,
            microsoft_asns: MICROSOFT_ASNS.to_vec(),
        }
    }

    /// Adds lines `prefix,asn,name`; `#` begins a comment. Asked before any other source; may be called again.
    ///
    /// # Errors
    /// [`IpToAsError`] names the first line that cannot be read.
    pub fn with_ip_to_as_csv(mut self, text: &str) -> Result<Self, IpToAsError> {
        self.declared_as.add_csv(text)?;
        Ok(self)
    }

    /// Takes an ASN database in MMDB form (`GeoLite2`, `DB-IP`, `IPinfo` or ip-location-db layout).
    ///
    /// # Errors
    /// [`MmdbError`] if the bytes are no MMDB.
    pub fn with_asn_mmdb(mut self, bytes: Vec<u8>) -> Result<Self, MmdbError> {
        self.asn_mmdb = Some(mmdb::AsnMmdb::read(bytes)?);
        Ok(self)
    }

    /// Takes a country database in MMDB form; replaces an earlier one.
    ///
    /// # Errors
    /// [`MmdbError`] if the bytes are no MMDB.
    pub fn with_country_mmdb(mut self, bytes: Vec<u8>) -> Result<Self, MmdbError> {
        self.country_mmdb = Some(mmdb::CountryMmdb::read(bytes)?);
        Ok(self)
    }

    /// Replaces the AS numbers that count as Microsoft's. An empty list leaves the default.
    #[must_use]
    pub fn with_microsoft_asns(mut self, asns: &[u32]) -> Self {
        if !asns.is_empty() {
            self.microsoft_asns = asns.to_vec();
        }
        self
    }

    /// The POP behind a code, whatever its case. `None`: the code is unknown, or known without a place.
    pub fn pop(&self, code: &str) -> Option<Pop> {
        self.catalogue.pop(code)
    }

    /// Every code with a place, by code.
    pub fn pops(&self) -> Vec<Pop> {
        self.catalogue.pops()
    }

    /// A metro as a POP, its place that of its main code.
    pub fn metro(&self, metro: &str) -> Option<Pop> {
        self.catalogue.metro(metro).cloned()
    }

    /// A metro for people: `Amsterdam (AMS)`, or the bare code where it has no name.
    pub fn metro_name(&self, metro: &str) -> String {
        self.catalogue.metro_name(metro)
    }

    /// The POP that response headers name; names in lower case.
    pub fn edge_of_headers(&self, headers: &[(String, String)]) -> Option<Pop> {
        headers::edge_code(headers, &self.catalogue)
    }

    /// The front-door zone that DNS chose for the resolver: it tells of the resolver, not of the path.
    pub fn zone_of_cnames(&self, cname_chain: &[String]) -> Option<Pop> {
        cname_chain
            .iter()
            .find_map(|name| headers::efz_of_cname(name))
            .and_then(|code| self.pop(&code))
    }

    /// What the name of a backbone router says, `None` if it is no name of Microsoft's backbone.
    pub fn router(&self, ptr: &str) -> Option<Router> {
        ptr::router(ptr, &self.catalogue)
    }

    /// What is known of a hop whose site has this NAT64: the IPv4 address inside an IPv6 one is what belongs to an AS.
    pub fn asn_behind(&self, address: IpAddr, nat64: Option<Nat64Prefix>) -> Option<(u32, String)> {
        let inner = |prefix: Nat64Prefix| match address {
            IpAddr::V6(address) => prefix.embedded(address).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        let inner = nat64.and_then(inner).or_else(|| inner(well_known()?));
        self.asn(inner.unwrap_or(address))
    }

    /// Origin AS and its name; `None` for private and unmapped space.
    pub fn asn(&self, address: IpAddr) -> Option<(u32, String)> {
        if let Some(found) = self.declared_as.lookup(address) {
            return Some(found);
        }
        if ip_to_as::is_private(address) {
            return None;
        }
        let from_mmdb = self.asn_mmdb.as_ref().and_then(|mmdb| mmdb.lookup(address));
        from_mmdb.or_else(|| self.built_in_as.lookup(address))
    }

    /// The longest prefix of a table that holds an address: of what was declared, else of what the program carries.
    pub fn prefix(&self, address: IpAddr) -> Option<IpNet> {
        let declared = self.declared_as.prefix(address);
        declared.or_else(|| self.built_in_as.prefix(address))
    }

    /// Whether an address is of private use, so that its AS is nobody's (RFC 1918, 4193, 6598 and link-local).
    pub fn is_private(&self, address: IpAddr) -> bool {
        ip_to_as::is_private(address) && self.declared_as.lookup(address).is_none()
    }

    /// Whether an AS is Microsoft's.
    pub fn is_microsoft(&self, asn: u32) -> bool {
        self.microsoft_asns.contains(&asn)
    }

    /// ISO 3166-1 alpha-2 country of a public address, by the country table.
    pub fn country(&self, address: IpAddr) -> Option<String> {
        self.country_mmdb
            .as_ref()
            .and_then(|mmdb| mmdb.lookup(address))
    }
}
/// `64:ff9b::/96`, which needs no discovery (RFC 6052 §2.1).
fn well_known() -> Option<Nat64Prefix> {
    Nat64Prefix::new(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96)
}

/// Whether an address is of private use, whatever anybody declared of it (RFC 1918, 4193, 6598 and link-local).
pub fn is_private_use(address: IpAddr) -> bool {
    ip_to_as::is_private(address)
}
