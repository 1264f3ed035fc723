//! What the server's process cost between two moments, read from outside it.
//!
//! The load generator reads these itself, at exactly the ends of a slice: no request to the
//! server, no skew between "the slice began" and "the clock was read".

use std::fs;
use std::io;
use std::time::Duration;

use crate::sys;

#[derive(Clone, Copy, Default)]
struct Snapshot {
    cpu_ns: u64,
    user_ticks: u64,
    system_ticks: u64,
    /// Time its threads stood runnable on the run queue: others had the core.
    wait_ns: u64,
    /// Times it slept by its own will: about the number of polls that had to wait.
    sleeps: u64,
}

pub struct Accounting {
    server: Option<libc::pid_t>,
    start: Snapshot,
}

/// CPU time and run-queue wait of this process, in ns.
#[derive(Clone, Copy)]
pub struct Own {
    pub cpu_ns: u64,
    pub wait_ns: u64,
}

impl Own {
    pub fn read() -> io::Result<Self> {
        let cpu_ns = sys::clock(libc::CLOCK_PROCESS_CPUTIME_ID)?;
        Ok(Own { cpu_ns, wait_ns: threads(unsafe { libc::getpid() })?.0 })
    }

    pub fn since(self, earlier: Own) -> Own {
        Own {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            wait_ns: self.wait_ns.saturating_sub(earlier.wait_ns),
        }
    }
}

/// Without a server's pid all that is said of it is 0.
pub struct Usage {
    pub server_cpu_ns: u64,
    pub server_user_s: f64,
    pub server_system_s: f64,
    pub server_wait_ns: u64,
    pub server_sleeps: u64,
}

impl Accounting {
    pub fn start(server: Option<libc::pid_t>) -> io::Result<Self> {
        Ok(Accounting { server, start: snapshot(server)? })
    }

    /// Until the server used no CPU time for 200 µs, which it also does if it waits for a core:
    /// that shows in `server_wait_ns`. At most 20 ms: one that is never idle is measured so too.
    pub fn wait_for_rest(&self) -> io::Result<()> {
        let Some(pid) = self.server else { return Ok(()) };
        let mut before = sys::process_cpu(pid)?;
        for _ in 0..100 {
            std::thread::sleep(Duration::from_micros(200));
            let now = sys::process_cpu(pid)?;
            if now == before {
                break;
            }
            before = now;
        }
        Ok(())
    }

    pub fn stop(&self) -> io::Result<Usage> {
        let end = snapshot(self.server)?;
        let start = self.start;
        // /proc counts in USER_HZ; the kernel scales them to the exact run time, so that their
        // sum is right to a tick and the split is as good as its sampling.
        let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
        Ok(Usage {
            server_cpu_ns: end.cpu_ns - start.cpu_ns,
            server_user_s: (end.user_ticks - start.user_ticks) as f64 / ticks,
            server_system_s: (end.system_ticks - start.system_ticks) as f64 / ticks,
            server_wait_ns: end.wait_ns.saturating_sub(start.wait_ns),
            server_sleeps: end.sleeps.saturating_sub(start.sleeps),
        })
    }
}

fn snapshot(server: Option<libc::pid_t>) -> io::Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    if let Some(pid) = server {
        (snapshot.user_ticks, snapshot.system_ticks) = process_ticks(pid)?;
        (snapshot.wait_ns, snapshot.sleeps) = threads(pid)?;
        snapshot.cpu_ns = sys::process_cpu(pid)?;
    }
    Ok(snapshot)
}

fn process_ticks(pid: libc::pid_t) -> io::Result<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name may hold anything: fields are counted from the last parenthesis.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = |index: usize| fields.split_ascii_whitespace().nth(index).and_then(|word| word.parse().ok());
    match (field(11), field(12)) {
        (Some(user), Some(system)) => Ok((user, system)),
        _ => Err(unreadable("stat")),
    }
}

/// Run-queue wait in ns, and voluntary context switches, over all threads of a process.
fn threads(pid: libc::pid_t) -> io::Result<(u64, u64)> {
    let (mut wait, mut sleeps) = (0, 0);
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        // A thread may end between the listing and the reading: it had no part in the window then.
        let Ok(schedule) = fs::read_to_string(task.join("schedstat")) else { continue };
        let Ok(status) = fs::read_to_string(task.join("status")) else { continue };
        let waited = schedule.split_ascii_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
        wait += waited.ok_or_else(|| unreadable("schedstat"))?;
        let slept = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
            .and_then(|count| count.trim().parse::<u64>().ok());
        sleeps += slept.ok_or_else(|| unreadable("status"))?;
    }
    Ok((wait, sleeps))
}

fn unreadable(file: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("/proc/<pid>/{file} is not as expected"))
}
