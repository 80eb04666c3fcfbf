//! An endless loop on each processor: a machine with no time to spare.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// The loops; they end when this is dropped.
pub(crate) struct Spinners {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Spinners {
    /// Starts one on each processor, at normal priority.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let processors = std::thread::available_parallelism()
            .context("cannot count the processors")?
            .get();
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..processors)
            .map(|processor| spin(processor, Arc::clone(&stop)))
            .collect::<Result<_, _>>()?;
        Ok(Self { stop, threads })
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A loop cannot panic.
            drop(thread.join());
        }
    }
}

fn spin(processor: usize, stop: Arc<AtomicBool>) -> anyhow::Result<JoinHandle<()>> {
    let work = move || {
        let mut only = CpuSet::new();
        // Without a fixed place the scheduler spreads them: one for each processor all the same.
        only.set(processor)
            .and_then(|()| sched_setaffinity(Pid::from_raw(0), &only))
            .ok();
        let turns = AtomicU64::new(0);
        while !stop.load(Ordering::Relaxed) {
            turns.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::Builder::new()
        .name("spinner".to_owned())
        .spawn(work)
        .context("cannot start a spinner")
}
