//! The store inside the collector's own process: one `SQLite` file, one thread that writes, a few connections that read.
//!
//! Every write is one transaction on the writer's thread, so writes never wait for each other's locks; another process (the
//! command `join-string`) may write in between: the file's lock orders the two. Reads run on snapshots and wait for nobody.

mod apply;
mod ask;
mod before;
mod cell_table;
mod cells;
mod copy;
mod desk;
mod dictionary;
mod dirty;
mod events;
mod extent;
mod facts;
mod forms;
mod history;
mod inbox;
mod incidents;
mod joined;
mod maintain;
mod naming;
mod notifying;
mod opening;
mod past;
mod paths;
mod plan;
mod raw;
mod readers;
mod registered;
mod registry;
mod retention;
mod roll_out;
mod rolled;
mod route_counts;
mod routing;
mod sampled;
mod samples;
mod schema;
mod vantage;
mod writer;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use firstmile_wire::ids::{AgentId, Epoch, OrganisationId, ReportKey};

pub use self::copy::{Checked, check, copy_into, has_days, is_file_of, is_in};
pub use self::opening::{open, open_with};
use self::readers::Readers;
pub use self::retention::Retention;
use self::samples::Samples;
pub use self::schema::FILE_NAME;
use self::writer::{Durability, Writer};
use super::{
    Appended, Applied, Before, ByAgent, CellQuery, CellRow, EventQuery, InboxReport,
    ProtocolHistory, SampleQuery, Scope, Sender, Store, StoreError, StoreResult,
};
use crate::api::types::Event;
use crate::detect::{PathBrief, PathMemory};
use crate::ingest::batch::{Resolution, Round, Sample, Sighting};
use crate::ingest::facts::{Fact, FactKind};
use crate::registry::{Agent, JoinGrant, Site, SiteId, Target};

/// The embedded store. Dropping it finishes what is queued and closes the file.
#[derive(Debug)]
pub struct Embedded {
    writer: Writer,
    readers: Readers,
    retention: Retention,
    samples: Arc<Samples>,
    registered: Arc<registered::Kept>,
}

/// Names what was tried when the engine failed.
fn engine<E>(action: &'static str) -> impl FnOnce(E) -> StoreError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |source| StoreError::Engine {
        action,
        source: source.into(),
    }
}

/// Milliseconds of a duration; a silly one is forever.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[async_trait]
impl Store for Embedded {
    async fn append(&self, reports: Vec<InboxReport>) -> StoreResult<Vec<Appended>> {
        self.writer.append(reports).await
    }

    async fn watermark(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
        epoch: Epoch,
    ) -> StoreResult<u64> {
        let organisation = organisation.clone();
        self.readers
            .run("read a watermark", move |tx| {
                inbox::watermark(tx, &organisation, agent, epoch)
            })
            .await
    }

    async fn watermarks(&self, keys: &[ReportKey]) -> StoreResult<Vec<u64>> {
        let keys = keys.to_vec();
        self.readers
            .run("read watermarks", move |tx| {
                let mark =
                    |key: &ReportKey| inbox::watermark(tx, &key.organisation, key.agent, key.epoch);
                keys.iter().map(mark).collect()
            })
            .await
    }

    async fn pending(&self, limit: u32) -> StoreResult<Vec<InboxReport>> {
        self.readers
            .run("read its inbox", move |tx| inbox::pending(tx, limit))
            .await
    }

    async fn apply(&self, key: &ReportKey, applied: Applied) -> StoreResult<()> {
        apply::run(self, key, applied).await
    }

    async fn apply_all(&self, reports: Vec<(ReportKey, Applied)>) -> StoreResult<()> {
        apply::run_all(self, reports).await
    }

    async fn before(&self, senders: Vec<Sender>) -> StoreResult<Vec<StoreResult<Before>>> {
        self.readers
            .run("read what it knows of agents", move |tx| {
                let each = senders.iter().map(|sender| before::read(tx, sender));
                Ok(each.collect())
            })
            .await
    }

    async fn set_aside(&self, key: &ReportKey, reason: &str) -> StoreResult<()> {
        let (key, reason) = (key.clone(), reason.to_owned());
        self.writer
            .run(Durability::Full, "set a report aside", move |tx| {
                inbox::set_aside(tx, &key, &reason)
            })
            .await
    }

    async fn maintain(&self, now_unix_ms: i64) -> StoreResult<()> {
        maintain::run(self, now_unix_ms).await
    }

