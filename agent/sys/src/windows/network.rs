//! Tells when interfaces, addresses or routes change (`NotifyIpInterfaceChange` and its kin).

use std::ffi::c_void;
use std::fmt;
use std::io;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{HANDLE, NO_ERROR};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    CancelMibChangeNotify2, MIB_IPFORWARD_ROW2, MIB_IPINTERFACE_ROW, MIB_NOTIFICATION_TYPE,
    MIB_UNICASTIPADDRESS_ROW, NotifyIpInterfaceChange, NotifyRouteChange2,
    NotifyUnicastIpAddressChange,
};
use windows_sys::Win32::Networking::WinSock::AF_UNSPEC;

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An interface came, went or has other settings.
    Interface,
    /// An address came or went.
    Address,
    /// A route came or went.
    Route,
}

type Told = Box<dyn Fn(Change) + Send + Sync>;

/// Watches until dropped.
pub struct Watch {
    handles: Vec<HANDLE>,
    /// Outlives the handles: the system calls it until they are cancelled.
    told: *mut Told,
}

#[expect(unsafe_code, reason = "handles are numbers of the kernel's")]
// SAFETY: handles may be cancelled by any thread; what is told may be called by any thread.
unsafe impl Send for Watch {}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("notifications", &self.handles.len())
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// Calls `told` at each change, from threads of the system's pool. It must not wait, not panic, and not drop the watch.
    ///
    /// # Errors
    /// What Windows says of the first notification that it refuses.
    #[expect(unsafe_code, reason = "registers callbacks")]
    pub fn start(told: impl Fn(Change) + Send + Sync + 'static) -> io::Result<Self> {
        let told: Told = Box::new(told);
        let mut watch = Self {
            handles: Vec::new(),
            told: Box::into_raw(Box::new(told)),
        };
        let context: *const c_void = watch.told.cast();
        for kind in [Change::Interface, Change::Address, Change::Route] {
            let mut handle = null_mut();
            // SAFETY: `context` points to `told`, which lives until the notifications are cancelled in `drop`.
            let outcome = unsafe {
                let to = &raw mut handle;
                match kind {
                    Change::Interface => {
                        NotifyIpInterfaceChange(AF_UNSPEC, Some(on_interface), context, false, to)
                    }
                    Change::Address => NotifyUnicastIpAddressChange(
                        AF_UNSPEC,
                        Some(on_address),
                        context,
                        false,
                        to,
                    ),
                    Change::Route => {
                        NotifyRouteChange2(AF_UNSPEC, Some(on_route), context, false, to)
                    }
                }
            };
            if outcome != NO_ERROR {
                return Err(io::Error::from_raw_os_error(outcome.cast_signed()));
            }
            watch.handles.push(handle);
        }
        Ok(watch)
    }
}

impl Drop for Watch {
    #[expect(unsafe_code, reason = "cancels the callbacks")]
    fn drop(&mut self) {
        for handle in self.handles.drain(..).filter(|handle| !handle.is_null()) {
            // SAFETY: the handle is ours; the call returns when no callback runs any more.
            unsafe { CancelMibChangeNotify2(handle) };
        }
        // SAFETY: made by `start`, and nobody calls it any more.
        drop(unsafe { Box::from_raw(self.told) });
    }
}

#[expect(unsafe_code, reason = "called by the system")]
unsafe extern "system" fn on_interface(
    told: *const c_void,
    _: *const MIB_IPINTERFACE_ROW,
    _: MIB_NOTIFICATION_TYPE,
) {
    // SAFETY: the context of `Watch::start`.
    unsafe { tell(told, Change::Interface) }
}

#[expect(unsafe_code, reason = "called by the system")]
unsafe extern "system" fn on_address(
    told: *const c_void,
    _: *const MIB_UNICASTIPADDRESS_ROW,
    _: MIB_NOTIFICATION_TYPE,
) {
    // SAFETY: as above.
    unsafe { tell(told, Change::Address) }
}

#[expect(unsafe_code, reason = "called by the system")]
unsafe extern "system" fn on_route(
    told: *const c_void,
    _: *const MIB_IPFORWARD_ROW2,
    _: MIB_NOTIFICATION_TYPE,
) {
    // SAFETY: as above.
    unsafe { tell(told, Change::Route) }
}

/// # Safety
/// `told` is the context that [`Watch::start`] gave.
#[expect(unsafe_code, reason = "the context is a pointer")]
unsafe fn tell(told: *const c_void, change: Change) {
    // SAFETY: the caller's promise; the watch lives while its callbacks run.
    let told: &Told = unsafe { &*told.cast() };
    told(change);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wine has the calls and never makes the callbacks: that a change is told has to be seen on Windows.
    #[test]
    fn watching_begins_and_ends() {
        let watch = Watch::start(|_| {}).unwrap();
        assert_eq!(watch.handles.len(), 3);
        drop(watch);
    }
}
