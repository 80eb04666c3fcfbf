//! Verdicts of routing as a store keeps them.

use std::collections::BTreeSet;

use async_trait::async_trait;
use firstmile_routing::verdict::Verdict;
use firstmile_wire::ids::OrganisationId;

use super::StoreResult;
use crate::api::types::RoutingVerdict;

/// Which verdicts are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerdictQuery {
    /// Only open (`Some(true)`) or only closed ones.
    pub open: Option<bool>,
    /// Started or still open at this time or later.
    pub from_unix_ms: i64,
    /// At most so many, the newest first.
    pub limit: u32,
}

/// The part of a store that keeps what routing says.
#[async_trait]
pub trait RoutingVerdicts: Send + Sync + 'static {
    /// Writes starts and ends in their order, in one transaction; returns when they are on disk, with the incidents
    /// that changed. A start of what is open already confirms it.
    /// What is more than to know becomes an incident, or joins the one of its cause: other verdicts, or paths that moved at the time.
    async fn put_verdicts(
        &self,
        organisation: &OrganisationId,
        verdicts: Vec<Verdict>,
        now_unix_ms: i64,
    ) -> StoreResult<BTreeSet<String>>;
    /// Ends those that are open and were not said since: a collector that starts knows no route, looks again, and says again what is
    /// still so.
    async fn end_unconfirmed_verdicts(
        &self,
        organisation: &OrganisationId,
        since_unix_ms: i64,
        now_unix_ms: i64,
    ) -> StoreResult<()>;
    /// Verdicts, the newest first.
    async fn verdicts(
        &self,
        organisation: &OrganisationId,
        query: VerdictQuery,
    ) -> StoreResult<Vec<RoutingVerdict>>;
}
