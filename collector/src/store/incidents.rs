//! Incidents as a store gives them: found by time, by identity, and by what changed.

use async_trait::async_trait;
use firstmile_wire::ids::{AgentId, OrganisationId};

use super::StoreResult;
use crate::api::types::{Event, Incident};
use crate::ingest::batch::Round;

/// Which incidents are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentQuery {
    /// Open at this time or later.
    pub from_unix_ms: i64,
    /// Begun before.
    pub to_unix_ms: i64,
    /// Only open (`Some(true)`) or only closed ones.
    pub open: Option<bool>,
    /// Only with an event of this agent.
    pub agent: Option<AgentId>,
    /// At most so many, newest first.
    pub limit: u32,
}

/// The incidents of a store. An event that names one ([`Event::incident_id`]) makes it, and changes it with each change of its
/// own: there is nothing to write.
#[async_trait]
pub trait Incidents: Send + Sync {
    /// Writes events that no report tells of, over earlier states of themselves, in one transaction.
    async fn put_events(
        &self,
        organisation: &OrganisationId,
        events: Vec<Event>,
        now_unix_ms: i64,
    ) -> StoreResult<()>;
    /// Incidents, newest first.
    async fn incidents(
        &self,
        organisation: &OrganisationId,
        query: &IncidentQuery,
    ) -> StoreResult<Vec<Incident>>;
    /// One incident.
    async fn incident(
        &self,
        organisation: &OrganisationId,
        incident_id: &str,
    ) -> StoreResult<Incident>;
    /// Events of an incident, by onset, oldest first, at most `limit`.
    async fn incident_events(
        &self,
        organisation: &OrganisationId,
        incident_id: &str,
        limit: u32,
    ) -> StoreResult<Vec<Event>>;
    /// Incidents that changed after the change numbered `after`, as they are now, each with the number of its last change, in
    /// that order, at most `limit`. An incident that changes again comes again, with a higher number. From 0: all that are kept.
    async fn incident_changes(
        &self,
        organisation: &OrganisationId,
        after: u64,
        limit: u32,
    ) -> StoreResult<Vec<(u64, Incident)>>;
    /// The number of the last change of an incident, 0 before the first: where one begins who does not want the past.
    async fn last_incident_change(&self, organisation: &OrganisationId) -> StoreResult<u64>;
    /// The whole rounds that show the path before an event and after it, as far as there are any.
    async fn event_rounds(
        &self,
        organisation: &OrganisationId,
        event_id: &str,
    ) -> StoreResult<EventRounds>;
}

/// The whole rounds that show an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventRounds {
    /// The last on the usual path.
    pub before: Option<Round>,
    /// The first after the event was decided.
    pub after: Option<Round>,
}
