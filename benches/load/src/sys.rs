//! Sockets, epoll and clocks: thin, checked wrappers around libc and nothing else.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::raw::c_int;

use crate::args::Address;

pub fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// A file descriptor that is closed when dropped.
pub struct Socket(c_int);

impl Drop for Socket {
    fn drop(&mut self) {
        unsafe { libc::close(self.0) };
    }
}

pub enum Io {
    Done(usize),
    WouldBlock,
    Failed(io::Error),
}

impl Socket {
    pub fn fd(&self) -> c_int {
        self.0
    }

    fn new(family: c_int, kind: c_int) -> io::Result<Self> {
        check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) }).map(Socket)
    }

    /// A new socket for `address`, not connected yet, with Nagle off for TCP.
    pub fn for_address(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(_) => {
                let socket = Socket::new(libc::AF_INET, libc::SOCK_STREAM)?;
                socket.set_int(libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
                Ok(socket)
            }
            Address::Udp(_) => Socket::new(libc::AF_INET, libc::SOCK_DGRAM),
            Address::Unix(_) => Socket::new(libc::AF_UNIX, libc::SOCK_STREAM),
        }
    }

    /// A stream socket that waits for nothing. Small writes wait for the acknowledgement of those before: for one message.
    pub fn nonblocking(address: &Address) -> io::Result<Self> {
        let family = match address {
            Address::Unix(_) => libc::AF_UNIX,
            _ => libc::AF_INET,
        };
        Socket::new(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK)
    }

    /// Sends from another address of 127/8 than usual: each has its own 28,000 ephemeral ports,
    /// which connections in TIME_WAIT would use up within a second of churn.
    pub fn bind_source(&self, last_byte: u8) -> io::Result<()> {
        self.set_int(libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
        let source = Address::Tcp(SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last_byte), 0));
        let (storage, length) = raw_address(&source)?;
        check(unsafe { libc::bind(self.0, (&raw const storage).cast(), length) }).map(drop)
    }

    pub fn connect(&self, address: &Address) -> io::Result<()> {
        let (storage, length) = raw_address(address)?;
        check(unsafe { libc::connect(self.0, (&raw const storage).cast(), length) }).map(drop)
    }

    pub fn listen(address: &Address, backlog: c_int) -> io::Result<Self> {
        let socket = Socket::for_address(address)?;
        let (storage, length) = raw_address(address)?;
        check(unsafe { libc::bind(socket.0, (&raw const storage).cast(), length) })?;
        if !matches!(address, Address::Udp(_)) {
            check(unsafe { libc::listen(socket.0, backlog) })?;
        }
        Ok(socket)
    }

    pub fn local_port(&self) -> io::Result<u16> {
        let mut address: libc::sockaddr_in = unsafe { mem::zeroed() };
        let mut length = mem::size_of_val(&address) as libc::socklen_t;
        check(unsafe { libc::getsockname(self.0, (&raw mut address).cast(), &mut length) })?;
        Ok(u16::from_be(address.sin_port))
    }

    pub fn set_nonblocking(&self) -> io::Result<()> {
        let flags = check(unsafe { libc::fcntl(self.0, libc::F_GETFL) })?;
        check(unsafe { libc::fcntl(self.0, libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
    }

    pub fn set_int(&self, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
        let length = mem::size_of_val(&value) as libc::socklen_t;
        check(unsafe { libc::setsockopt(self.0, level, name, (&raw const value).cast(), length) }).map(drop)
    }

    /// The pending error of a connect that was under way.
    pub fn take_error(&self) -> io::Result<()> {
        let mut value: c_int = 0;
        let mut length = mem::size_of_val(&value) as libc::socklen_t;
        check(unsafe {
            libc::getsockopt(self.0, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut value).cast(), &mut length)
        })?;
        match value {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// The next connection, non-blocking, or None when there is none.
    pub fn accept(&self) -> io::Result<Option<Socket>> {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        let fd = unsafe { libc::accept4(self.0, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
        if fd >= 0 {
            return Ok(Some(Socket(fd)));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Ok(None),
            // The peer went away again before we got to it: its own business, try the next one.
            Some(libc::ECONNABORTED) | Some(libc::EINTR) => self.accept(),
            _ => Err(error),
        }
    }

    /// Receives a datagram and sends it back to whom it came from; false when there is none, or no room for it.
    pub fn return_datagram(&self, buffer: &mut [u8]) -> io::Result<bool> {
        let mut address: libc::sockaddr_in = unsafe { mem::zeroed() };
        let mut length = mem::size_of_val(&address) as libc::socklen_t;
        let flags = libc::MSG_DONTWAIT;
        let (data, name) = (buffer.as_mut_ptr().cast(), (&raw mut address).cast());
        let count = unsafe { libc::recvfrom(self.0, data, buffer.len(), flags, name, &mut length) };
        let Io::Done(count) = outcome(count) else { return Ok(false) };
        let sent = unsafe { libc::sendto(self.0, buffer.as_ptr().cast(), count, flags, name, length) };
        match outcome(sent) {
            Io::Done(_) => Ok(true),
            Io::WouldBlock => Ok(false),
            Io::Failed(error) => Err(error),
        }
    }

    #[inline]
    pub fn send(&self, bytes: &[u8]) -> Io {
        outcome(unsafe { libc::send(self.0, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) })
    }

    #[inline]
    pub fn recv(&self, buffer: &mut [u8]) -> Io {
        outcome(unsafe { libc::recv(self.0, buffer.as_mut_ptr().cast(), buffer.len(), 0) })
    }
}

#[inline]
fn outcome(result: isize) -> Io {
    if result >= 0 {
        return Io::Done(result as usize);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // EINTR does not happen here: no signal handler is installed.
        Some(libc::EAGAIN) => Io::WouldBlock,
        _ => Io::Failed(error),
    }
}

fn raw_address(address: &Address) -> io::Result<(libc::sockaddr_storage, libc::socklen_t)> {
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    match address {
        Address::Tcp(tcp) | Address::Udp(tcp) => {
            let raw = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_in>() };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_port = tcp.port().to_be();
            raw.sin_addr.s_addr = u32::from(*tcp.ip()).to_be();
            Ok((storage, mem::size_of::<libc::sockaddr_in>() as libc::socklen_t))
        }
        Address::Unix(path) => {
            let raw = unsafe { &mut *(&raw mut storage).cast::<libc::sockaddr_un>() };
            if path.len() >= raw.sun_path.len() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "Unix socket path too long"));
            }
            raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
            for (to, from) in raw.sun_path.iter_mut().zip(path.bytes()) {
                *to = from as libc::c_char;
            }
            Ok((storage, mem::size_of::<libc::sockaddr_un>() as libc::socklen_t))
        }
    }
}

pub struct Epoll {
    fd: c_int,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    pub fn new(capacity: usize) -> io::Result<Self> {
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Epoll { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; capacity] })
    }

    pub fn add(&self, fd: c_int, interest: c_int, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, interest, key)
    }

    pub fn modify(&self, fd: c_int, interest: c_int, key: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, interest, key)
    }

    fn control(&self, what: c_int, fd: c_int, interest: c_int, key: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest as u32, u64: key };
        check(unsafe { libc::epoll_ctl(self.fd, what, fd, &mut event) }).map(drop)
    }

    /// Waits (`timeout` in ms, -1 for ever) and gives the number of events, to be read by `event`.
    pub fn wait(&mut self, timeout: c_int) -> io::Result<usize> {
        loop {
            let capacity = self.events.len() as c_int;
            let count = unsafe { libc::epoll_wait(self.fd, self.events.as_mut_ptr(), capacity, timeout) };
            match check(count) {
                // A tracer attached or detached: wait again.
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                other => return other.map(|count| count as usize),
            }
        }
    }

    #[inline]
    pub fn event(&self, index: usize) -> (u64, c_int) {
        let event = self.events[index];
        (event.u64, event.events as c_int)
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        unsafe { libc::close(self.fd) };
    }
}

/// Nanoseconds of the given clock.
pub fn clock(id: libc::clockid_t) -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    check(unsafe { libc::clock_gettime(id, &mut time) })?;
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// CPU time of all threads of another process, in ns, up to date also while it runs on another
/// core. The clock's number is the kernel's encoding (what clock_getcpuclockid gives).
pub fn process_cpu(pid: libc::pid_t) -> io::Result<u64> {
    clock((!pid << 3) | 2)
}

#[inline]
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// As many descriptors as the system allows us: 5,000 connections need more than the usual 1,024.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }).map(drop)
}
