//! Calls into Python: by vector, in a context.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

/// The largest number of positional arguments that is passed without building a tuple.
const INLINE: usize = 4;

/// Enters a `contextvars.Context` for as long as it lives.
pub struct Entered<'a, 'py>(&'a Bound<'py, PyAny>);

/// As [`Entered`], but stays in the current context when that one is entered already: a nested turn can reach a
/// transport from within its own callback.
#[inline]
pub fn enter<'a, 'py>(context: &'a Bound<'py, PyAny>) -> Option<Entered<'a, 'py>> {
    Entered::new(context).ok()
}

impl<'a, 'py> Entered<'a, 'py> {
    /// RuntimeError when the context is entered already; TypeError when it is no context.
    #[inline]
    pub fn new(context: &'a Bound<'py, PyAny>) -> PyResult<Self> {
        // SAFETY: a live object and the GIL; what is not a Context is an error answer.
        if unsafe { ffi::PyContext_Enter(context.as_ptr()) } < 0 {
            return Err(PyErr::fetch(context.py()));
        }
        Ok(Entered(context))
    }
}

impl Drop for Entered<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: entered in `new` on this thread. An exception may be set: the call does not look
        // at it. It fails only when something else left the context in between, which
        // CPython's own Context.run cannot repair either.
        if unsafe { ffi::PyContext_Exit(self.0.as_ptr()) } < 0 {
            PyErr::fetch(self.0.py()).write_unraisable(self.0.py(), Some(self.0));
        }
    }
}

/// A copy of the current context, as `contextvars.copy_context()` makes it.
#[inline]
pub fn copy_context(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: answers a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent()) }
}

/// A copy of `context`, which must be a `contextvars.Context`.
pub fn copy_of_context<'py>(context: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: answers a new reference, or null with an exception set, also when it is no context.
    unsafe { Bound::from_owned_ptr_or_err(context.py(), ffi::PyContext_Copy(context.as_ptr())) }
}

/// `callable(*args)` without a new tuple.
#[inline]
pub fn call_tuple<'py>(
    callable: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = callable.py();
    let count = args.len();
    if count <= INLINE {
        // One slot in front: a bound method may put its `self` there instead of copying the vector.
        let mut vector = [std::ptr::null_mut(); INLINE + 1];
        for index in 0..count {
            // SAFETY: `index` is within the tuple, which `args` keeps alive during the call.
            vector[index + 1] =
                unsafe { ffi::PyTuple_GET_ITEM(args.as_ptr(), index as ffi::Py_ssize_t) };
        }
        // SAFETY: `count` live references follow the free slot; answers a new reference or null
        // with an exception set.
        unsafe {
            Bound::from_owned_ptr_or_err(
                py,
                ffi::PyObject_Vectorcall(
                    callable.as_ptr(),
                    vector.as_ptr().add(1),
                    count | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                    std::ptr::null_mut(),
                ),
            )
        }
    } else {
        callable.call1(args)
    }
}

/// `callable()`.
#[inline]
pub fn call0<'py>(callable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: a live callable and the GIL; answers a new reference or null with an exception set.
    unsafe {
        Bound::from_owned_ptr_or_err(callable.py(), ffi::PyObject_CallNoArgs(callable.as_ptr()))
    }
}

/// `callable()`. Of a built-in function that takes no arguments, the interpreter's own bookkeeping takes longer than the answer.
#[inline]
pub fn call_builtin<'py>(callable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let function = callable.as_ptr();
    // SAFETY: a live object and the GIL; the questions are for built-in functions only. One of that kind takes the object that it
    // is bound to, borrowed, and null; it answers a new reference, or null with an exception set.
    unsafe {
        if ffi::PyCFunction_CheckExact(function) != 0
            && ffi::PyCFunction_GetFlags(function) == ffi::METH_NOARGS
            && let Some(body) = ffi::PyCFunction_GetFunction(function)
        {
            let slf = ffi::PyCFunction_GetSelf(function);
            return Bound::from_owned_ptr_or_err(callable.py(), body(slf, std::ptr::null_mut()));
        }
    }
    call0(callable)
}

