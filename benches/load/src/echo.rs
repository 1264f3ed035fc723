//! N connections, one request in flight on each; a request ends when the last byte of its answer came back.

use std::io;

use crate::args::{Options, Server};
use crate::channel::{self, Channel};
use crate::exchange::{Answer, Exchange};
use crate::histogram::Histogram;
use crate::report::Errors;
use crate::slices::{self, Goal, Workload};
use crate::sys::{self, Epoll, Io, Socket};
use crate::websocket;

struct Connection {
    channel: Channel,
    sequence: u64,
    sent: usize,
    answer: Answer,
    began: u64,
}

enum Step {
    /// The answer is complete.
    Complete,
    /// More has to come.
    Pending,
    Broken(String),
}

impl Connection {
    fn begin(&mut self, exchange: &Exchange, now: u64) -> Result<(), String> {
        self.sequence += 1;
        self.sent = 0;
        self.answer.clear();
        self.began = now;
        self.push(exchange)
    }

    /// Sends what the socket takes.
    fn push(&mut self, exchange: &Exchange) -> Result<(), String> {
        let message = exchange.request(self.sequence);
        while self.sent < message.len() {
            match self.channel.send(&message[self.sent..]) {
                Io::Done(count) => self.sent += count,
                Io::WouldBlock => break,
                Io::Failed(error) => return Err(format!("send: {error}")),
            }
        }
        Ok(())
    }

    /// Receives what there is, compared with what must come.
    fn pull(&mut self, exchange: &Exchange, buffer: &mut [u8]) -> Step {
        loop {
            let count = match self.channel.recv(buffer) {
                Io::Done(0) => return Step::Broken("the server closed the connection".into()),
                Io::Done(count) => count,
                Io::WouldBlock => return Step::Pending,
                Io::Failed(error) => return Step::Broken(format!("recv: {error}")),
            };
            match exchange.take(self.sequence, &mut self.answer, &buffer[..count]) {
                Err(reason) => return Step::Broken(reason),
                Ok(_) if matches!(exchange, Exchange::Echo(_)) && self.answer.received() > self.sent => {
                    return Step::Broken("more bytes came back than were sent".into());
                }
                Ok(true) => return Step::Complete,
                Ok(false) => {}
            }
            // A short read emptied the socket: the next bytes bring their own edge.
            if count < buffer.len() && self.channel.short_read_empties() {
                return Step::Pending;
            }
        }
    }
}

struct Echo {
    exchange: Exchange,
    epoll: Epoll,
    timeout: i32,
    connections: Vec<Option<Connection>>,
    /// Connections with a request on its way.
    busy: usize,
    buffer: Vec<u8>,
    latency: Histogram,
    errors: Errors,
}

pub fn run(options: &Options) -> io::Result<()> {
    slices::run("echo", options, |server| Echo::connect(options, server))
}

impl Echo {
    fn connect(options: &Options, server: &Server) -> io::Result<Self> {
        let mut load = Echo {
            exchange: Exchange::new(options.size, options.http, options.websocket),
            epoll: Epoll::new(options.connections.clamp(1, 1024))?,
            // Bounded, to notice a server that does not answer any more.
            timeout: if options.spin { 0 } else { 1000 },
            connections: Vec::with_capacity(options.connections),
            busy: 0,
            buffer: vec![0; 256 * 1024],
            latency: Histogram::new(),
            errors: Errors::default(),
        };
        let tls = match options.tls {
            true => Some(channel::configuration().map_err(io::Error::other)?),
            false => None,
        };
        for key in 0..options.connections {
            let socket = Socket::for_address(&server.address)?;
            // This server's failure, not that of the others: it is told like any other error.
            if let Err(error) = socket.connect(&server.address) {
                load.errors.add(|| format!("connect: {error}"));
                break;
            }
            let opened = Channel::new(socket, tls.as_ref()).and_then(|mut channel| {
                if options.websocket {
                    websocket::upgrade(&mut channel)?;
                }
                Ok(channel)
            });
            let channel = match opened {
                Ok(channel) => channel,
                Err(error) => {
                    load.errors.add(|| format!("handshake: {error}"));
                    break;
                }
            };
            let socket = channel.socket();
            socket.set_nonblocking()?;
            let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
            load.epoll.add(socket.fd(), interest, key as u64)?;
            let answer = Answer::default();
            let connection = Connection { channel, sequence: key as u64, sent: 0, answer, began: 0 };
            load.connections.push(Some(connection));
        }
        Ok(load)
    }

    /// True if a request was completed.
    fn serve(&mut self, key: usize, readiness: i32) -> bool {
        let Some(connection) = self.connections[key].as_mut() else { return false };
        if readiness & libc::EPOLLOUT != 0 {
            if let Io::Failed(error) = connection.channel.flush() {
                self.lose(key, format!("send: {error}"));
                return false;
            }
            if connection.sent < self.exchange.request(connection.sequence).len() {
                if let Err(reason) = connection.push(&self.exchange) {
                    self.lose(key, reason);
                    return false;
                }
            }
        }
        if readiness & !libc::EPOLLOUT == 0 {
            return false;
        }
        match connection.pull(&self.exchange, &mut self.buffer) {
            Step::Complete => true,
            Step::Pending => false,
            Step::Broken(reason) => {
                self.lose(key, reason);
                false
            }
        }
    }

    fn begin(&mut self, key: usize, now: u64) {
        let Some(connection) = self.connections[key].as_mut() else { return };
        if let Err(reason) = connection.begin(&self.exchange, now) {
            self.lose(key, reason);
        }
    }

    fn lose(&mut self, key: usize, reason: String) {
        self.connections[key] = None;
        self.busy -= 1;
        self.errors.add(|| reason);
    }
}

impl Workload for Echo {
    fn run(&mut self, goal: Goal) -> io::Result<u64> {
        self.busy = self.connections.iter().flatten().count();
        let mut completed = 0;
        let mut now = sys::now();
        for key in 0..self.connections.len() {
            self.begin(key, now);
        }
        while self.busy > 0 {
            let count = self.epoll.wait(self.timeout)?;
            if count == 0 {
                now = sys::now();
                if goal.overdue(now) {
                    self.errors.add(|| "no answer within ten seconds".into());
                    break;
                }
            }
            for index in 0..count {
                let (key, readiness) = self.epoll.event(index);
                let key = key as usize;
                if self.serve(key, readiness) {
                    now = sys::now();
                    completed += 1;
                    let began = self.connections[key].as_ref().map_or(now, |connection| connection.began);
                    self.latency.record(now - began);
                    if goal.reached(now, completed) {
                        self.busy -= 1;
                    } else {
                        self.begin(key, now);
                    }
                }
            }
        }
        Ok(completed)
    }

    fn latency(&mut self) -> &mut Histogram {
        &mut self.latency
    }

    fn errors(&self) -> &Errors {
        &self.errors
    }
}
