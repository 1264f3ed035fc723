//! What a run found, as one line of JSON: totals for each server, and its slices.

use crate::args::Options;
use crate::slices::{Slice, Workload};

/// Failed requests, and the first reason in words: a figure with errors is void, not lower.
#[derive(Default)]
pub struct Errors {
    pub count: u64,
    first: Option<String>,
}

impl Errors {
    pub fn add(&mut self, reason: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(reason);
    }

    fn json(&self) -> String {
        self.first.as_deref().map_or("null".into(), quote)
    }
}

pub fn print<W: Workload>(mode: &str, options: &Options, loads: &mut [W], slices: &[Vec<Slice>]) {
    let servers: Vec<String> =
        loads.iter_mut().zip(slices).map(|(load, slices)| server(load, slices)).collect();
    println!(
        "{{\"mode\":\"{mode}\",\"connections\":{},\"size\":{},\"spin\":{},\"servers\":[{}]}}",
        options.connections,
        options.size,
        options.spin,
        servers.join(",")
    );
}

fn server<W: Workload>(load: &mut W, slices: &[Slice]) -> String {
    let total = |of: &dyn Fn(&Slice) -> f64| slices.iter().map(of).sum::<f64>();
    let each = |of: &dyn Fn(&Slice) -> u64| {
        let texts: Vec<String> = slices.iter().map(|slice| of(slice).to_string()).collect();
        format!("[{}]", texts.join(","))
    };
    format!(
        "{{\"requests\":{},\"seconds\":{:.6},\"p50_us\":{:.2},\"p99_us\":{:.2},\"errors\":{},\"first_error\":{},\
         \"server_cpu_ns\":{},\"server_user_s\":{:.2},\"server_system_s\":{:.2},\"server_sleeps\":{},\
         \"load_cpu_ns\":{},\"slices\":{{\"requests\":{},\"ns\":{},\"server_cpu_ns\":{},\"server_wait_ns\":{},\
         \"load_wait_ns\":{}}}}}",
        total(&|slice| slice.requests as f64),
        total(&|slice| slice.nanoseconds as f64 / 1e9),
        load.latency().quantile(0.50) / 1e3,
        load.latency().quantile(0.99) / 1e3,
        load.errors().count,
        load.errors().json(),
        total(&|slice| slice.usage.server_cpu_ns as f64),
        total(&|slice| slice.usage.server_user_s),
        total(&|slice| slice.usage.server_system_s),
        total(&|slice| slice.usage.server_sleeps as f64),
        total(&|slice| slice.own.cpu_ns as f64),
        each(&|slice| slice.requests),
        each(&|slice| slice.nanoseconds),
        each(&|slice| slice.usage.server_cpu_ns),
        each(&|slice| slice.usage.server_wait_ns),
        each(&|slice| slice.own.wait_ns),
    )
}

fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            control if (control as u32) < 0x20 => quoted.push_str(&format!("\\u{:04x}", control as u32)),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
