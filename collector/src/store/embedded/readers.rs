//! Connections that read, each on a snapshot of its own, on the runtime's blocking threads.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Transaction};
use tokio::sync::Semaphore;

use super::{engine, schema};
use crate::store::StoreResult;

/// Reads at once. They are bound by the processor, and there are few processors beside the rest of the collector.
const READERS: usize = 4;

/// The pool. Connections are opened when first needed and kept.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            idle: Arc::default(),
            permits: Arc::new(Semaphore::new(READERS)),
        }
    }

    /// Runs `work` on one snapshot.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(engine(action))?;
        let readers = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut connection = readers.take()?;
            let outcome = {
                let snapshot = connection.transaction().map_err(engine(action))?;
                work(&snapshot)
            };
            readers.lock().push(connection);
            outcome
        });
        read.await.map_err(engine(action))?
    }

    fn take(&self) -> StoreResult<Connection> {
        let idle = self.lock().pop();
        idle.map_or_else(|| schema::open_reader(&self.path), Ok)
    }

    /// A list of connections is whole between any two statements, so a panic elsewhere does not spoil it.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
