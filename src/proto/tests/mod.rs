//! Tests of the sans-IO floor. Those called `model` compare with the simplest thing that could be right, over random
//! operations from fixed seeds, so that a failure repeats.

mod marks;
mod phase;
mod rng;
mod write_buffer;
