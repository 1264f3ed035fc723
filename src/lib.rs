//! interloop: one event loop for asyncio, Twisted and Tornado.
//!
//! A table of contents; each floor's own head says what it owns. Imports point down this list only.

pub mod sys; // floor 0: libc and socket calls, nothing else

pub mod poll; // floor 1: the poller, keys with generations, the table of sources
pub mod proto; // floor 1: sans-IO: phases, buffers, water marks
pub mod queue; // floor 1: timers, the cross-thread queue

pub mod py; // floor 2: the only place that calls Python's C interface

pub mod runtime; // floor 3: the loop's state, one turn, handles, watchers

pub mod tls; // floor 4: layers between socket and face, TLS sessions and their engines

pub mod io; // floor 5: stream and listener cores, the sink they answer to

pub mod futures; // floor 6: awaiting across the hosts
pub mod transports; // floor 6: the faces

use pyo3::prelude::*;

/// The extension module `interloop._core`.
// Our state is guarded by the GIL (see `py::cell`); a free-threaded interpreter switches it on for us.
#[pymodule(gil_used = true)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    runtime::register(module)?;
    transports::asyncio::register(module)?;
    transports::tornado::register(module)?;
    transports::twisted::register(module)?;
    futures::register(module)
}
