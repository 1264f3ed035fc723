//! Operations that serve again: most are over within a turn, and making an object costs more than what it does.

use pyo3::prelude::*;

use super::super::sock::Work;
use super::{Kind, Operation, Phase};
use crate::py::{call, objects};
use crate::runtime::LoopCore;

impl Operation {
    /// As [`Operation::new`], with the object: one that is over and that nobody holds, where there is one.
    #[inline]
    pub fn obtain<'py>(
        core: &Bound<'py, LoopCore>,
        subject: Py<PyAny>,
        name: &'static str,
        work: Work,
    ) -> PyResult<Bound<'py, Self>> {
        let py = core.py();
        let Some(spare) = Self::spare(core)? else {
            return Bound::new(py, Self::new(core, subject, name, work));
        };
        let operation = spare.get();
        operation.kind.set(Kind::of(&work));
        operation.name.set(name);
        operation.phase.set(Phase::New);
        operation.blocking.set(None);
        let old = operation.inner.with(py, |inner, _| {
            let rest = (inner.callback.take(), inner.rare.take());
            inner.subject = Some(subject);
            (std::mem::replace(&mut inner.work, work), rest)
        });
        drop(old);
        Ok(spare)
    }

    /// One that nobody holds any more. The last two that ended are looked at: the very last one may be that by which
    /// the task that runs now was woken.
    #[inline]
    fn spare<'py>(core: &Bound<'py, LoopCore>) -> PyResult<Option<Bound<'py, Self>>> {
        let py = core.py();
        let Some(last) = core.get().take_spare(py) else {
            return Ok(None);
        };
        let last = last.into_bound(py);
        if objects::is_ours_alone(&last) {
            return Ok(Some(last.cast_into_exact::<Operation>()?));
        }
        let before = core.get().take_spare(py);
        drop(core.get().keep_spare(py, last.unbind()));
        match before.map(|object| object.into_bound(py)) {
            Some(before) if objects::is_ours_alone(&before) => {
                Ok(Some(before.cast_into_exact::<Operation>()?))
            }
            _ => Ok(None),
        }
    }

    /// It is over: it lets go of what it was about, and may be used for another.
    #[inline]
    pub(super) fn end(slf: &Bound<'_, Self>) {
        let py = slf.py();
        let operation = slf.get();
        operation.phase.set(Phase::Over);
        let subject = operation.inner.with(py, |inner, _| inner.subject.take());
        let surplus = operation
            .core
            .get()
            .keep_spare(py, slf.clone().into_any().unbind());
        call::release(py, subject);
        drop(surplus);
    }
}
