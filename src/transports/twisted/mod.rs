//! Twisted's face of the stream core. `interloop.twisted.connections` makes Twisted's own transports of it.

mod addresses;
mod attributes;
mod call_later;
mod closing;
mod connection;
mod datagrams;
mod declared;
mod delayed_attributes;
mod delayed_call;
mod home;
mod http;
mod lines;
mod log_context;
mod passing;
mod pieces;
mod port;
mod receivers;
mod sink;
mod thread_calls;
mod tls;

use pyo3::prelude::*;

use crate::py::objects;

/// Adds Twisted's classes to the extension module. Importing them does not import Twisted.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<connection::TwistedConnection>()?;
    module.add_class::<port::TwistedPort>()?;
    module.add_class::<datagrams::TwistedDatagrams>()?;
    module.add_class::<tls::TwistedTls>()?;
    module.add_class::<delayed_call::DelayedCall>()?;
    module.add_function(wrap_pyfunction!(call_later::delayed_calls, module)?)?;
    module.add_function(wrap_pyfunction!(thread_calls::run_thread_calls, module)?)?;
    let call_from_thread = wrap_pyfunction!(thread_calls::call_from_thread, module)?;
    module.add(
        "call_from_thread",
        objects::as_method(call_from_thread.as_any())?,
    )?;
    let call_later = wrap_pyfunction!(call_later::call_later, module)?;
    module.add("call_later", objects::as_method(call_later.as_any())?)
}
