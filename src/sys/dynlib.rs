//! Libraries that this process has loaded already, and what they export.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

/// A library that is loaded, with everything it is linked to. Never let go of: what was looked up in it stays valid.
pub struct Library(NonNull<c_void>);

// SAFETY: the dynamic linker's handle, which any thread may use; it is never closed.
unsafe impl Send for Library {}
// SAFETY: as above; dlsym takes its own lock.
unsafe impl Sync for Library {}

impl Library {
    /// The library at `path`, when this process has it loaded. Loads nothing.
    pub fn loaded(path: &CStr) -> Option<Library> {
        // SAFETY: a string that ends with a zero; with RTLD_NOLOAD no initializer runs.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
        NonNull::new(handle).map(Library)
    }

    /// The address of an exported name: the library's own first, then those of what it is linked to.
    pub fn symbol(&self, name: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: a handle that is never closed and a string that ends with a zero.
        NonNull::new(unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) })
    }
}
