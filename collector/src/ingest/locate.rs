//! The country of a site that declares none: that of the address its agent's reports come from.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use tracing::{info, warn};

use super::refusal::with_sources;
use crate::registry::{Agent, SiteId};
use crate::store::{Store, StoreResult};

/// Sites whose address is remembered; beyond it memory starts anew.
const MAX_REMEMBERED: usize = 20_000;

/// Says in which country an address is, if that is known.
type CountryOf = dyn Fn(IpAddr) -> Option<String> + Send + Sync;

/// Looks a site's country up once for each address that it comes from.
pub struct Locator {
    country_of: Box<CountryOf>,
    seen: Mutex<BTreeMap<SiteId, IpAddr>>,
}

impl Locator {
    /// With this country table.
    pub fn new(country_of: impl Fn(IpAddr) -> Option<String> + Send + Sync + 'static) -> Self {
        Self {
            country_of: Box::new(country_of),
            seen: Mutex::default(),
        }
    }

    /// Notes the country of the agent's site if nobody declared one. A failure is logged and costs nothing but the country.
    pub async fn locate(&self, store: &dyn Store, agent: &Agent, peer: IpAddr) {
        let peer = peer.to_canonical();
        if !self.is_news(agent.site, peer) {
            return;
        }
        if let Err(failure) = self.note_country(store, agent, peer).await {
            warn!(error = with_sources(&failure), site = %agent.site, "country of a site cannot be noted");
        }
    }

    fn is_news(&self, site: SiteId, peer: IpAddr) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MAX_REMEMBERED {
            seen.clear();
        }
        seen.insert(site, peer) != Some(peer)
    }

    async fn note_country(
        &self,
        store: &dyn Store,
        agent: &Agent,
        peer: IpAddr,
    ) -> StoreResult<()> {
        let Some(country) = (self.country_of)(peer) else {
            return Ok(());
        };
        let noted = store
            .note_country(&agent.organisation, agent.site, &country)
            .await?;
        if noted {
            info!(site = %agent.site, country, "country of a site taken from its address");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use firstmile_wire::ids::{AgentId, OrganisationId};
    use uuid::Uuid;

    use super::*;
    use crate::geo::{Geography, GeographySource};
    use crate::registry::Site;
    use crate::store::embedded;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const ABROAD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));
    const NOWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));

    fn locator() -> Locator {
        let table = BTreeMap::from([(HOME, "NL"), (ABROAD, "DE")]);
        Locator::new(move |address| table.get(&address).map(ToString::to_string))
    }

    fn site(geography: Geography) -> Site {
        Site {
            id: SiteId(Uuid::from_u128(8)),
            organisation: OrganisationId::default_organisation(),
            name: "Utrecht".to_owned(),
            geography,
        }
    }

    fn agent() -> Agent {
        Agent {
            id: AgentId(Uuid::from_u128(7)),
            organisation: OrganisationId::default_organisation(),
            site: SiteId(Uuid::from_u128(8)),
            hostname: String::new(),
            version: String::new(),
            os: None,
            icmp_capability: None,
            enrolled_unix_ms: 0,
            last_seen_unix_ms: None,
            spool_dropped_reports: 0,
            revoked: false,
            usual_gap_ms: 0,
        }
    }

    async fn located(geography: Geography, peers: &[IpAddr]) -> Geography {
        let folder = tempfile::tempdir().expect("a folder");
        let store = embedded::open(folder.path()).await.expect("a store");
        store.put_site(&site(geography)).await.expect("a site");
        let locator = locator();
        for peer in peers {
            locator.locate(&store, &agent(), *peer).await;
        }
        let (organisation, id) = (agent().organisation, agent().site);
        store
            .site(&organisation, id)
            .await
            .expect("a site")
            .geography
    }

    #[tokio::test]
    async fn a_country_is_taken_from_the_address_unless_it_was_declared() {
        let table = |country: &str| Geography {
            country: Some(country.to_owned()),
            source: GeographySource::CountryTable,
            ..Geography::default()
        };
        let declared = Geography {
            metro: Some("Utrecht".to_owned()),
            source: GeographySource::Declared,
            ..Geography::default()
        };
        for (name, before, peers, want) in [
            ("unknown", Geography::default(), vec![HOME], table("NL")),
            ("moved", table("NL"), vec![HOME, ABROAD], table("DE")),
            ("declared", declared.clone(), vec![HOME], declared),
            (
                "private",
                Geography::default(),
                vec![NOWHERE],
                Geography::default(),
            ),
            ("kept", table("NL"), vec![NOWHERE], table("NL")),
        ] {
            assert_eq!(located(before, &peers).await, want, "{name}");
        }
    }

    #[test]
    fn an_address_is_looked_up_once() {
        let locator = locator();
        assert!(locator.is_news(agent().site, HOME));
        assert!(!locator.is_news(agent().site, HOME));
        assert!(locator.is_news(agent().site, ABROAD));
    }
}
