//! The stream core through its seam, over real sockets: two faces as the later transports will be, one that
//! pulls (as Tornado's) and one that is pushed to (as Twisted's), and a layer as TLS will be.
//!
//! Nothing here sleeps: a test turns the loop itself and lets the turn wait for the event, with a limit that only a
//! failure reaches.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod frames;
mod harness;
mod pull_face;
mod push_face;

mod ending;
mod face;
mod files;
mod keys;
mod layer;
mod layer_ends;
mod pull;
mod push;
mod reading;
mod reentry;