    async fn cells(
        &self,
        organisation: &OrganisationId,
        query: &CellQuery,
    ) -> StoreResult<Vec<CellRow>> {
        let (organisation, query) = (organisation.clone(), query.clone());
        let samples = Arc::clone(&self.samples);
        self.readers
            .run("read cells", move |tx| {
                ask::cells(tx, &samples, &organisation, &query)
            })
            .await
    }

    async fn samples(
        &self,
        organisation: &OrganisationId,
        query: &SampleQuery,
    ) -> StoreResult<Vec<Sample>> {
        let (organisation, query) = (organisation.clone(), query.clone());
        let samples = Arc::clone(&self.samples);
        self.readers
            .run("read samples", move |tx| {
                sampled::of_agent(tx, &samples, &organisation, &query)
            })
            .await
    }

    async fn protocol_histories(
        &self,
        organisation: &OrganisationId,
        scope: &Scope,
    ) -> StoreResult<ByAgent<(String, ProtocolHistory)>> {
        let (organisation, scope) = (organisation.clone(), scope.clone());
        self.readers
            .run("read what protocols did", move |tx| {
                vantage::protocol_histories(tx, &organisation, &scope)
            })
            .await
    }

    async fn path_briefs(
        &self,
        organisation: &OrganisationId,
        scope: &Scope,
    ) -> StoreResult<ByAgent<(String, PathBrief)>> {
        let (organisation, scope) = (organisation.clone(), scope.clone());
        self.readers
            .run("read paths in brief", move |tx| {
                paths::briefs(tx, &organisation, &scope)
            })
            .await
    }

    async fn destinations(
        &self,
        organisation: &OrganisationId,
        scope: &Scope,
    ) -> StoreResult<ByAgent<(String, IpAddr)>> {
        let (organisation, scope) = (organisation.clone(), scope.clone());
        self.readers
            .run("read where paths go", move |tx| {
                paths::destinations(tx, &organisation, &scope)
            })
            .await
    }

    async fn path_memories(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
    ) -> StoreResult<BTreeMap<String, PathMemory>> {
        let organisation = organisation.clone();
        self.readers
            .run("read what it remembers of paths", move |tx| {
                paths::memories(tx, &organisation, agent)
            })
            .await
    }

    async fn latest_rounds(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
    ) -> StoreResult<Vec<Round>> {
        let organisation = organisation.clone();
        self.readers
            .run("read path rounds", move |tx| {
                paths::latest_rounds(tx, &organisation, agent)
            })
            .await
    }

    async fn hop_names(
        &self,
        organisation: &OrganisationId,
        addresses: &[String],
    ) -> StoreResult<BTreeMap<String, String>> {
        let (organisation, addresses) = (organisation.clone(), addresses.to_vec());
        self.readers
            .run("read names of hops", move |tx| {
                paths::hop_names(tx, &organisation, &addresses)
            })
            .await
    }

    async fn sightings(
        &self,
        organisation: &OrganisationId,
        scope: &Scope,
    ) -> StoreResult<ByAgent<Sighting>> {
        let (organisation, scope) = (organisation.clone(), scope.clone());
        self.readers
            .run("read edge sightings", move |tx| {
                paths::sightings(tx, &organisation, &scope)
            })
            .await
    }

    async fn resolutions(
        &self,
        organisation: &OrganisationId,
        scope: &Scope,
    ) -> StoreResult<ByAgent<Resolution>> {
        let (organisation, scope) = (organisation.clone(), scope.clone());
        self.readers
            .run("read resolutions", move |tx| {
                paths::resolutions(tx, &organisation, &scope)
            })
            .await
    }

    async fn facts(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
        kind: FactKind,
    ) -> StoreResult<Vec<Fact>> {
        let organisation = organisation.clone();
        self.readers
            .run("read facts of an agent", move |tx| {
                facts::of_agent(tx, &organisation, agent, kind)
            })
            .await
    }

    async fn targets(
        &self,
        organisation: &OrganisationId,
        scope: &Scope,
    ) -> StoreResult<ByAgent<Target>> {
        let (organisation, scope) = (organisation.clone(), scope.clone());
        self.readers
            .run("read targets", move |tx| {
                paths::targets(tx, &organisation, &scope)
            })
            .await
    }

    async fn events(
        &self,
        organisation: &OrganisationId,
        query: &EventQuery,
    ) -> StoreResult<Vec<Event>> {
        let (organisation, query) = (organisation.clone(), query.clone());
        self.readers
            .run("read events", move |tx| {
                events::events(tx, &organisation, &query)
            })
            .await
    }

