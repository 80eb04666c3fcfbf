//! What the collector knows of addresses, as the classifier asks for it: networks by table, routers and metros by name.

use std::collections::BTreeMap;
use std::net::IpAddr;

use firstmile_shift::hop::{self, Hop};
use firstmile_wire::nat64::Nat64Prefix;

use crate::geo::{MICROSOFT_ASNS, Meaning, Router};

/// The tables, for the rounds of one agent.
pub(super) struct Table<'a> {
    pub(super) meaning: &'a Meaning,
    /// Names of hops, those of the baseline among them.
    pub(super) names: &'a BTreeMap<IpAddr, String>,
    /// Prefix of the NAT64 at the agent's site.
    pub(super) nat64: Option<Nat64Prefix>,
}

impl Table<'_> {
    fn router(&self, address: IpAddr) -> Option<Router> {
        self.meaning.router(self.names.get(&address)?)
    }
}

/// Routers behind the ingress, by their role.
fn is_backbone(router: &Router) -> bool {
    matches!(router.role.as_deref(), Some("ibr" | "rwa"))
}

impl hop::Meaning for Table<'_> {
    fn hop(&self, address: IpAddr) -> Hop {
        let router = self.router(address);
        let asn = self
            .meaning
            .asn_behind(address, self.nat64)
            .map(|(asn, _)| asn);
        let by_name = router.as_ref().map(|_| MICROSOFT_ASNS[0]);
        Hop {
            asn: asn.or(by_name),
            router: router.as_ref().map_or_else(
                || hop::address_key(address),
                |router| hop::key_of(router.key.as_bytes()),
            ),
            metro: router
                .as_ref()
                .and_then(|router| router.pop.as_ref())
                .map(|pop| hop::place_key(&pop.metro)),
            microsoft: router.is_some() || asn.is_some_and(|asn| self.meaning.is_microsoft(asn)),
            named: router.is_some(),
            backbone: router.as_ref().is_some_and(is_backbone),
            resolved: router.is_some(),
            private: asn.is_none() && self.meaning.is_private(address),
        }
    }

    /// Names come with every report, so that what was derived is always derived again: memories come back from the store
    /// without it anyway.
    fn generation(&self) -> u32 {
        0
    }

    fn router_name(&self, address: IpAddr) -> String {
        self.router(address)
            .map_or_else(|| address.to_string(), |router| router.key)
    }

    fn metro_name(&self, address: IpAddr) -> Option<String> {
        Some(self.router(address)?.pop?.metro)
    }
}
