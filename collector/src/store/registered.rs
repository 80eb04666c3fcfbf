//! What is registered, kept: connections, prefixes and peerings, and the tokens by which scripts come in.

use std::sync::Arc;

use async_trait::async_trait;
use firstmile_peering::Resources;
use firstmile_peering::answer::Change;
use firstmile_wire::ids::OrganisationId;

use super::StoreResult;
use crate::auth::token::{Token, TokenDigest};

/// The part of a store that holds what is registered.
#[async_trait]
pub trait Registered: Send + Sync + 'static {
    /// All that an organisation registered, shared by all who ask while it stays so.
    async fn resources(&self, organisation: &OrganisationId) -> StoreResult<Arc<Resources>>;
    /// Writes changes and the audit line of `who`, in one transaction.
    async fn change_resources(
        &self,
        organisation: &OrganisationId,
        changes: Vec<Change>,
        now_unix_ms: i64,
        who: &str,
        what: &str,
    ) -> StoreResult<()>;
    /// Makes a token known, and writes the audit line of `who`. [`super::StoreError::Conflict`] if another one has its name.
    async fn put_token(&self, token: &Token, who: &str) -> StoreResult<()>;
    /// All tokens of an organisation, by name.
    async fn tokens(&self, organisation: &OrganisationId) -> StoreResult<Vec<Token>>;
    /// The token with this digest.
    async fn token(&self, digest: &TokenDigest) -> StoreResult<Option<Token>>;
    /// Takes a token back, and writes the audit line of `who`. False: there is none of that name.
    async fn revoke_token(
        &self,
        organisation: &OrganisationId,
        name: &str,
        now_unix_ms: i64,
        who: &str,
    ) -> StoreResult<bool>;
}
