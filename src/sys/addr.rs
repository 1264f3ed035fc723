//! Socket addresses as the kernel gives them, and as plain Rust values.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A socket address in the kernel's form.
#[derive(Clone, Copy)]
pub struct Address {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

/// A socket address in a form that faces can show.
#[derive(Debug, PartialEq, Eq)]
pub enum Named {
    V4(Ipv4Addr, u16),
    /// address, port, flow information, scope id
    V6(Ipv6Addr, u16, u32, u32),
    /// A path, an abstract name (first byte 0), or nothing for an unnamed socket.
    Unix(Vec<u8>),
    /// A family that has no common form: Python's socket module must name it.
    Other,
}

impl Address {
    /// An address with room for any family.
    pub fn empty() -> Self {
        Address {
            // SAFETY: all-zero is a valid sockaddr_storage (family AF_UNSPEC).
            storage: unsafe { std::mem::zeroed() },
            length: size_of::<libc::sockaddr_storage>() as libc::socklen_t,
        }
    }

    pub(crate) fn raw_parts(&mut self) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
        ((&raw mut self.storage).cast(), &raw mut self.length)
    }

    /// The address family, AF_UNSPEC when the kernel wrote none.
    pub fn family(&self) -> libc::c_int {
        libc::c_int::from(self.storage.ss_family)
    }

    /// The address as plain values.
    pub fn named(&self) -> Named {
        match self.family() {
            libc::AF_INET => {
                // SAFETY: the kernel wrote a sockaddr_in, as the family says, and storage is aligned for it.
                let inet = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in>() };
                let address = Ipv4Addr::from(u32::from_be(inet.sin_addr.s_addr));
                Named::V4(address, u16::from_be(inet.sin_port))
            }
            libc::AF_INET6 => {
                // SAFETY: the kernel wrote a sockaddr_in6, as the family says, and storage is aligned for it.
                let inet = unsafe { &*(&raw const self.storage).cast::<libc::sockaddr_in6>() };
                Named::V6(
                    Ipv6Addr::from(inet.sin6_addr.s6_addr),
                    u16::from_be(inet.sin6_port),
                    u32::from_be(inet.sin6_flowinfo),
                    inet.sin6_scope_id,
                )
            }
            libc::AF_UNIX => Named::Unix(self.unix_path()),
            _ => Named::Other,
        }
    }

    fn unix_path(&self) -> Vec<u8> {
        let start = std::mem::offset_of!(libc::sockaddr_un, sun_path);
        let length = (self.length as usize).saturating_sub(start);
        // SAFETY: the kernel wrote `self.length` bytes, and no sockaddr_un is longer than the storage.
        let path = unsafe {
            std::slice::from_raw_parts((&raw const self.storage).cast::<u8>().add(start), length)
        };
        match path.first() {
            None => Vec::new(),
            // An abstract name: the length says where it ends, zero bytes count.
            Some(0) => path.to_vec(),
            Some(_) => path.iter().copied().take_while(|&byte| byte != 0).collect(),
        }
    }
}
