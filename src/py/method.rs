//! Native methods for classes that are written in Python.

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// Whether `callable` is what `slf.name` answers for a Python function of its class.
#[inline]
pub fn is_bound(
    callable: &Bound<'_, PyAny>,
    function: &Bound<'_, PyAny>,
    slf: &Bound<'_, PyAny>,
) -> bool {
    // SAFETY: live objects and the GIL; the two questions, whose answers are borrowed, are for methods only.
    unsafe {
        ffi::Py_IS_TYPE(callable.as_ptr(), &raw mut PyMethod_Type) != 0
            && PyMethod_Function(callable.as_ptr()) == function.as_ptr()
            && PyMethod_Self(callable.as_ptr()) == slf.as_ptr()
    }
}

// Documented with the method objects; pyo3 does not declare them.
unsafe extern "C" {
    static mut PyMethod_Type: ffi::PyTypeObject;
    fn PyMethod_Function(method: *mut ffi::PyObject) -> *mut ffi::PyObject;
    fn PyMethod_Self(method: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

/// A method without arguments.
pub trait NoArguments {
    fn call<'py>(slf: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>;
}

/// A method with one argument, which is nearly always positional.
pub trait OneArgument {
    fn call<'py>(
        slf: &Bound<'py, PyAny>,
        argument: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>>;

    /// The Python function that the method stands for: it takes any other call, or says what is wrong with it.
    fn stands_for(py: Python<'_>) -> PyResult<Bound<'_, PyAny>>;
}

/// What the interpreter gets: the object, or null with the exception set; a panic is one, too.
fn answer(
    body: impl for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyAny>>,
) -> *mut ffi::PyObject {
    Python::attach(|py| {
        let result = catch_unwind(AssertUnwindSafe(|| body(py)))
            .unwrap_or_else(|_| Err(PanicException::new_err("a native method panicked")));
        match result {
            Ok(object) => object.into_ptr(),
            Err(error) => {
                error.restore(py);
                std::ptr::null_mut()
            }
        }
    })
}

// SAFETY: for the interpreter only, as a function of the kind METH_NOARGS.
unsafe extern "C" fn without_arguments<F: NoArguments>(
    slf: *mut ffi::PyObject,
    _: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    answer(|py| {
        // SAFETY: the interpreter passes a live object, borrowed for the call.
        let slf = unsafe { Bound::from_borrowed_ptr(py, slf) };
        F::call(&slf)
    })
}

// SAFETY: for the interpreter only, as a function of the kind METH_FASTCALL | METH_KEYWORDS.
unsafe extern "C" fn with_one_argument<F: OneArgument>(
    slf: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    answer(|py| {
        if count == 1 && names.is_null() {
            // SAFETY: the interpreter passes live objects, borrowed for the call, and as many arguments as it says.
            let (slf, argument) = unsafe {
                (
                    Bound::from_borrowed_ptr(py, slf),
                    Bound::from_borrowed_ptr(py, *arguments),
                )
            };
            return F::call(&slf, &argument);
        }
        let function = F::stands_for(py)?;
        let mut vector = vec![slf];
        // SAFETY: the vector has what is positional, then a value for each name, all of them live for the call; the answer
        // is a new reference, or null with an exception set.
        unsafe {
            let named = if names.is_null() {
                0
            } else {
                ffi::PyTuple_GET_SIZE(names)
            };
            for index in 0..count + named {
                vector.push(*arguments.offset(index));
            }
            Bound::from_owned_ptr_or_err(
                py,
                ffi::PyObject_Vectorcall(
                    function.as_ptr(),
                    vector.as_ptr(),
                    vector.len() - named as usize,
                    names,
                ),
            )
        }
    })
}

/// A method of `class`, to be put into it under that name. The interpreter calls such a one without a bound method in
/// between.
pub fn without<'py, F: NoArguments>(
    class: &Bound<'py, PyType>,
    name: &'static CStr,
    doc: &'static CStr,
) -> PyResult<Bound<'py, PyAny>> {
    let function = ffi::PyMethodDefPointer {
        PyCFunction: without_arguments::<F>,
    };
    describe(class, name, doc, function, ffi::METH_NOARGS)
}

/// The same with one argument, which may be named.
pub fn with_one<'py, F: OneArgument>(
    class: &Bound<'py, PyType>,
    name: &'static CStr,
    doc: &'static CStr,
) -> PyResult<Bound<'py, PyAny>> {
    let function = ffi::PyMethodDefPointer {
        PyCFunctionFastWithKeywords: with_one_argument::<F>,
    };
    let flags = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    describe(class, name, doc, function, flags)
}

fn describe<'py>(
    class: &Bound<'py, PyType>,
    name: &'static CStr,
    doc: &'static CStr,
    function: ffi::PyMethodDefPointer,
    flags: std::ffi::c_int,
) -> PyResult<Bound<'py, PyAny>> {
    // Kept for ever, as the interpreter demands: once per class and method.
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: function,
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }));
    // SAFETY: a live class, a definition that stays, and strings that do; answers a new reference, or null with an
    // exception set.
    unsafe {
        Bound::from_owned_ptr_or_err(
            class.py(),
            ffi::PyDescr_NewMethod(class.as_type_ptr(), definition),
        )
    }
}
