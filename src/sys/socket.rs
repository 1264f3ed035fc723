//! Non-blocking socket calls. Each is tried again on EINTR, since nothing was transferred then.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};

use super::addr::Address;
use super::{Fd, check, check_len, retry};

/// Receives into `buffer`; 0 means that the peer sent its end of file (or that `buffer` is empty).
pub fn recv(fd: Fd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    retry(|| {
        // SAFETY: the kernel writes at most `buffer.len()` bytes into memory we hold exclusively.
        check_len(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) })
    })
}

/// Sends what the kernel takes of `data`. A peer that is gone is EPIPE, never a signal.
pub fn send(fd: Fd, data: &[u8]) -> io::Result<usize> {
    retry(|| {
        // SAFETY: `data` is readable for its length during the call.
        check_len(unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), libc::MSG_NOSIGNAL) })
    })
}

/// Sends what the kernel takes of several pieces, in one call.
pub fn send_vectored(fd: Fd, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    retry(|| {
        // SAFETY: all-zero is a valid msghdr (null pointers, zero lengths).
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // IoSlice is documented to have the layout of iovec; sendmsg only reads through it.
        message.msg_iov = pieces.as_ptr().cast_mut().cast();
        message.msg_iovlen = pieces.len();
        // SAFETY: `message` points at `pieces`, which are borrowed for the call.
        check_len(unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) })
    })
}

/// How many bytes wait to be received.
pub fn pending(fd: Fd) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, which outlives the call.
    check(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut count) })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Accepts one connection: non-blocking and not inherited by children.
pub fn accept(fd: Fd) -> io::Result<(OwnedFd, Address)> {
    retry(|| {
        let mut address = Address::empty();
        let (storage, length) = address.raw_parts();
        // SAFETY: `storage` has room for `*length` bytes, and both outlive the call.
        let accepted = check(unsafe {
            libc::accept4(
                fd,
                storage,
                length,
                libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            )
        })?;
        // SAFETY: the kernel has just made it, and nobody else knows it.
        Ok((unsafe { OwnedFd::from_raw_fd(accepted) }, address))
    })
}

/// Whether a failed accept means that this process or the system is out of descriptors or memory.
pub fn is_out_of_resources(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE) | Some(libc::ENFILE) | Some(libc::ENOBUFS) | Some(libc::ENOMEM)
    )
}

/// Whether a failed accept concerns only the connection that was to be accepted.
pub fn is_connection_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNABORTED) | Some(libc::EPERM) | Some(libc::EPROTO)
    )
}

/// Ends the sending side: the peer reads its end of file.
pub fn shutdown_write(fd: Fd) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::shutdown(fd, libc::SHUT_WR) }).map(drop)
}

/// Ends both directions, for whoever else has the socket, too.
pub fn shutdown(fd: Fd) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::shutdown(fd, libc::SHUT_RDWR) }).map(drop)
}

/// Has the close send a reset instead of an orderly end.
pub fn reset_on_close(fd: Fd) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: `linger` outlives the call and has the size given.
    check(unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Closes the descriptor. Its number may be reused at once.
pub fn close(fd: Fd) {
    // SAFETY: the caller owns `fd` and forgets it. EINTR and EIO leave it closed on Linux: nothing to retry.
    unsafe { libc::close(fd) };
}

fn option(fd: Fd, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` and `length` outlive the call and agree on the size.
    check(unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut length) })?;
    Ok(value)
}

/// The address family of a socket. Errors: EBADF, ENOTSOCK.
pub fn family(fd: Fd) -> io::Result<libc::c_int> {
    let mut address = Address::empty();
    let (storage, length) = address.raw_parts();
    // SAFETY: `storage` has room for `*length` bytes, and both outlive the call.
    check(unsafe { libc::getsockname(fd, storage, length) })?;
    Ok(address.family())
}

/// Whether `fd` is a stream socket.
pub fn is_stream(fd: Fd) -> io::Result<bool> {
    Ok(option(fd, libc::SOL_SOCKET, libc::SO_TYPE)? == libc::SOCK_STREAM)
}

/// The error that is pending on a socket, 0 without one. Taken: it is not reported again.
pub fn take_error(fd: Fd) -> io::Result<i32> {
    option(fd, libc::SOL_SOCKET, libc::SO_ERROR)
}

/// The address that the socket is bound to.
pub fn local_address(fd: Fd) -> io::Result<Address> {
    let mut address = Address::empty();
    let (storage, length) = address.raw_parts();
    // SAFETY: `storage` has room for `*length` bytes, and both outlive the call.
    check(unsafe { libc::getsockname(fd, storage, length) })?;
    Ok(address)
}

/// The address of the other end. ENOTCONN when it is gone.
pub fn peer_address(fd: Fd) -> io::Result<Address> {
    let mut address = Address::empty();
    let (storage, length) = address.raw_parts();
    // SAFETY: `storage` has room for `*length` bytes, and both outlive the call.
    check(unsafe { libc::getpeername(fd, storage, length) })?;
    Ok(address)
}

/// Whether the family is one of TCP's.
pub fn is_inet(family: libc::c_int) -> bool {
    family == libc::AF_INET || family == libc::AF_INET6
}

/// Whether the family is that of Unix sockets.
pub fn is_unix(family: libc::c_int) -> bool {
    family == libc::AF_UNIX
}

/// Whether all that a TCP connection sends first leaves at once, also without `TCP_NODELAY`. Linux lets a small segment wait only
/// for a small one before it (Minshall's rule); elsewhere (Nagle's) the last part of a long first send would wait for the peer.
pub const FIRST_SEND_LEAVES: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// Sends small writes at once instead of waiting for the acknowledgement of the one before.
pub fn set_nodelay(fd: Fd, enabled: bool) -> io::Result<()> {
    let value = libc::c_int::from(enabled);
    // SAFETY: `value` outlives the call and has the size given.
    check(unsafe {
        libc::setsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    })
    .map(drop)
}
