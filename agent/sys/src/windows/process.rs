//! Whether a process runs.

use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_ACCESS_DENIED, GetLastError, WAIT_TIMEOUT,
};
use windows_sys::Win32::System::Threading::{
    OpenProcess, PROCESS_SYNCHRONIZE, WaitForSingleObject,
};

/// Whether a process of this number runs on this machine. One that may not be looked at does.
#[expect(unsafe_code, reason = "OpenProcess and its handle")]
pub fn is_alive(id: u32) -> bool {
    if id == 0 {
        return false;
    }
    // SAFETY: the call takes numbers only; the handle that it gives is closed below and used by nobody else.
    unsafe {
        let process = OpenProcess(PROCESS_SYNCHRONIZE, 0, id);
        if process.is_null() {
            return GetLastError() == ERROR_ACCESS_DENIED;
        }
        let state = WaitForSingleObject(process, 0);
        CloseHandle(process);
        state == WAIT_TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs_and_number_zero_does_not() {
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(0));
    }
}
