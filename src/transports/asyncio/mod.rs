//! asyncio's face of the stream core.

mod private;
mod protocol;
mod server;
mod sink;
mod transport;

use pyo3::prelude::*;

use crate::py::{names, stock};

/// Adds asyncio's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<transport::StreamTransport>()?;
    let class = module.py().get_type::<transport::StreamTransport>();
    stock::lend(&class, &names::ASYNCIO_TRANSPORT)?;
    module.add_class::<server::Listening>()
}
