//! asyncio's face of the stream core.

mod private;
mod protocol;
mod server;
mod sink;
mod transport;

use pyo3::prelude::*;

/// Adds asyncio's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<transport::StreamTransport>()?;
    module.add_class::<server::Listening>()
}
