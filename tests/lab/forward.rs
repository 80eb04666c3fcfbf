//! The road of reports out of the lab: TCP in the lab, a socket file across its border, TCP outside.
//!
//! A socket file is found by its path, whatever network namespace looks; so no privilege is needed to cross.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::task::TaskTracker;

/// The file at the border.
pub(crate) fn border(state: &Path) -> PathBuf {
    state.join("ingest.sock")
}

/// Inside: hands what comes to `listener` to the file.
pub(crate) fn outwards(tasks: &TaskTracker, listener: TcpListener, file: PathBuf) {
    let tracker = tasks.clone();
    tasks.spawn(async move {
        while let Ok((mut inner, _)) = listener.accept().await {
            let file = file.clone();
            tracker.spawn(async move {
                if let Ok(mut outer) = UnixStream::connect(&file).await {
                    // Either side may end it at any time.
                    drop(copy_bidirectional(&mut inner, &mut outer).await);
                }
            });
        }
    });
}

/// Outside: hands what comes to the file to the collector.
pub(crate) fn to_collector(
    tasks: &TaskTracker,
    file: &Path,
    collector: SocketAddr,
) -> anyhow::Result<()> {
    let listener =
        UnixListener::bind(file).with_context(|| format!("cannot listen at {}", file.display()))?;
    let tracker = tasks.clone();
    tasks.spawn(async move {
        while let Ok((mut inner, _)) = listener.accept().await {
            tracker.spawn(async move {
                // A collector that is away is a broken connection to the agent, as it would be anywhere.
                if let Ok(mut outer) = TcpStream::connect(collector).await {
                    drop(copy_bidirectional(&mut inner, &mut outer).await);
                }
            });
        }
    });
    Ok(())
}
