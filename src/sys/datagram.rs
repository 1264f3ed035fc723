//! Datagram calls. Each is tried again on EINTR, since nothing was transferred then.

use std::io;
use std::mem::MaybeUninit;

use super::addr::Address;
use super::{Fd, check, check_len};

/// How many datagrams one call receives at most.
pub const BATCH: usize = 16;

/// Room for each: more than any UDP datagram holds. No power of two: the beginnings of all slots would fall into the same few
/// sets of the processor's caches, which hold eight.
const SLOT: usize = 69 * 1024 + 64;

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

type Messages = [libc::mmsghdr; BATCH];

const NO_PIECE: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};

/// Memory for several datagrams and their senders. Of its megabyte only the pages that were ever written to exist.
pub struct Batch {
    slots: Box<[MaybeUninit<u8>]>,
    senders: Box<[Address; BATCH]>,
    lengths: [usize; BATCH],
}

impl Batch {
    /// Nothing in it yet.
    pub fn new() -> Self {
        Batch {
            slots: Box::new_uninit_slice(BATCH * SLOT),
            senders: Box::new([Address::empty(); BATCH]),
            lengths: [0; BATCH],
        }
    }

    /// Receives what is there, at least one and at most [`BATCH`]; answers how many. Errors: EAGAIN when there is none;
    /// what the network reported for the socket. Fewer than `BATCH` does not mean that there are no more.
    pub fn receive(&mut self, fd: Fd) -> io::Result<usize> {
        let slots = self.slots.as_mut_ptr();
        let mut pieces = [NO_PIECE; BATCH];
        // SAFETY: all-zero is a valid mmsghdr (null pointers, zero lengths).
        let mut messages: Messages = unsafe { std::mem::zeroed() };
        for index in 0..BATCH {
            pieces[index] = libc::iovec {
                // SAFETY: within the block, which has BATCH times SLOT bytes.
                iov_base: unsafe { slots.add(index * SLOT) }.cast(),
                iov_len: SLOT,
            };
            let sender = &mut self.senders[index];
            sender.reset();
            let (name, length) = sender.raw_parts();
            let header = &mut messages[index].msg_hdr;
            header.msg_name = name.cast();
            // SAFETY: `length` points into `sender`, which lives.
            header.msg_namelen = unsafe { *length };
            header.msg_iov = &raw mut pieces[index];
            header.msg_iovlen = 1;
        }
        let count = retry(|| {
            // SAFETY: BATCH headers, each with one piece of memory and an address that we hold exclusively. A null
            // timeout means none; the socket is non-blocking, or MSG_DONTWAIT makes this call so.
            check(unsafe {
                libc::recvmmsg(
                    fd,
                    messages.as_mut_ptr(),
                    BATCH as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                    std::ptr::null_mut(),
                )
            })
        })?;
        let count = usize::try_from(count).unwrap_or(0).min(BATCH);
        for (index, message) in messages[..count].iter().enumerate() {
            self.lengths[index] = (message.msg_len as usize).min(SLOT);
            self.senders[index].set_length(message.msg_hdr.msg_namelen);
        }
        Ok(count)
    }

    /// The datagram at `index`, which must be below what [`Batch::receive`] answered last: empty otherwise, or what was
    /// there before.
    pub fn get(&self, index: usize) -> (&[u8], &Address) {
        let start = index * SLOT;
        let slot = &self.slots[start..start + self.lengths[index]];
        // SAFETY: the kernel wrote `lengths[index]` bytes there; nothing is ever un-written.
        (unsafe { slot.assume_init_ref() }, &self.senders[index])
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

/// Receives one datagram of any size that fits; answers its length and its sender.
pub fn receive_from(fd: Fd, buffer: &mut [MaybeUninit<u8>]) -> io::Result<(usize, Address)> {
    retry(|| {
        let mut sender = Address::empty();
        let (name, length) = sender.raw_parts();
        // SAFETY: the kernel writes at most `buffer.len()` bytes there and `*length` to `name`; all outlive the call.
        let count = check_len(unsafe {
            libc::recvfrom(
                fd,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
                name,
                length,
            )
        })?;
        Ok((count, sender))
    })
}

/// Sends one datagram, to `address` or to the peer of a connected socket. All of it leaves, or nothing.
pub fn send_to(fd: Fd, data: &[u8], address: Option<&Address>) -> io::Result<()> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    retry(|| {
        let sent = match address {
            None => {
                // SAFETY: `data` is readable for its length during the call.
                unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), flags) }
            }
            Some(address) => {
                let (name, length) = address.raw();
                // SAFETY: as above; `name` points at `length` bytes of an address.
                unsafe { libc::sendto(fd, data.as_ptr().cast(), data.len(), flags, name, length) }
            }
        };
        check_len(sent).map(drop)
    })
}
