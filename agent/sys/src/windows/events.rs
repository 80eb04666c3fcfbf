//! The Event Log of Windows: a source of our own in "Application".

use std::io;
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{ERROR_FILE_NOT_FOUND, HANDLE, NO_ERROR};
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
    RegisterEventSourceW, ReportEventW,
};
use windows_sys::Win32::System::Registry::{
    HKEY_LOCAL_MACHINE, REG_DWORD, REG_EXPAND_SZ, RegDeleteTreeW, RegSetKeyValueW,
};
use windows_sys::core::w;

const SOURCES: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";

/// Holds messages of one text each, under all numbers up to 1000: a part of Windows.
const MESSAGES: &str = r"%SystemRoot%\System32\EventCreate.exe";

/// Number of our events.
const EVENT: u32 = 1;

/// Longest text of an event: Windows takes 31,839 units.
const MAX_TEXT: usize = 8_000;

/// How grave an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something may not work.
    Warning,
    /// Good to know.
    Information,
}

/// An open source.
#[derive(Debug)]
pub struct Source(HANDLE);

#[expect(unsafe_code, reason = "a handle is a number of the kernel's")]
// SAFETY: events may be reported by any thread, and at the same time.
unsafe impl Send for Source {}
#[expect(unsafe_code, reason = "a handle is a number of the kernel's")]
// SAFETY: as above.
unsafe impl Sync for Source {}

impl Source {
    /// Opens a source, be it registered or not.
    ///
    /// # Errors
    /// What Windows says.
    #[expect(unsafe_code, reason = "RegisterEventSourceW takes a string")]
    pub fn open(name: &str) -> io::Result<Self> {
        let name = wide(name);
        // SAFETY: `name` ends in zero and lives through the call; the handle becomes ours.
        let handle = unsafe { RegisterEventSourceW(null(), name.as_ptr()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(handle))
    }

    /// Reports an event; the end of a long text is left out.
    ///
    /// # Errors
    /// What Windows says.
    #[expect(unsafe_code, reason = "ReportEventW takes strings")]
    pub fn report(&self, level: Level, text: &str) -> io::Result<()> {
        let kind = match level {
            Level::Error => EVENTLOG_ERROR_TYPE,
            Level::Warning => EVENTLOG_WARNING_TYPE,
            Level::Information => EVENTLOG_INFORMATION_TYPE,
        };
        let text: String = text.chars().take(MAX_TEXT).collect();
        let text = wide(&text);
        let strings = [text.as_ptr()];
        // SAFETY: one string, which ends in zero; it and the array live through the call.
        let reported = unsafe {
            ReportEventW(
                self.0,
                kind,
                0,
                EVENT,
                null_mut(),
                1,
                0,
                strings.as_ptr(),
                null(),
            )
        };
        if reported == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for Source {
    #[expect(unsafe_code, reason = "closes the handle")]
    fn drop(&mut self) {
        // SAFETY: the handle is ours.
        unsafe { DeregisterEventSource(self.0) };
    }
}

/// Registers a source, so that its events are shown as they are written. Wants an administrator.
///
/// # Errors
/// What Windows says.
#[expect(
    unsafe_code,
    reason = "the registry takes strings and numbers by pointer"
)]
pub fn register(name: &str) -> io::Result<()> {
    let key = wide(&format!(r"{SOURCES}\{name}"));
    let (file, kinds) = (wide(MESSAGES), 7_u32); // errors, warnings, information
    let file_bytes = u32::try_from(file.len() * 2).unwrap_or(0);
    // SAFETY: all strings end in zero, and everything lives through the calls; the sizes are those of what is pointed to.
    let outcomes = unsafe {
        [
            RegSetKeyValueW(
                HKEY_LOCAL_MACHINE,
                key.as_ptr(),
                w!("EventMessageFile"),
                REG_EXPAND_SZ,
                file.as_ptr().cast(),
                file_bytes,
            ),
            RegSetKeyValueW(
                HKEY_LOCAL_MACHINE,
                key.as_ptr(),
                w!("TypesSupported"),
                REG_DWORD,
                (&raw const kinds).cast(),
                4,
            ),
        ]
    };
    outcomes.into_iter().try_for_each(judged)
}

/// Removes a source; none is left is well.
///
/// # Errors
/// What Windows says.
#[expect(unsafe_code, reason = "the registry takes strings by pointer")]
pub fn unregister(name: &str) -> io::Result<()> {
    let key = wide(&format!(r"{SOURCES}\{name}"));
    // SAFETY: `key` ends in zero and lives through the call.
    let outcome = unsafe { RegDeleteTreeW(HKEY_LOCAL_MACHINE, key.as_ptr()) };
    if outcome == ERROR_FILE_NOT_FOUND {
        return Ok(());
    }
    judged(outcome)
}

fn judged(outcome: u32) -> io::Result<()> {
    if outcome == NO_ERROR {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(outcome.cast_signed()))
    }
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16()
        .filter(|unit| *unit != 0)
        .chain([0])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_registered_reports_and_is_gone() {
        let name = format!("firstmile-test-{}", std::process::id());
        register(&name).unwrap();
        let source = Source::open(&name).unwrap();
        source
            .report(Level::Warning, "a word with a \0 in it")
            .unwrap();
        source.report(Level::Error, &"x".repeat(40_000)).unwrap();
        drop(source);
        unregister(&name).unwrap();
        unregister(&name).unwrap();
    }
}
