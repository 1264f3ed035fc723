//! What is true of a class for as long as nobody changes it.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyMappingProxy, PyType};

use super::cell::Flag;

/// An answer about the class that was asked about last, kept until that class or one of its bases is changed: for what
/// takes hundreds of instructions to find out, and is asked about the same class each time.
pub struct OfClass<T: Copy>(Flag<Option<(usize, u32, T)>>);

impl<T: Copy> Default for OfClass<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy> OfClass<T> {
    pub const fn new() -> Self {
        OfClass(Flag::new(None))
    }

    /// The answer about `class`: what `ask` found, which may look at nothing but the class and its bases.
    #[inline]
    pub fn get(&self, class: &Bound<'_, PyType>, ask: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
        let address = class.as_ptr() as usize;
        let version = version(class);
        match self.0.get() {
            Some((known, then, answer)) if known == address && then == version => Ok(answer),
            _ => self.ask(class, version, ask),
        }
    }

    #[cold]
    fn ask(
        &self,
        class: &Bound<'_, PyType>,
        before: u32,
        ask: impl FnOnce() -> PyResult<T>,
    ) -> PyResult<T> {
        let answer = ask()?;
        // Without a version, and when asking has changed the class, the next one asks again.
        if before != 0 && version(class) == before {
            let address = class.as_ptr() as usize;
            self.0.set(Some((address, before, answer)));
        }
        Ok(answer)
    }
}

/// The number that the interpreter gives a class when a method is looked up, for its own caches: any change to the class or
/// to a base takes it away, and no number is given twice, so that it also tells a class from one that was at the same address
/// before. 0: it has none.
#[inline]
fn version(class: &Bound<'_, PyType>) -> u32 {
    // SAFETY: a live class and the GIL.
    unsafe { (*class.as_type_ptr()).tp_version_tag }
}

/// Whether attributes of an instance are found and set as `object` does it: no method of the class's own is asked.
pub fn has_plain_attributes(class: &Bound<'_, PyType>) -> bool {
    // SAFETY: a live class and the GIL. The functions are compared, not called.
    let (get, set) = unsafe {
        let class = &*class.as_type_ptr();
        (class.tp_getattro, class.tp_setattro)
    };
    get.is_some_and(|get| {
        std::ptr::fn_addr_eq(get, ffi::PyObject_GenericGetAttr as ffi::getattrofunc)
    }) && set.is_some_and(|set| {
        std::ptr::fn_addr_eq(set, ffi::PyObject_GenericSetAttr as ffi::setattrofunc)
    })
}

/// Whether no class but `object` says what an instance's `__class__` is.
pub fn has_plain_class(class: &Bound<'_, PyType>) -> PyResult<bool> {
    let py = class.py();
    if !has_plain_attributes(class) {
        return Ok(false);
    }
    let object = py.get_type::<PyAny>();
    for base in class.mro() {
        if base.is(&object) {
            continue;
        }
        let own = base.getattr(pyo3::intern!(py, "__dict__"))?;
        if own.cast::<PyMappingProxy>()?.contains("__class__")? {
            return Ok(false);
        }
    }
    Ok(true)
}
