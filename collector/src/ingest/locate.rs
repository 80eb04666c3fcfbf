//! The country of a site that declares none: that of the address its agent's reports come from.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{info, warn};

use super::refusal::with_sources;
use crate::geo::{Geography, GeographySource, Meaning};
use crate::registry::{Agent, SiteId};
use crate::store::{Store, StoreResult};

/// Sites whose address is remembered; beyond it memory starts anew.
const MAX_REMEMBERED: usize = 20_000;

/// Looks a site's country up once for each address that it comes from.
pub struct Locator {
    meaning: Arc<Meaning>,
    seen: Mutex<BTreeMap<SiteId, IpAddr>>,
}

impl Locator {
    /// With the country table of `meaning`.
    pub fn new(meaning: Arc<Meaning>) -> Self {
        Self {
            meaning,
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
        let Some(country) = self.meaning.country(peer) else {
            return Ok(());
        };
        let mut site = store.site(&agent.organisation, agent.site).await?;
        if site.geography.source == GeographySource::Declared
            || site.geography.country.as_ref() == Some(&country)
        {
            return Ok(());
        }
        info!(
            site = site.name,
            country, "country of a site taken from its address"
        );
        site.geography = Geography {
            country: Some(country),
            source: GeographySource::CountryTable,
            ..Geography::default()
        };
        store.put_site(&site).await
    }
}
