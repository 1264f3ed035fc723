//! Opens N connections and holds them, silent, until stdin closes.

use std::io::{self, BufRead, Write};

use crate::args::{Address, Options};
use crate::payload::Payload;
use crate::sys::{self, Io, Socket};

pub fn run(options: &Options) -> io::Result<()> {
    sys::raise_descriptor_limit()?;
    let payload = Payload::new(options.size);
    let mut held = Vec::with_capacity(options.connections);
    for index in 0..options.connections {
        let socket = Socket::for_address(&options.servers[0].address)?;
        if matches!(options.servers[0].address, Address::Tcp(_)) {
            socket.bind_source(1 + (index % 250) as u8)?;
        }
        socket.connect(&options.servers[0].address)?;
        if options.touch {
            echo_once(&socket, payload.of(index as u64))?;
        }
        held.push(socket);
    }
    println!("{{\"mode\":\"idle\",\"connected\":{}}}", held.len());
    io::stdout().flush()?;
    let mut line = String::new();
    while io::stdin().lock().read_line(&mut line)? > 0 {}

    // A server that dropped connections meanwhile would have been measured with too few.
    let mut lost = 0;
    for socket in &held {
        socket.set_nonblocking()?;
        if !matches!(socket.recv(&mut [0; 1]), Io::WouldBlock) {
            lost += 1;
        }
    }
    println!("{{\"mode\":\"idle\",\"lost\":{lost}}}");
    Ok(())
}

fn echo_once(socket: &Socket, message: &[u8]) -> io::Result<()> {
    let broken = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_string());
    let mut sent = 0;
    while sent < message.len() {
        match socket.send(&message[sent..]) {
            Io::Done(count) => sent += count,
            Io::WouldBlock => return Err(broken("a blocking send would block")),
            Io::Failed(error) => return Err(error),
        }
    }
    let mut back = vec![0; message.len()];
    let mut received = 0;
    while received < message.len() {
        match socket.recv(&mut back[received..]) {
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
