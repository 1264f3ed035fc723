//! What is awaited across the hosts: a Deferred in an asyncio task, a Future in a coroutine that Twisted drives.
//!
//! `interloop.twisted.awaiting` puts them in place, and has what is asked once per failure or cancellation.

mod awaiter;
mod current;
mod deferred;
mod drive;
mod face;
mod failure;
mod task;
mod wake;

use pyo3::prelude::*;

use crate::py::attribute;

/// Adds the classes to the extension module. Importing them does not import Twisted.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<awaiter::DeferredAwaiter>()?;
    attribute::define::<awaiter::DeferredAwaiter>(module.py());
    module.add_class::<task::TwistedTask>()?;
    module.add_function(wrap_pyfunction!(drive::inline_callbacks, module)?)?;
    deferred::register(module)
}
