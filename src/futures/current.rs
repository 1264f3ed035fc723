//! Which task asyncio takes for the one that runs.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::py::{call, names};

/// The loop that runs in this thread.
#[inline]
pub fn running_loop(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let running = call::call_builtin(&names::GET_RUNNING_LOOP.get(py)?)?;
    Ok((!running.is_none()).then_some(running))
}

/// How the current task is changed.
enum Way {
    /// `_swap_current_task(loop, task)`, from CPython 3.12 on.
    Swap(Py<PyAny>),
    /// The dict behind `_enter_task()` and `_leave_task()`, which would have to know who is current.
    Table(Py<PyDict>),
}

static WAY: PyOnceLock<Way> = PyOnceLock::new();

fn way(py: Python<'_>) -> PyResult<&Way> {
    WAY.get_or_try_init(py, || {
        let tasks = py.import("asyncio.tasks")?;
        match tasks.getattr_opt("_swap_current_task")? {
            Some(swap) => Ok(Way::Swap(swap.unbind())),
            None => Ok(Way::Table(
                tasks.getattr("_current_tasks")?.cast_into()?.unbind(),
            )),
        }
    })
}

fn swap<'py>(
    event_loop: &Bound<'py, PyAny>,
    task: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = event_loop.py();
    match way(py)? {
        Way::Swap(swap) => call::call2(swap.bind(py), event_loop, task),
        Way::Table(table) => {
            let table = table.bind(py);
            let before = table.get_item(event_loop)?;
            if !task.is_none() {
                table.set_item(event_loop, task)?;
            } else if before.is_some() {
                table.del_item(event_loop)?;
            }
            Ok(before.unwrap_or_else(|| py.None().into_bound(py)))
        }
    }
}

/// Has a task be the current one of a loop for as long as it lives; then it is again who was before.
pub struct Current<'a, 'py> {
    event_loop: &'a Bound<'py, PyAny>,
    before: Bound<'py, PyAny>,
}

impl<'a, 'py> Current<'a, 'py> {
    #[inline]
    pub fn new(event_loop: &'a Bound<'py, PyAny>, task: &Bound<'py, PyAny>) -> PyResult<Self> {
        let before = swap(event_loop, task)?;
        Ok(Current { event_loop, before })
    }
}

impl Drop for Current<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        if let Err(error) = swap(self.event_loop, &self.before) {
            error.write_unraisable(self.event_loop.py(), Some(self.event_loop));
        }
    }
}
