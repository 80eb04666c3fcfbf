//! Kernel timestamps of datagrams (Linux, Documentation/networking/timestamping.rst).

use std::io;
use std::os::fd::BorrowedFd;

use crate::control::{
    SO_TIMESTAMPING_NEW, SO_TIMESTAMPING_OLD, SO_TIMESTAMPNS_NEW, SO_TIMESTAMPNS_OLD,
};
use crate::set_int;

// linux/net_tstamp.h
const TX_SOFTWARE: i32 = 1 << 1;
const RX_SOFTWARE: i32 = 1 << 3;
const SOFTWARE: i32 = 1 << 4;
const OPT_ID: i32 = 1 << 7;
const OPT_CMSG: i32 = 1 << 10;
const OPT_TSONLY: i32 = 1 << 11;

/// Asks for software stamps of what comes and of what goes. Each datagram sent from now on has the next key, from 0, and its
/// stamp comes through the error queue with that key and without the datagram.
///
/// # Errors
/// What the kernel says; it knows these options since 4.19.
pub fn enable(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(
        socket,
        TX_SOFTWARE | RX_SOFTWARE | SOFTWARE | OPT_ID | OPT_CMSG | OPT_TSONLY,
    )
}

/// Starts the keys at 0 again: after a send that failed nobody can tell whether it used up a key. Stamps of datagrams sent
/// before still carry keys of the old count.
///
/// # Errors
/// What the kernel says.
pub fn restart_keys(socket: BorrowedFd<'_>) -> io::Result<()> {
    // The count starts when OPT_ID is set where it was not.
    set(socket, RX_SOFTWARE | SOFTWARE | OPT_CMSG | OPT_TSONLY)?;
    enable(socket)
}

/// Asks for a software stamp of what comes, nothing else.
///
/// # Errors
/// What the kernel says.
pub fn enable_on_receipt(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_int(socket, libc::SOL_SOCKET, SO_TIMESTAMPNS_NEW, 1)
        .or_else(|_| set_int(socket, libc::SOL_SOCKET, SO_TIMESTAMPNS_OLD, 1))
}

/// Kernels before 5.1 know the old option only; its stamps are as wide as a C `long`.
fn set(socket: BorrowedFd<'_>, flags: i32) -> io::Result<()> {
    set_int(socket, libc::SOL_SOCKET, SO_TIMESTAMPING_NEW, flags)
        .or_else(|_| set_int(socket, libc::SOL_SOCKET, SO_TIMESTAMPING_OLD, flags))
}
