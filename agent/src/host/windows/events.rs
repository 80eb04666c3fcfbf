//! Warnings and errors of the log, in the Event Log: a service has no standard error.

use std::io::{self, Write};
use std::sync::OnceLock;

use firstmile_sys::windows::events::{Level, Source};
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

/// Name of the source.
pub(crate) const SOURCE: &str = "firstmile-agent";

/// Makes an event of each line of the log that is a warning or an error.
pub(crate) struct EventLog;

/// One line.
pub(crate) struct Line(Option<Level>);

impl<'a> MakeWriter<'a> for EventLog {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(None)
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line {
        Line(match *meta.level() {
            tracing::Level::ERROR => Some(Level::Error),
            tracing::Level::WARN => Some(Level::Warning),
            _ => None,
        })
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(level) = self.0 {
            tell(level, String::from_utf8_lossy(bytes).trim_end());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

static OPEN: OnceLock<Option<Source>> = OnceLock::new();

/// From now on [`tell`] reports.
pub(crate) fn open() {
    OPEN.get_or_init(|| Source::open(SOURCE).ok());
}

/// Writes an error, of a service; by hand it is printed.
pub(crate) fn tell_service(text: &str) {
    tell(Level::Error, text);
}

/// Writes one event; where there is no Event Log, or it was not opened, nobody is told.
pub(crate) fn tell(level: Level, text: &str) {
    if let Some(Some(source)) = OPEN.get() {
        source.report(level, text).ok();
    }
}
