//! The native half of `interloop.Loop`: its life and its flags.

use std::mem::MaybeUninit;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use super::handle::Handle;
use super::state::{Kernel, LoopState, Source};
use super::turn;
use crate::poll::Poller;
use crate::py::cell::{Flag, StateCell};
use crate::py::{call, errors, names, objects, threads};
use crate::queue::remote::Remote;
use crate::sys::clock;
use crate::sys::datagram::Batch;

/// How much one read takes at most. Kept for the loop's life: a fresh block of this size per read would go
/// back to the kernel each time, at five times the cost of the whole request.
pub const SCRATCH: usize = 256 * 1024;

/// Memory to receive into.
pub type Block = Box<[MaybeUninit<u8>]>;

/// The native half of `interloop.Loop`: turn, ready queue, timers, cross-thread queue, watchers.
#[pyclass(frozen, subclass, module = "interloop._core")]
pub struct LoopCore {
    pub state: StateCell<LoopState>,
    /// Owned by the turn while it polls; `None` then, and once closed.
    pub(super) poller: StateCell<Option<Poller>>,
    /// So many waits begin without a look at what is there already; see `turn::wait`.
    pub(super) unlooked: Flag<u8>,
    pub(super) remote: Remote<Py<Handle>>,
    scratch: StateCell<Option<Block>>,
    /// For layers: what came from the peer, and what is to be sent.
    raw: StateCell<Option<Block>>,
    wire: StateCell<Option<Vec<u8>>>,
    batch: StateCell<Option<Box<Batch>>>,
    pub(super) closed: Flag<bool>,
    pub(super) stopping: Flag<bool>,
    pub(super) debug: Flag<bool>,
    /// A subclass or somebody who wrote to the instance has a `time` of its own.
    own_clock: Flag<bool>,
    /// `threading.get_ident()` of the thread that runs the loop, 0 when none does.
    pub(super) thread: Flag<u64>,
}

impl LoopCore {
    /// RuntimeError "Event loop is closed", as stock says it.
    #[inline]
    pub fn check_closed(&self) -> PyResult<()> {
        if self.closed.get() {
            return Err(PyRuntimeError::new_err("Event loop is closed"));
        }
        Ok(())
    }

    /// Whether another thread runs it.
    #[inline]
    pub fn is_elsewhere(&self, py: Python<'_>) -> bool {
        let thread = self.thread.get();
        thread != 0 && thread != threads::current(py)
    }

    #[inline]
    pub fn is_debug(&self) -> bool {
        self.debug.get()
    }

    /// The loop's time: `self.time()`, without the call where nobody replaced it. Errors: those of a replaced one.
    #[inline]
    pub fn now(slf: &Bound<'_, Self>) -> PyResult<f64> {
        if !slf.get().own_clock.get() {
            return Ok(clock::monotonic());
        }
        slf.call_method0(intern!(slf.py(), "time"))?.extract()
    }

