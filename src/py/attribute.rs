//! Attributes of a native class of ours that are found by the address of their name, before the interpreter looks through its
//! classes: for those that a task asks for with each await. All others take the usual way.

use std::ffi::c_int;

use pyo3::PyClass;
use pyo3::ffi;
use pyo3::prelude::*;

use super::method::answer;

/// Instances find these first; the class has them, too, for those who ask it.
pub trait Attributes: PyClass {
    /// The attribute, if it is one of these.
    fn get<'py>(slf: &Bound<'py, Self>, name: Name<'_, 'py>)
    -> PyResult<Option<Bound<'py, PyAny>>>;

    /// Whether it is one of these, and has the value now.
    fn set(slf: &Bound<'_, Self>, name: Name<'_, '_>, value: &Bound<'_, PyAny>) -> PyResult<bool>;
}

/// The name that was asked for. Those in programs are interned, also the interpreter's own.
#[derive(Clone, Copy)]
pub struct Name<'a, 'py>(&'a Bound<'py, PyAny>);

impl Name<'_, '_> {
    #[inline]
    pub fn is(self, name: &Bound<'_, pyo3::types::PyString>) -> bool {
        self.0.as_ptr() == name.as_ptr()
    }
}

// SAFETY: for the interpreter only, in the slot tp_getattro of `A`, which has no subclasses.
unsafe extern "C" fn getattro<A: Attributes>(
    slf: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    answer(|py| {
        // SAFETY: two live objects, borrowed for the call, the first of class `A`; the general answer is a new reference, or
        // null with an exception set.
        unsafe {
            let owner = Bound::from_borrowed_ptr(py, slf).cast_into_unchecked::<A>();
            let asked = Bound::from_borrowed_ptr(py, name);
            match A::get(&owner, Name(&asked))? {
                Some(value) => Ok(value),
                None => Bound::from_owned_ptr_or_err(py, ffi::PyObject_GenericGetAttr(slf, name)),
            }
        }
    })
}

// SAFETY: as `getattro`, in the slot tp_setattro; the value is null for `del`.
unsafe extern "C" fn setattro<A: Attributes>(
    slf: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
    value: *mut ffi::PyObject,
) -> c_int {
    let mut general = true;
    let done = answer(|py| {
        // SAFETY: as in `getattro`; the value is null or a live object, borrowed for the call.
        let (owner, asked, value) = unsafe {
            (
                Bound::from_borrowed_ptr(py, slf).cast_into_unchecked::<A>(),
                Bound::from_borrowed_ptr(py, name),
                Bound::from_borrowed_ptr_or_opt(py, value),
            )
        };
        if let Some(value) = &value {
            general = !A::set(&owner, Name(&asked), value)?;
        }
        Ok(py.None().into_bound(py))
    });
    if done.is_null() {
        return -1;
    }
    // SAFETY: the reference to None that was made above; then the same objects as the interpreter has passed.
    unsafe {
        ffi::Py_DECREF(done);
        if general {
            ffi::PyObject_GenericSetAttr(slf, name, value)
        } else {
            0
        }
    }
}

/// Has the instances of `A` find its attributes first. Once, before there are any.
pub fn define<A: Attributes>(py: Python<'_>) {
    let class = py.get_type::<A>();
    // SAFETY: a class of ours that has no instances and no subclasses yet, and the GIL; the functions take its instances.
    unsafe {
        let class = class.as_type_ptr();
        (*class).tp_getattro = Some(getattro::<A>);
        (*class).tp_setattro = Some(setattro::<A>);
        ffi::PyType_Modified(class);
    }
}
