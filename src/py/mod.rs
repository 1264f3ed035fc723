//! Floor 2: Python's C interface. Nothing above this floor mentions `pyo3::ffi`.

pub mod address;
pub mod again;
pub mod attribute;
pub mod bytes;
pub mod call;
pub mod cell;
pub mod cffi;
pub mod class;
pub mod coroutine;
pub mod errors;
pub mod fields;
pub mod method;
pub mod names;
pub mod nesting;
pub mod objects;
pub mod sockets;
pub mod ssl;
pub mod stock;
pub mod stop;
pub mod threads;