    /// The bound method `_itself()`, made once: the `get_loop` of its operations.
    #[inline]
    pub fn bound_itself<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let kept = slf.get().state.with(py, |state, refs| {
            state.itself.as_ref().map(|method| refs.clone(method))
        });
        if let Some(kept) = kept {
            return Ok(kept.into_bound(py));
        }
        let method = slf.getattr(intern!(py, "_itself"))?;
        if !slf.get().closed.get() {
            let kept = method.clone().unbind();
            let old = slf
                .get()
                .state
                .with(py, |state, _| state.itself.replace(kept));
            drop(old);
        }
        Ok(method)
    }

    /// An object that was over and done with when it was kept. Whether somebody holds it still, the caller finds out.
    #[inline]
    pub fn take_spare(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.state.with(py, |state, _| state.spare_objects.pop())
    }

    /// Keeps an object that is over and done with. Answers it back when there are enough, or the loop is closed.
    #[inline]
    #[must_use]
    pub fn keep_spare(&self, py: Python<'_>, object: Py<PyAny>) -> Option<Py<PyAny>> {
        if self.closed.get() {
            return Some(object);
        }
        self.state.with(py, |state, _| state.keep_object(object))
    }

    /// Lends the kept receive buffer. A nested turn finds it lent and gets one of its own.
    pub fn take_scratch(&self, py: Python<'_>) -> Block {
        self.scratch
            .with(py, |scratch, _| scratch.take())
            .unwrap_or_else(|| Box::new_uninit_slice(SCRATCH))
    }

    /// Lends the block that datagrams are received into, as [`LoopCore::take_scratch`] lends the other.
    pub fn take_batch(&self, py: Python<'_>) -> Box<Batch> {
        self.batch
            .with(py, |batch, _| batch.take())
            .unwrap_or_default()
    }

    /// Takes the block for datagrams back.
    pub fn give_batch(&self, py: Python<'_>, block: Box<Batch>) {
        self.batch.with(py, |batch, _| *batch = Some(block));
    }

    /// Takes the receive buffer back.
    pub fn give_scratch(&self, py: Python<'_>, buffer: Block) {
        self.scratch.with(py, |scratch, _| *scratch = Some(buffer));
    }

    /// Lends the kept block for what a layer is to decode, as [`LoopCore::take_scratch`].
    pub fn take_raw(&self, py: Python<'_>) -> Block {
        self.raw
            .with(py, |raw, _| raw.take())
            .unwrap_or_else(|| Box::new_uninit_slice(SCRATCH))
    }

    /// Takes the block back.
    pub fn give_raw(&self, py: Python<'_>, block: Block) {
        self.raw.with(py, |raw, _| *raw = Some(block));
    }

    /// Lends the kept vector, empty, for what a layer makes to be sent.
    pub fn take_wire(&self, py: Python<'_>) -> Vec<u8> {
        self.wire
            .with(py, |wire, _| wire.take())
            .unwrap_or_default()
    }

    /// Takes the vector back, unless a large write has made it one that nobody needs again.
    pub fn give_wire(&self, py: Python<'_>, mut wire: Vec<u8>) {
        if wire.capacity() <= 2 * SCRATCH {
            wire.clear();
            self.wire.with(py, |kept, _| *kept = Some(wire));
        }
    }
}

