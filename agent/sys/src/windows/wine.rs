//! Whether this is wine, where the project's own tests run, and not Windows.

use std::sync::OnceLock;

use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::core::{s, w};

/// Wine's own library has a function that tells its version; that of Windows has none.
#[expect(unsafe_code, reason = "looks up a function by name")]
pub fn runs_here() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    // SAFETY: both names are constant and end in zero; the library is loaded in every process and never unloaded.
    *ANSWER.get_or_init(|| unsafe {
        let library = GetModuleHandleW(w!("ntdll.dll"));
        !library.is_null() && GetProcAddress(library, s!("wine_get_version")).is_some()
    })
}
