//! Tests of the sans-IO floor. Those called `model` compare with the simplest thing that could be right, over random
//! operations from fixed seeds, so that a failure repeats.

mod marks;
mod pending_read;
mod phase;
mod read_buffer;
mod rng;
mod websocket;
mod write_buffer;
