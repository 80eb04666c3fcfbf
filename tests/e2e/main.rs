//! End to end: the real agent and the real collector in the lab. Each test brings up a lab of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

// All of this is test code; clippy allows `unwrap` in it where it is told so.
#[cfg(test)]
mod branches;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod hostile;
mod lifecycle;
mod outage;
#[cfg(test)]
mod protocols;
#[cfg(test)]
mod receivers;
#[cfg(test)]
mod reports;

use firstmile_lab::outer::Options;

/// Two labs at once would share two cores, and measure each other.
static ALONE: Mutex<()> = Mutex::new(());

/// Waits for the other tests to be done with the processor.
fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lab in `state`, of the programs that cargo built beside this test.
fn options(state: PathBuf) -> Options {
    let lab = PathBuf::from(env!("CARGO_BIN_EXE_firstmile-lab"));
    let built = |name: &str| {
        let program = lab.with_file_name(name);
        assert!(
            program.is_file(),
            "there is no {}: run `cargo build` first",
            program.display()
        );
        program
    };
    let dashboard = SocketAddr::from(([127, 0, 0, 1], 0));
    Options {
        state,
        agent: built("firstmile-agent"),
        collector: built("firstmile-collector"),
        lab: lab.clone(),
        dashboard,
        scenario: None,
        collector_more: String::new(),
    }
}

/// A runtime with the TLS provider that HTTP clients need.
fn runtime() -> tokio::runtime::Runtime {
    // The second test finds it installed already.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs nothing that could be missing")
}
