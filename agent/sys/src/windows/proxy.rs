//! The proxy that Windows tells its programs of: of the user (`WinHttpGetIEProxyConfigForCurrentUser`), else of the machine
//! (`WinHttpGetDefaultProxyConfiguration`).

use windows_sys::Win32::Foundation::GlobalFree;
use windows_sys::Win32::Networking::WinHttp::{
    WINHTTP_CURRENT_USER_IE_PROXY_CONFIG, WINHTTP_PROXY_INFO, WinHttpGetDefaultProxyConfiguration,
    WinHttpGetIEProxyConfigForCurrentUser,
};
use windows_sys::core::PWSTR;

/// More than any list of proxies.
const MAX_UNITS: usize = 4096;

/// What is set, as it stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `proxy:8080`, or `http=proxy:80;https=proxy:81`.
    pub proxy: Option<String>,
    /// Names that are reached without it, parted by `;` or blanks.
    pub bypass: Option<String>,
    /// Address of a script that chooses the proxy (PAC).
    pub script: Option<String>,
    /// The network is to be asked for such a script (WPAD).
    pub detects: bool,
}

/// The settings of the user who runs this program.
#[expect(unsafe_code, reason = "WinHTTP writes a struct of strings")]
pub fn of_user() -> Settings {
    let mut config = WINHTTP_CURRENT_USER_IE_PROXY_CONFIG::default();
    // SAFETY: WinHTTP fills the struct, which lives through the call; what it put there is ours to free, once, in `take`.
    unsafe {
        if WinHttpGetIEProxyConfigForCurrentUser(&raw mut config) == 0 {
            return Settings::default();
        }
        Settings {
            proxy: take(config.lpszProxy),
            bypass: take(config.lpszProxyBypass),
            script: take(config.lpszAutoConfigUrl),
            detects: config.fAutoDetect != 0,
        }
    }
}

/// The settings of the machine (`netsh winhttp`), which services go by.
#[expect(unsafe_code, reason = "WinHTTP writes a struct of strings")]
pub fn of_machine() -> Settings {
    let mut info = WINHTTP_PROXY_INFO::default();
    // SAFETY: as above.
    unsafe {
        if WinHttpGetDefaultProxyConfiguration(&raw mut info) == 0 {
            return Settings::default();
        }
        Settings {
            proxy: take(info.lpszProxy),
            bypass: take(info.lpszProxyBypass),
            ..Settings::default()
        }
    }
}

/// Copies a string of `WinHTTP` and frees it; `None` for none and for an empty one.
///
/// # Safety
/// `text` is null, or a string ending in zero that `WinHTTP` has allocated and nobody else frees.
#[expect(unsafe_code, reason = "reads through a pointer and frees it")]
unsafe fn take(text: PWSTR) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise; reading stops at the zero.
    let units: Vec<u16> = unsafe {
        let units = (0..MAX_UNITS)
            .map(|at| text.add(at).read())
            .take_while(|unit| *unit != 0)
            .collect();
        GlobalFree(text.cast());
        units
    };
    Some(String::from_utf16_lossy(&units)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_can_be_asked_for() {
        for settings in [of_user(), of_machine()] {
            assert_ne!(settings.proxy.as_deref(), Some(""));
        }
    }
}
