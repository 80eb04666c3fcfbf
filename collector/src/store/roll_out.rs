//! What a roll-out to many machines needs kept: rules that place agents, moving one by hand, who is a clone of whom.

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
    /// Notes that the machine of `agent` is a clone of that of `original`.
    async fn note_clone(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
        original: AgentId,
    ) -> StoreResult<()>;
    /// The agents whose machines are clones of this one's, of its clones, and so on.
    async fn clones_of(
        &self,
        organisation: &OrganisationId,
        original: AgentId,
    ) -> StoreResult<Vec<AgentId>>;
}
