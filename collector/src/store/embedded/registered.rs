//! What is registered of connections and prefixes, and tokens.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use firstmile_peering::Resources;
use firstmile_peering::answer::Change;
use firstmile_peering::model::{Resource, StoredError};
use firstmile_wire::ids::OrganisationId;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::registry::{all, audit};
use super::writer::Durability;
use super::{Embedded, engine};
use crate::auth::token::{Role, Token, TokenDigest};
use crate::store::registered::Registered;
use crate::store::{StoreError, StoreResult};

const TOKEN_COLUMNS: &str = "digest, organisation, name, role, created_unix_ms, expires_unix_ms";

/// What was read last, so that ten thousand registrations are not read for each request. What a transaction sees of
/// `peering_revision` says whether it still is so.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Option<Read>>);

#[derive(Clone, Debug)]
struct Read {
    organisation: OrganisationId,
    revision: i64,
    resources: Arc<Resources>,
}

impl Kept {
    fn as_of(
        &self,
        tx: &Transaction<'_>,
        organisation: &OrganisationId,
    ) -> StoreResult<Arc<Resources>> {
        let revision = revision(tx, organisation)?;
        let known = self.lock().clone();
        let known =
            known.filter(|read| read.organisation == *organisation && read.revision == revision);
        if let Some(read) = known {
            return Ok(read.resources);
        }
        let resources = Arc::new(resources(tx, organisation)?);
        *self.lock() = Some(Read {
            organisation: organisation.clone(),
            revision,
            resources: Arc::clone(&resources),
        });
        Ok(resources)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Read>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Registered for Embedded {
    async fn resources(&self, organisation: &OrganisationId) -> StoreResult<Arc<Resources>> {
        let (organisation, kept) = (organisation.clone(), Arc::clone(&self.registered));
        self.readers
            .run("read what is registered", move |tx| {
                kept.as_of(tx, &organisation)
            })
            .await
    }

    async fn change_resources(
        &self,
        organisation: &OrganisationId,
        changes: Vec<Change>,
        now_unix_ms: i64,
        who: &str,
        what: &str,
    ) -> StoreResult<()> {
        let (organisation, who, what) = (organisation.clone(), who.to_owned(), what.to_owned());
        let write = move |tx: &Transaction<'_>| {
            for change in &changes {
                change_resource(tx, &organisation, change, now_unix_ms)?;
            }
            revise(tx, &organisation)?;
            audit(tx, &organisation, now_unix_ms, &who, &what)
        };
        self.writer
            .run(Durability::Full, "write what is registered", write)
            .await
    }

    async fn put_token(&self, token: &Token, who: &str) -> StoreResult<()> {
        let (token, who) = (token.clone(), who.to_owned());
        self.writer
            .run(Durability::Full, "write a token", move |tx| {
                put_token(tx, &token, &who)
            })
            .await
    }

    async fn tokens(&self, organisation: &OrganisationId) -> StoreResult<Vec<Token>> {
        let organisation = organisation.clone();
        self.readers
            .run("read tokens", move |tx| {
                let sql = format!(
                    "SELECT {TOKEN_COLUMNS} FROM api_token WHERE organisation = ?1 ORDER BY name"
                );
                all(tx, &sql, [organisation.as_str()], token_of)
            })
            .await
    }

    async fn token(&self, digest: &TokenDigest) -> StoreResult<Option<Token>> {
        let digest = *digest;
        let read = self.readers.run("read a token", move |tx| {
            let sql = format!("SELECT {TOKEN_COLUMNS} FROM api_token WHERE digest = ?1");
            all(tx, &sql, [digest], token_of)
        });
        Ok(read.await?.pop())
    }

    async fn revoke_token(
        &self,
        organisation: &OrganisationId,
        name: &str,
        now_unix_ms: i64,
        who: &str,
    ) -> StoreResult<bool> {
        let (organisation, name, who) = (organisation.clone(), name.to_owned(), who.to_owned());
        let write = move |tx: &Transaction<'_>| {
            let sql = "DELETE FROM api_token WHERE organisation = ?1 AND name = ?2";
            let gone = tx
                .execute(sql, params![organisation.as_str(), name])
                .map_err(engine("take a token back"))?;
            if gone > 0 {
                let line = format!("token {name} taken back");
                audit(tx, &organisation, now_unix_ms, &who, &line)?;
            }
            Ok(gone > 0)
        };
        self.writer
            .run(Durability::Full, "take a token back", write)
            .await
    }
}

