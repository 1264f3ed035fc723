//! Functions and methods that the interpreter calls without anything in between: for what runs with each await, where the
//! passing of arguments and the questions of who is attached would take longer than the work.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
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

/// A function of three arguments, which are never named.
pub trait ThreeArguments {
    const NAME: &'static CStr;
    const DOC: &'static CStr;

    fn call<'py>(
        first: &Bound<'py, PyAny>,
        second: &Bound<'py, PyAny>,
        third: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>>;
}

/// `add_done_callback(fn, *, context=None)`.
pub trait AddCallback {
    const NAME: &'static CStr;
    const DOC: &'static CStr;

    fn call(
        slf: &Bound<'_, PyAny>,
        callback: &Bound<'_, PyAny>,
        context: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()>;

    /// The same as an unbound method: it takes any call that is not of the usual form, or says what is wrong with it.
    fn general(py: Python<'_>) -> PyResult<Bound<'_, PyAny>>;
}

/// What the interpreter gets: the object, or null with the exception set; a panic is one, too.
#[inline]
pub(super) fn answer(
    body: impl for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyAny>>,
) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls what is in this file and `attribute`, which are its only callers, from a thread that is
    // attached, and the token does not leave this function.
    let py = unsafe { Python::assume_attached() };
    let result = catch_unwind(AssertUnwindSafe(|| body(py)))
        .unwrap_or_else(|_| Err(PanicException::new_err("a native method panicked")));
    match result {
        Ok(object) => object.into_ptr(),
        Err(error) => {
            error.restore(py);
            std::ptr::null_mut()
        }
    }
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

// SAFETY: for the interpreter only, as a function of the kind METH_FASTCALL.
unsafe extern "C" fn with_three_arguments<F: ThreeArguments>(
    _: *mut ffi::PyObject,
    arguments: *mut *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
) -> *mut ffi::PyObject {
    answer(|py| {
        if count != 3 {
            return Err(PyTypeError::new_err(format!(
                "{}() takes exactly 3 arguments ({count} given)",
                F::NAME.to_string_lossy()
            )));
        }
        // SAFETY: the interpreter passes as many live objects as it says, borrowed for the call.
        let (first, second, third) = unsafe {
            (
                Bound::from_borrowed_ptr(py, *arguments),
                Bound::from_borrowed_ptr(py, *arguments.add(1)),
                Bound::from_borrowed_ptr(py, *arguments.add(2)),
            )
        };
        F::call(&first, &second, &third)
    })
}

// SAFETY: for the interpreter only, as a function of the kind METH_FASTCALL | METH_KEYWORDS.
unsafe extern "C" fn add_callback<F: AddCallback>(
    slf: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    answer(|py| {
        // SAFETY: the interpreter passes live objects, borrowed for the call: as many arguments as it says, then a value for
        // each of the names, which are a tuple or null. The general method's answer is a new reference, or null with an
        // exception set.
        unsafe {
            let named = if names.is_null() {
                0
            } else {
                ffi::PyTuple_GET_SIZE(names)
            };
            let usual = count == 1 && (named == 0 || named == 1 && is_context(py, names));
            if usual {
                let slf = Bound::from_borrowed_ptr(py, slf);
                let callback = Bound::from_borrowed_ptr(py, *arguments);
                let context = (named == 1)
                    .then(|| Bound::from_borrowed_ptr(py, *arguments.add(1)))
                    .filter(|context| !context.is_none());
                F::call(&slf, &callback, context.as_ref())?;
                return Ok(py.None().into_bound(py));
            }
            let mut vector = vec![slf];
            vector.extend((0..count + named).map(|index| *arguments.offset(index)));
            Bound::from_owned_ptr_or_err(
                py,
                ffi::PyObject_Vectorcall(
                    F::general(py)?.as_ptr(),
                    vector.as_ptr(),
                    vector.len() - named as usize,
                    names,
                ),
            )
        }
    })
}

/// The first such tuple that was seen, most often a task's, which has but one.
static CONTEXT_ONLY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Whether the one name is "context".
///
/// # Safety
/// `names` is a tuple of a string, as the interpreter passes them.
#[inline]
unsafe fn is_context(py: Python<'_>, names: *mut ffi::PyObject) -> bool {
    if CONTEXT_ONLY
        .get(py)
        .is_some_and(|known| known.as_ptr() == names)
    {
        return true;
    }
    // SAFETY: a live tuple of a string, and the comparison of two strings cannot fail.
    let (names, is) = unsafe {
        let name = ffi::PyTuple_GET_ITEM(names, 0);
        let is = ffi::PyUnicode_Compare(name, pyo3::intern!(py, "context").as_ptr()) == 0;
        (Bound::from_borrowed_ptr(py, names), is)
    };
    if is {
        CONTEXT_ONLY.get_or_init(py, || names.unbind());
    }
    is
}

/// What the interpreter is told of a function; it keeps the address.
struct Definition<F>(PhantomData<F>);

impl<F: ThreeArguments> Definition<F> {
    const FUNCTION: &'static ffi::PyMethodDef = &ffi::PyMethodDef {
        ml_name: F::NAME.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFast: with_three_arguments::<F>,
        },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: F::DOC.as_ptr(),
    };
}

impl<F: AddCallback> Definition<F> {
    const METHOD: &'static ffi::PyMethodDef = &ffi::PyMethodDef {
        ml_name: F::NAME.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer {
            PyCFunctionFastWithKeywords: add_callback::<F>,
        },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: F::DOC.as_ptr(),
    };
}

/// A function, to be put into a module under its name.
pub fn function<F: ThreeArguments>(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    made(py, Definition::<F>::FUNCTION, std::ptr::null_mut())
}

/// `slf.add_done_callback`.
#[inline]
pub fn adder<'py, F: AddCallback>(slf: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    made(slf.py(), Definition::<F>::METHOD, slf.as_ptr())
}

#[inline]
fn made<'py>(
    py: Python<'py>,
    definition: &'static ffi::PyMethodDef,
    slf: *mut ffi::PyObject,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: a definition that stays and that nobody writes to; null or a live object, of which the function takes a reference.
    // Answers a new one, or null with an exception set.
    unsafe {
        let definition = std::ptr::from_ref(definition).cast_mut();
        Bound::from_owned_ptr_or_err(
            py,
            ffi::PyCFunction_NewEx(definition, slf, std::ptr::null_mut()),
        )
    }
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
    // Kept for ever, as the interpreter demands: once per class and method.
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: function,
        ml_flags: ffi::METH_NOARGS,
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
