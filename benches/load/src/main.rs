//! `interloop-load`: the compiled side of the benchmarks, Linux only (epoll).
//!
//! One process does one thing and prints one JSON object:
//!
//! * `echo`: N connections, one request in flight on each, every byte of the answer compared
//! * `churn`: N slots, each connect / echo / close, over and over
//! * `idle`: opens N connections and holds them until stdin closes
//! * `floor`: a bare epoll echo server, what the kernel alone costs under the same load

mod accounting;
mod args;
mod channel;
mod churn;
mod echo;
mod exchange;
mod floor;
mod histogram;
mod idle;
mod payload;
mod report;
mod slices;
mod sys;
mod websocket;

use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match args::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("interloop-load: {message}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    let outcome = match options.mode {
        args::Mode::Echo => echo::run(&options),
        args::Mode::Churn => churn::run(&options),
        args::Mode::Idle => idle::run(&options),
        args::Mode::Floor => floor::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("interloop-load: {error}");
            ExitCode::FAILURE
        }
    }
}