/// `callable(argument)`.
#[inline]
pub fn call1<'py>(
    callable: &Bound<'py, PyAny>,
    argument: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let vector = [std::ptr::null_mut(), argument.as_ptr()];
    // SAFETY: a free slot, then one live reference; answers a new reference or null with an exception set.
    unsafe {
        Bound::from_owned_ptr_or_err(
            callable.py(),
            ffi::PyObject_Vectorcall(
                callable.as_ptr(),
                vector.as_ptr().add(1),
                1 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                std::ptr::null_mut(),
            ),
        )
    }
}

/// `callable(first, second)`.
#[inline]
pub fn call2<'py>(
    callable: &Bound<'py, PyAny>,
    first: &Bound<'py, PyAny>,
    second: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let vector = [std::ptr::null_mut(), first.as_ptr(), second.as_ptr()];
    // SAFETY: a free slot, then two live references; answers a new reference or null with an exception set.
    unsafe {
        Bound::from_owned_ptr_or_err(
            callable.py(),
            ffi::PyObject_Vectorcall(
                callable.as_ptr(),
                vector.as_ptr().add(1),
                2 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                std::ptr::null_mut(),
            ),
        )
    }
}

/// `object.name()` through the instance, so that a replaced method is the one called.
#[inline]
pub fn call_method0<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    let vector = [object.as_ptr()];
    // SAFETY: one live reference (`self`); answers a new reference or null with an exception set.
    unsafe {
        Bound::from_owned_ptr_or_err(
            object.py(),
            ffi::PyObject_VectorcallMethod(
                name.as_ptr(),
                vector.as_ptr(),
                1 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                std::ptr::null_mut(),
            ),
        )
    }
}

/// `object.name(argument)` through the instance.
#[inline]
pub fn call_method1<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    argument: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let vector = [object.as_ptr(), argument.as_ptr()];
    // SAFETY: two live references (`self` and the argument); answers a new reference or null with an
    // exception set.
    unsafe {
        Bound::from_owned_ptr_or_err(
            object.py(),
            ffi::PyObject_VectorcallMethod(
                name.as_ptr(),
                vector.as_ptr(),
                2 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                std::ptr::null_mut(),
            ),
        )
    }
}

/// `object.name(first, second)` through the instance.
#[inline]
pub fn call_method2<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    first: &Bound<'py, PyAny>,
    second: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let vector = [object.as_ptr(), first.as_ptr(), second.as_ptr()];
    // SAFETY: three live references (`self` and the arguments); answers a new reference or null with an exception
    // set.
    unsafe {
        Bound::from_owned_ptr_or_err(
            object.py(),
            ffi::PyObject_VectorcallMethod(
                name.as_ptr(),
                vector.as_ptr(),
                3 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                std::ptr::null_mut(),
            ),
        )
    }
}

/// `callable(name=argument)`, the name being that of `keyword`.
#[inline]
pub fn call_with_keyword<'py>(
    callable: &Bound<'py, PyAny>,
    keyword: &Bound<'py, PyTuple>,
    argument: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let vector = [std::ptr::null_mut(), argument.as_ptr()];
    // SAFETY: a free slot, then one live reference for the one name in `keyword`; answers a new reference or null
    // with an exception set.
    unsafe {
        Bound::from_owned_ptr_or_err(
            callable.py(),
            ffi::PyObject_Vectorcall(
                callable.as_ptr(),
                vector.as_ptr().add(1),
                ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                keyword.as_ptr(),
            ),
        )
    }
}

/// Lets go of an object without asking whether this thread may: the caller's token says so.
#[inline]
pub fn release<T>(py: Python<'_>, object: Option<Py<T>>) {
    drop(object.map(|object| object.into_bound(py)));
}
