//! Where paths went, as a store tells it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use firstmile_wire::ids::{AgentId, OrganisationId};

use super::{Span, StoreResult};
use crate::api::types::Event;

/// Whose past is asked for, and of when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastQuery {
    /// Of these agents.
    pub agents: Vec<AgentId>,
    /// What lasted until this time or longer.
    pub from_unix_ms: i64,
    /// What began before this time.
    pub to_unix_ms: i64,
    /// At most so many spans of each path, the newest.
    pub spans_each: u32,
    /// At most so many failures of all of them, the newest.
    pub failures: u32,
}

/// The past of several agents' paths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// By agent and target, the newest first.
    pub spans: BTreeMap<(AgentId, String), Vec<Span>>,
    /// Events of targets that could not be reached, the newest first.
    pub failures: Vec<Event>,
}

/// The part of a store that tells where paths went.
#[async_trait]
pub trait PastPaths: Send + Sync + 'static {
    /// Newest identities of an agent's target, newest first.
    async fn spans(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
        target: &str,
        limit: u32,
    ) -> StoreResult<Vec<Span>>;
    /// The past of several agents, as of one moment.
    async fn past(&self, organisation: &OrganisationId, query: PastQuery) -> StoreResult<Past>;
}
