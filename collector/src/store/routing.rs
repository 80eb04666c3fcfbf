//! Verdicts of routing as a store keeps them.

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
    /// Writes starts and ends in their order, in one transaction; returns when they are on disk.
    async fn put_verdicts(
        &self,
        organisation: &OrganisationId,
        verdicts: Vec<Verdict>,
        now_unix_ms: i64,
    ) -> StoreResult<()>;
    /// Ends all that are open: a collector that starts knows no route, and looks again.
    async fn end_open_verdicts(
        &self,
        organisation: &OrganisationId,
        now_unix_ms: i64,
    ) -> StoreResult<()>;
    /// Verdicts, the newest first.
    async fn verdicts(
        &self,
        organisation: &OrganisationId,
        query: VerdictQuery,
    ) -> StoreResult<Vec<RoutingVerdict>>;
}
