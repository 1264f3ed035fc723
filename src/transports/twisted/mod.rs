//! Twisted's face of the stream core. `interloop.twisted.connections` makes Twisted's own transports of it.

mod attributes;
mod connection;
mod log_context;
mod sink;

use pyo3::prelude::*;

/// Adds Twisted's classes to the extension module. Importing them does not import Twisted.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<connection::TwistedConnection>()
}
