//! Longest-prefix table from address to origin AS.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

const MICROSOFT_PREFIXES: &str = include_str!("../../data/microsoft-prefixes.csv");

/// Prefixes with their origin AS. Of nested prefixes the longest counts; of equal ones the last added.
#[derive(Clone, Debug, Default)]
pub struct IpToAs {
    v4: Family,
    v6: Family,
}

/// One hash lookup for each prefix length in use, longest first.
type Family = BTreeMap<u8, HashMap<IpAddr, Origin>>;

#[derive(Clone, Debug)]
struct Origin {
    asn: u32,
    name: Arc<str>,
}

/// Why a line of an IP-to-AS table cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IpToAsError {
    /// There are too few columns.
    #[error(
        "line {line}: needs `prefix,asn,name`, such as `192.0.2.0/24,64500,Example`, got {got:?}"
    )]
    Columns {
        /// Line, from 1.
        line: usize,
        /// The line, cut at 64 characters.
        got: String,
    },
    /// The first column is no prefix.
    #[error("line {line}: {got:?} is no prefix, such as 192.0.2.0/24 or 2001:db8::/32")]
    Prefix {
        /// Line, from 1.
        line: usize,
        /// The column, cut at 64 characters.
        got: String,
    },
    /// The second column is no AS number.
    #[error("line {line}: {got:?} is no AS number, such as 64500 or AS64500")]
    Asn {
        /// Line, from 1.
        line: usize,
        /// The column, cut at 64 characters.
        got: String,
    },
}

impl IpToAs {
    /// Microsoft's prefixes as the program carries them.
    pub(super) fn builtin() -> Self {
        let mut table = Self::default();
        table
            .add_csv(MICROSOFT_PREFIXES)
            .expect("the built-in prefixes are well-formed: a test reads them");
        table
    }

    /// Adds lines `prefix,asn,name[,…]`. Empty lines, lines with `#` first, and a heading `prefix,…` are skipped.
    pub(super) fn add_csv(&mut self, text: &str) -> Result<(), IpToAsError> {
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() && !line.starts_with("prefix,") {
                self.add_line(index + 1, line)?;
            }
        }
        Ok(())
    }

    fn add_line(&mut self, line: usize, text: &str) -> Result<(), IpToAsError> {
        let mut columns = text
            .split(',')
            .map(|column| column.trim().trim_matches('"'));
        let (Some(prefix), Some(asn)) = (columns.next(), columns.next()) else {
            return Err(IpToAsError::Columns {
                line,
                got: cut(text),
            });
        };
        let network: IpNet = prefix.parse().map_err(|_| IpToAsError::Prefix {
            line,
            got: cut(prefix),
        })?;
        let digits = asn.trim_start_matches("AS");
        let asn = digits.parse().map_err(|_| IpToAsError::Asn {
            line,
            got: cut(asn),
        })?;
        let name = columns.next().unwrap_or_default();
        self.insert(network, asn, name);
        Ok(())
    }

    fn insert(&mut self, network: IpNet, asn: u32, name: &str) {
        let family = if network.addr().is_ipv4() {
            &mut self.v4
        } else {
            &mut self.v6
        };
        let origin = Origin {
            asn,
            name: name.into(),
        };
        family
            .entry(network.prefix_len())
            .or_default()
            .insert(network.network(), origin);
    }

    /// Origin AS of the longest prefix that holds the address. IPv4 inside IPv6 (RFC 4291 §2.5.5.2) is looked up as IPv4.
    pub(super) fn lookup(&self, address: IpAddr) -> Option<(u32, String)> {
        let (_, origin) = self.longest(address)?;
        Some((origin.asn, origin.name.as_ref().to_owned()))
    }

    /// The longest prefix that holds the address.
    pub(super) fn prefix(&self, address: IpAddr) -> Option<IpNet> {
        self.longest(address).map(|(prefix, _)| prefix)
    }

    fn longest(&self, address: IpAddr) -> Option<(IpNet, &Origin)> {
        let address = address.to_canonical();
        let family = if address.is_ipv4() {
            &self.v4
        } else {
            &self.v6
        };
        family.iter().rev().find_map(|(length, networks)| {
            let prefix = IpNet::new(address, *length).ok()?.trunc();
            let origin = networks.get(&prefix.network())?;
            Some((prefix, origin))
        })
    }
}

/// Whether an address is of private use: RFC 1918, RFC 6598 §7, RFC 4193, link-local, loopback, unspecified.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let carrier_grade_nat = a == 100 && (64..128).contains(&b);
            v4.is_private()
                || v4.is_link_local()
                || v4.is_loopback()
                || v4.is_unspecified()
                || carrier_grade_nat
        }
        IpAddr::V6(v6) => {
            v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_loopback()
                || v6.is_unspecified()
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> IpToAs {
        let mut table = IpToAs::default();
        table
            .add_csv(text)
            .expect("the test's table is well-formed");
        table
    }

    fn asn(table: &IpToAs, address: &str) -> Option<u32> {
        table
            .lookup(address.parse().expect("the test's address"))
            .map(|(asn, _)| asn)
    }

    #[test]
    fn the_longest_prefix_counts() {
        let table = table(
            "# ours\nprefix,asn,name\n192.0.2.0/24,64496,\"Outer\"\n192.0.2.128/25,AS64497,Inner # half\n\n2001:db8::/32,64498,Six,more\n",
        );
        for (address, want) in [
            ("192.0.2.1", Some(64496)),
            ("192.0.2.129", Some(64497)),
            ("198.51.100.1", None),
            ("2001:db8::1", Some(64498)),
            ("::ffff:192.0.2.1", Some(64496)),
            ("2001:db9::1", None),
        ] {
            assert_eq!(asn(&table, address), want, "{address}");
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        let cases = [
            ("192.0.2.0/24", "line 1: needs `prefix,asn,name`"),
            (
                "\n192.0.2.0/33,1,x",
                "line 2: \"192.0.2.0/33\" is no prefix",
            ),
            ("192.0.2.0/24,ASX,x", "line 1: \"ASX\" is no AS number"),
        ];
        for (text, want) in cases {
            let error = IpToAs::default()
                .add_csv(text)
                .expect_err("it must not parse")
                .to_string();
            assert!(error.starts_with(want), "{error}");
        }
    }

    #[test]
    fn the_built_in_prefixes_are_microsofts() {
        let table = IpToAs::builtin();
        // Anycast and router space named in data/README.md.
        for address in ["13.107.136.9", "104.44.1.1", "52.97.0.1", "2603:1026::1"] {
            assert_eq!(asn(&table, address), Some(8075), "{address}");
        }
        assert_eq!(asn(&table, "192.0.2.1"), None);
    }

    #[test]
    fn private_use_is_recognised() {
        for (address, want) in [
            ("10.1.2.3", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("fd00::1", true),
            ("fe80::1", true),
            ("192.0.2.1", false),
            ("198.18.0.1", false),
        ] {
            assert_eq!(
                is_private(address.parse().expect("the test's address")),
                want,
                "{address}"
            );
        }
    }
}
