//! Join strings: how a new agent is invited to a site.

use std::sync::Arc;
use std::time::Duration;

use firstmile_wire::ids::OrganisationId;
use firstmile_wire::join::{CaHash, JoinSecret, JoinString};
use url::Url;
use uuid::Uuid;

use super::{JoinGrant, Site, SiteId};
use crate::geo::{Geography, GeographySource};
use crate::store::{Store, StoreError};

/// Life of a join string when nothing else is asked for.
pub const DEFAULT_LIFE: Duration = Duration::from_hours(24);
/// Shortest and longest life: a minute to paste it, a year for images that are rolled out slowly.
pub const LIFE: std::ops::RangeInclusive<Duration> =
    Duration::from_mins(1)..=Duration::from_hours(24 * 366);

/// Agents that one join string may let in: the largest roll-outs come in waves.
pub const USES: std::ops::RangeInclusive<u32> = 1..=100_000;

/// Who is invited to where.
#[derive(Clone, Debug, PartialEq)]
pub struct Invitation {
    /// Name of the site; it is made if it does not exist. `None`: the rules of the sites say, for each agent.
    pub site: Option<String>,
    /// What is declared of a new site; of one that exists, what is given here replaces what was declared.
    pub geography: Geography,
    /// Life of the join string.
    pub life: Duration,
    /// Agents that it lets in.
    pub uses: u32,
}

/// A fresh join string.
#[derive(Clone, Debug)]
pub struct Invited {
    /// The string; nothing keeps its secret but this value.
    pub join: JoinString,
    /// Its site; `None`: the rules of the sites say.
    pub site: Option<Site>,
    /// When it ends.
    pub expires_unix_ms: i64,
}

/// Why there is no join string.
#[derive(Debug, thiserror::Error)]
pub enum InviteError {
    /// The site's name cannot be used.
    #[error("a site's name is 1 to 100 printable characters")]
    Name,
    /// The life cannot be used.
    #[error("a join string lives from one minute to 366 days")]
    Life,
    /// The number of agents cannot be used.
    #[error("a join string lets in from 1 to 100000 agents")]
    Uses,
    /// The store failed.
    #[error("the join string cannot be kept")]
    Store(#[from] StoreError),
}

/// Makes join strings of this collector.
#[derive(Clone)]
pub struct Inviter {
    store: Arc<dyn Store>,
    collector: Url,
    ca: CaHash,
}

impl Inviter {
    /// For the collector at this URL with this CA.
    pub fn new(store: Arc<dyn Store>, collector: Url, ca: CaHash) -> Self {
        Self {
            store,
            collector,
            ca,
        }
    }

    /// Makes a join string, and its site if that is new.
    ///
    /// # Errors
    /// See [`InviteError`].
    pub async fn invite(
        &self,
        organisation: &OrganisationId,
        invitation: Invitation,
        now_unix_ms: i64,
    ) -> Result<Invited, InviteError> {
        if !LIFE.contains(&invitation.life) {
            return Err(InviteError::Life);
        }
        if !USES.contains(&invitation.uses) {
            return Err(InviteError::Uses);
        }
        let site = match &invitation.site {
            Some(name) => {
                let name = site_name(name)?;
                Some(self.site(organisation, name, invitation.geography).await?)
            }
            None => None,
        };
        let secret = JoinSecret::new(rand::random());
        let life_ms = i64::try_from(invitation.life.as_millis()).map_err(|_| InviteError::Life)?;
        let expires_unix_ms = now_unix_ms.saturating_add(life_ms);
        let grant = JoinGrant {
            secret_digest: secret.digest(),
            organisation: organisation.clone(),
            site: site.as_ref().map(|site| site.id),
            created_unix_ms: now_unix_ms,
            expires_unix_ms,
            uses_max: invitation.uses,
            uses: 0,
            spent: None,
            revoked: false,
        };
        self.store.put_join_grant(&grant).await?;
        let join = JoinString {
            collector: self.collector.clone(),
            ca: self.ca,
            secret,
        };
        Ok(Invited {
            join,
            site,
            expires_unix_ms,
        })
    }

    /// Takes a join string back, for the principal `who`. `None`: this collector made no such join string.
    ///
    /// # Errors
    /// [`InviteError::Store`].
    pub async fn revoke(
        &self,
        organisation: &OrganisationId,
        secret: &JoinSecret,
        now_unix_ms: i64,
        who: &str,
    ) -> Result<Option<JoinGrant>, InviteError> {
        let found = self.store.join_grant(&secret.digest()).await?;
        let Some(mut grant) = found.filter(|grant| grant.organisation == *organisation) else {
            return Ok(None);
        };
        grant.revoked = true;
        self.store.put_join_grant(&grant).await?;
        let of = grant.site.map_or_else(
            || "placed by rules".to_owned(),
            |site| format!("of site {site}"),
        );
        let line = format!("took back a join string {of}");
        self.store
            .audit(organisation, now_unix_ms, who, &line)
            .await?;
        Ok(Some(grant))
    }

    async fn site(
        &self,
        organisation: &OrganisationId,
        name: &str,
        declared: Geography,
    ) -> Result<Site, InviteError> {
        let known = self.store.site_by_name(organisation, name).await?;
        let site = match known {
            Some(site) if declared == Geography::default() => return Ok(site),
            Some(site) => Site {
                geography: merge(site.geography, declared),
                ..site
            },
            None => Site {
                id: SiteId(Uuid::new_v4()),
                organisation: organisation.clone(),
                name: name.to_owned(),
                geography: merge(Geography::default(), declared),
            },
        };
        self.store.put_site(&site).await?;
        Ok(site)
    }
}

/// The name of a site as it is kept: trimmed, printable, not too long for a table.
///
/// # Errors
/// [`InviteError::Name`].
pub fn site_name(name: &str) -> Result<&str, InviteError> {
    let name = name.trim();
    let good = (1..=100).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if good {
        Ok(name)
    } else {
        Err(InviteError::Name)
    }
}

fn merge(known: Geography, declared: Geography) -> Geography {
    let says_something = declared != Geography::default();
    Geography {
        country: declared.country.or(known.country),
        subdivision: declared.subdivision.or(known.subdivision),
        metro: declared.metro.or(known.metro),
        latitude: declared.latitude.or(known.latitude),
        longitude: declared.longitude.or(known.longitude),
        source: if says_something {
            GeographySource::Declared
        } else {
            known.source
        },
    }
}
