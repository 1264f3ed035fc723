//! Connect, echo one message, close: over and over in N slots.

use std::io;

use crate::args::{Address, Options};
use crate::histogram::Histogram;
use crate::payload::Payload;
use crate::report::Errors;
use crate::slices::{self, Goal, Workload};
use crate::sys::{self, Epoll, Io, Socket};

struct Attempt {
    socket: Socket,
    connected: bool,
    sent: usize,
    received: usize,
    began: u64,
}

struct Churn {
    address: Address,
    payload: Payload,
    epoll: Epoll,
    timeout: i32,
    slots: Vec<Option<Attempt>>,
    sequence: u64,
    buffer: Vec<u8>,
    latency: Histogram,
    errors: Errors,
}

pub fn run(options: &Options) -> io::Result<()> {
    slices::run("churn", options, |server| {
        Ok(Churn {
            address: server.address.clone(),
            payload: Payload::new(options.size),
            epoll: Epoll::new(options.connections.clamp(1, 1024))?,
            timeout: if options.spin { 0 } else { 1000 },
            slots: (0..options.connections).map(|_| None).collect(),
            sequence: 0,
            buffer: vec![0; 256 * 1024],
            latency: Histogram::new(),
            errors: Errors::default(),
        })
    })
}

impl Churn {
    /// False, with the error counted, if the connection could not even be begun.
    fn try_open(&mut self, slot: usize) -> bool {
        match self.open(slot) {
            Ok(()) => true,
            Err(error) => {
                self.errors.add(|| format!("connect: {error}"));
                false
            }
        }
    }

    /// As few calls as it takes: what the generator spends here, a fast server has to wait for.
    fn open(&mut self, slot: usize) -> io::Result<()> {
        self.sequence += 1;
        let began = sys::now();
        let socket = Socket::nonblocking(&self.address)?;
        if matches!(self.address, Address::Tcp(_)) {
            socket.bind_source(1 + (self.sequence % 250) as u8)?;
        }
        match socket.connect(&self.address) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            // A Unix listener whose backlog is full: no event will tell when it is not, so the
            // connection is made the blocking way.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                let blocking = Socket::for_address(&self.address)?;
                blocking.connect(&self.address)?;
                blocking.set_nonblocking()?;
                return self.begin(slot, blocking, began);
            }
            Err(error) => return Err(error),
        }
        self.begin(slot, socket, began)
    }

    fn begin(&mut self, slot: usize, socket: Socket, began: u64) -> io::Result<()> {
        let mut attempt = Attempt { socket, connected: false, sent: 0, received: 0, began };
        // On loopback the handshake is over when `connect` returns, though it says that it goes on.
        attempt.send(self.payload.of(slot as u64)).map_err(io::Error::other)?;
        let mut interest = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET;
        if attempt.sent < self.payload.of(slot as u64).len() {
            interest |= libc::EPOLLOUT;
        }
        self.epoll.add(attempt.socket.fd(), interest, slot as u64)?;
        self.slots[slot] = Some(attempt);
        Ok(())
    }

    /// True if the slot is free again: its echo was complete, or it failed.
    fn serve(&mut self, slot: usize, readiness: i32, now: &mut u64) -> bool {
        let message = self.payload.of(slot as u64);
        let Some(attempt) = self.slots[slot].as_mut() else { return false };
        match attempt.advance(message, readiness, &mut self.buffer) {
            Ok(false) => return false,
            Ok(true) => {
                *now = sys::now();
                self.latency.record(*now - attempt.began);
            }
            Err(reason) => self.errors.add(|| reason),
        }
        // Dropping the socket closes it, which also takes it out of the epoll set.
        self.slots[slot] = None;
        true
    }
}

impl Workload for Churn {
    fn run(&mut self, goal: Goal) -> io::Result<u64> {
        let before = self.latency.count();
        let mut now = sys::now();
        let mut busy = 0;
        for slot in 0..self.slots.len() {
            busy += usize::from(self.try_open(slot));
        }
        while busy > 0 {
            let count = self.epoll.wait(self.timeout)?;
            if count == 0 {
                now = sys::now();
                if goal.overdue(now) {
                    self.errors.add(|| "no answer within ten seconds".into());
                    break;
                }
            }
            for index in 0..count {
                let (slot, readiness) = self.epoll.event(index);
                if self.serve(slot as usize, readiness, &mut now) {
                    let completed = self.latency.count() - before;
                    let done = goal.reached(now, completed) || self.errors.count > 0;
                    if done || !self.try_open(slot as usize) {
                        busy -= 1;
                    }
                }
            }
        }
        Ok(self.latency.count() - before)
    }

    fn latency(&mut self) -> &mut Histogram {
        &mut self.latency
    }

    fn errors(&self) -> &Errors {
        &self.errors
    }
}

impl Attempt {
    /// Sends what the socket takes. One that is not connected yet takes nothing.
    fn send(&mut self, message: &[u8]) -> Result<(), String> {
        while self.sent < message.len() {
            match self.socket.send(&message[self.sent..]) {
                Io::Done(count) => self.sent += count,
                Io::WouldBlock => break,
                Io::Failed(error) => return Err(format!("send: {error}")),
            }
        }
        self.connected |= self.sent > 0;
        Ok(())
    }

    /// True when the whole echo is there.
    fn advance(&mut self, message: &[u8], readiness: i32, buffer: &mut [u8]) -> Result<bool, String> {
        if !self.connected {
            self.socket.take_error().map_err(|error| format!("connect: {error}"))?;
            if readiness & libc::EPOLLOUT == 0 {
                return Ok(false);
            }
            self.connected = true;
        }
        self.send(message)?;
        if readiness & !libc::EPOLLOUT == 0 {
            return Ok(false);
        }
        loop {
            let count = match self.socket.recv(buffer) {
                Io::Done(0) => return Err("the server closed the connection".into()),
                Io::Done(count) => count,
                Io::WouldBlock => return Ok(false),
                Io::Failed(error) => return Err(format!("recv: {error}")),
            };
            if message.get(self.received..self.received + count) != Some(&buffer[..count]) {
                return Err(format!("the {count} bytes at offset {} are not what was sent", self.received));
            }
            self.received += count;
            if self.received == message.len() {
                return Ok(true);
            }
            if count < buffer.len() {
                return Ok(false);
            }
        }
    }
}
