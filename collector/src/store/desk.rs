//! What people say of incidents: who looks after one, notes, change windows, and the time zones of sites.

use std::collections::BTreeMap;

use async_trait::async_trait;
use firstmile_wire::ids::{AgentId, OrganisationId};

use super::StoreResult;
use crate::notify::core::mute::WindowWish;
use crate::registry::SiteId;
use crate::store::InboxReport;

/// Notes of one incident.
pub const NOTES_MAX: u32 = 200;
/// Change windows of one organisation.
pub const WINDOWS_MAX: u32 = 500;

/// Who does something, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doing {
    /// When.
    pub at_unix_ms: i64,
    /// Who.
    pub who: String,
}

/// A note of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Who wrote it, and when.
    pub by: Doing,
    /// What it says.
    pub text: String,
}

/// What people said of an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Who looks after it.
    pub acknowledged: Option<Doing>,
    /// Notes, oldest first.
    pub notes: Vec<Note>,
}

/// A change window as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptWindow {
    /// Its identity.
    pub id: String,
    /// Who made it, and when.
    pub by: Doing,
    /// What was asked for.
    pub wish: WindowWish,
}

/// The part of a store that people write to. Each change has its line in the audit log, in the same transaction.
#[async_trait]
pub trait Desk: Send + Sync {
    /// Notes who looks after an incident, or that nobody does. The first one stays until it is taken back. False: nothing changed.
    async fn acknowledge(
        &self,
        organisation: &OrganisationId,
        incident_id: &str,
        by: Doing,
        on: bool,
    ) -> StoreResult<bool>;
    /// Adds a note. [`super::StoreError::Conflict`]: there are [`NOTES_MAX`] already.
    async fn add_note(
        &self,
        organisation: &OrganisationId,
        incident_id: &str,
        note: Note,
    ) -> StoreResult<()>;
    /// What people said of an incident.
    async fn marks(&self, organisation: &OrganisationId, incident_id: &str) -> StoreResult<Marks>;
    /// The change windows.
    async fn windows(&self, organisation: &OrganisationId) -> StoreResult<Vec<KeptWindow>>;
    /// Makes a window. [`super::StoreError::Conflict`]: there are [`WINDOWS_MAX`] already.
    async fn put_window(
        &self,
        organisation: &OrganisationId,
        window: KeptWindow,
    ) -> StoreResult<()>;
    /// Takes a window away. False: there was none.
    async fn delete_window(
        &self,
        organisation: &OrganisationId,
        id: &str,
        by: Doing,
    ) -> StoreResult<bool>;
    /// Reports of an agent as they were received in a span, oldest first, at most `limit`; for evidence.
    async fn reports_of(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
        received_unix_ms: (i64, i64),
        limit: u32,
    ) -> StoreResult<Vec<InboxReport>>;
    /// IANA time zones of sites, by the identity of the site.
    async fn site_zones(
        &self,
        organisation: &OrganisationId,
    ) -> StoreResult<BTreeMap<String, String>>;
    /// Declares the time zone of a site, or that it has none.
    async fn put_site_zone(
        &self,
        organisation: &OrganisationId,
        site: SiteId,
        zone: Option<String>,
        by: Doing,
    ) -> StoreResult<()>;
}