    async fn event(&self, organisation: &OrganisationId, event_id: &str) -> StoreResult<Event> {
        let (organisation, event_id) = (organisation.clone(), event_id.to_owned());
        self.readers
            .run("read an event", move |tx| {
                events::event(tx, &organisation, &event_id)
            })
            .await
    }

    async fn organisations(&self) -> StoreResult<Vec<OrganisationId>> {
        self.readers
            .run("read organisations", registry::organisations)
            .await
    }

    async fn sites(&self, organisation: &OrganisationId) -> StoreResult<Vec<Site>> {
        let organisation = organisation.clone();
        self.readers
            .run("read sites", move |tx| registry::sites(tx, &organisation))
            .await
    }

    async fn site(&self, organisation: &OrganisationId, site: SiteId) -> StoreResult<Site> {
        let organisation = organisation.clone();
        self.readers
            .run("read a site", move |tx| {
                registry::site(tx, &organisation, site)
            })
            .await
    }

    async fn site_by_name(
        &self,
        organisation: &OrganisationId,
        name: &str,
    ) -> StoreResult<Option<Site>> {
        let (organisation, name) = (organisation.clone(), name.to_owned());
        self.readers
            .run("read a site", move |tx| {
                registry::site_by_name(tx, &organisation, &name)
            })
            .await
    }

    async fn put_site(&self, site: &Site) -> StoreResult<()> {
        let site = site.clone();
        self.writer
            .run(Durability::Full, "write a site", move |tx| {
                registry::put_site(tx, &site)
            })
            .await
    }

    async fn note_country(
        &self,
        organisation: &OrganisationId,
        site: SiteId,
        country: &str,
    ) -> StoreResult<bool> {
        let (organisation, country) = (organisation.clone(), country.to_owned());
        self.writer
            .run(Durability::Full, "note a country", move |tx| {
                registry::note_country(tx, &organisation, site, &country)
            })
            .await
    }

    async fn agents(&self, organisation: &OrganisationId) -> StoreResult<Vec<Agent>> {
        let organisation = organisation.clone();
        self.readers
            .run("read agents", move |tx| registry::agents(tx, &organisation))
            .await
    }

    async fn agent(&self, organisation: &OrganisationId, agent: AgentId) -> StoreResult<Agent> {
        let organisation = organisation.clone();
        self.readers
            .run("read an agent", move |tx| {
                registry::agent(tx, &organisation, agent)
            })
            .await
    }

    async fn put_join_grant(&self, grant: &JoinGrant) -> StoreResult<()> {
        let grant = grant.clone();
        self.writer
            .run(Durability::Full, "write a join string", move |tx| {
                registry::put_join_grant(tx, &grant)
            })
            .await
    }

    async fn join_grant(&self, secret_digest: &[u8; 32]) -> StoreResult<Option<JoinGrant>> {
        let digest = *secret_digest;
        self.readers
            .run("read a join string", move |tx| {
                registry::join_grant(tx, &digest)
            })
            .await
    }

    async fn enroll(
        &self,
        secret_digest: &[u8; 32],
        now_unix_ms: i64,
        agent: &Agent,
    ) -> StoreResult<bool> {
        let (digest, agent) = (*secret_digest, agent.clone());
        self.writer
            .run(Durability::Full, "enrol an agent", move |tx| {
                registry::enroll(tx, &digest, now_unix_ms, &agent)
            })
            .await
    }

    async fn revoke_agent(
        &self,
        organisation: &OrganisationId,
        agent: AgentId,
        now_unix_ms: i64,
        who: &str,
    ) -> StoreResult<bool> {
        let (organisation, who) = (organisation.clone(), who.to_owned());
        self.writer
            .run(Durability::Full, "revoke an agent", move |tx| {
                registry::revoke_agent(tx, &organisation, agent, now_unix_ms, &who)
            })
            .await
    }

    async fn audit(
        &self,
        organisation: &OrganisationId,
        at_unix_ms: i64,
        who: &str,
        what: &str,
    ) -> StoreResult<()> {
        let (organisation, who, what) = (organisation.clone(), who.to_owned(), what.to_owned());
        self.writer
            .run(Durability::Full, "write its audit log", move |tx| {
                registry::audit(tx, &organisation, at_unix_ms, &who, &what)
            })
            .await
    }
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod samples_tests;
#[cfg(test)]
mod tests;
