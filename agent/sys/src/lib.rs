//! System calls that no safe crate reaches, and nothing else: kernel timestamps, batches of messages, `TCP_INFO`,
//! settings of the allocator. And four functions of the C library's mathematics, so that the library is not loaded for them.
//!
//! Linux has its own files, Windows has [`windows`]; elsewhere the crate is empty. The interface is safe: every buffer is owned or borrowed for the call.
//! What the kernel writes is parsed as untrusted bytes ([`control`], [`address`]), without `unsafe`.

#[cfg(target_os = "linux")]
pub mod address;
#[cfg(target_os = "linux")]
pub mod allocator;
#[cfg(target_os = "linux")]
pub mod batch;
#[cfg(target_os = "linux")]
pub mod control;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod mathematics;
#[cfg(target_os = "linux")]
pub mod pages;
#[cfg(target_os = "linux")]
pub mod tcp_info;
#[cfg(target_os = "linux")]
pub mod timestamping;
#[cfg(windows)]
pub mod windows;

#[cfg(target_os = "linux")]
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets a socket option that is one C `int`.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "setsockopt(2) takes a pointer")]
fn set_int(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    let size = length(size_of::<i32>());
    // SAFETY: the kernel reads `size` bytes from `value`, which lives through the call; the descriptor is borrowed.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size,
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A size as the kernel takes it: of a struct or of a batch, so always small.
#[cfg(target_os = "linux")]
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a struct and a batch are small")
}
