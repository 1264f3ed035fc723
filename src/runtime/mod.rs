//! Floor 3: the loop's state, one turn, handles, fd watchers.

pub mod core;
pub mod done;
pub mod fork;
pub mod gc;
pub mod handle;
pub mod park;
pub mod schedule;
pub mod state;
pub mod turn;
pub mod watch;

use pyo3::prelude::*;

pub use self::core::LoopCore;
use crate::py::{names, stock};

/// Adds this floor's classes to the extension module.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LoopCore>()?;
    module.add_class::<handle::Handle>()?;
    module.add_class::<handle::TimerHandle>()?;
    let py = module.py();
    // The subclass first: it would take what it inherits for its own.
    stock::lend(
        &py.get_type::<handle::TimerHandle>(),
        &names::ASYNCIO_TIMER_HANDLE,
    )?;
    stock::lend(&py.get_type::<handle::Handle>(), &names::ASYNCIO_HANDLE)
}
