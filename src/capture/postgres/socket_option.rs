//! What no safe library names of sockets: the low-water mark of reads, how much of what was written
//! is not acknowledged, and who is at the other end.

#![allow(unsafe_code, reason = "SO_RCVLOWAT, SIOCOUTQ, SO_PEERCRED")]

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

/// Bytes written to a TCP connection that the peer's kernel has not acknowledged.
pub(super) fn unacknowledged_bytes(socket: &impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for the duration of the call, because `socket` is borrowed;
    // SIOCOUTQ, which has the number of TIOCOUTQ, writes one c_int to where the pointer points.
    let result = unsafe {
        libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, std::ptr::from_mut(&mut bytes))
    };
    if result == 0 {
        Ok(usize::try_from(bytes).unwrap_or(0))
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The user of the process at the other end of a Unix socket.
pub(super) fn peer_user(socket: &impl AsFd) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or(12);
    // SAFETY: the descriptor is open for the duration of the call, because `socket` is borrowed;
    // both pointers are of values that outlive the call, and `length` is the first one's size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            std::ptr::from_mut(&mut peer).cast(),
            &mut length,
        )
    };
    if result == 0 { Ok(peer.uid) } else { Err(io::Error::last_os_error()) }
}
