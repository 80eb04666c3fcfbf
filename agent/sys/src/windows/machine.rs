//! What tells one installation of Windows from another.

use std::ptr::null_mut;

use windows_sys::Win32::Foundation::NO_ERROR;
use windows_sys::Win32::System::Registry::{
    HKEY_LOCAL_MACHINE, RRF_RT_REG_SZ, RRF_SUBKEY_WOW6464KEY, RegGetValueW,
};
use windows_sys::core::w;

/// More than a GUID has.
const UNITS: usize = 64;

/// The number that Windows was given when it was installed, or prepared for cloning by sysprep.
#[expect(unsafe_code, reason = "the registry is read by pointer")]
pub fn guid() -> Option<String> {
    let mut text = [0_u16; UNITS];
    let mut bytes = u32::try_from(size_of_val(&text)).ok()?;
    // SAFETY: the strings end in zero; the buffer has as many bytes as is said and outlives the call.
    let outcome = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            w!(r"SOFTWARE\Microsoft\Cryptography"),
            w!("MachineGuid"),
            RRF_RT_REG_SZ | RRF_SUBKEY_WOW6464KEY,
            null_mut(),
            text.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    if outcome != NO_ERROR {
        return None;
    }
    let text = text.split(|unit| *unit == 0).next()?;
    (!text.is_empty()).then(|| String::from_utf16_lossy(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_windows_has_a_number_and_keeps_it() {
        let number = guid().expect("a number");
        assert_eq!(number.len(), 36, "{number}");
        assert_eq!(guid(), Some(number));
    }
}
