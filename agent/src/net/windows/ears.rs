//! What Windows tells of interfaces, addresses and routes.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use firstmile_sys::windows::network::{Change, Watch};
use tokio::sync::Notify;

use super::Heard;

/// A look at least once in so long, though nothing is told.
const QUIET: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
struct Told {
    heard: Mutex<Heard>,
    something: Notify,
}

/// Listens until dropped.
pub(super) struct Ears {
    told: Arc<Told>,
    _watch: Watch,
}

impl Ears {
    pub(super) fn open() -> io::Result<Self> {
        let told = Arc::new(Told::default());
        let teller = Arc::clone(&told);
        let watch = Watch::start(move |change| {
            let mut heard = teller.heard.lock().unwrap_or_else(PoisonError::into_inner);
            match change {
                Change::Interface => heard.link = true,
                Change::Address => heard.address = true,
                Change::Route => heard.route = true,
            }
            drop(heard);
            teller.something.notify_one();
        })?;
        Ok(Self {
            told,
            _watch: watch,
        })
    }

    /// Waits until something is told.
    pub(super) async fn wait(&mut self) -> io::Result<()> {
        // Out of patience: a look does no harm.
        drop(tokio::time::timeout(QUIET, self.told.something.notified()).await);
        Ok(())
    }

    /// Everything that was told since the last call.
    pub(super) fn take(&mut self) -> Heard {
        let mut heard = self
            .told
            .heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut heard)
    }
}
