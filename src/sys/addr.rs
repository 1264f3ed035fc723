//! Socket addresses as the kernel gives them, and as plain Rust values.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A socket address in the kernel's form.
#[derive(Clone, Copy)]
pub struct Address {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

/// A socket address in a form that faces can show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    V4(Ipv4Addr, u16),
    /// address, port, flow information, scope id
    V6(Ipv6Addr, u16, u32, u32),
    /// A path, an abstract name (first byte 0), or nothing for an unnamed socket.
    Unix(Vec<u8>),
    /// A family that has no common form: Python's socket module must name it.
    Other,
}

/// The memory of a socket address.
fn as_bytes<T: SocketAddress>(address: &T) -> &[u8] {
    // SAFETY: see the trait: all of its bytes are initialized.
    unsafe { std::slice::from_raw_parts((&raw const *address).cast(), size_of::<T>()) }
}

/// A structure of integers and arrays of them, made zeroed: every byte of it is initialized.
trait SocketAddress {}
impl SocketAddress for libc::sockaddr_in {}
impl SocketAddress for libc::sockaddr_in6 {}
impl SocketAddress for libc::sockaddr_un {}
impl SocketAddress for libc::sockaddr_storage {}

impl Address {
    /// An address with room for any family.
    pub fn empty() -> Self {
        Address {
            // SAFETY: all-zero is a valid sockaddr_storage (family AF_UNSPEC).
            storage: unsafe { std::mem::zeroed() },
            length: size_of::<libc::sockaddr_storage>() as libc::socklen_t,
        }
    }

    /// An IPv4 address and port.
    pub fn v4(host: Ipv4Addr, port: u16) -> Self {
        // SAFETY: all-zero is a valid sockaddr_in.
        let mut inet: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        inet.sin_family = libc::AF_INET as libc::sa_family_t;
        inet.sin_port = port.to_be();
        inet.sin_addr.s_addr = u32::from(host).to_be();
        Address::from_bytes(as_bytes(&inet))
    }

    /// An IPv6 address, port, flow information (in host order) and scope id.
    pub fn v6(host: Ipv6Addr, port: u16, flow: u32, scope: u32) -> Self {
        // SAFETY: all-zero is a valid sockaddr_in6.
        let mut inet: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
        inet.sin6_family = libc::AF_INET6 as libc::sa_family_t;
        inet.sin6_port = port.to_be();
        inet.sin6_flowinfo = flow.to_be();
        inet.sin6_addr.s6_addr = host.octets();
        inet.sin6_scope_id = scope;
        Address::from_bytes(as_bytes(&inet))
    }

    /// A path, or an abstract name (first byte 0). None when it does not fit, or holds a zero byte where a path ends.
    pub fn unix(path: &[u8]) -> Option<Self> {
        let is_abstract = path.first().is_none_or(|&byte| byte == 0);
        // SAFETY: all-zero is a valid sockaddr_un.
        let mut unix: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        // A path is followed by a zero byte.
        let length = path.len() + usize::from(!is_abstract);
        if length > unix.sun_path.len() || !is_abstract && path.contains(&0) {
            return None;
        }
        unix.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (place, &byte) in unix.sun_path.iter_mut().zip(path) {
            *place = byte as libc::c_char;
        }
        let start = std::mem::offset_of!(libc::sockaddr_un, sun_path);
        Some(Address::from_bytes(&as_bytes(&unix)[..start + length]))
    }

    /// The kernel's form, of any family; cut at the size of the largest.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut address = Address::empty();
        let length = bytes.len().min(size_of::<libc::sockaddr_storage>());
        // SAFETY: `length` bytes of both; a sockaddr_storage is plain memory.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                (&raw mut address.storage).cast::<u8>(),
                length,
            );
        }
        address.length = length as libc::socklen_t;
        address
    }

    /// The kernel's form.
    pub fn as_bytes(&self) -> &[u8] {
        &as_bytes(&self.storage)[..(self.length as usize).min(size_of::<libc::sockaddr_storage>())]
    }

    pub(crate) fn raw(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        ((&raw const self.storage).cast(), self.length)
    }

    /// Room for any family again; what is there stays until the kernel writes over it, but has no family.
    pub(crate) fn reset(&mut self) {
        self.storage.ss_family = libc::AF_UNSPEC as libc::sa_family_t;
        self.length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    }

    pub(crate) fn set_length(&mut self, length: libc::socklen_t) {
        self.length = length;
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
