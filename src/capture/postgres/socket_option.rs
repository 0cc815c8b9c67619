//! The one socket option that no safe library names: the low-water mark of reads.

#![allow(unsafe_code, reason = "setsockopt with SO_RCVLOWAT")]

use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;

/// Makes a read wait until `bytes` are there (or the read timeout passes). The kernel wakes the
/// reader that much less often, and the sender with it.
pub(super) fn set_receive_low_water_mark(socket: &impl AsFd, bytes: i32) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the descriptor is open for the duration of the call, because `socket` is borrowed;
    // the value points to a c_int that outlives the call, and `length` is its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            std::ptr::from_ref(&bytes).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