#[pymethods]
impl LoopCore {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        class: &Bound<'_, PyType>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let py = class.py();
        let time = intern!(py, "time");
        let own_clock = !class
            .getattr(time)?
            .is(&py.get_type::<LoopCore>().getattr(time)?);
        let (poller, registrar, waker) =
            Poller::new().map_err(|error| errors::os_error(py, &error))?;
        Ok(LoopCore {
            state: StateCell::new(LoopState::new(Kernel { registrar, waker })),
            poller: StateCell::new(Some(poller)),
            remote: Remote::default(),
            unlooked: Flag::new(0),
            scratch: StateCell::new(None),
            raw: StateCell::new(None),
            wire: StateCell::new(None),
            batch: StateCell::new(None),
            closed: Flag::new(false),
            stopping: Flag::new(false),
            debug: Flag::new(false),
            own_clock: Flag::new(own_clock),
            thread: Flag::new(0),
        })
    }

    /// Notices a clock that is put on the instance, as programs and suites with a time of their own do.
    fn __setattr__(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        objects::generic_setattr(slf.as_any(), name, Some(value))?;
        if name.eq(intern!(slf.py(), "time"))? {
            slf.get().own_clock.set(true);
        }
        Ok(())
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        objects::generic_setattr(slf.as_any(), name, None)
    }

    /// A new `asyncio.Future` on this loop.
    fn create_future<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        call::call_with_keyword(
            &names::ASYNCIO_FUTURE.get(py)?,
            names::LOOP_KEYWORD.get(py)?,
            slf.as_any(),
        )
    }

    /// Seconds on the monotonic clock, like `time.monotonic()`. Any thread.
    fn time(&self) -> f64 {
        clock::monotonic()
    }

    /// Whether a thread runs this loop. Any thread.
    fn is_running(&self) -> bool {
        self.thread.get() != 0
    }

    /// Whether `close()` was called. Any thread.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Whether debug mode is on. Any thread.
    fn get_debug(&self) -> bool {
        self.debug.get()
    }

    /// Ends the run at the end of this turn, or of the next one when none is under way.
    fn stop(&self) {
        self.stopping.set(true);
    }

    /// RuntimeError when the loop is closed.
    fn _check_closed(&self) -> PyResult<()> {
        self.check_closed()
    }

    /// Turns until `stop()`. The caller has set `_thread_id` and the running loop.
    fn _run_until_stopped(slf: &Bound<'_, Self>) -> PyResult<()> {
        turn::run(slf)
    }

    /// One turn, as nest_asyncio and `reactor.iterate` drive it.
    fn _run_once(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().check_closed()?;
        turn::turn(slf, None)
    }

    /// One turn that waits at most `timeout` seconds; 0 does not wait, None as long as it takes.
    #[pyo3(signature = (timeout=None))]
    fn _turn(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<()> {
        slf.get().check_closed()?;
        turn::turn(slf, timeout)
    }

    /// The loop.
    fn _itself<'a, 'py>(slf: &'a Bound<'py, Self>) -> &'a Bound<'py, Self> {
        slf
    }

    /// Releases everything. The Python half has checked that the loop does not run.
    fn _close_core(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let core = slf.get();
        if core.closed.replace(true) {
            return Ok(());
        }
        // What is taken out is dropped here, with nothing borrowed: destructors may call in again, and
        // find a closed loop.
        let (ready, timers, flush) = core.state.with(py, |state, _| {
            (
                std::mem::take(&mut state.ready),
                std::mem::take(&mut state.timers),
                (
                    std::mem::take(&mut state.flush),
                    std::mem::take(&mut state.spare),
                    std::mem::take(&mut state.spare_objects),
                    state.itself.take(),
                ),
            )
        });
        drop((ready, timers, flush));
        while core.remote.pop().is_some() {}
        loop {
            let next = core.state.with(py, |state, _| {
                let key = state.sources.iter().next().map(|(key, _)| key)?;
                state.remove(key)
            });
            match next {
                None => break,
                Some(Source::Watcher(watcher)) => watcher.cancel(py),
                Some(Source::Driver(driver)) => {
                    // Told in a place where nobody can catch it, as by stock's destructor: a warning that is an
                    // error must not keep the rest open.
                    if let Some(face) = driver.face()
                        && !driver.outlives_the_loop()
                        && let Err(error) = names::WARN_UNCLOSED
                            .get(py)
                            .and_then(|warn| warn.call1((face.clone_ref(py),)))
                    {
                        error.write_unraisable(py, Some(face.bind(py)));
                    }
                    if let Some(Err(error)) = driver.abandon(py) {
                        error.write_unraisable(py, driver.face().map(|face| face.bind(py)));
                    }
                    drop(driver);
                }
            }
        }
        let kernel = core.state.with(py, |state, _| state.kernel.take());
        let poller = core.poller.with(py, |poller, _| poller.take());
        drop((kernel, poller));
        core.scratch.with(py, |scratch, _| scratch.take());
        core.raw.with(py, |raw, _| raw.take());
        core.wire.with(py, |wire, _| wire.take());
        core.batch.with(py, |batch, _| batch.take());
        Ok(())
    }

    #[getter]
    fn _closed(&self) -> bool {
        self.closed.get()
    }

    /// For asyncio's own constructor, which writes False; `close()` is what closes.
    #[setter(_closed)]
    fn set_own_closed(&self, _value: bool) {}

    #[getter]
    fn _stopping(&self) -> bool {
        self.stopping.get()
    }

    #[setter(_stopping)]
    fn set_own_stopping(&self, value: bool) {
        self.stopping.set(value);
    }

    #[getter]
    fn _debug(&self) -> bool {
        self.debug.get()
    }

    #[setter(_debug)]
    fn set_own_debug(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.debug.set(value.is_truthy()?);
        Ok(())
    }

    #[getter]
    fn _thread_id(&self) -> Option<u64> {
        match self.thread.get() {
            0 => None,
            thread => Some(thread),
        }
    }

    #[setter(_thread_id)]
    fn set_own_thread_id(&self, value: Option<u64>) {
        self.thread.set(value.unwrap_or(0));
    }

    /// RuntimeError when a thread that does not run the loop calls; for debug mode.
    pub(super) fn _check_thread(&self, py: Python<'_>) -> PyResult<()> {
        let thread = self.thread.get();
        if thread != 0 && thread != threads::current(py) {
            return Err(PyRuntimeError::new_err(
                "Non-thread-safe operation invoked on an event loop other than the current one",
            ));
        }
        Ok(())
    }
}
