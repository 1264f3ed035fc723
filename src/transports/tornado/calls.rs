//! The read calls, as `tornado.iostream.BaseIOStream` has them.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::reading::{attempt, finish};
use super::stream::{Inner, TornadoStream};
use super::want::{Into, Pattern, Want};
use crate::proto::pending_read::Want as Bytes;
use crate::py::bytes::Uninit;
use crate::py::{call, names};

/// A limit in bytes, or None.
fn limit(max_bytes: Option<&Bound<'_, PyAny>>) -> PyResult<Option<usize>> {
    let Some(max_bytes) = max_bytes else {
        return Ok(None);
    };
    if let Ok(limit) = max_bytes.extract::<usize>() {
        return Ok(Some(limit));
    }
    // Any number will do for a comparison.
    Ok(Some(max_bytes.extract::<f64>()?.max(0.0) as usize))
}

#[pymethods]
impl TornadoStream {
    /// Like `BaseIOStream.read_until`.
    #[pyo3(signature = (delimiter, max_bytes=None))]
    fn read_until<'py>(
        slf: &Bound<'py, Self>,
        delimiter: &Bound<'py, PyAny>,
        max_bytes: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if slf.get().handed_over.get() {
            return slf.call_method1(intern!(slf.py(), "read_until"), (delimiter, max_bytes));
        }
        let delimiter: Box<[u8]> = match delimiter.cast::<PyBytes>() {
            Ok(bytes) => bytes.as_bytes().into(),
            Err(_) => PyBuffer::<u8>::get(delimiter)?.to_vec(slf.py())?.into(),
        };
        let max_bytes = limit(max_bytes)?;
        let want = slf.get().pending(
            slf.py(),
            Bytes::Until {
                delimiter,
                max_bytes,
            },
        );
        Self::start(slf, want)
    }

    /// Like `BaseIOStream.read_until_regex`.
    #[pyo3(signature = (regex, max_bytes=None))]
    fn read_until_regex<'py>(
        slf: &Bound<'py, Self>,
        regex: &Bound<'py, PyAny>,
        max_bytes: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if slf.get().handed_over.get() {
            return slf.call_method1(intern!(slf.py(), "read_until_regex"), (regex, max_bytes));
        }
        let py = slf.py();
        let pattern = call::call1(&names::RE_COMPILE.get(py)?, regex)?.unbind();
        let max_bytes = limit(max_bytes)?;
        // Another type may have another equality, and what was compiled may have flags.
        let of_head = regex
            .cast_exact::<PyBytes>()
            .is_ok_and(|regex| matches!(regex.as_bytes(), b"\r?\n\r?\n" | br"\r?\n\r?\n"));
        let want = Want::Pattern(Pattern {
            pattern,
            of_head,
            max_bytes: max_bytes.unwrap_or(usize::MAX),
            next: 0,
        });
        Self::start(slf, want)
    }

    /// Like `BaseIOStream.read_bytes`.
    #[pyo3(signature = (num_bytes, partial=false))]
    fn read_bytes<'py>(
        slf: &Bound<'py, Self>,
        num_bytes: &Bound<'py, PyAny>,
        partial: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        if slf.get().handed_over.get() {
            return slf.call_method1(intern!(slf.py(), "read_bytes"), (num_bytes, partial));
        }
        let py = slf.py();
        let count = match num_bytes.extract::<isize>() {
            Ok(count) => usize::try_from(count)
                .map_err(|_| PyValueError::new_err("num_bytes must not be negative"))?,
            Err(error) if error.is_instance_of::<PyTypeError>(py) => {
                return Err(PyAssertionError::new_err("num_bytes must be an integer"));
            }
            Err(error) => return Err(error),
        };
        let want = if partial {
            Bytes::UpTo(count)
        } else {
            Bytes::Exactly(count)
        };
        Self::start(slf, slf.get().pending(py, want))
    }

    /// Like `BaseIOStream.read_into`.
    #[pyo3(signature = (buf, partial=false))]
    fn read_into<'py>(
        slf: &Bound<'py, Self>,
        buf: &Bound<'py, PyAny>,
        partial: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        if slf.get().handed_over.get() {
            return slf.call_method1(intern!(slf.py(), "read_into"), (buf, partial));
        }
        let py = slf.py();
        let buffer = match PyBuffer::<u8>::get(buf) {
            Ok(_) => buf.clone(),
            // Of another format.
            Err(_) => names::MEMORYVIEW
                .get(py)?
                .call1((buf,))?
                .call_method1(intern!(py, "cast"), ("B",))?,
        };
        let length = buffer.len()?;
        let want = Want::Into(Into {
            buffer: buffer.clone().unbind(),
            length,
            filled: 0,
            partial,
        });
        let future = Self::begin(slf, want)?;
        // First what has arrived already.
        {
            let mut memory = Uninit::new(PyBuffer::<u8>::get(&buffer)?)?;
            let memory = memory.as_mut_slice();
            slf.get().inner.with(py, |inner, _| {
                let Inner { want, buffer, .. } = inner;
                let count = buffer.len().min(memory.len());
                memory[..count].write_copy_of_slice(&buffer.as_slice()[..count]);
                buffer.discard(count);
                if let Some(Want::Into(into)) = want {
                    into.filled = count;
                }
            });
        }
        attempt(slf)?;
        Ok(future)
    }

    /// Like `BaseIOStream.read_until_close`.
    fn read_until_close<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        if slf.get().handed_over.get() {
            return slf.call_method0(intern!(slf.py(), "read_until_close"));
        }
        let py = slf.py();
        let want = slf.get().pending(py, Bytes::UntilClose);
        let future = Self::begin(slf, want)?;
        if slf.get().closed.get() {
            finish(slf, usize::MAX)?;
            return Ok(future);
        }
        // Once per connection: by Tornado's own, which comes back here for each of its steps.
        slf.call_method0(intern!(py, "_try_inline_read"))?;
        Ok(future)
    }
}
