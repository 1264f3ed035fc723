//! What the stream core asks and tells, answered as Tornado's streams do: an error closes the stream, with a line in
//! Tornado's log.

use pyo3::prelude::*;

use super::reading::{self, Step};
use super::stream::{Place, TornadoStream};
use super::{tls, writing};
use crate::io::sink::{AfterEof, Failed, Sink, Stream, Taken};
use crate::io::stream;
use crate::proto::marks::Pressure;
use crate::py::{call, errors, names};

/// The sink of every [`TornadoStream`].
pub struct TornadoSink;

fn face<'a, 'py>(stream: &Stream<'a, 'py>) -> PyResult<&'a Bound<'py, TornadoStream>> {
    Ok(stream.object.cast::<TornadoStream>()?)
}

/// What is raised in an event closes the stream, is logged, and goes to the loop's exception handler.
#[inline]
fn guarded(face: &Bound<'_, TornadoStream>, body: impl FnOnce() -> PyResult<()>) -> PyResult<()> {
    match body() {
        Ok(()) => Ok(()),
        Err(error) if errors::is_fatal(face.py(), &error) => Err(error),
        Err(error) => uncaught(face, error),
    }
}

#[cold]
fn uncaught(face: &Bound<'_, TornadoStream>, error: PyErr) -> PyResult<()> {
    let py = face.py();
    let context = face.get().context(py);
    let _entered = context.as_ref().and_then(call::enter);
    names::TORNADO_UNCAUGHT.get(py)?.call1((face, error))?;
    Ok(())
}

impl Sink for TornadoSink {
    fn made(&self, stream: &Stream<'_, '_>) -> PyResult<()> {
        stream::start(stream.core, stream.key)
    }

    #[inline]
    fn read(&self, stream: &Stream<'_, '_>) -> PyResult<Taken> {
        let face = face(stream)?;
        let py = face.py();
        if !face.get().wants_bytes(py) {
            return Ok(Taken::Nothing);
        }
        let place = Place {
            core: stream.core.clone(),
            key: stream.key,
        };
        let mut more = false;
        guarded(face, || {
            match reading::take(face, Some(&place), false) {
                // A read that is not satisfied goes on, an idle stream has been looked at.
                Ok(Step::Nothing | Step::Closed) => {}
                Ok(step) => {
                    face.get().told.set(true);
                    more = step == Step::More && face.get().is_reading(py);
                }
                Err(error) => reading::give_up(face, error, false)?,
            }
            if !more && !face.get().closed.get() {
                // Not in this turn: who waits for these bytes answers before the end of file is found behind them.
                TornadoStream::after_event(face)?;
            }
            Ok(())
        })?;
        Ok(if more { Taken::Bytes } else { Taken::Nothing })
    }

    fn eof(&self, _stream: &Stream<'_, '_>) -> PyResult<AfterEof> {
        // Told by the read itself.
        Ok(AfterEof::Keep)
    }

    fn pressure(&self, _stream: &Stream<'_, '_>, _pressure: Pressure) -> PyResult<()> {
        Ok(())
    }

    fn sent(&self, stream: &Stream<'_, '_>) -> PyResult<()> {
        let face = face(stream)?;
        guarded(face, || writing::complete(face))
    }

    fn drained(&self, stream: &Stream<'_, '_>) -> PyResult<()> {
        let face = face(stream)?;
        guarded(face, || {
            if face.get().tls.get() {
                if face.get().python_soon.get() {
                    return tls::take_python_path(face);
                }
                tls::encode(face)?;
            }
            writing::complete(face)?;
            if face.get().closed.get() {
                return Ok(());
            }
            TornadoStream::after_event(face)
        })
    }

    fn failed(&self, stream: &Stream<'_, '_>, what: Failed, error: &PyErr) -> PyResult<()> {
        let face = face(stream)?;
        let py = face.py();
        guarded(face, || match what {
            Failed::Write => writing::failed(face, error),
            Failed::Read | Failed::Register => {
                names::TORNADO_REGISTER_FAILED
                    .get(py)?
                    .call1((face, error))?;
                Ok(())
            }
        })
    }

    fn lost(&self, stream: &Stream<'_, '_>, _reason: Option<PyErr>) -> PyResult<()> {
        face(stream)?.get().left();
        Ok(())
    }
}
