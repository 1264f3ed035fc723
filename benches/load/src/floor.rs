//! A bare epoll echo server: accept, recv, send. What any loop pays to the kernel anyway.
//!
//! It speaks the servers' protocol of `benches/servers`: the first line names the port (or the
//! path), a line on stdin is answered with one line of JSON, and the end of stdin ends it.

use std::io::{self, Write};

use crate::args::{Address, Options};
use crate::sys::{self, Epoll, Io, Socket};

const LISTENER: u64 = u64::MAX;
const CONTROL: u64 = u64::MAX - 1;
const BACKLOG: i32 = 4096;

struct Peer {
    socket: Socket,
    /// What a full socket did not take. Only then is anything allocated, and reading stops.
    rest: Vec<u8>,
}

struct Floor {
    epoll: Epoll,
    peers: Vec<Option<Peer>>,
    open: usize,
    short_sends: u64,
    tcp: bool,
    edge: i32,
}

pub fn run(options: &Options) -> io::Result<()> {
    sys::raise_descriptor_limit()?;
    let listener = Socket::listen(&options.servers[0].address, BACKLOG)?;
    listener.set_nonblocking()?;
    let mut floor = Floor {
        epoll: Epoll::new(1024)?,
        peers: Vec::new(),
        open: 0,
        short_sends: 0,
        tcp: matches!(options.servers[0].address, Address::Tcp(_)),
        edge: if options.level { 0 } else { libc::EPOLLET },
    };
    floor.epoll.add(listener.fd(), libc::EPOLLIN, LISTENER)?;
    floor.epoll.add(0, libc::EPOLLIN, CONTROL)?;
    match &options.servers[0].address {
        Address::Tcp(_) | Address::Udp(_) => println!("{}", listener.local_port()?),
        Address::Unix(path) => println!("{path}"),
    }
    io::stdout().flush()?;

    let udp = matches!(options.servers[0].address, Address::Udp(_));
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = floor.epoll.wait(-1)?;
        for index in 0..count {
            match floor.epoll.event(index) {
                // Level-triggered: what is left is reported again.
                (LISTENER, _) if udp => drop(listener.return_datagram(&mut buffer)?),
                (LISTENER, _) => floor.accept(&listener)?,
                (CONTROL, _) => {
                    if !floor.answer(&mut buffer)? {
                        return Ok(());
                    }
                }
                (key, readiness) => floor.serve(key as usize, readiness, &mut buffer)?,
            }
        }
    }
}

impl Floor {
    fn accept(&mut self, listener: &Socket) -> io::Result<()> {
        while let Some(socket) = listener.accept()? {
            if self.tcp {
                socket.set_int(libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
            }
            // Descriptors are small and reused: they index the table. A batch is served in order
            // and a peer is closed only while its own event is served, so none outlives its fd.
            let key = socket.fd() as usize;
            if self.peers.len() <= key {
                self.peers.resize_with(key + 1, || None);
            }
            self.epoll.add(socket.fd(), libc::EPOLLIN | self.edge, key as u64)?;
            self.peers[key] = Some(Peer { socket, rest: Vec::new() });
            self.open += 1;
        }
        Ok(())
    }

    fn serve(&mut self, key: usize, readiness: i32, buffer: &mut [u8]) -> io::Result<()> {
        let Some(peer) = self.peers.get_mut(key).and_then(Option::as_mut) else { return Ok(()) };
        if readiness & libc::EPOLLOUT != 0 && !peer.rest.is_empty() {
            match peer.socket.send(&peer.rest) {
                Io::Done(count) => drop(peer.rest.drain(..count)),
                Io::WouldBlock => return Ok(()),
                Io::Failed(_) => return self.close(key),
            }
            if !peer.rest.is_empty() {
                return Ok(());
            }
            self.epoll.modify(peer.socket.fd(), libc::EPOLLIN | self.edge, key as u64)?;
        }
        loop {
            let count = match peer.socket.recv(buffer) {
                Io::Done(0) | Io::Failed(_) => return self.close(key),
                Io::WouldBlock => return Ok(()),
                Io::Done(count) => count,
            };
            let sent = match peer.socket.send(&buffer[..count]) {
                Io::Done(sent) => sent,
                Io::WouldBlock => 0,
                Io::Failed(_) => return self.close(key),
            };
            if sent < count {
                self.short_sends += 1;
                peer.rest.extend_from_slice(&buffer[sent..count]);
                return self.epoll.modify(peer.socket.fd(), libc::EPOLLOUT | self.edge, key as u64);
            }
            if count < buffer.len() {
                return Ok(());
            }
        }
    }

    fn close(&mut self, key: usize) -> io::Result<()> {
        self.peers[key] = None;
        self.open -= 1;
        Ok(())
    }

    /// False at the end of stdin.
    fn answer(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let count = unsafe { libc::read(0, buffer.as_mut_ptr().cast(), buffer.len()) };
        if count <= 0 {
            return Ok(false);
        }
        for _ in buffer[..count as usize].iter().filter(|&&byte| byte == b'\n') {
            println!("{{\"connections\":{},\"short_sends\":{}}}", self.open, self.short_sends);
        }
        io::stdout().flush()?;
        Ok(true)
    }
}
