//! Servers in turn, slice by slice: why, and what a slice is.
//!
//! On a virtual machine the speed of a core changes by a third and more within tenths of a second,
//! as its host's other threads come and go, and CPU time changes with it. Two windows of a second
//! cannot be compared; two neighbouring slices of 10 ms can, if there are enough such pairs.
//!
//! A slice begins and ends with nothing under way. So the server's CPU time between its two ends
//! belongs to exactly the requests counted in it, however many connections there are.

use std::io;
use std::time::Duration;

use crate::accounting::{Accounting, Own, Usage};
use crate::args::{Options, Server};
use crate::histogram::Histogram;
use crate::report::{self, Errors};
use crate::sys;

/// When a slice may end: at this moment, if it has that many requests by then.
#[derive(Clone, Copy)]
pub struct Goal {
    until: u64,
    requests: u64,
}

impl Goal {
    #[inline]
    pub fn reached(self, now: u64, requests: u64) -> bool {
        now >= self.until && requests >= self.requests
    }

    /// No answer within ten seconds of the end: the server hangs.
    pub fn overdue(self, now: u64) -> bool {
        now > self.until.saturating_add(10_000_000_000)
    }
}

/// What the load does to one server.
pub trait Workload {
    /// Runs until the goal is reached and nothing is under way any more; the number of requests.
    fn run(&mut self, goal: Goal) -> io::Result<u64>;
    fn latency(&mut self) -> &mut Histogram;
    fn errors(&self) -> &Errors;
}

pub struct Slice {
    pub requests: u64,
    pub nanoseconds: u64,
    pub usage: Usage,
    pub own: Own,
}

pub fn run<W: Workload>(
    mode: &str,
    options: &Options,
    connect: impl Fn(&Server) -> io::Result<W>,
) -> io::Result<()> {
    sys::raise_descriptor_limit()?;
    let mut loads = options.servers.iter().map(connect).collect::<io::Result<Vec<_>>>()?;
    let mut slices: Vec<Vec<Slice>> = loads.iter().map(|_| Vec::new()).collect();

    for (load, server) in loads.iter_mut().zip(&options.servers) {
        let warm = sys::now() + (options.warmup * 1e9) as u64;
        while sys::now() < warm && load.errors().count == 0 {
            measure(load, server, options)?;
        }
        load.latency().clear();
    }
    for number in 0..options.slices {
        std::thread::sleep(Duration::from_secs_f64(options.rest));
        for position in 0..loads.len() {
            // Forwards and backwards: whom a server runs after is the same for all on the average.
            let index = if number % 2 == 0 { position } else { loads.len() - 1 - position };
            // One that failed has no figure any more: the others go on.
            if loads[index].errors().count > 0 {
                continue;
            }
            slices[index].push(measure(&mut loads[index], &options.servers[index], options)?);
        }
    }
    report::print(mode, options, &mut loads, &slices);
    Ok(())
}

fn measure<W: Workload>(load: &mut W, server: &Server, options: &Options) -> io::Result<Slice> {
    let accounting = Accounting::start(server.pid)?;
    let before = Own::read()?;
    let began = sys::now();
    let goal = Goal { until: began + (options.seconds * 1e9) as u64, requests: options.requests };
    let requests = load.run(goal)?;
    let nanoseconds = sys::now() - began;
    let own = Own::read()?.since(before);
    // The last answer left before the server's turn ended, or before it saw us close.
    accounting.wait_for_rest()?;
    Ok(Slice { requests, nanoseconds, usage: accounting.stop()?, own })
}
