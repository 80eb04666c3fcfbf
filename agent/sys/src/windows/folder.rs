//! Folders that only the service and administrators may look into.

use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION, SECURITY_ATTRIBUTES,
    SetFileSecurityW,
};
use windows_sys::Win32::Storage::FileSystem::CreateDirectoryW;
use windows_sys::core::{PCWSTR, w};

/// Nothing inherited; everything to the system, administrators, `LocalService` and the owner, for all that is in it.
const ONLY_US: PCWSTR = w!("D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;LS)(A;OICI;FA;;;OW)");

/// Makes a folder, not those above it; one that is there is given the same list of who may.
///
/// # Errors
/// What Windows says.
#[expect(unsafe_code, reason = "Windows takes descriptors by pointer")]
pub fn make_private(folder: &Path) -> io::Result<()> {
    let name: Vec<u16> = folder.as_os_str().encode_wide().chain([0]).collect();
    let mut descriptor = null_mut();
    // SAFETY: `name` and the constant end in zero; the descriptor is allocated by the first call and freed once, at the end.
    unsafe {
        let revision = SDDL_REVISION_1;
        if ConvertStringSecurityDescriptorToSecurityDescriptorW(
            ONLY_US,
            revision,
            &raw mut descriptor,
            null_mut(),
        ) == 0
        {
            return Err(io::Error::last_os_error());
        }
        let attributes = SECURITY_ATTRIBUTES {
            nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).unwrap_or(0),
            lpSecurityDescriptor: descriptor,
            bInheritHandle: 0,
        };
        let mut outcome = Ok(());
        if CreateDirectoryW(name.as_ptr(), &raw const attributes) == 0 {
            outcome = Err(io::Error::last_os_error());
            if folder.is_dir() {
                let what = DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
                outcome = if SetFileSecurityW(name.as_ptr(), what, descriptor) == 0 {
                    Err(io::Error::last_os_error())
                } else {
                    Ok(())
                };
            }
        }
        LocalFree(descriptor);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_folder_is_ours_to_use_and_may_be_made_again() {
        let folder = std::env::temp_dir().join(format!("firstmile-private-{}", std::process::id()));
        for _ in 0..2 {
            make_private(&folder).unwrap();
            std::fs::write(folder.join("file"), b"ours").unwrap();
        }
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(make_private(&folder.join("under/none")).is_err());
    }
}
