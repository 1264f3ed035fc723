//! Tornado's face of the stream core. `interloop.tornado.streams` makes Tornado's own streams of it.

mod attributes;
mod calls;
mod python_path;
mod reading;
mod sink;
mod stream;
mod want;
mod writing;

use pyo3::prelude::*;

/// Adds Tornado's classes to the extension module. Importing them does not import Tornado.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<stream::TornadoStream>()?;
    module.add_class::<writing::TornadoWriteBuffer>()
}
