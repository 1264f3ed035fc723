//! Opens N connections and holds them, silent, until stdin closes.

use std::io::{self, BufRead, Write};

use crate::args::{Address, Options};
use crate::channel::{self, Channel};
use crate::payload::Payload;
use crate::sys::{self, Io, Socket};

pub fn run(options: &Options) -> io::Result<()> {
    sys::raise_descriptor_limit()?;
    let payload = Payload::new(options.size);
    let tls = match options.tls {
        true => Some(channel::configuration().map_err(io::Error::other)?),
        false => None,
    };
    let mut held = Vec::with_capacity(options.connections);
    for index in 0..options.connections {
        let socket = Socket::for_address(&options.servers[0].address)?;
        if matches!(options.servers[0].address, Address::Tcp(_)) {
            socket.bind_source(1 + (index % 250) as u8)?;
        }
        socket.connect(&options.servers[0].address)?;
        let mut channel = Channel::new(socket, tls.as_ref())?;
        if options.touch {
            echo_once(&mut channel, payload.of(index as u64))?;
        }
        held.push(channel);
    }
    println!("{{\"mode\":\"idle\",\"connected\":{}}}", held.len());
    io::stdout().flush()?;
    let mut line = String::new();
    while io::stdin().lock().read_line(&mut line)? > 0 {}

    // A server that dropped connections meanwhile would have been measured with too few.
    let mut lost = 0;
    for channel in &mut held {
        channel.socket().set_nonblocking()?;
        // With TLS: past what the server sent behind its handshake.
        if !matches!(channel.recv(&mut [0; 1]), Io::WouldBlock) {
            lost += 1;
        }
    }
    println!("{{\"mode\":\"idle\",\"lost\":{lost}}}");
    Ok(())
}

fn echo_once(channel: &mut Channel, message: &[u8]) -> io::Result<()> {
    let broken = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_string());
    let mut sent = 0;
    while sent < message.len() {
        match channel.send(&message[sent..]) {
            Io::Done(count) => sent += count,
            Io::WouldBlock => return Err(broken("a blocking send would block")),
            Io::Failed(error) => return Err(error),
        }
    }
    let mut back = vec![0; message.len()];
    let mut received = 0;
    while received < message.len() {
        match channel.recv(&mut back[received..]) {
            Io::Done(0) => return Err(broken("the server closed the connection")),
            Io::Done(count) => received += count,
            Io::WouldBlock => return Err(broken("a blocking recv would block")),
            Io::Failed(error) => return Err(error),
        }
    }
    if back != message {
        return Err(broken("what came back is not what was sent"));
    }
    Ok(())
}
