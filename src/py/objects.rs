//! Questions about an object itself.

use pyo3::PyClass;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyType};

/// Whether `object` is the only reference, also counting weak ones, and nobody has put an attribute on it: it can be
/// made into something else without anybody noticing.
#[inline]
pub fn is_ours_alone(object: &Bound<'_, PyAny>) -> bool {
    let pointer = object.as_ptr();
    // SAFETY: a live object and the GIL. The offsets are those its own type gives for its two hidden slots; 0
    // means that there is none, and our classes have them in the object (positive).
    unsafe {
        if ffi::Py_REFCNT(pointer) != 1 {
            return false;
        }
        let class = &*ffi::Py_TYPE(pointer);
        [class.tp_weaklistoffset, class.tp_dictoffset]
            .into_iter()
            .all(|offset| {
                offset == 0
                    || offset > 0
                        && (*pointer.byte_offset(offset).cast::<*mut ffi::PyObject>()).is_null()
            })
    }
}

/// Whether there are no references to `object` but `count` strong ones, and no weak ones.
#[inline]
pub fn is_held_only(object: &Bound<'_, PyAny>, count: isize) -> bool {
    let pointer = object.as_ptr();
    // SAFETY: as in [`is_ours_alone`].
    unsafe {
        let offset = (*ffi::Py_TYPE(pointer)).tp_weaklistoffset;
        ffi::Py_REFCNT(pointer) as isize <= count
            && (offset == 0
                || offset > 0
                    && (*pointer.byte_offset(offset).cast::<*mut ffi::PyObject>()).is_null())
    }
}

/// Whether `object` is the only strong reference.
#[inline]
pub fn is_held_once(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object and the GIL.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) == 1 }
}

/// Whether a class was made at run time, as all that are written in Python are, and not with the interpreter.
#[inline]
pub fn is_heap_type(class: &Bound<'_, PyType>) -> bool {
    // SAFETY: a live class and the GIL.
    unsafe { ffi::PyType_HasFeature(class.as_type_ptr(), ffi::Py_TPFLAGS_HEAPTYPE) != 0 }
}

/// Where an object of a native class of ours keeps its instance dict. Null without one.
#[inline]
fn dict_slot<T: PyClass>(object: &Bound<'_, T>) -> *mut ffi::PyObject {
    let pointer = object.as_ptr();
    // SAFETY: as in [`is_ours_alone`]; classes that inherit from ours have it in the same place.
    unsafe {
        let offset = (*ffi::Py_TYPE(pointer)).tp_dictoffset;
        if offset <= 0 {
            return std::ptr::null_mut();
        }
        *pointer.byte_offset(offset).cast::<*mut ffi::PyObject>()
    }
}

/// Whether somebody has put attributes on an object of a native class of ours: methods of its class may be replaced.
#[inline]
pub fn has_attributes<T: PyClass>(object: &Bound<'_, T>) -> bool {
    !dict_slot(object).is_null()
}

/// The instance dict of an object of a native class of ours, once it has one.
#[inline]
pub fn present_dict<'py, T: PyClass>(object: &Bound<'py, T>) -> Option<Bound<'py, PyDict>> {
    // SAFETY: null or a dict, which the object owns; the new reference is taken before anything else can run.
    unsafe { Bound::from_borrowed_ptr_or_opt(object.py(), dict_slot(object)) }
        .and_then(|dict| dict.cast_into::<PyDict>().ok())
}

/// `object.name` as `object.__getattribute__` finds it, for a class with one of its own.
pub fn generic_getattr<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: live objects and the GIL; answers a new reference, or null with an exception set, also for a name that is
    // no string.
    unsafe {
        Bound::from_owned_ptr_or_err(
            object.py(),
            ffi::PyObject_GenericGetAttr(object.as_ptr(), name.as_ptr()),
        )
    }
}

/// `object.name = value` as `object.__setattr__` does it, or `del object.name`, for a class with a `__setattr__` of
/// its own.
pub fn generic_setattr(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyAny>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let value = value.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: live objects and the GIL; null for the value means deletion. A name that is no string is an error answer.
    if unsafe { ffi::PyObject_GenericSetAttr(object.as_ptr(), name.as_ptr(), value) } < 0 {
        return Err(PyErr::fetch(object.py()));
    }
    Ok(())
}

/// The instance dict of an object that has one. Errors: AttributeError.
#[inline]
pub fn instance_dict<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    // SAFETY: a live object and the GIL; answers a new reference, or null with an exception set.
    let dict = unsafe {
        Bound::from_owned_ptr_or_err(
            object.py(),
            ffi::PyObject_GenericGetDict(object.as_ptr(), std::ptr::null_mut()),
        )?
    };
    Ok(dict.cast_into::<PyDict>()?)
}

unsafe extern "C" {
    // Documented beside PyMethod_New; pyo3 does not declare it.
    fn PyInstanceMethod_New(function: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

/// A native function as a method: found on an instance, it gets the instance for its first argument.
pub fn as_method<'py>(function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: a live callable and the GIL; answers a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(function.py(), PyInstanceMethod_New(function.as_ptr())) }
}

/// `del list[:1]`. Costs half of what deleting by an index does, which asks for the list's length first.
#[inline]
pub fn remove_first(list: &Bound<'_, PyList>) -> PyResult<()> {
    // SAFETY: a live list and the GIL; no other list is to be put in.
    let status = unsafe { ffi::PyList_SetSlice(list.as_ptr(), 0, 1, std::ptr::null_mut()) };
    if status < 0 {
        return Err(PyErr::fetch(list.py()));
    }
    Ok(())
}
