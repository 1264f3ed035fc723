//! The command line, by hand: a dozen flags are not worth a dependency.

use std::net::{Ipv4Addr, SocketAddrV4};

pub const USAGE: &str = "\
usage: interloop-load echo  --connect ADDR [--server-pid PID] [--connect ADDR ...]
                            [--connections N] [--size BYTES] [--slices N] [--seconds S]
                            [--requests N] [--warmup S] [--rest S] [--spin] [--tls]
                            [--http | --websocket]
       interloop-load churn (the same options, but no --tls, --http and --websocket)
       interloop-load idle  --connect ADDR [--connections N] [--touch] [--tls]
       interloop-load floor [--unix PATH | --udp] [--level]     (else TCP on 127.0.0.1, a port the kernel picks)
ADDR is tcp:HOST:PORT or udp:HOST:PORT (IPv4, numeric; udp for echo, without --tls) or unix:PATH. --server-pid
belongs to the --connect before it.
A slice lasts --seconds and at least --requests requests; the servers take turns, slice by slice,
with --rest seconds of silence after each has had one.";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Echo,
    Churn,
    Idle,
    Floor,
}

#[derive(Clone, Debug)]
pub enum Address {
    Tcp(SocketAddrV4),
    Udp(SocketAddrV4),
    Unix(String),
}

#[derive(Debug)]
pub struct Server {
    pub address: Address,
    /// Whose CPU clock is read at both ends of a slice.
    pub pid: Option<libc::pid_t>,
}

#[derive(Debug)]
pub struct Options {
    pub mode: Mode,
    /// Floor: the one address to listen on.
    pub servers: Vec<Server>,
    pub connections: usize,
    pub size: usize,
    pub slices: usize,
    pub seconds: f64,
    pub requests: u64,
    /// Per server, in slices like the measured ones.
    pub warmup: f64,
    pub rest: f64,
    /// Poll without sleeping: takes the cost of waking the client off the server's send.
    pub spin: bool,
    /// Floor: level- instead of edge-triggered.
    pub level: bool,
    /// Echo, idle: TLS, with a server of any name.
    pub tls: bool,
    /// Echo: ask by HTTP/1.1 for a body of `size` bytes.
    pub http: bool,
    /// Echo: of websocket messages of `size` bytes.
    pub websocket: bool,
    /// Idle: one echo on every connection before it goes idle.
    pub touch: bool,
}

pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mode = match words.next().as_deref() {
        Some("echo") => Mode::Echo,
        Some("churn") => Mode::Churn,
        Some("idle") => Mode::Idle,
        Some("floor") => Mode::Floor,
        Some(other) => return Err(format!("unknown mode {other:?}")),
        None => return Err("a mode is needed".into()),
    };
    let mut options = Options {
        mode,
        servers: Vec::new(),
        connections: 1,
        size: 1024,
        slices: 1,
        seconds: 1.0,
        requests: 0,
        warmup: 0.2,
        rest: 0.0,
        spin: false,
        level: false,
        tls: false,
        http: false,
        websocket: false,
        touch: false,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--connect" if mode != Mode::Floor => {
                options.servers.push(Server { address: parse_address(&value()?)?, pid: None });
            }
            "--unix" if mode == Mode::Floor => {
                options.servers.push(Server { address: Address::Unix(value()?), pid: None });
            }
            "--udp" if mode == Mode::Floor => {
                let address = Address::Udp(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
                options.servers.push(Server { address, pid: None });
            }
            "--server-pid" => {
                let pid = number(&word, &value()?)?;
                options.servers.last_mut().ok_or("--server-pid comes after its --connect")?.pid = Some(pid);
            }
            "--connections" => options.connections = number(&word, &value()?)?,
            "--size" => options.size = number(&word, &value()?)?,
            "--slices" => options.slices = number(&word, &value()?)?,
            "--seconds" => options.seconds = number(&word, &value()?)?,
            "--requests" => options.requests = number(&word, &value()?)?,
            "--warmup" => options.warmup = number(&word, &value()?)?,
            "--rest" => options.rest = number(&word, &value()?)?,
            "--spin" => options.spin = true,
            "--level" if mode == Mode::Floor => options.level = true,
            "--tls" if matches!(mode, Mode::Echo | Mode::Idle) => options.tls = true,
            "--http" if mode == Mode::Echo => options.http = true,
            "--websocket" if mode == Mode::Echo => options.websocket = true,
            "--touch" if mode == Mode::Idle => options.touch = true,
            _ => return Err(format!("unknown option {word:?} for this mode")),
        }
    }
    if mode == Mode::Floor && options.servers.is_empty() {
        let address = Address::Tcp(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
        options.servers.push(Server { address, pid: None });
    }
    match (mode, options.servers.len()) {
        (_, 0) => return Err("an address is needed".into()),
        (Mode::Idle | Mode::Floor, 2..) => return Err("this mode takes one address".into()),
        _ => {}
    }
    if options.connections == 0 || options.size == 0 || options.slices == 0 {
        return Err("--connections, --size and --slices must be at least 1".into());
    }
    let udp = options.servers.iter().any(|server| matches!(server.address, Address::Udp(_)));
    if udp && !matches!(mode, Mode::Echo | Mode::Floor) {
        return Err("udp: is for echo".into());
    }
    if udp && (options.tls || options.http || options.websocket) {
        return Err("there is no TLS and no HTTP over udp: here".into());
    }
    if options.http && options.websocket {
        return Err("--http or --websocket".into());
    }
    if udp && options.size > 65_507 {
        return Err("a datagram holds at most 65507 bytes".into());
    }
    let times = [options.seconds, options.warmup, options.rest];
    if !times.iter().all(|time| (0.0..86400.0).contains(time)) {
        return Err("--seconds, --warmup and --rest must lie between 0 and a day".into());
    }
    Ok(options)
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{name}: {text:?} is not a number it can take"))
}

fn parse_address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Address::Unix(path.to_string()));
    }
    if let Some(host) = text.strip_prefix("udp:") {
        return host.parse().map(Address::Udp).map_err(|error| format!("{text:?}: {error}"));
    }
    let host = text.strip_prefix("tcp:").ok_or(format!("{text:?}: tcp:, udp: or unix: expected"))?;
    host.parse().map(Address::Tcp).map_err(|error| format!("{text:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn words(text: &str) -> impl Iterator<Item = String> + '_ {
        text.split_ascii_whitespace().map(str::to_string)
    }

    #[test]
    fn each_pid_belongs_to_the_address_before_it() {
        let line = "echo --connect tcp:127.0.0.1:1 --server-pid 7 --connect unix:/x --connect unix:/y --server-pid 9";
        let pids: Vec<_> = parse(words(line)).unwrap().servers.iter().map(|server| server.pid).collect();
        assert_eq!(pids, [Some(7), None, Some(9)]);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "",
            "fly",
            "echo",
            "echo --connect tcp:localhost:80",
            "echo --connect unix:/x --size 0",
            "echo --connect unix:/x --seconds NaN",
            "echo --connect unix:/x --level",
            "echo --server-pid 3 --connect unix:/x",
            "idle --connect unix:/x --connect unix:/y",
            "floor --connect unix:/x",
            "floor --tls",
            "churn --connect unix:/x --tls",
            "churn --connect udp:127.0.0.1:1",
            "churn --connect unix:/x --websocket",
            "echo --connect unix:/x --http --websocket",
            "echo --connect udp:127.0.0.1:1 --size 65508",
        ] {
            assert!(parse(words(line)).is_err(), "{line}");
        }
    }
}
