//! What a roll-out to many machines needs kept: rules that place agents, and moving one by hand.

use async_trait::async_trait;
use firstmile_wire::ids::{AgentId, OrganisationId};

use super::StoreResult;
use crate::registry::SiteId;
use crate::registry::placing::{Rule, SiteRule};

/// The part of a store that places agents.
#[async_trait]
pub trait RollOut: Send + Sync + 'static {
    /// The rules of all sites.
    async fn site_rules(&self, organisation: &OrganisationId) -> StoreResult<Vec<SiteRule>>;
    /// Gives a site these rules and no others. One that was another site's is this one's from now on.
    async fn put_site_rules(
        &self,
        organisation: &OrganisationId,
        site: SiteId,
        rules: Vec<Rule>,
    ) -> StoreResult<()>;
    /// Moves an agent to a site, and writes the audit line of `who`, in one transaction. Recent figures move along. False: it
    /// was there before.
    async fn move_agent(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
        site: SiteId,
        now_unix_ms: i64,
        who: &str,
    ) -> StoreResult<bool>;
}
