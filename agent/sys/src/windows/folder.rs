//! Folders that only the service and administrators may look into.

use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::MetadataExt;
use std::path::Path;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{HANDLE, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, EqualSid, GetFileSecurityW, GetSecurityDescriptorOwner,
    GetTokenInformation, IsWellKnownSid, OBJECT_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION,
    PROTECTED_DACL_SECURITY_INFORMATION, PSID, SECURITY_ATTRIBUTES, SetFileSecurityW, TOKEN_USER,
    TokenUser, WinBuiltinAdministratorsSid, WinLocalSystemSid,
};
use windows_sys::Win32::Storage::FileSystem::{CreateDirectoryW, FILE_ATTRIBUTE_REPARSE_POINT};
use windows_sys::core::{PCWSTR, w};

/// Nothing inherited; everything to the system, administrators, `LocalService` and the owner, for all that is in it.
const ONLY_US: PCWSTR = w!("D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;LS)(A;OICI;FA;;;OW)");

/// Nothing inherited; the owner is the administrators. All to them and the system; `LocalService` and users may read.
const OF_ADMINISTRATORS: PCWSTR =
    w!("O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;LS)(A;OICI;0x1200a9;;;BU)");

/// Makes a folder for the service and administrators, not those above it; one that is there is given the same list of who may.
///
/// # Errors
/// What Windows says.
pub fn make_private(folder: &Path) -> io::Result<()> {
    let what = DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
    make(folder, ONLY_US, what)
}

/// Makes a folder that administrators alone write to, not those above it; one that is there is given to them. What is in it
/// keeps its owner: ask [`is_of_administrators`].
///
/// # Errors
/// What Windows says; it lets only administrators give a folder to administrators.
pub fn make_administered(folder: &Path) -> io::Result<()> {
    let list = DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
    make(folder, OF_ADMINISTRATORS, list | OWNER_SECURITY_INFORMATION)
}

/// Whether a file or folder belongs to the system, to administrators or to the user of this program. A link is nobody's: it
/// leads where its maker wants.
///
/// # Errors
/// What Windows says.
#[expect(unsafe_code, reason = "Windows writes descriptors by pointer")]
pub fn is_of_administrators(path: &Path) -> io::Result<bool> {
    let about = std::fs::symlink_metadata(path)?;
    if about.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        return Ok(false);
    }
    let name = wide(path);
    let mut descriptor = [0_u64; DESCRIPTOR_WORDS];
    let mut needed = 0;
    let mut owner = null_mut();
    let mut is_default = 0;
    // SAFETY: `name` ends in zero; the descriptor has as many bytes as is said, aligned, and outlives `owner`, which points into it.
    unsafe {
        let told = GetFileSecurityW(
            name.as_ptr(),
            OWNER_SECURITY_INFORMATION,
            descriptor.as_mut_ptr().cast(),
            bytes_of(&descriptor),
            &raw mut needed,
        ) != 0
            && GetSecurityDescriptorOwner(
                descriptor.as_mut_ptr().cast(),
                &raw mut owner,
                &raw mut is_default,
            ) != 0;
        if !told {
            return Err(io::Error::last_os_error());
        }
        Ok(!owner.is_null() && is_trusted(owner)?)
    }
}

/// Whether this is the system, the administrators or the user of this program.
///
/// # Safety
/// `owner` points to a SID.
#[expect(unsafe_code, reason = "Windows takes identifiers by pointer")]
unsafe fn is_trusted(owner: PSID) -> io::Result<bool> {
    // SAFETY: as this function's own.
    let is_known = unsafe {
        IsWellKnownSid(owner, WinLocalSystemSid) != 0
            || IsWellKnownSid(owner, WinBuiltinAdministratorsSid) != 0
    };
    if is_known {
        return Ok(true);
    }
    let mut user = [0_u64; DESCRIPTOR_WORDS];
    let mut needed = 0;
    // SAFETY: the pseudo handle of this process's token needs no closing; the buffer has as many bytes as is said, is aligned
    // for `TOKEN_USER`, and is read only after Windows has written it.
    unsafe {
        let told = GetTokenInformation(
            CURRENT_PROCESS_TOKEN,
            TokenUser,
            user.as_mut_ptr().cast(),
            bytes_of(&user),
            &raw mut needed,
        );
        if told == 0 {
            return Err(io::Error::last_os_error());
        }
        let user = &*user.as_ptr().cast::<TOKEN_USER>();
        Ok(EqualSid(owner, user.User.Sid) != 0)
    }
}

/// What `GetCurrentProcessToken` of the Windows headers returns.
const CURRENT_PROCESS_TOKEN: HANDLE = -4_isize as HANDLE;

/// An owner alone has some 90 bytes: a SID has 68 at most.
const DESCRIPTOR_WORDS: usize = 32;

fn bytes_of<T>(value: &T) -> u32 {
    u32::try_from(size_of_val(value)).expect("a buffer is small")
}

fn wide(path: &Path) -> Vec<u16> {
    path.as_os_str().encode_wide().chain([0]).collect()
}

/// Makes a folder with a descriptor, or puts `what` of the descriptor on the one that is there.
#[expect(unsafe_code, reason = "Windows takes descriptors by pointer")]
fn make(
    folder: &Path,
    descriptor_text: PCWSTR,
    what: OBJECT_SECURITY_INFORMATION,
) -> io::Result<()> {
    let name = wide(folder);
    let mut descriptor = null_mut();
    // SAFETY: `name` and the constant end in zero; the descriptor is allocated by the first call and freed once, at the end.
    unsafe {
        let revision = SDDL_REVISION_1;
        if ConvertStringSecurityDescriptorToSecurityDescriptorW(
            descriptor_text,
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
    use windows_sys::Win32::Security::Authorization::ConvertStringSidToSidW;

    use super::*;

    #[test]
    fn the_system_and_administrators_are_trusted_and_others_are_not() {
        for (name, sid, want) in [
            ("the system", w!("S-1-5-18"), true),
            ("administrators", w!("S-1-5-32-544"), true),
            ("users", w!("S-1-5-32-545"), false),
            ("everyone", w!("S-1-1-0"), false),
            ("LocalService", w!("S-1-5-19"), false),
            ("a user", w!("S-1-5-21-1-2-3-4711"), false),
        ] {
            assert_eq!(trust(sid).unwrap(), want, "{name}");
        }
    }

    #[expect(unsafe_code, reason = "Windows takes identifiers by pointer")]
    fn trust(text: PCWSTR) -> io::Result<bool> {
        let mut sid = null_mut();
        // SAFETY: the text ends in zero; the SID is allocated by the first call and freed once, at the end.
        unsafe {
            if ConvertStringSidToSidW(text, &raw mut sid) == 0 {
                return Err(io::Error::last_os_error());
            }
            let trust = is_trusted(sid);
            LocalFree(sid);
            trust
        }
    }

    #[test]
    fn an_administered_folder_is_of_administrators_and_may_be_made_again() {
        let folder =
            std::env::temp_dir().join(format!("firstmile-administered-{}", std::process::id()));
        assert!(is_of_administrators(&folder).is_err(), "there is none yet");
        for _ in 0..2 {
            make_administered(&folder).unwrap();
            assert!(is_of_administrators(&folder).unwrap());
            let file = folder.join("file");
            std::fs::write(&file, b"ours").unwrap();
            assert!(is_of_administrators(&file).unwrap());
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

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
