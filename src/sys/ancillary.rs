//! What travels beside the bytes of a Unix socket: descriptors, above all.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};

use super::{Fd, check_len, retry};

/// Room for the messages beside one read, in words. The kernel passes 253 descriptors at a time, which take a quarter.
const WORDS: usize = 512;

/// Whether a read that took less than it asked for, with nothing beside it, leaves nothing behind, but for urgent data. So it
/// is on Linux, where what comes with a message is the end of a read and no read ends before one.
pub const ENDS_WITH_A_MESSAGE: bool = cfg!(target_os = "linux");

/// A control message, as it came.
pub enum Message {
    /// Descriptors, ours now: closed unless somebody takes them. As Python's `recvmsg` gets them, children inherit them.
    Rights(Vec<OwnedFd>),
    /// Another one: its level, its type, and what is in it.
    Other(i32, i32, Vec<u8>),
}

/// Receives into `buffer`, and appends to `messages` what came beside it. 0 means that the peer sent its end of file.
pub fn receive(
    fd: Fd,
    buffer: &mut [MaybeUninit<u8>],
    messages: &mut Vec<Message>,
) -> io::Result<usize> {
    // Words, since headers of control messages are aligned.
    let mut control = [const { MaybeUninit::<usize>::uninit() }; WORDS];
    let mut piece = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all-zero is a valid msghdr (null pointers, zero lengths).
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    let count = retry(|| {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        // SAFETY: `header` names one piece of memory and one for control messages, which we hold exclusively.
        check_len(unsafe { libc::recvmsg(fd, &raw mut header, 0) })
    })?;
    if header.msg_controllen > 0 {
        // SAFETY: the kernel has just written `header` and the messages that it names, which lie in `control`.
        unsafe { collect(&header, messages) };
    }
    Ok(count)
}

/// Receives into `buffer`, and says whether something came beside it, which the kernel has thrown away, as it does for `recv`
/// (descriptors are closed).
pub fn receive_alone(fd: Fd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<(usize, bool)> {
    let mut piece = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: all-zero is a valid msghdr (null pointers, zero lengths).
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    let count = retry(|| {
        // SAFETY: `header` names one piece of memory, which we hold exclusively, and no room for control messages.
        check_len(unsafe { libc::recvmsg(fd, &raw mut header, 0) })
    })?;
    Ok((count, header.msg_flags & libc::MSG_CTRUNC != 0))
}

/// SAFETY: `header` is what `recvmsg` made of it, and its memory for control messages lives. Its descriptors are nobody's.
#[cold]
unsafe fn collect(header: &libc::msghdr, messages: &mut Vec<Message>) {
    // SAFETY: as the caller says.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: not null, so it points at a header that the kernel wrote, followed by its data.
        let (message, data) = unsafe { (&*next, libc::CMSG_DATA(next)) };
        // SAFETY: takes a length only.
        let before = unsafe { libc::CMSG_LEN(0) } as usize;
        // Of another type on other systems.
        #[allow(clippy::unnecessary_cast)]
        let length = (message.cmsg_len as usize).saturating_sub(before);
        // SAFETY: the kernel wrote `length` bytes of data behind the header.
        let bytes = unsafe { std::slice::from_raw_parts(data, length) };
        messages.push(
            if message.cmsg_level == libc::SOL_SOCKET && message.cmsg_type == libc::SCM_RIGHTS {
                let numbers = bytes.as_chunks::<{ size_of::<libc::c_int>() }>().0;
                let take = |number: &[u8; 4]| {
                    // SAFETY: the kernel has just made it for us.
                    unsafe { OwnedFd::from_raw_fd(libc::c_int::from_ne_bytes(*number)) }
                };
                Message::Rights(numbers.iter().map(take).collect())
            } else {
                Message::Other(message.cmsg_level, message.cmsg_type, bytes.to_vec())
            },
        );
        // SAFETY: as above.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
}

/// Sends what the kernel takes of `data`, which must not be empty, and a copy of `descriptor` with its first byte. Errors:
/// EBADF, with nothing sent, when that is not open.
pub fn send(fd: Fd, data: &[u8], descriptor: Fd) -> io::Result<usize> {
    const LENGTH: libc::c_uint = size_of::<libc::c_int>() as libc::c_uint;
    let mut control = [0usize; 8];
    let mut piece = libc::iovec {
        iov_base: data.as_ptr().cast_mut().cast(),
        iov_len: data.len(),
    };
    // SAFETY: all-zero is a valid msghdr (null pointers, zero lengths).
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: takes a length only.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(LENGTH) } as _;
    debug_assert!(header.msg_controllen as usize <= size_of_val(&control));
    // SAFETY: there is room for one header with an int behind it, aligned as one has to be.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(&raw const header);
        (*message).cmsg_level = libc::SOL_SOCKET;
        (*message).cmsg_type = libc::SCM_RIGHTS;
        (*message).cmsg_len = libc::CMSG_LEN(LENGTH) as _;
        libc::CMSG_DATA(message)
            .cast::<libc::c_int>()
            .write_unaligned(descriptor);
    }
    retry(|| {
        // SAFETY: `header` names one piece of data and one control message, which outlive the call; both are only read.
        check_len(unsafe { libc::sendmsg(fd, &raw const header, libc::MSG_NOSIGNAL) })
    })
}
