//! The registry of connections, prefixes and peerings: the partner directory, what feeds show, and one change at a time.

use std::sync::{Arc, RwLock};

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
    sessions: RwLock<Arc<Sessions>>,
    changing: Mutex<()>,
}

impl Default for PeeringRegistry {
    fn default() -> Self {
        Self {
            directory: Directory::builtin(),
            sessions: RwLock::default(),
            changing: Mutex::new(()),
        }
    }
}

impl PeeringRegistry {
    /// What feeds show now.
    pub fn sessions(&self) -> Arc<Sessions> {
        let held = self.sessions.read();
        held.map(|sessions| Arc::clone(&sessions))
            .unwrap_or_default()
    }

    /// Replaces what feeds show: from now on prefixes are judged by it.
    pub fn show(&self, sessions: Sessions) {
        if let Ok(mut held) = self.sessions.write() {
            *held = Arc::new(sessions);
        }
    }

    /// Held from looking to writing, so that two requests cannot both find a prefix free.
    pub async fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }
}
