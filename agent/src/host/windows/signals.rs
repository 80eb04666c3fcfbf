//! What asks this program to end: the keys of a console, its closing, the end of the session, and the service manager.

use std::io;
use std::sync::OnceLock;

use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};
use tokio_util::sync::CancellationToken;

/// What the service manager cancels.
pub(super) fn stop() -> CancellationToken {
    static STOP: OnceLock<CancellationToken> = OnceLock::new();
    STOP.get_or_init(CancellationToken::new).clone()
}

/// What asks this program to end.
pub(crate) struct Signals {
    interrupt: CtrlC,
    break_key: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// As the operating system says.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: ctrl_c()?,
            break_key: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    /// Waits until one of them comes.
    pub(crate) async fn wait(&mut self) {
        let stop = stop();
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.break_key.recv() => {}
            _ = self.close.recv() => {}
            _ = self.shutdown.recv() => {}
            () = stop.cancelled() => {}
        }
    }
}
