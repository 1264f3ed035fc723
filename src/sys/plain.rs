//! Descriptors that are read and written as plain data: pipes, terminals, devices, and whatever else a program calls
//! a pipe. Each call is tried again on EINTR, since nothing was transferred then.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

use super::{Fd, check, check_len, retry};

/// What a descriptor is open on, as far as pipe transports care.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Fifo,
    Socket,
    /// A terminal, or a device like /dev/null.
    Character,
    /// A plain file, a directory, a block device: always ready, which a poller has no use for.
    Other,
}

/// What a descriptor is open on. Errors: EBADF.
pub fn kind(fd: Fd) -> io::Result<Kind> {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `found` has room for one stat and outlives the call.
    check(unsafe { libc::fstat(fd, found.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so it has filled the whole of it.
    let mode = unsafe { found.assume_init() }.st_mode;
    Ok(match mode & libc::S_IFMT {
        libc::S_IFIFO => Kind::Fifo,
        libc::S_IFSOCK => Kind::Socket,
        libc::S_IFCHR => Kind::Character,
        _ => Kind::Other,
    })
}

/// Makes calls answer EAGAIN instead of waiting. A fact of the open file, not of the descriptor: every process that
/// shares a terminal with us sees it.
pub fn set_nonblocking(fd: Fd) -> io::Result<()> {
    // SAFETY: takes no pointers.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    if flags & libc::O_NONBLOCK == 0 {
        // SAFETY: takes no pointers.
        check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    }
    Ok(())
}

/// Another descriptor of the same open file, which children do not inherit.
pub fn duplicate(fd: Fd) -> io::Result<Fd> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })
}

/// Sends at most `count` bytes of a file, from `offset` on, to a socket; 0 at the file's end. The file's own position
/// stays. Errors: EINVAL for what is no regular file; those of the socket.
pub fn send_file(socket: Fd, file: Fd, offset: u64, count: u64) -> io::Result<usize> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    retry(|| {
        let mut offset = libc::off_t::try_from(offset)
            .map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
        // SAFETY: `offset` outlives the call, which writes to it.
        check_len(unsafe { libc::sendfile(socket, file, &raw mut offset, count) })
    })
}

/// Sets a file's position, counted from its beginning.
pub fn seek(file: Fd, position: u64) -> io::Result<()> {
    let position = libc::off_t::try_from(position)
        .map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    // SAFETY: takes no pointers.
    if unsafe { libc::lseek(file, position, libc::SEEK_SET) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Reads into `buffer`; 0 is the end of file (or an empty `buffer`).
pub fn read(fd: Fd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    retry(|| {
        // SAFETY: the kernel writes at most `buffer.len()` bytes into memory we hold exclusively.
        check_len(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) })
    })
}

/// Writes what the kernel takes of `data`. A pipe without readers is EPIPE, and SIGPIPE, which Python ignores from its
/// start on: a program that takes that back dies here, as it does in `os.write`.
pub fn write(fd: Fd, data: &[u8]) -> io::Result<usize> {
    retry(|| {
        // SAFETY: `data` is readable for its length during the call.
        check_len(unsafe { libc::write(fd, data.as_ptr().cast(), data.len()) })
    })
}

/// Writes what the kernel takes of several pieces, in one call; see [`write`].
pub fn write_vectored(fd: Fd, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    let count = libc::c_int::try_from(pieces.len()).unwrap_or(libc::c_int::MAX);
    retry(|| {
        // SAFETY: IoSlice is documented to have the layout of iovec; `pieces` are borrowed for the call and `count` is
        // not more than there are.
        check_len(unsafe { libc::writev(fd, pieces.as_ptr().cast(), count) })
    })
}
