//! The registry of connections, prefixes and peerings: the partner directory, what feeds show, and one change at a time.

use firstmile_peering::directory::Directory;
use firstmile_peering::routes::Sessions;
use tokio::sync::{Mutex, MutexGuard};

/// What is shared beside the store.
#[derive(Debug)]
pub struct PeeringRegistry {
    /// The partners.
    pub directory: Directory,
    /// Sessions between partners and Microsoft as connected feeds show them: none while no feed is connected, and then no
    /// rule about routes can be looked at.
    pub sessions: Sessions,
    changing: Mutex<()>,
}

impl Default for PeeringRegistry {
    fn default() -> Self {
        Self {
            directory: Directory::builtin(),
            sessions: Sessions::new(),
            changing: Mutex::new(()),
        }
    }
}

impl PeeringRegistry {
    /// Held from looking to writing, so that two requests cannot both find a prefix free.
    pub async fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }
}
