//! Tornado's face of the stream core. `interloop.tornado.streams` makes Tornado's own streams of it.

mod attributes;
mod callbacks;
mod calls;
mod early;
mod frames;
mod limit;
mod python_path;
mod reading;
mod sink;
mod stream;
mod tls;
mod want;
mod writing;

use pyo3::prelude::*;

use crate::py::objects;

/// Adds Tornado's classes to the extension module. Importing them does not import Tornado.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<stream::TornadoStream>()?;
    module.add_class::<writing::TornadoWriteBuffer>()?;
    module.add_function(wrap_pyfunction!(callbacks::run_callback, module)?)?;
    module.add_function(wrap_pyfunction!(frames::next_frame, module)?)?;
    let add_callback = wrap_pyfunction!(callbacks::add_callback, module)?;
    module.add("add_callback", objects::as_method(add_callback.as_any())?)
}