/// How often what is registered was changed.
fn revision(tx: &Transaction<'_>, organisation: &OrganisationId) -> StoreResult<i64> {
    let sql = "SELECT revision FROM peering_revision WHERE organisation = ?1";
    tx.query_row(sql, [organisation.as_str()], |row| row.get(0))
        .optional()
        .map(Option::unwrap_or_default)
        .map_err(engine("read what is registered"))
}

fn revise(tx: &Transaction<'_>, organisation: &OrganisationId) -> StoreResult<()> {
    let sql = "INSERT INTO peering_revision (organisation, revision) VALUES (?1, 1)
         ON CONFLICT DO UPDATE SET revision = revision + 1";
    tx.execute(sql, [organisation.as_str()])
        .map(|_| ())
        .map_err(engine("write what is registered"))
}

/// All that is registered.
pub(super) fn resources(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
) -> StoreResult<Resources> {
    let sql = "SELECT body FROM peering_resource WHERE organisation = ?1 ORDER BY id";
    let found = all(tx, sql, [organisation.as_str()], resource_of)?;
    Ok(found.into_iter().collect())
}

fn resource_of(row: &Row<'_>) -> StoreResult<Resource> {
    let text: String = row.get(0).map_err(engine("read what is registered"))?;
    Resource::from_stored(&text).map_err(|error| damaged(&error))
}

fn damaged(error: &StoredError) -> StoreError {
    StoreError::Damaged {
        what: "a registered resource",
        detail: error.to_string(),
    }
}

fn change_resource(
    tx: &Transaction<'_>,
    organisation: &OrganisationId,
    change: &Change,
    now_unix_ms: i64,
) -> StoreResult<()> {
    let outcome = match change {
        Change::Put(resource) => {
            let body = resource.to_stored().map_err(|error| damaged(&error))?;
            tx.execute(
                "INSERT INTO peering_resource (organisation, id, body, changed_unix_ms) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET body = excluded.body, changed_unix_ms = excluded.changed_unix_ms",
                params![organisation.as_str(), resource.id.key(), body, now_unix_ms],
            )
        }
        Change::Delete(id) => tx.execute(
            "DELETE FROM peering_resource WHERE organisation = ?1 AND id = ?2",
            params![organisation.as_str(), id.key()],
        ),
    };
    outcome
        .map(drop)
        .map_err(engine("write what is registered"))
}

fn put_token(tx: &Transaction<'_>, token: &Token, who: &str) -> StoreResult<()> {
    // One that ended gives its name back.
    tx.execute(
        "DELETE FROM api_token WHERE organisation = ?1 AND name = ?2 AND expires_unix_ms <= ?3",
        params![
            token.organisation.as_str(),
            token.name,
            token.created_unix_ms
        ],
    )
    .map_err(engine("write a token"))?;
    let written = tx
        .execute(
            "INSERT INTO api_token (digest, organisation, name, role, created_unix_ms, expires_unix_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            params![
                token.digest,
                token.organisation.as_str(),
                token.name,
                token.role.as_str(),
                token.created_unix_ms,
                token.expires_unix_ms
            ],
        )
        .map_err(engine("write a token"))?;
    if written == 0 {
        return Err(StoreError::Conflict {
            what: "token",
            key: token.name.clone(),
        });
    }
    let line = format!("token {} made, {}", token.name, token.role);
    audit(tx, &token.organisation, token.created_unix_ms, who, &line)
}

fn token_of(row: &Row<'_>) -> StoreResult<Token> {
    type Columns = (TokenDigest, String, String, String, i64, i64);
    let read = || -> rusqlite::Result<Columns> {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
        ))
    };
    let (digest, organisation, name, role, created_unix_ms, expires_unix_ms) =
        read().map_err(engine("read a token"))?;
    let damaged = |detail: String| StoreError::Damaged {
        what: "a token",
        detail,
    };
    Ok(Token {
        digest,
        organisation: OrganisationId::try_from(organisation)
            .map_err(|error| damaged(error.to_string()))?,
        name,
        role: role
            .parse::<Role>()
            .map_err(|error| damaged(error.to_string()))?,
        created_unix_ms,
        expires_unix_ms,
    })
}
