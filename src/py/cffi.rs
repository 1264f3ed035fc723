//! C libraries that Python reaches by cffi: where their functions and objects are.

use std::ffi::c_void;
use std::ptr::NonNull;

use pyo3::intern;
use pyo3::prelude::*;

/// A library's two halves, as cffi makes them.
pub struct Library<'py> {
    ffi: Bound<'py, PyAny>,
    lib: Bound<'py, PyAny>,
}

impl<'py> Library<'py> {
    pub fn new(ffi: Bound<'py, PyAny>, lib: Bound<'py, PyAny>) -> Self {
        Library { ffi, lib }
    }

    /// Where the function of that name is, if the library has it with just this C type, as cffi writes it. Errors:
    /// those of asking.
    pub fn function(&self, name: &str, ctype: &str) -> PyResult<Option<NonNull<c_void>>> {
        if !self.lib.hasattr(name)? {
            return Ok(None);
        }
        // What is a macro in C has an address all the same: that of the function cffi made of it.
        let pointer = self
            .ffi
            .call_method1(intern!(self.ffi.py(), "addressof"), (&self.lib, name))?;
        self.address(&pointer, ctype)
    }

    /// Where a C pointer points, if it is of just this type.
    pub fn address(
        &self,
        pointer: &Bound<'py, PyAny>,
        ctype: &str,
    ) -> PyResult<Option<NonNull<c_void>>> {
        let py = self.ffi.py();
        let found = self.ffi.call_method1(intern!(py, "typeof"), (pointer,))?;
        if !found.getattr(intern!(py, "cname"))?.eq(ctype)? {
            return Ok(None);
        }
        let number = self
            .ffi
            .call_method1(intern!(py, "cast"), ("uintptr_t", pointer))?;
        let address: usize = number.call_method0(intern!(py, "__int__"))?.extract()?;
        Ok(NonNull::new(std::ptr::with_exposed_provenance_mut(address)))
    }
}
