//! Bytes in and out of Python.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PySlice};

/// A piece of outgoing data that is kept until the kernel takes it.
pub enum Chunk {
    /// Immutable, so kept by reference.
    Shared(Py<PyBytes>, Slice),
    /// From that byte on, kept by reference though its owner could change it: its host says that he must not. Dropping it runs
    /// Python code.
    Lent(PyBuffer<u8>, usize),
    /// Copied, since its owner may change it after `write` returns.
    Owned(Box<[u8]>),
}

/// Where in a `bytes` object the chunk lies. The address is that of the object's own storage, which
/// neither moves nor changes while the reference beside it lives.
pub struct Slice {
    start: *const u8,
    length: usize,
}

// SAFETY: it points into an immutable bytes object that is kept alive beside it.
unsafe impl Send for Slice {}
// SAFETY: as above; shared reading of immutable memory.
unsafe impl Sync for Slice {}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        match self {
            // SAFETY: the reference in `Shared` keeps the storage alive and bytes objects are immutable.
            Chunk::Shared(_, slice) => unsafe {
                std::slice::from_raw_parts(slice.start, slice.length)
            },
            Chunk::Lent(buffer, offset) => &contents(buffer)[*offset..],
            Chunk::Owned(data) => data,
        }
    }
}

/// What was given to `write`.
pub enum Data<'py> {
    Bytes(Bound<'py, PyBytes>),
    Buffer(PyBuffer<u8>),
    /// Likewise; kept by reference, see [`Chunk::Lent`].
    Lent(PyBuffer<u8>),
    /// A buffer of another layout (items wider than a byte, or not in one piece), copied.
    Copied(Vec<u8>),
}

impl<'py> Data<'py> {
    /// The data of a bytes-like object; TypeError with asyncio's text otherwise.
    #[inline]
    pub fn new(object: &Bound<'py, PyAny>) -> PyResult<Data<'py>> {
        if let Ok(bytes) = object.cast_exact::<PyBytes>() {
            return Ok(Data::Bytes(bytes.clone()));
        }
        Data::from_other(object)
    }

    /// Likewise, but that of a mutable buffer of more than `limit` bytes nothing will be copied.
    #[inline]
    pub fn lent(object: &Bound<'py, PyAny>, limit: usize) -> PyResult<Data<'py>> {
        Ok(match Data::new(object)? {
            Data::Buffer(buffer) if buffer.len_bytes() > limit => Data::Lent(buffer),
            data => data,
        })
    }

    #[cold]
    fn from_other(object: &Bound<'py, PyAny>) -> PyResult<Data<'py>> {
        let name = object.get_type().name()?;
        if !object.is_instance(&crate::py::names::BYTES_LIKE.get(object.py())?)? {
            return Err(PyTypeError::new_err(format!(
                "data argument must be a bytes-like object, not {}",
                name.repr()?
            )));
        }
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Data::Bytes(bytes.clone()));
        }
        match PyBuffer::<u8>::get(object) {
            Ok(buffer) if buffer.is_c_contiguous() => Ok(Data::Buffer(buffer)),
            // memoryview.tobytes() knows every layout.
            _ => {
                let view = crate::py::names::MEMORYVIEW
                    .get(object.py())?
                    .call1((object,))?;
                Ok(Data::Copied(
                    view.call_method0("tobytes")?
                        .cast::<PyBytes>()?
                        .as_bytes()
                        .to_vec(),
                ))
            }
        }
    }

    /// The bytes, valid while nothing runs that could change a mutable buffer: no Python in between.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Data::Bytes(bytes) => bytes.as_bytes(),
            Data::Buffer(buffer) | Data::Lent(buffer) => contents(buffer),
            Data::Copied(data) => data,
        }
    }

    /// What is left of the data from `offset` on, in a form that can be kept.
    pub fn keep(self, offset: usize) -> Chunk {
        match self {
            Data::Bytes(bytes) => {
                let rest = &bytes.as_bytes()[offset..];
                let slice = Slice {
                    start: rest.as_ptr(),
                    length: rest.len(),
                };
                Chunk::Shared(bytes.unbind(), slice)
            }
            Data::Lent(buffer) => Chunk::Lent(buffer, offset),
            Data::Copied(data) if offset == 0 => Chunk::Owned(data.into_boxed_slice()),
            other => Chunk::Owned(other.as_slice()[offset..].into()),
        }
    }

    /// All of the data, in a form that nobody can change.
    pub fn keep_safe(self) -> Chunk {
        match self {
            Data::Lent(buffer) => Chunk::Owned(contents(&buffer).into()),
            other => other.keep(0),
        }
    }
}

/// The bytes of a contiguous buffer, valid while nothing runs that could change it: no Python in between.
#[inline]
fn contents(buffer: &PyBuffer<u8>) -> &[u8] {
    if buffer.item_count() == 0 {
        return &[];
    }
    // SAFETY: contiguous bytes (the callers made sure), kept in place by the buffer export we hold; the callers read
    // it before any Python code can run.
    unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) }
}

/// The bytes of a buffer export that is known to be contiguous; empty if it is not. Valid until Python runs.
#[inline]
pub fn exported<'a>(_py: Python<'a>, buffer: &'a PyBuffer<u8>) -> &'a [u8] {
    if buffer.is_c_contiguous() {
        contents(buffer)
    } else {
        &[]
    }
}

