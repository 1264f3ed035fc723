//! Floor 1: timers and the cross-thread queue. The ready queue is a plain `VecDeque` in the loop's state.

pub mod remote;
pub mod timers;
