//! Sans-IO protocol parts: what a byte stream *is*, without a socket, a loop or Python.
//!
//! Ground floor of the house. Nothing in here performs I/O, calls Python, reads a clock or knows which of the three
//! hosts it serves; where asyncio, Twisted and Tornado differ, the difference is plain data passed in by the face.
//! That is why all of it can be tested by feeding events and bytes.
//!
//! No function here drops a value of the caller's type `C` (the chunks of a write buffer): dropping a Python object
//! can run code that re-enters the stream, so such values are always handed out, to die after every borrow has ended.
//!
//! | module | concern |
//! |---|---|
//! | [`phase`] | a connection's life as one transition table |
//! | [`marks`] | water marks: when to ask a producer to pause and to resume |
//! | [`pending_read`] | what a host that pulls has asked for, and when the read buffer satisfies it |
//! | [`read_buffer`] | bytes that have arrived and nobody has taken |
//! | [`websocket`] | the usual frame of a websocket |
//! | [`write_buffer`] | chunks waiting to be sent, kept by reference |
#![forbid(unsafe_code)]

pub mod marks;
pub mod pending_read;
pub mod phase;
pub mod read_buffer;
pub mod websocket;
pub mod write_buffer;

#[cfg(test)]
mod tests;
