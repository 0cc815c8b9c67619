//! Whether a pipe has room, before a write that would wait for it.
//!
//! Source: pipe(7), poll(2) of Linux: a pipe is writable if a page of it is free.

#![allow(unsafe_code, reason = "a call that the standard library does not have")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// A write of no more bytes than this does not wait when the pipe is writable (`PIPE_BUF`).
pub(super) const PIPE_BYTES: usize = 4096;

/// Waits until something can be written, not longer than this; gives whether it can. A reader that
/// has gone counts as room: the write says so.
///
/// # Errors
///
/// The file cannot be asked.
pub(super) fn is_writable(file: &File, timeout: Duration) -> io::Result<bool> {
    let mut asked = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    let millis = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: `asked` is one entry that outlives the call.
    match unsafe { libc::poll(&raw mut asked, 1, millis) } {
        0 => Ok(false),
        1.. => Ok(true),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            error => Err(error),
        },
    }
}
