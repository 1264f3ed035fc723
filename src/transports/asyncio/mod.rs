//! asyncio's face of the stream core.

mod clients;
mod datagram;
mod opening;
mod operation;
mod pipe;
mod pipe_ends;
mod pipe_sink;
mod private;
mod protocol;
mod server;
mod sink;
mod sock;
mod streams;
mod tls;
mod transport;

use pyo3::prelude::*;

use crate::py::{names, stock};

/// Adds asyncio's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<transport::StreamTransport>()?;
    let class = module.py().get_type::<transport::StreamTransport>();
    stock::lend(&class, &names::ASYNCIO_TRANSPORT)?;
    tls::register(module)?;
    module.add_class::<server::Listening>()?;
    module.add_class::<operation::Operation>()?;
    module.add_class::<streams::ReaderMethods>()?;
    module.add_class::<streams::ReaderProtocolMethods>()?;
    module.add_class::<streams::WriterMethods>()?;
    module.add_class::<pipe::PipeTransport>()?;
    module.add_class::<pipe_ends::ReadPipeTransport>()?;
    module.add_class::<pipe_ends::WritePipeTransport>()?;
    let py = module.py();
    module.add_class::<datagram::DatagramTransport>()?;
    let class = py.get_type::<datagram::DatagramTransport>();
    stock::lend(&class, &names::DATAGRAM_TRANSPORT)?;
    let class = py.get_type::<pipe_ends::ReadPipeTransport>();
    stock::lend(&class, &names::UNIX_READ_PIPE)?;
    let class = py.get_type::<pipe_ends::WritePipeTransport>();
    stock::lend(&class, &names::UNIX_WRITE_PIPE)
}
