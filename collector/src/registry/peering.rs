//! The registry of connections, prefixes and peerings: the partner directory, what feeds show, and one change at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use firstmile_feeds::event::Event;
use firstmile_peering::Resources;
use firstmile_peering::desk::PrefixEvent;
use firstmile_peering::directory::{Directory, Provider};
use firstmile_peering::model::Resource;
use firstmile_peering::routes::Sessions;
use firstmile_wire::ids::OrganisationId;
use ipnet::IpNet;
use tokio::sync::MutexGuard;

use super::sessions::SessionTable;
use super::standings::Standings;
use crate::clock;

/// What is shared beside the store.
#[derive(Debug)]
pub struct PeeringRegistry {
    /// The partners.
    pub directory: Directory,
    /// Sessions between partners and Microsoft as connected feeds show them: none while no feed is connected, and then no
    /// rule about routes can be looked at.
    table: Mutex<SessionTable>,
    standings: Mutex<Standings>,
    changing: tokio::sync::Mutex<()>,
}

impl Default for PeeringRegistry {
    fn default() -> Self {
        Self::with_partners(&[])
    }
}

impl PeeringRegistry {
    /// A registry that knows the partners of the published lists and these; one of a name that is published takes its place.
    pub fn with_partners(partners: &[Provider]) -> Self {
        let mut directory = Directory::builtin();
        for partner in partners {
            directory.put(partner.clone());
        }
        Self {
            directory,
            table: Mutex::default(),
            standings: Mutex::default(),
            changing: tokio::sync::Mutex::new(()),
        }
    }

    /// Takes in what a feed says; `now` in Unix seconds.
    pub fn hear(&self, event: &Event, now: f64) {
        self.with(|table| table.apply(event, now));
    }

    /// Grows with each change of a route or a session.
    pub fn changes(&self) -> u64 {
        self.with(|table| table.changes())
    }

    /// What feeds show now of all prefixes that are registered; of the others nobody asks.
    pub fn sessions(&self, resources: &Resources, now_unix_ms: i64) -> Sessions {
        /// Prefixes that are looked up while the detector waits: below a millisecond.
        const AT_ONCE: usize = 500;
        let registered: BTreeSet<IpNet> = resources.all().filter_map(prefix_of).collect();
        let registered: Vec<IpNet> = registered.into_iter().collect();
        let mut sessions = self.with(|table| table.sessions(clock::seconds(now_unix_ms)));
        for some in registered.chunks(AT_ONCE) {
            self.with(|table| table.add_routes(some, &mut sessions));
        }
        sessions
    }

    /// Events of an organisation's prefixes on live sessions, newest first.
    pub fn events(&self, organisation: &OrganisationId) -> BTreeMap<IpNet, Vec<PrefixEvent>> {
        self.with_standings(|standings| standings.events(organisation))
    }

    pub(crate) fn with_standings<T>(&self, ask: impl FnOnce(&mut Standings) -> T) -> T {
        ask(&mut self
            .standings
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }

    fn with<T>(&self, ask: impl FnOnce(&mut SessionTable) -> T) -> T {
        ask(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Held from looking to writing, so that two requests cannot both find a prefix free.
    pub async fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }
}

/// The prefix that a customer or a partner registered.
fn prefix_of(resource: &Resource) -> Option<IpNet> {
    let of_customer = resource.properties.prefix().map(|one| one.prefix);
    let of_partner = || {
        resource
            .properties
            .registered_prefix()
            .map(|one| one.prefix)
    };
    of_customer.or_else(of_partner)
}
