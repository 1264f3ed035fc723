//! Floor 5: the cores of streams and listeners. What they carry goes to a face through a trait: [`sink::Sink`]
//! for a stream, [`listener::Acceptor`] for a listener. Nothing here knows which host it serves.

pub mod adopted;
mod broken;
pub mod child;
pub mod datagram;
pub mod file;
pub mod layer;
pub mod listener;
pub mod medium;
mod nodelay;
pub mod passing;
pub mod read;
pub mod receive;
pub mod sink;
pub mod stream;
pub mod write;

#[cfg(test)]
mod tests;
