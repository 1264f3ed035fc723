//! Floor 4: what lies between a stream's socket and its face. The contract is [`layer::Layer`]; a
//! [`session::Session`] is TLS over an [`engine::Engine`], of which there are two for `ssl.SSLContext`: [`direct`]
//! drives the OpenSSL inside the interpreter's own object, [`object`] calls that object's methods.
//!
//! Twisted's connections come from pyOpenSSL, whose OpenSSL is another copy: their engine, [`pyopenssl`], has the addresses
//! that cffi hands out. Objects of the two copies never meet, since each engine calls through its own table.

pub mod direct;
pub mod engine;
pub mod layer;
pub mod object;
mod openssl;
pub mod pyopenssl;
pub mod session;
pub mod stacked;
mod transfer;

#[cfg(test)]
mod tests;