/// A writable buffer of a Python object, to receive into.
pub struct Uninit(PyBuffer<u8>);

impl Uninit {
    /// Errors: BufferError when the buffer is read-only or not in one piece.
    pub fn new(buffer: PyBuffer<u8>) -> PyResult<Self> {
        if buffer.readonly() || !buffer.is_c_contiguous() {
            return Err(pyo3::exceptions::PyBufferError::new_err(
                "a writable, contiguous buffer is needed",
            ));
        }
        Ok(Uninit(buffer))
    }

    /// The place to receive into.
    pub fn as_mut_slice(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: writable, contiguous memory that the buffer export keeps in place. Other Python code
        // can reach it only through the interpreter, which does not run while we receive.
        unsafe { std::slice::from_raw_parts_mut(self.0.buf_ptr().cast(), self.0.len_bytes()) }
    }
}

/// A `bytes` object of what was received into a kept buffer.
///
/// # Safety
/// The first `count` bytes of `buffer` have been written.
#[inline]
pub unsafe fn from_received<'py>(
    py: Python<'py>,
    buffer: &[MaybeUninit<u8>],
    count: usize,
) -> Bound<'py, PyBytes> {
    // SAFETY: the caller says that they have been written.
    super::again::bytes(py, unsafe { buffer[..count].assume_init_ref() })
}

unsafe extern "C" {
    // Documented beside PyBytes_FromStringAndSize; pyo3's own declaration of it is private.
    fn _PyBytes_Resize(bytes: *mut *mut pyo3::ffi::PyObject, size: pyo3::ffi::Py_ssize_t) -> c_int;
}

/// A `bytes` object that nobody has seen yet: received into, then cut to size. Saves the copy of a large payload.
pub struct Unseen<'py>(Bound<'py, PyAny>, usize);

impl<'py> Unseen<'py> {
    /// Room for `capacity` bytes. Errors: MemoryError.
    pub fn new(py: Python<'py>, capacity: usize) -> PyResult<Self> {
        // SAFETY: a null source asks for an uninitialized object; answers a new reference, or null with an
        // exception set.
        let object = unsafe {
            Bound::from_owned_ptr_or_err(
                py,
                pyo3::ffi::PyBytes_FromStringAndSize(std::ptr::null(), capacity as _),
            )
        }?;
        Ok(Unseen(object, capacity))
    }

    /// The place to receive into.
    pub fn as_mut_slice(&mut self) -> &mut [MaybeUninit<u8>] {
        // SAFETY: the object's own storage, of the size asked for; we hold its only reference.
        unsafe {
            std::slice::from_raw_parts_mut(
                pyo3::ffi::PyBytes_AsString(self.0.as_ptr()).cast(),
                self.1,
            )
        }
    }

    /// The object, cut to the `count` bytes received. Errors: MemoryError.
    ///
    /// # Safety
    /// The first `count` bytes have been written, and `count` is not 0: empty bytes are a shared object.
    pub unsafe fn finish(self, count: usize) -> PyResult<Bound<'py, PyBytes>> {
        let py = self.0.py();
        let mut object = self.0.into_ptr();
        if count < self.1 {
            // SAFETY: an object with one reference, which the call replaces; on failure it lets go of it.
            let result = unsafe { _PyBytes_Resize(&raw mut object, count as _) };
            if result < 0 {
                return Err(PyErr::fetch(py));
            }
        }
        // SAFETY: the reference we own, to a bytes object.
        Ok(unsafe { Bound::from_owned_ptr(py, object).cast_into_unchecked() })
    }
}

/// Takes at most `count` bytes from the front of a bytearray. Errors: BufferError when somebody holds a view of it.
pub fn take_front<'py>(
    buffer: &Bound<'py, PyByteArray>,
    count: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let py = buffer.py();
    let count = count.min(buffer.len());
    // SAFETY: nothing runs between here and the end of the copy that could change the buffer.
    let data = PyBytes::new(py, unsafe { &buffer.as_bytes()[..count] });
    if count == buffer.len() {
        buffer.resize(0)?;
    } else {
        // Cheap: a bytearray only moves its beginning.
        buffer.del_item(PySlice::new(py, 0, count as isize, 1))?;
    }
    Ok(data)
}

/// `buffer.extend(data)`. Errors: BufferError when somebody holds a view of it; MemoryError.
pub fn append(buffer: &Bound<'_, PyAny>, data: &[u8]) -> PyResult<()> {
    let py = buffer.py();
    match buffer.cast_exact::<PyByteArray>() {
        Ok(buffer) => {
            let start = buffer.len();
            buffer.resize(start + data.len())?;
            // SAFETY: nothing runs that could change it during the copy.
            let place = unsafe { buffer.as_bytes_mut() };
            place[start..].copy_from_slice(data);
            Ok(())
        }
        Err(_) => buffer
            .call_method1(pyo3::intern!(py, "extend"), (PyBytes::new(py, data),))
            .map(drop),
    }
}

/// `buffer[:0] = data`. Errors: as [`append`].
pub fn prepend(buffer: &Bound<'_, PyAny>, data: &[u8]) -> PyResult<()> {
    let py = buffer.py();
    buffer.set_item(PySlice::new(py, 0, 0, 1), PyBytes::new(py, data))
}
